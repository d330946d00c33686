/*
 * interleave.h - runs the real code in every interleaving, within bounds: a small model checker.
 *
 * For programs of FILAR_INTERLEAVE builds (make interleave), where each atomic operation is a call
 * (base/interleave.h).  "Kernel threads" are stacks of our own on one real thread; before each
 * operation on shared memory the explorer may go on with another one.  It runs the scenario again
 * and again, depth first, with another choice each time, until none is left.  What the threads
 * stand on (futex, kthread, self, heap, clock) is defined here and so takes the place of the
 * library's: the linker asks the archive only for what is still missing.
 *
 * Memory.  A load may return any value that C11 allows: each place keeps its last PAST_KEPT values,
 * each thread and each value a *view* (the oldest value of every place that may still be read);
 * acquire and release pass views on.  So a missing acquire, release or fence shows as a stale value
 * and not only as another order of steps.  Plain data is checked where the scenario says touch():
 * two touches of one cell that nothing orders are a race.
 *
 * Bounds.  At most so many preemptions (switches away from a thread that could go on) and so many
 * stale values in one run.  explore() raises both until its time is over, and says how far it came.
 * A state that was reached before with as much of both left is not explored again: a thread's state
 * is the hash of all it has read, with the writer's identity; a place's is that of its writers in
 * order.
 *
 * Not modelled: stores that take effect before an earlier load of the same thread; a store that
 * comes earlier in a place's order than one that was made before it; values older than PAST_KEPT.
 *
 * A failure (a CHECK, nobody can go on, a race, memory used after it was freed) prints the last
 * steps of the run and ends the process.
 */
#ifndef FILAR_TESTS_INTERLEAVE_H
#define FILAR_TESTS_INTERLEAVE_H

#include <stdarg.h>
#include <sys/mman.h>

#include "arch/context.h"
#include "base/atomic.h"
#include "base/check.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/self.h"
#include "check.h"
#include "kthread/kthread.h"
#include "os/clock.h"
#include "os/futex.h"

#define THREADS_MAX 8
#define PLACES_MAX  96   /* shared places in one scenario */
#define KNOWN_MAX   4096 /* places touched by anyone; a hash table */
#define PAST_KEPT   6u
#define CHOICES_MAX 4096
#define STATES_MAX  (1u << 22)
#define STACK_BYTES ((size_t)256 * 1024)
#define HEAP_BYTES  ((size_t)1 << 20)
#define BLOCKS_MAX  256
#define STEPS_KEPT  256u
#define STEPS_MAX   200000u

/* ---- what a thread and a place are ---- */

struct view {
	uint16_t oldest[PLACES_MAX];
};

/* One value that a place had. */
struct past {
	uint64_t value;
	uint64_t event; /* who wrote it, and in which state: one hash */
	struct view view;
};

struct place {
	const volatile void *address;
	size_t bytes;
	uint16_t last;    /* number of the newest value; the first is 0 */
	uint16_t seq_cst; /* number of the newest that a seq_cst store wrote */
	uint64_t history; /* hash of all writers in order */
	struct past past[PAST_KEPT];
};

/* Over all runs of a scenario: who touches a place.  Places of one thread need no choices. */
struct known {
	const volatile void *address;
	uint8_t readers, writers;
	struct place *place; /* in the run of that number */
	uint64_t run;
};

enum waiting { WAITS_NOT, WAITS_PAUSE, WAITS_FUTEX, WAITS_END, WAITS_UNTIL };

struct thread {
	struct context context;
	struct self self;
	void (*body)(void *);
	void *argument;
	char *stack;
	bool ended;
	enum waiting waiting;
	const volatile void *futex; /* WAITS_FUTEX */
	uint32_t futex_mask;
	int64_t deadline_ns;
	uint64_t queued;       /* order of arrival at a futex */
	bool woken;            /* by a wake, not by its deadline */
	struct thread *target; /* WAITS_END */
	bool (*until)(void *); /* WAITS_UNTIL */
	void *until_argument;
	uint64_t writes_seen; /* WAITS_PAUSE */
	uint64_t hash;
	struct view view;
};

struct kthread {
	struct thread thread;
};

struct choice {
	uint16_t taken, count;
};

struct step {
	uint8_t thread;
	const char *what, *function;
	int place;
	uint64_t value;
	unsigned age; /* of the value read: 0 is the newest */
};

enum weakening {
	WEAKEN_ORDER, /* every operation of the function becomes relaxed */
	WEAKEN_FENCE, /* its read-modify-writes that add 0 become relaxed loads */
	WEAKEN_BLIND  /* its loads return 0: a look that is left out */
};

struct mutant {
	const char *function;
	enum weakening how;
	const char *label;      /* of the README: what is weakened */
	void (*scenario)(void); /* that must notice it */
};

struct bounds {
	int preemptions, stale;
};

struct explored {
	struct bounds bounds; /* the largest that were finished */
	uint64_t runs, states, steps_max;
	bool finished; /* `bounds` at all */
	bool all;      /* no bound has kept a run from anything: these are all there are */
};

static struct explorer {
	struct context context;
	struct kthread threads[THREADS_MAX];
	int thread_count;
	struct thread *current;
	void (*scenario)(void);

	/* Learnt over all runs. */
	struct known known[KNOWN_MAX];
	uint64_t run;
	bool learnt; /* in this run: begin again */

	/* Of all runs with these bounds. */
	bool limited; /* a bound has kept a run from something */

	/* Of this run. */
	bool window;    /* between interleave_begin() and _end() */
	bool exploring; /* choices are recorded */
	struct place places[PLACES_MAX];
	int place_count;
	struct bounds left;
	uint64_t writes, arrivals;
	int64_t now_ns;
	bool time_passes; /* when nobody can go on: to the next deadline */
	struct step steps[STEPS_KEPT];
	uint64_t step_count;

	/* The path of this run. */
	struct choice choices[CHOICES_MAX];
	int depth, length;

	/* All states of these bounds (and of others before: `epoch` is in the key), and what was
	 * left there. */
	struct {
		uint64_t key;
		struct bounds left;
	} * states;
	uint64_t state_count, states_kept, epoch;

	char heap[HEAP_BYTES] __attribute__((aligned(4096)));
	size_t heap_used;
	struct block {
		char *base;
		size_t bytes;
		bool freed;
	} blocks[BLOCKS_MAX];
	int block_count;

	const struct mutant *mutant;
	bool quiet;
} explorer;

static uint64_t mix(uint64_t left, uint64_t right)
{
	return random_mix(left * UINT64_C(0x9e3779b97f4a7c15) ^ right);
}

static int thread_index(const struct thread *thread)
{
	return (int)((const struct kthread *)(const void *)thread - explorer.threads);
}

/* ---- failing ---- */

static void print_steps(void)
{
	uint64_t count = explorer.step_count;

	for (uint64_t i = count > 70 ? count - 70 : 0; i < count; i++) {
		struct step *step = &explorer.steps[i % STEPS_KEPT];

		fprintf(stderr, "%*s%d  %s %s", step->thread * 4, "", step->thread, step->function,
			step->what);
		if (step->place >= 0)
			fprintf(stderr, " #%d = %#llx", step->place,
				(unsigned long long)step->value);
		fprintf(stderr, step->age > 0 ? "  (stale by %u)\n" : "\n", step->age);
	}
}

__attribute__((noreturn, format(printf, 1, 2))) static void interleave_fail(const char *format, ...)
{
	va_list arguments;

	if (!explorer.quiet) {
		print_steps();
		va_start(arguments, format);
		vfprintf(stderr, format, arguments);
		va_end(arguments);
		fputc('\n', stderr);
	}
	abort();
}

static void note(const char *function, const char *what, int place, uint64_t value, unsigned age)
{
	explorer.steps[explorer.step_count++ % STEPS_KEPT] =
		(struct step){ (uint8_t)thread_index(explorer.current), what, function, place,
			value, age };
	if (explorer.step_count > STEPS_MAX)
		interleave_fail("the run does not end: %u steps", STEPS_MAX);
}

/* ---- choices ---- */

/* One of `count`: on the way the recorded one, at its end the first. */
static int choose(int count)
{
	struct choice *choice = &explorer.choices[explorer.depth];

	if (count == 1 || !explorer.exploring)
		return 0;
	if (explorer.depth == explorer.length) {
		if (explorer.length == CHOICES_MAX)
			interleave_fail("more than %d choices in one run", CHOICES_MAX);
		*choice = (struct choice){ 0, (uint16_t)count };
		explorer.length++;
	}
	if (choice->count != count)
		interleave_fail("the scenario is not deterministic");
	explorer.depth++;
	return choice->taken;
}

/* The next path: the last choice that has another side.  False when all were taken. */
static bool next_path(void)
{
	while (explorer.length > 0) {
		struct choice *last = &explorer.choices[explorer.length - 1];

		if (++last->taken < last->count)
			return true;
		explorer.length--;
	}
	return false;
}

/* ---- states ---- */

static uint64_t state_key(void)
{
	uint64_t key = mix(explorer.epoch, (uint64_t)thread_index(explorer.current));

	for (int i = 0; i < explorer.thread_count; i++) {
		struct thread *thread = &explorer.threads[i].thread;
		bool paused =
			thread->waiting == WAITS_PAUSE && thread->writes_seen == explorer.writes;

		key += mix(thread->hash, (uint64_t)i * 16 + (thread->ended ? 8 : 0) +
						 (paused ? 7 : thread->waiting));
	}
	/* Which place it is, its writers say. */
	for (int i = 0; i < explorer.place_count; i++)
		key += mix(explorer.places[i].history, 2);
	return key;
}

/* True when this state was there before, with as much left. */
static bool seen_before(void)
{
	uint64_t key = state_key() | 1, index = key >> 20;

	for (;; index++) {
		typeof(*explorer.states) *state = &explorer.states[index & (STATES_MAX - 1)];

		if (state->key == key) {
			if (state->left.preemptions >= explorer.left.preemptions &&
				state->left.stale >= explorer.left.stale)
				return true;
			if (state->left.preemptions <= explorer.left.preemptions &&
				state->left.stale <= explorer.left.stale)
				state->left = explorer.left;
			return false;
		}
		if (state->key == 0) {
			if (explorer.states_kept < STATES_MAX / 4 * 3) {
				state->key = key;
				state->left = explorer.left;
				explorer.state_count++;
				explorer.states_kept++;
			}
			return false;
		}
	}
}

/* ---- who runs ---- */

static bool can_go_on(struct thread *thread)
{
	switch (thread->waiting) {
	case WAITS_PAUSE:
		return thread->writes_seen != explorer.writes;
	case WAITS_FUTEX:
		return thread->woken || thread->deadline_ns <= explorer.now_ns;
	case WAITS_END:
		return thread->target->ended;
	case WAITS_UNTIL:
		return thread->until(thread->until_argument);
	default:
		return true;
	}
}

static int list_others(struct thread **others)
{
	int count = 0;

	for (int i = 1; i <= explorer.thread_count; i++) {
		int index = (thread_index(explorer.current) + i) % explorer.thread_count;
		struct thread *thread = &explorer.threads[index].thread;

		if (thread != explorer.current && !thread->ended && can_go_on(thread))
			others[count++] = thread;
	}
	return count;
}

static void go_to(struct thread *to)
{
	struct thread *from = explorer.current;

	if (to == from)
		return;
	explorer.current = to;
	if (from->ended)
		context_switch_last(&from->context, &to->context, NULL);
	context_switch(&from->context, &to->context, NULL);
}

/* A state that was there before: the run goes on to its end, but without choices. */
static void look_for_known_state(void)
{
	if (explorer.exploring && explorer.depth == explorer.length && seen_before()) {
		explorer.exploring = false;
	}
}

/* Before an operation that others may see. */
static void schedule_point(void)
{
	struct thread *options[THREADS_MAX] = { explorer.current };
	int count = 1, taken;

	if (!explorer.window || !explorer.exploring)
		return;
	count += list_others(options + 1);
	if (count == 1)
		return;
	if (explorer.left.preemptions == 0) {
		explorer.limited = true;
		return;
	}
	look_for_known_state();
	taken = choose(count);
	if (taken > 0) {
		explorer.left.preemptions--;
		go_to(options[taken]);
	}
}

/* Everybody waits, but somebody not for ever. */
static bool pass_time(void)
{
	int64_t next_ns = DEADLINE_NEVER;

	for (int i = 0; i < explorer.thread_count && explorer.time_passes; i++) {
		struct thread *thread = &explorer.threads[i].thread;

		if (!thread->ended && thread->waiting == WAITS_FUTEX &&
			thread->deadline_ns < next_ns)
			next_ns = thread->deadline_ns;
	}
	if (next_ns == DEADLINE_NEVER)
		return false;
	explorer.now_ns = next_ns;
	return true;
}

/* The current thread cannot go on (or is to let others, when it pauses). */
static void leave(void)
{
	struct thread *self = explorer.current, *options[THREADS_MAX];
	int count;

	for (;;) {
		int taken;

		count = list_others(options);
		if (count == 0 && !self->ended && can_go_on(self))
			break;
		if (count > 0) {
			bool may_stay = explorer.window && self->waiting == WAITS_PAUSE &&
					explorer.left.preemptions > 0;

			if (explorer.window && count + may_stay > 1)
				look_for_known_state();
			taken = explorer.window ? choose(count + may_stay) : 0;
			if (taken == count) {
				/* Others are slow: as good as a preemption of all of them. */
				explorer.left.preemptions--;
				break;
			}
			go_to(options[taken]);
			if (can_go_on(self))
				break;
			continue;
		}
		/* Those that spin look once more; if that changes nothing, it never will. */
		if (self->waiting == WAITS_PAUSE && !self->ended)
			break;
		for (int i = 0; i < explorer.thread_count && count == 0; i++) {
			if (!explorer.threads[i].thread.ended &&
				explorer.threads[i].thread.waiting == WAITS_PAUSE)
				options[count++] = &explorer.threads[i].thread;
		}
		if (count == 0 && pass_time())
			continue;
		if (count == 0) {
			for (int i = 0; i < explorer.thread_count && !explorer.quiet; i++)
				fprintf(stderr, "thread %d: %s\n", i,
					explorer.threads[i].thread.ended ? "ended" : "waits");
			interleave_fail("nobody can go on: a wake-up was lost");
		}
		go_to(options[0]);
		break;
	}
	self->waiting = WAITS_NOT;
}

void interleave_pause(void)
{
	if (explorer.current == NULL)
		return;
	explorer.current->waiting = WAITS_PAUSE;
	explorer.current->writes_seen = explorer.writes;
	leave();
}

int sched_yield(void)
{
	interleave_pause();
	return 0;
}

void interleave_point(const char *function)
{
	(void)function;
	if (explorer.current != NULL)
		schedule_point();
}

/* ---- places ---- */

static struct known *find_known(const volatile void *address)
{
	uint64_t index = random_mix((uint64_t)(uintptr_t)address);
	struct known *known;

	for (int tries = 0;; tries++, index++) {
		known = &explorer.known[index % KNOWN_MAX];
		if (known->address == address)
			return known;
		if (known->address == NULL)
			break;
		if (tries == KNOWN_MAX)
			interleave_fail("more than %d places", KNOWN_MAX);
	}
	known->address = address;
	return known;
}

static bool is_shared(const struct known *known)
{
	return known->writers != 0 &&
	       __builtin_popcount((unsigned)(known->readers | known->writers)) > 1;
}

static bool place_is_shared(struct known *known, bool writes)
{
	bool before = is_shared(known);

	*(writes ? &known->writers : &known->readers) |=
		(uint8_t)(1u << thread_index(explorer.current));
	if (!before && is_shared(known)) {
		/* Its owner's steps were no choices so far: begin again. */
		explorer.learnt = true;
		explorer.exploring = false;
	}
	return is_shared(known);
}

static uint64_t read_memory(const volatile void *address, size_t bytes)
{
	uint64_t value = 0;

	memcpy(&value, (const void *)address, bytes);
	return value;
}

static void write_memory(volatile void *address, size_t bytes, uint64_t value)
{
	memcpy((void *)address, &value, bytes);
}

static struct place *find_place(struct known *known, size_t bytes)
{
	const volatile void *address = known->address;
	struct place *place;

	if (known->run == explorer.run)
		return known->place;
	if (explorer.place_count == PLACES_MAX)
		interleave_fail("more than %d shared places", PLACES_MAX);
	place = &explorer.places[explorer.place_count++];
	place->address = address;
	place->bytes = bytes;
	place->last = place->seq_cst = 0;
	place->history = 3;
	memset(&place->past[0], 0, sizeof place->past[0]);
	place->past[0].value = read_memory(address, bytes);
	known->place = place;
	known->run = explorer.run;
	return place;
}

static void check_not_freed(const volatile void *address, const char *function)
{
	for (int i = 0; i < explorer.block_count; i++) {
		struct block *block = &explorer.blocks[i];

		if (block->freed && (const volatile char *)address >= block->base &&
			(const volatile char *)address < block->base + block->bytes)
			interleave_fail("%s touches memory that was freed", function);
	}
}

/* What comes before each operation; NULL: nobody else can see it. */
static struct place *approach(
	const volatile void *address, size_t bytes, bool writes, const char *function)
{
	struct known *known;

	if (explorer.current == NULL)
		return NULL;
	check_not_freed(address, function);
	if (!explorer.window)
		return NULL;
	known = find_known(address);
	if (!place_is_shared(known, writes))
		return NULL;
	schedule_point();
	check_not_freed(address, function);
	/* The window may have been closed while others ran. */
	return explorer.window ? find_place(known, bytes) : NULL;
}

static int place_index(const struct place *place)
{
	return (int)(place - explorer.places);
}

static void join_view(struct view *view, const struct view *other)
{
	for (int i = 0; i < explorer.place_count; i++) {
		if (other->oldest[i] > view->oldest[i])
			view->oldest[i] = other->oldest[i];
	}
}

static bool acquires(memory_order order)
{
	return order == memory_order_acquire || order == memory_order_acq_rel ||
	       order == memory_order_seq_cst;
}

static bool releases(memory_order order)
{
	return order == memory_order_release || order == memory_order_acq_rel ||
	       order == memory_order_seq_cst;
}

static bool is_mutant(const char *function, enum weakening how)
{
	return explorer.mutant != NULL && explorer.mutant->how == how &&
	       strcmp(explorer.mutant->function, function) == 0;
}

static memory_order effective(memory_order order, const char *function)
{
	return is_mutant(function, WEAKEN_ORDER) ? memory_order_relaxed : order;
}

/* The current thread reads value number `number` of the place. */
static uint64_t observe(struct place *place, uint16_t number, memory_order order)
{
	struct thread *self = explorer.current;
	struct past *past = &place->past[number % PAST_KEPT];

	self->view.oldest[place_index(place)] = number;
	if (acquires(order))
		join_view(&self->view, &past->view);
	self->hash = mix(self->hash, past->event);
	return past->value;
}

/* The current thread writes; for a read-modify-write `before` is what it has read. */
static void append(
	struct place *place, uint64_t value, memory_order order, const struct past *before)
{
	struct thread *self = explorer.current;
	struct view view = { { 0 } };
	struct past *past;
	int index = place_index(place);

	if (before != NULL)
		view = before->view; /* a release sequence goes on */
	if (place->last == UINT16_MAX)
		interleave_fail("too many values in one place");
	self->view.oldest[index] = ++place->last;
	if (releases(order))
		join_view(&view, &self->view);
	view.oldest[index] = place->last;
	past = &place->past[place->last % PAST_KEPT];
	self->hash = mix(self->hash, 5);
	*past = (struct past){ .value = value, .event = self->hash, .view = view };
	place->history = mix(place->history, past->event);
	if (order == memory_order_seq_cst)
		place->seq_cst = place->last;
	explorer.writes++;
	write_memory((volatile void *)place->address, place->bytes, value);
}

/* How far back the current thread may read. */
static uint16_t oldest_readable(const struct place *place, memory_order order)
{
	uint16_t oldest = explorer.current->view.oldest[place_index(place)];

	if (order == memory_order_seq_cst && place->seq_cst > oldest)
		oldest = place->seq_cst;
	if (place->last - oldest >= (int)PAST_KEPT)
		oldest = (uint16_t)(place->last - PAST_KEPT + 1);
	return oldest;
}

static uint16_t choose_value(const struct place *place, memory_order order)
{
	int ages = place->last - oldest_readable(place, order) + 1, age;

	if (explorer.left.stale == 0) {
		explorer.limited |= ages > 1;
		return place->last;
	}
	age = choose(ages);
	if (age > 0)
		explorer.left.stale--;
	return (uint16_t)(place->last - age);
}

uint64_t interleave_load(
	const volatile void *address, size_t bytes, memory_order order, const char *function)
{
	struct place *place = approach(address, bytes, false, function);
	uint16_t number;
	uint64_t value;

	if (is_mutant(function, WEAKEN_BLIND))
		return 0;
	if (place == NULL)
		return read_memory(address, bytes);
	order = effective(order, function);
	number = choose_value(place, order);
	value = observe(place, number, order);
	note(function, "reads", place_index(place), value, (unsigned)(place->last - number));
	return value;
}

void interleave_store(volatile void *address, size_t bytes, uint64_t value, memory_order order,
	const char *function)
{
	struct place *place = approach(address, bytes, true, function);

	if (place == NULL) {
		write_memory(address, bytes, value);
		return;
	}
	append(place, value, effective(order, function), NULL);
	note(function, "writes", place_index(place), value, 0);
}

static uint64_t changed(enum interleave_change change, uint64_t value, uint64_t operand)
{
	switch (change) {
	case INTERLEAVE_ADD:
		return value + operand;
	case INTERLEAVE_SUB:
		return value - operand;
	case INTERLEAVE_OR:
		return value | operand;
	case INTERLEAVE_AND:
		return value & operand;
	default:
		return operand;
	}
}

/* Read-modify-writes read the newest value. */
static uint64_t change_place(struct place *place, uint64_t after, memory_order order)
{
	struct past before = place->past[place->last % PAST_KEPT];
	uint64_t value = observe(place, place->last, order);

	append(place, after, order, &before);
	return value;
}

uint64_t interleave_change(volatile void *address, size_t bytes, enum interleave_change change,
	uint64_t operand, memory_order order, const char *function)
{
	struct place *place;
	uint64_t value, after;

	if (change == INTERLEAVE_ADD && operand == 0 && is_mutant(function, WEAKEN_FENCE))
		return interleave_load(address, bytes, memory_order_relaxed, function);
	place = approach(address, bytes, true, function);
	value = read_memory(address, bytes);
	after = changed(change, value, operand);
	if (place == NULL) {
		write_memory(address, bytes, after);
		return value;
	}
	change_place(place, after, effective(order, function));
	note(function, "changes", place_index(place), after, 0);
	/* As the place has it: the sum may not fit. */
	return value;
}

bool interleave_cas(volatile void *address, size_t bytes, void *expected, uint64_t desired,
	memory_order order, const char *function)
{
	struct place *place = approach(address, bytes, true, function);
	uint64_t wanted = read_memory(expected, bytes), found;
	memory_order failed = order == memory_order_acq_rel   ? memory_order_acquire
			      : order == memory_order_seq_cst ? order
							      : memory_order_relaxed;
	uint16_t number;

	if (place == NULL) {
		found = read_memory(address, bytes);
		if (found == wanted) {
			write_memory(address, bytes, desired);
			return true;
		}
		write_memory(expected, bytes, found);
		return false;
	}
	order = effective(order, function);
	failed = effective(failed, function);
	/* It may fail on an old value; it cannot succeed on one. */
	number = choose_value(place, failed);
	found = place->past[number % PAST_KEPT].value;
	if (number != place->last && found == wanted)
		number = place->last, found = place->past[number % PAST_KEPT].value;
	if (number == place->last && found == wanted) {
		change_place(place, desired, order);
		note(function, "swaps in", place_index(place), desired, 0);
		return true;
	}
	observe(place, number, failed);
	write_memory(expected, bytes, found);
	note(function, "fails to swap, finds", place_index(place), found,
		(unsigned)(place->last - number));
	return false;
}

/* ---- plain data of a scenario ---- */

struct cell {
	_Atomic uint64_t touches;
};

/* The caller believes that the cell is its own. */
__attribute__((unused)) static void touch(struct cell *cell)
{
	struct place *place = approach(&cell->touches, sizeof cell->touches, true, "touch");

	if (place == NULL)
		return;
	if (explorer.current->view.oldest[place_index(place)] != place->last)
		interleave_fail("a race: nothing orders this touch after the one before");
	observe(place, place->last, memory_order_relaxed);
	append(place, place->past[place->last % PAST_KEPT].value + 1, memory_order_relaxed, NULL);
	note("touch", "touches", place_index(place), 0, 0);
}

/* ---- what the library stands on ---- */

enum filar_status futex_wait_masked_until(
	_Atomic uint32_t *word, uint32_t expected, int64_t deadline_ns, uint32_t mask)
{
	struct place *place = approach(word, sizeof *word, true, "futex_wait");
	struct thread *self = explorer.current;

	if (place != NULL) {
		/* An order among those that wait and wake, but no view is passed on. */
		self->hash = mix(self->hash, place->history);
		place->history = mix(place->history, self->hash);
		note("futex_wait", "looks at", place_index(place), read_memory(word, sizeof *word),
			0);
	}
	if (read_memory(word, sizeof *word) != expected)
		return FILAR_OK;
	self->waiting = WAITS_FUTEX;
	self->futex = word;
	self->futex_mask = mask;
	self->deadline_ns = deadline_ns;
	self->woken = false;
	self->queued = explorer.arrivals++;
	leave();
	self->futex = NULL;
	self->hash = mix(self->hash, self->woken);
	return self->woken ? FILAR_OK : FILAR_TIMED_OUT;
}

/* Those that wait at the word and were not woken, in the order in which they came. */
static int list_waiters(const volatile void *word, uint32_t mask, struct thread **waiters)
{
	int count = 0;

	for (int i = 0; i < explorer.thread_count; i++) {
		struct thread *thread = &explorer.threads[i].thread;
		int at = count;

		if (thread->waiting != WAITS_FUTEX || thread->futex != word || thread->woken ||
			(thread->futex_mask & mask) == 0)
			continue;
		for (; at > 0 && waiters[at - 1]->queued > thread->queued; at--)
			waiters[at] = waiters[at - 1];
		waiters[at] = thread;
		count++;
	}
	return count;
}

int futex_wake_masked(_Atomic uint32_t *word, int count, uint32_t mask)
{
	struct thread *waiters[THREADS_MAX];
	int waiting, woken = 0;

	if (explorer.current == NULL)
		return 0;
	/* The address of something that is gone may be woken: nobody waits there. */
	if (explorer.window && place_is_shared(find_known(word), true)) {
		struct place *place;

		schedule_point();
		if (!explorer.window)
			goto wake;
		place = find_place(find_known(word), sizeof *word);
		explorer.current->hash = mix(explorer.current->hash, place->history);
		place->history = mix(place->history, explorer.current->hash);
		note("futex_wake", "wakes at", place_index(place), (uint64_t)count, 0);
	}
wake:
	waiting = list_waiters(word, mask, waiters);
	while (woken < count && woken < waiting) {
		/* The kernel's order is not ours to rely on. */
		int taken = woken +
			    (waiting - woken > 1 && explorer.window ? choose(waiting - woken) : 0);
		struct thread *thread = waiters[taken];

		waiters[taken] = waiters[woken];
		thread->woken = true;
		thread->hash = mix(thread->hash, explorer.current->hash);
		woken++;
	}
	return woken;
}

enum filar_status futex_wait_until(_Atomic uint32_t *word, uint32_t expected, int64_t deadline_ns)
{
	return futex_wait_masked_until(word, expected, deadline_ns, UINT32_MAX);
}

int futex_wake(_Atomic uint32_t *word, int count)
{
	return futex_wake_masked(word, count, UINT32_MAX);
}

static struct cell time_cell;

int64_t clock_now_ns(void)
{
	if (explorer.current != NULL && explorer.now_ns != 0) {
		struct place *place = approach(
			&time_cell.touches, sizeof time_cell.touches, false, "clock_now_ns");

		if (place != NULL)
			observe(place, place->last, memory_order_relaxed);
	}
	return explorer.now_ns;
}

/* For the pace of looks outside alone: nobody's turns are long here. */
int64_t clock_coarse_ns(void)
{
	return explorer.now_ns;
}

/* Time passes, for all at once. */
__attribute__((unused)) static void interleave_set_time(int64_t now_ns)
{
	struct place *place =
		approach(&time_cell.touches, sizeof time_cell.touches, true, "interleave_set_time");

	if (place != NULL)
		append(place, (uint64_t)now_ns, memory_order_relaxed, NULL);
	explorer.now_ns = now_ns;
}

struct self *self_get(void)
{
	static struct self outside;

	return explorer.current != NULL ? &explorer.current->self : &outside;
}

struct self *self_get_or_create(void)
{
	return self_get();
}

static void take_block(char *base, size_t bytes)
{
	if (explorer.block_count == BLOCKS_MAX)
		interleave_fail("more than %d blocks of memory", BLOCKS_MAX);
	explorer.blocks[explorer.block_count++] = (struct block){ base, bytes, false };
}

/* Never given twice in one run, at the same addresses in each run. */
void *memory_acquire(size_t count, size_t size)
{
	size_t bytes = (count * size + FILAR_FALSE_SHARING_BYTES) &
		       ~(size_t)(FILAR_FALSE_SHARING_BYTES - 1);
	char *base = explorer.heap + explorer.heap_used;

	if (bytes > HEAP_BYTES - explorer.heap_used)
		interleave_fail("the heap is too small");
	explorer.heap_used += bytes;
	take_block(base, bytes);
	return base;
}

void *memory_acquire_aligned(size_t count, size_t size)
{
	return memory_acquire(count, size);
}

void *memory_resize(void *memory, size_t count, size_t size)
{
	(void)memory, (void)count, (void)size;
	interleave_fail("memory_resize is not there");
}

void memory_release(void *memory)
{
	for (int i = 0; i < explorer.block_count && memory != NULL; i++) {
		if (explorer.blocks[i].base != memory)
			continue;
		if (explorer.blocks[i].freed)
			interleave_fail("freed twice");
		explorer.blocks[i].freed = true;
		return;
	}
}

int64_t memory_live(void)
{
	int64_t live = 0;

	for (int i = 0; i < explorer.block_count; i++)
		live += !explorer.blocks[i].freed;
	return live;
}

/* ---- threads ---- */

static void thread_entry(void *transfer, void *argument)
{
	struct thread *self = argument;

	(void)transfer;
	self->body(self->argument);
	self->ended = true;
	explorer.writes++;
	if (self == &explorer.threads[0].thread) {
		explorer.current = NULL;
		context_switch_last(&self->context, &explorer.context, NULL);
	}
	leave();
	abort();
}

static struct kthread *start_thread(void (*body)(void *), void *argument)
{
	struct kthread *kthread = &explorer.threads[explorer.thread_count];
	struct thread *thread = &kthread->thread;
	char *stack = thread->stack;

	if (explorer.thread_count == THREADS_MAX)
		interleave_fail("more than %d threads", THREADS_MAX);
	if (stack == NULL) {
		stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);
		CHECK(stack != MAP_FAILED);
	}
	*thread = (struct thread){ .stack = stack, .body = body, .argument = argument };
	thread->hash = mix(4, (uint64_t)explorer.thread_count);
	if (explorer.current != NULL) {
		thread->view = explorer.current->view;
		thread->hash = mix(thread->hash, explorer.current->hash);
	}
	context_init(&thread->context, stack, STACK_BYTES, thread_entry, thread);
	explorer.thread_count++;
	return kthread;
}

enum filar_status kthread_create(struct kthread **result, const filar_kthread_options *options,
	kthread_body *body, void *argument)
{
	(void)options;
	*result = start_thread(body, argument);
	return FILAR_OK;
}

enum filar_status kthread_check_options(const filar_kthread_options *options)
{
	(void)options;
	return FILAR_OK;
}

void kthread_options_init(filar_kthread_options *options)
{
	memset(options, 0, sizeof *options);
}

enum filar_status kthread_join_until(struct kthread *kthread, int64_t deadline_ns)
{
	struct thread *self = explorer.current, *target = &kthread->thread;

	(void)deadline_ns;
	if (!target->ended) {
		self->waiting = WAITS_END;
		self->target = target;
		leave();
	}
	join_view(&self->view, &target->view);
	self->hash = mix(self->hash, target->hash);
	return FILAR_OK;
}

void kthread_release(struct kthread *kthread)
{
	(void)kthread;
}

struct kthread *kthread_self(void)
{
	return NULL;
}

/* None that the system knows: nobody's CPUs are changed here. */
int32_t kthread_tid(struct kthread *kthread)
{
	(void)kthread;
	return 0;
}

/* As of one that sleeps. */
int64_t kthread_cpu_ns(struct kthread *kthread)
{
	(void)kthread;
	return 0;
}

/* Nobody is preempted here. */
bool kthread_signal(struct kthread *kthread, int signal)
{
	(void)kthread;
	(void)signal;
	return false;
}

bool kthread_is_forked(const struct kthread *kthread)
{
	(void)kthread;
	return false;
}

/* ---- what scenarios call ---- */

/* From here on all that others can see is explored.  What was written so far, everybody knows. */
__attribute__((unused)) static void interleave_begin(void)
{
	explorer.window = true;
	for (int i = 0; i < explorer.thread_count; i++)
		memset(&explorer.threads[i].thread.view, 0, sizeof(struct view));
}

__attribute__((unused)) static void interleave_end(void)
{
	explorer.window = false;
}

/* Waits, as somebody outside would: costs no preemption. */
__attribute__((unused)) static void interleave_until(bool (*until)(void *), void *argument)
{
	struct thread *self = explorer.current;

	if (until(argument))
		return;
	self->waiting = WAITS_UNTIL;
	self->until = until;
	self->until_argument = argument;
	leave();
}

__attribute__((unused)) static void interleave_join(struct kthread *kthread)
{
	(void)kthread_join_until(kthread, DEADLINE_NEVER);
}

static void scenario_body(void *unused)
{
	(void)unused;
	explorer.scenario();
}

static void run_once(struct bounds bounds)
{
	explorer.run++;
	explorer.thread_count = 0;
	explorer.current = NULL;
	explorer.window = false;
	explorer.exploring = true;
	explorer.learnt = false;
	explorer.left = bounds;
	explorer.writes = explorer.arrivals = explorer.step_count = 0;
	explorer.now_ns = 0;
	explorer.time_passes = false;
	explorer.depth = 0;
	explorer.place_count = 0;
	memset(explorer.heap, 0, explorer.heap_used);
	explorer.heap_used = 0;
	explorer.block_count = 0;
	start_thread(scenario_body, NULL);
	explorer.current = &explorer.threads[0].thread;
	context_init_running(&explorer.context);
	context_switch(&explorer.context, &explorer.current->context, NULL);
	for (int i = 0; i < explorer.thread_count; i++)
		CHECK(explorer.threads[i].thread.ended);
	CHECK_EQ(memory_live(), 0);
}

/* CPU time: a busy machine must not make the bounds smaller. */
static int64_t cpu_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* All runs within the bounds; false when the time is over before.  The path may be cut short of
 * choices that a known state made needless. */
static bool explore_bounds(struct bounds bounds, int64_t end_ns, struct explored *explored)
{
	do {
		if (explorer.states_kept > STATES_MAX / 4) {
			memset(explorer.states, 0, STATES_MAX * sizeof *explorer.states);
			explorer.states_kept = 0;
		}
		explorer.epoch++;
		explorer.state_count = 0;
		explorer.length = 0;
		explorer.limited = false;
		do {
			run_once(bounds);
			explored->runs++;
			if (explorer.step_count > explored->steps_max)
				explored->steps_max = explorer.step_count;
			if (explored->runs % 64 == 0 && cpu_now_ns() > end_ns)
				return false;
		} while (!explorer.learnt && next_path());
	} while (explorer.learnt);
	explored->states = explorer.state_count;
	return true;
}

/* Seconds for one scenario: FILAR_INTERLEAVE_SECONDS, a quarter by default. */
static double interleave_seconds(void)
{
	const char *text = getenv("FILAR_INTERLEAVE_SECONDS");
	double seconds = text != NULL ? strtod(text, NULL) : 0.25;

	return seconds > 0 ? seconds : 0.25;
}

static const struct bounds bounds_steps[] = { { 0, 0 }, { 1, 0 }, { 1, 1 }, { 2, 0 }, { 2, 1 },
	{ 2, 2 }, { 3, 1 }, { 3, 2 }, { 4, 2 }, { 4, 3 }, { 5, 3 }, { 6, 4 }, { 8, 6 }, { 12, 8 },
	{ 16, 12 }, { 99, 99 } };

/* Larger and larger bounds until the time is over. */
static struct explored explore(const char *name, void (*scenario)(void), double seconds)
{
	struct explored explored = { .finished = false };
	int64_t end_ns = cpu_now_ns() + (int64_t)(seconds * 1e9);

	alarm((unsigned)(seconds * 10) + test_seconds_max());
	if (explorer.states == NULL)
		explorer.states = calloc(STATES_MAX, sizeof *explorer.states);
	CHECK(explorer.states != NULL);
	explorer.scenario = scenario;
	if (!explorer.quiet)
		check_set_last_words(print_steps);
	memset(explorer.known, 0, sizeof explorer.known);
	for (size_t i = 0; i < FILAR_COUNT_OF(bounds_steps); i++) {
		uint64_t runs = explored.runs;

		/* The first bounds to their end, however slow the machine is. */
		if (!explore_bounds(bounds_steps[i], i == 0 ? INT64_MAX : end_ns, &explored))
			break;
		explored.bounds = bounds_steps[i];
		explored.finished = true;
		explored.all = !explorer.limited;
		if (!explorer.quiet && getenv("FILAR_INTERLEAVE_VERBOSE") != NULL)
			printf("  %s: %d preemptions, %d stale values: %llu runs, %llu states\n",
				name, bounds_steps[i].preemptions, bounds_steps[i].stale,
				(unsigned long long)(explored.runs - runs),
				(unsigned long long)explored.states);
		if (explored.all)
			break;
	}
	if (!explorer.quiet)
		printf("  %s: all%s with %d preemptions and %d stale values; %llu runs, %llu states, "
		       "up to %llu steps\n",
			name, explored.all ? " there are," : "", explored.bounds.preemptions,
			explored.bounds.stale, (unsigned long long)explored.runs,
			(unsigned long long)explored.states,
			(unsigned long long)explored.steps_max);
	return explored;
}

/* In a process of its own: whether the checker finds what the mutant breaks. */
__attribute__((unused)) static bool mutant_is_found(const struct mutant *mutant, double seconds)
{
	pid_t child;
	int status;

	fflush(NULL);
	child = fork();
	if (child == 0) {
		explorer.quiet = getenv("FILAR_INTERLEAVE_VERBOSE") == NULL;
		if (explorer.quiet && freopen("/dev/null", "w", stderr) == NULL)
			_exit(2);
		explorer.mutant = mutant;
		(void)explore(mutant->label, mutant->scenario, seconds);
		_exit(0);
	}
	CHECK(child > 0);
	CHECK_EQ(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status) && WTERMSIG(status) != SIGALRM;
}

/* Each mutant must be found by its scenario; all that are not are named. */
__attribute__((unused)) static void check_mutants(const struct mutant *mutants, size_t count)
{
	const double seconds = 60 + 10 * interleave_seconds();
	int missed = 0;

	for (size_t i = 0; i < count; i++) {
		alarm((unsigned)(seconds * 10) + test_seconds_max());
		if (mutant_is_found(&mutants[i], seconds))
			continue;
		fprintf(stderr, "not found: %s (%s)\n", mutants[i].label, mutants[i].function);
		missed++;
	}
	CHECK_EQ(missed, 0);
}

#endif
