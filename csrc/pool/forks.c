/*
 * forks.c - fork, join, steal.  The labels are those of README.md, "Fork and join".
 */
#include "pool/forks.h"

#include <pthread.h>

#include "arch/cpu.h"
#include "base/check.h"
#include "base/memory.h"
#include "base/tracepoint.h"
#include "os/clock.h"
#include "sched/aside.h"

/* Left free below the last fork: for the bodies' own frames, signal handlers, library calls. */
#define STACK_RESERVE_BYTES ((uintptr_t)96 * 1024)
/* Looks at a fork that another runs, before sleeping; some 50 ns each. */
#if FILAR_HARD
#define JOIN_LOOKS 1u
#else
#define JOIN_LOOKS 64u
#endif

/* ---- start and end ---- */

static struct forks_array *array_create(uint32_t slots, struct forks_array *older)
{
	struct forks_array *array =
		memory_acquire(1, sizeof *array + slots * sizeof(_Atomic(struct fork *)));

	if (array == NULL)
		return NULL;
	array->older = older;
	array->slots_count = slots;
	return array;
}

/* The lowest address a fork may be made at on the calling thread's stack. */
static uintptr_t find_stack_floor(void)
{
	pthread_attr_t attributes;
	void *low = NULL;
	size_t bytes = 0;

	if (pthread_getattr_np(pthread_self(), &attributes) != 0)
		return 0;
	(void)pthread_attr_getstack(&attributes, &low, &bytes);
	(void)pthread_attr_destroy(&attributes);
	return (uintptr_t)low + (bytes / 4 < STACK_RESERVE_BYTES ? bytes / 4 : STACK_RESERVE_BYTES);
}

enum filar_status forks_init(struct forks *forks, struct worker *worker)
{
	struct forks_array *array = array_create(FORKS_SLOTS_FIRST, NULL);

	if (array == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for a worker's forks");
	forks->worker = worker;
	forks->stack_floor = find_stack_floor();
	forks->slots = array->slots;
	forks->capacity = FORKS_SLOTS_FIRST;
	/* F1, again: others may look as soon as this worker is there. */
	store_release(&forks->array, array);
	return FILAR_OK;
}

void forks_deinit(struct forks *forks)
{
	struct forks_array *array = load_relaxed(&forks->array), *older;

	for (; array != NULL; array = older) {
		older = array->older;
		memory_release(array);
	}
	store_relaxed(&forks->array, NULL);
}

/* ---- fork ---- */

static FILAR_NOINLINE bool grow(struct forks *forks)
{
	struct forks_array *old = load_relaxed(&forks->array), *array;

	array = array_create(forks->capacity * 2, old);
	if (array == NULL)
		return false;
	for (uint32_t i = 0; i < forks->bottom; i++)
		store_relaxed(&array->slots[i], load_relaxed(&old->slots[i]));
	forks->slots = array->slots;
	forks->capacity *= 2;
	/* F1: release; pairs with F2: whoever sees the array sees the copies. */
	store_release(&forks->array, array);
	return true;
}

/* The forker of what runs here may have gone to sleep for want of anything to help with. */
static void tell_forker(struct forks *forks)
{
	struct fork *fork = forks->running;
	uint32_t found = FORK_ASLEEP;

	/* J2: seq_cst, after F3.  Pairs with J1. */
	if (fork != NULL && load_seq_cst(&fork->state) == FORK_ASLEEP &&
		cas_seq_cst(&fork->state, &found, FORK_OPEN))
		waiter_wake(&fork->waiter);
}

/* Makes the older half of the private forks public; at the bottom all of them. */
static FILAR_NOINLINE void publish(struct forks *forks)
{
	uint32_t private = forks->bottom - forks->split;
	uint32_t more = forks->split < FORKS_PUBLIC ? 1 : (private + 1) / 2;

	forks->split += more;
	/* F3: release, the slots and the forks; pairs with F4.  seq_cst for J2. */
	fetch_add_seq_cst(&forks->open, more);
	aside_wake_one(forks->worker->scheduler);
	tell_forker(forks);
}

static FILAR_NOINLINE enum filar_status too_deep(const struct forks *forks)
{
	return status_detail(FILAR_LIMIT,
		"fork and join is %u deep and the worker's stack almost used up; give the pool's "
		"workers larger stacks (stack_bytes)",
		forks->bottom);
}

/* ---- steal ---- */

struct fork *forks_steal(struct forks *victim, uint32_t depth_min)
{
	/* seq_cst: a forker that is about to sleep looks here after J1. */
	uint64_t word = load_seq_cst(&victim->open);
	uint32_t top = FORKS_TOP(word), split = FORKS_SPLIT(word);
	struct forks_array *array;

	if (top >= split || top < depth_min)
		return NULL;
	/* F4: acquire; pairs with F3.  From here on slot `top` stays as it is until the fork is
	 * done. */
	if (!cas_seq_cst(&victim->open, &word, FORKS_WORD(top + 1, split)))
		return NULL;
	/* F2: acquire; pairs with F1.  An older array will do: the slot was copied from it. */
	array = load_acquire(&victim->array);
	return load_relaxed(&array->slots[top]);
}

void forks_run(struct forks *forks, struct fork *fork)
{
	struct fork *outer = forks->running;
	const struct token *token = forks->token;

	fork->thief_base = forks->bottom;
	/* F5: release, thief_base; pairs with F6. */
	store_release(&fork->thief, forks);
	store_relaxed(&forks->taken, load_relaxed(&forks->taken) + 1);
	forks->running = fork;
	forks->token = fork->token;
	TRACE(TRACE_FORK_RUN, TRACE_ADDRESS(fork->argument), TRACE_ADDRESS(fork->body),
		forks->worker->place);
	fork->body(fork->argument);
	TRACE(TRACE_FORK_END, TRACE_ADDRESS(fork->argument), TRACE_ADDRESS(fork->body),
		forks->worker->place);
	forks->token = token;
	forks->running = outer;
	/* F7: release, what the body did; pairs with F8.  If the forker was not asleep, the fork is
	 * gone. */
	if (exchange_acq_rel(&fork->state, FORK_DONE) == FORK_ASLEEP)
		waiter_wake(&fork->waiter);
}

/* ---- join ---- */

/* Runs a fork that was made, directly or not, by the one waited for: it lies above what its thief
 * had when it began. */
static bool help_thief(struct forks *forks, struct fork *fork)
{
	/* F6: acquire; pairs with F5. */
	struct forks *thief = load_acquire(&fork->thief);
	struct fork *found = thief != NULL ? forks_steal(thief, fork->thief_base) : NULL;

	if (found == NULL)
		return false;
	forks_run(forks, found);
	return true;
}

static bool is_done(struct fork *fork)
{
	/* F8: acquire; pairs with F7. */
	return load_acquire(&fork->state) == FORK_DONE;
}

/* Whether the thief has anything to help with. */
static bool thief_has_more(struct fork *fork)
{
	struct forks *thief = load_acquire(&fork->thief);
	uint64_t word;

	if (thief == NULL)
		return false;
	word = load_seq_cst(&thief->open);
	return FORKS_TOP(word) < FORKS_SPLIT(word) && FORKS_TOP(word) >= fork->thief_base;
}

static void sleep_until_told(struct fork *fork)
{
	uint32_t found = FORK_OPEN;

	waiter_init(&fork->waiter);
	/* J1: seq_cst, before the last look.  Pairs with J2. */
	if (!cas_seq_cst(&fork->state, &found, FORK_ASLEEP)) {
		waiter_abandon(&fork->waiter);
		return;
	}
	found = FORK_ASLEEP;
	if (thief_has_more(fork) && cas_seq_cst(&fork->state, &found, FORK_OPEN)) {
		waiter_abandon(&fork->waiter);
		return;
	}
	(void)waiter_wait_until(&fork->waiter, DEADLINE_NEVER, WAIT_JOIN, WAIT_SHIELDED);
}

static void wait_for(struct forks *forks, struct fork *fork)
{
	uint32_t looks = forks->worker->scheduler->spin ? JOIN_LOOKS : 1;

	for (uint32_t look = 0; !is_done(fork); look++) {
		if (help_thief(forks, fork)) {
			look = 0;
		} else if (look >= looks) {
			sleep_until_told(fork);
			look = 0;
		} else {
			cpu_pause();
		}
	}
}

/* The fork at `depth` was public: taken back, or waited for. */
static FILAR_NOINLINE void join_public(struct forks *forks, struct fork *fork, uint32_t depth)
{
	uint64_t word = load_relaxed(&forks->open);

	while (FORKS_TOP(word) <= depth) {
		/* F4, by the owner: from here on no thief gets it. */
		if (cas_seq_cst(&forks->open, &word, FORKS_WORD(FORKS_TOP(word), depth))) {
			forks->split = depth;
			fork->body(fork->argument);
			return;
		}
	}
	/* Taken, and so are all that were older: what is forked while helping lies above. */
	FILAR_ASSERT(word == FORKS_WORD(depth + 1, depth + 1));
	forks->bottom = depth + 1;
	wait_for(forks, fork);
	forks->bottom = forks->split = depth;
	/* A plain store: nothing is public, so nobody else changes it. */
	store_release(&forks->open, FORKS_WORD(depth, depth));
}

enum filar_status forks_join(struct forks *forks, call_body *first, void *first_argument,
	call_body *second, void *second_argument)
{
	uint32_t depth = forks->bottom;
	struct fork fork;
	uint64_t word;

	if (FILAR_UNLIKELY((uintptr_t)__builtin_frame_address(0) < forks->stack_floor))
		return too_deep(forks);
	if (FILAR_UNLIKELY(depth == forks->capacity) && !grow(forks))
		return status_detail(FILAR_NO_MEMORY, "no memory for %u forks", depth + 1);
	fork.body = second;
	fork.argument = second_argument;
	fork.token = forks->token;
	atomic_init(&fork.state, FORK_OPEN);
	atomic_init(&fork.thief, NULL);
	store_relaxed(&forks->slots[depth], &fork);
	forks->bottom = depth + 1;
	word = load_relaxed(&forks->open);
	if (FILAR_UNLIKELY(forks->split < FORKS_PUBLIC || FORKS_TOP(word) == FORKS_SPLIT(word)))
		publish(forks);
	first(first_argument);
	forks->bottom = depth;
	if (FILAR_LIKELY(depth >= forks->split))
		second(second_argument);
	else
		join_public(forks, &fork, depth);
	return FILAR_OK;
}
