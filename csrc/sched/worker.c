/*
 * worker.c - the loop of a worker.  worker_find_work() is the one place that decides where work is
 * looked for and in which order; README.md, "Finding work", says why.
 */
#include "sched/worker.h"

#include <sched.h>
#include <string.h>

#include "arch/cpu.h"
#include "base/check.h"
#include "base/tracepoint.h"
#include "kthread/kthread.h"
#include "os/clock.h"
#include "os/futex.h"
#include "sched/aside.h"

#if FILAR_HARD || FILAR_INTERLEAVE
#define SEARCH_ROUNDS   1u
#define SEARCH_EAGER_NS 0
#else
#define SEARCH_ROUNDS   20u
#define SEARCH_EAGER_NS (30 * NS_PER_US)
#endif
/* Pauses between two rounds: some 0.3 to 2 us; all rounds together stay below 50. */
#define SEARCH_PAUSES (FILAR_INTERLEAVE ? 1u : 32u)

/* ---- pushing ---- */

void worker_push_slow(struct worker *worker, struct work *work)
{
	struct scheduler *scheduler = worker->scheduler;
	struct work_chain chain = { 0 };

	runq_take_half(&worker->runq, &chain);
	work_chain_push(&chain, work);
	COUNTER_ADD(worker, spills, chain.count);
	inject_lock(&scheduler->inject);
	inject_push_locked(&scheduler->inject, &chain);
	inject_unlock(&scheduler->inject);
}

/* Takes what is in the next slot, or puts something in it. */
static struct work *exchange_next(struct worker *worker, struct work *work)
{
	struct work *before;

	if (!worker->runq.shared) {
		before = load_relaxed(&worker->next);
		store_relaxed(&worker->next, work);
		return before;
	}
	/* W1: release for a thief that takes it, acquire against a thief that took it (both sides
	 * run this or W2 in steal_next()).  seq_cst: announced. */
	return exchange_seq_cst(&worker->next, work);
}

void worker_push_next_slow(struct worker *worker, struct work *work)
{
	struct work *displaced = exchange_next(worker, work);

	if (displaced == NULL)
		return;
	if (!worker->runq.shared)
		worker_push(worker, displaced);
	else if (!runq_push_announced(&worker->runq, displaced))
		scheduler_ready_slow(worker, displaced);
}

uint64_t worker_give_away(struct worker *worker)
{
	struct scheduler *scheduler = worker->scheduler;
	struct work_chain chain = { 0 };
	struct work *work = exchange_next(worker, NULL);
	uint64_t count;

	if (work != NULL)
		work_chain_push(&chain, work);
	while ((work = deque_pop(&worker->spawners)) != NULL)
		work_chain_push(&chain, work);
	while ((work = runq_pop(&worker->runq)) != NULL)
		work_chain_push(&chain, work);
	count = chain.count;
	COUNTER_ADD(worker, spills, count);
	inject_lock(&scheduler->inject);
	inject_push_locked(&scheduler->inject, &chain);
	inject_unlock(&scheduler->inject);
	return count;
}

void worker_empty(struct worker *worker)
{
	struct scheduler *scheduler = worker->scheduler;
	struct work *taken[RUNQ_STEAL_MAX], *next;
	struct work_chain chain = { 0 };
	uint32_t count;

	/* W2, again; its owner has not picked anything for a while. */
	next = exchange_acq_rel(&worker->next, NULL);
	if (next != NULL)
		work_chain_push(&chain, next);
	while ((count = runq_steal(&worker->runq, taken)) > 0)
		for (uint32_t i = 0; i < count; i++)
			work_chain_push(&chain, taken[i]);
	if (chain.count == 0)
		return;
	inject_lock(&scheduler->inject);
	inject_push_locked(&scheduler->inject, &chain);
	idle_wake_one(&scheduler->idle);
	inject_unlock(&scheduler->inject);
}

/* ---- picking what is at hand ---- */

struct work *worker_pick_next_slow(struct worker *worker)
{
	struct work *work = exchange_next(worker, NULL);

	if (work == NULL || !worker_has_queued(worker)) {
		worker->next_streak = 0;
		return work;
	}
	if (++worker->next_streak <= WORKER_NEXT_MAX)
		return work;
	/* Two that wake each other would keep all others waiting. */
	worker->next_streak = 0;
	worker_push(worker, work);
	return NULL;
}

/* A fair share of the inject queue: the first is returned, the others go to the own queue. */
static struct work *take_injected(struct worker *worker, uint64_t max)
{
	struct scheduler *scheduler = worker->scheduler;
	struct work_chain chain = { 0 };
	struct work *first, *work;

	inject_pop(&scheduler->inject, &chain, max);
	COUNTER_ADD(worker, injected, chain.count);
	first = work_chain_pop(&chain);
	while ((work = work_chain_pop(&chain)) != NULL)
		worker_push(worker, work);
	return first;
}

static uint64_t fair_share(struct scheduler *scheduler)
{
	uint64_t share = inject_count(&scheduler->inject) / scheduler->worker_count + 1;

	return share < RUNQ_STEAL_MAX ? share : RUNQ_STEAL_MAX;
}

/* What comes from outside, in the order in which its submitter made it. */
static struct work *take_submitted(struct worker *worker, bool on_time)
{
	struct scheduler *scheduler = worker->scheduler;
	struct work *work = mailbox_take(&scheduler->mailbox);

	/* M4: acquire; pairs with M3. */
	if (work != NULL || load_acquire(&scheduler->inject.count) == 0)
		return work;
	/* Who found the mailbox full with its first has put its second into the queue. */
	work = mailbox_take(&scheduler->mailbox);
	if (work != NULL)
		return work;
	/* The turns of pinned work are long: so many of them for each that begins are too many. */
	return take_injected(worker,
		on_time && load_relaxed(&worker->anchored) == 0 ? 1 : fair_share(scheduler));
}

static void poll_source(struct worker *worker, enum idle_poll when)
{
	struct idle_source *source = load_acquire(&worker->scheduler->idle.source);

	if (FILAR_UNLIKELY(source != NULL) && load_relaxed(&source->wanted) > 0)
		source->poll(source, worker, when);
}

static bool somebody_waits(struct scheduler *scheduler)
{
	return deadlines_earliest(&scheduler->deadlines) != DEADLINE_NEVER ||
	       idle_source_is_wanted(&scheduler->idle);
}

/*
 * How many picks from this look to the next: fewer if the last ones took longer than they should,
 * and more again when they do not.  Only where that helps somebody: each look puts outsiders first,
 * which is the wrong order for tasks that make tasks.
 */
static uint32_t pace_after_look(struct worker *worker)
{
	int64_t before_ns = worker->looked_ns, past_ns;

	if (!somebody_waits(worker->scheduler))
		return worker->pace = WORKER_TURNS;
	worker->looked_ns = clock_coarse_ns();
	past_ns = worker->looked_ns - before_ns;
	if (before_ns == 0)
		return worker->pace;
	if (past_ns > WORKER_LOOK_NS)
		worker->pace = (uint32_t)(worker->pace * WORKER_LOOK_NS / past_ns);
	else if (past_ns < WORKER_LOOK_NS / 2)
		worker->pace *= 2;
	if (worker->pace < 1)
		worker->pace = 1;
	if (worker->pace > WORKER_TURNS)
		worker->pace = WORKER_TURNS;
	return worker->pace;
}

/* Called when it is time to look outside, and when there is nothing inside. */
struct work *worker_pick_outside(struct worker *worker)
{
	struct scheduler *scheduler = worker->scheduler;
	bool on_time = worker->turns == 0;
	struct work *work = NULL;

	if (on_time)
		worker->turns = pace_after_look(worker);
	else
		worker->looked_ns = 0; /* it may sleep: what passes says nothing of turns */
	blocking_look(worker);
	scheduler_fire_deadlines(scheduler);
	poll_source(worker, on_time ? IDLE_POLL_ON_TIME : IDLE_POLL_EMPTY);
	if (FILAR_UNLIKELY(worker->spare)) {
		work = blocking_retirement(worker);
		if (work != NULL)
			return work;
	}
	work = take_submitted(worker, on_time);
	if (work != NULL || on_time)
		return work;
	/* A deadline or the source may have put something there. */
	work = exchange_next(worker, NULL);
	if (work == NULL)
		work = pinned_pop(&worker->pinned);
	return work == NULL && scheduler->find != NULL ? scheduler->find(worker) : work;
}

/* Who yields will be in its queue when it has found out what comes next. */
static void begin_round(struct worker *worker)
{
	struct work *current = load_relaxed(&worker->current);
	bool before_queue = load_relaxed(&worker->next) != NULL || worker->has_spawners;

	pinned_begin_round(&worker->pinned, current != NULL && current->home != NULL,
		runq_length(&worker->runq) + before_queue +
			(current != NULL && current->home == NULL));
}

/* In rounds: neither kind keeps the other waiting, and who yields has one turn in each. */
struct work *worker_pick_with_pinned(struct worker *worker)
{
	struct pinned *pinned = &worker->pinned;
	struct work *work = NULL;

	pinned_read_inbox(pinned);
	if (pinned_round_is_over(pinned))
		begin_round(worker);
	if (pinned_is_next(pinned))
		work = pinned_pop(pinned);
	if (work == NULL)
		work = worker_pick_shared(worker);
	if (work != NULL)
		return work;
	pinned->other_picks = 0; /* thieves had them */
	return pinned_pop(pinned);
}

/* ---- stealing ---- */

static struct work *stolen_one(struct worker *thief, struct worker *victim, struct work *work)
{
	COUNTER_ADD(thief, steals, 1);
	COUNTER_ADD(thief, stolen, 1);
	TRACE(TRACE_STEAL, victim->place, 1, thief->place);
	return work;
}

/* The oldest, which has most of its tree left: one is as a rule enough for long. */
static struct work *steal_spawner(struct worker *thief, struct worker *victim)
{
	struct work *work = deque_steal(&victim->spawners);

	return work != NULL ? stolen_one(thief, victim, work) : NULL;
}

/* The oldest is returned, the others go to the own queue. */
static struct work *steal_queue(struct worker *thief, struct worker *victim)
{
	struct work *taken[RUNQ_STEAL_MAX];
	uint32_t count = runq_steal(&victim->runq, taken);

	if (count == 0)
		return NULL;
	COUNTER_ADD(thief, steals, 1);
	COUNTER_ADD(thief, stolen, count);
	TRACE(TRACE_STEAL, victim->place, count, thief->place);
	for (uint32_t i = 1; i < count; i++)
		worker_push(thief, taken[i]);
	return taken[0];
}

static void pause_a_little(void)
{
	for (uint32_t i = 0; i < SEARCH_PAUSES; i++)
		cpu_pause();
}

/* The next slot is its owner's within nanoseconds, as a rule: it is taken only if the owner has run
 * one and the same piece of work for a while. */
static struct work *steal_next(struct worker *thief, struct worker *victim)
{
	uint32_t ticks = load_relaxed(&victim->ticks);
	struct work *work;

	if (load_relaxed(&victim->next) == NULL)
		return NULL;
	pause_a_little();
	if (load_relaxed(&victim->ticks) != ticks)
		return NULL;
	/* W2: as W1. */
	work = exchange_acq_rel(&victim->next, NULL);
	return work != NULL ? stolen_one(thief, victim, work) : NULL;
}

/* One look at every other worker, from a random one on. */
static struct work *steal_round(struct worker *thief)
{
	struct scheduler *scheduler = thief->scheduler;
	uint32_t count = scheduler_made(scheduler), start = random_below(&thief->random, count);
	struct work *work = NULL;

	for (uint32_t i = 0; i < count && work == NULL; i++) {
		struct worker *victim = &scheduler->workers[(start + i) % count];

		if (victim == thief)
			continue;
		work = steal_queue(thief, victim);
		if (work == NULL)
			work = steal_spawner(thief, victim);
		if (work == NULL)
			work = steal_next(thief, victim);
	}
	return work;
}

/* As long as pause_a_little(), unless something comes from outside: a kernel thread or another
 * runtime that plays ping-pong with us answers in a fraction of that time. */
static void pause_until_submitted(struct worker *worker)
{
	struct scheduler *scheduler = worker->scheduler;

	for (uint32_t i = 0; i < SEARCH_PAUSES && !mailbox_is_full(&scheduler->mailbox) &&
			     inject_count(&scheduler->inject) == 0;
		i++) {
		if (scheduler->peek != NULL && scheduler->peek(worker))
			return;
		cpu_pause();
	}
}

/* How long it searches, where a layer has queues of its own: its full time again after it has paid,
 * half of it after each time it has not.  Whoever would make work may be waiting for this CPU. */
static void learn_patience(struct worker *worker, bool waited, bool found)
{
	if (worker->scheduler->find == NULL || !waited)
		return;
	if (found)
		worker->impatience = 0;
	else if (SEARCH_ROUNDS >> worker->impatience > 1)
		worker->impatience++;
}

/* The mailbox is shut again; what came in together with something else waits for its turn. */
static struct work *close_mailbox(struct worker *worker, struct work *found)
{
	struct work *mail = mailbox_close(&worker->scheduler->mailbox);

	if (found == NULL || mail == NULL)
		return found != NULL ? found : mail;
	worker_push(worker, mail);
	return found;
}

/*
 * Whether a search that has found nothing goes on.  One whose last search was answered from outside
 * while it spun goes on for about as long as a wake-up would take: then a partner that runs on
 * another CPU, or was only interrupted, does not have to pay for one.  What is stolen has no
 * partner that waits.  *until_ns is the search's, 0 before.
 */
static bool goes_on(struct worker *worker, uint32_t round, int64_t *until_ns)
{
	if (!worker->scheduler->spin)
		return round == 0 || worker->intrudes;
	if (round < SEARCH_ROUNDS >> worker->impatience)
		return true;
	if (!worker->eager)
		return false;
	if (*until_ns == 0)
		*until_ns = clock_now_ns() + SEARCH_EAGER_NS;
	return clock_now_ns() < *until_ns;
}

/* Before it spins: who woke it, and whose CPU it has, goes on first, and submits what else it has.
 * It would be driven out again after the next call else. */
static void pause_or_yield(struct worker *worker)
{
	if (FILAR_UNLIKELY(worker->intrudes)) {
		worker->intrudes = false;
		sched_yield();
	} else {
		pause_until_submitted(worker);
	}
}

/* Searches for a while; *stolen: what is returned was in another worker's queue. */
static struct work *search(struct worker *worker, bool *stolen)
{
	struct scheduler *scheduler = worker->scheduler;
	struct work *work = NULL;
	int64_t until_ns = 0;
	uint32_t round;

	COUNTER_ADD(worker, searches, 1);
	mailbox_open(&scheduler->mailbox);
	for (round = 0; work == NULL && goes_on(worker, round, &until_ns); round++) {
		if (round > 0)
			pause_or_yield(worker);
		work = worker_pick(worker);
		if (work == NULL && worker->runq.shared) {
			work = steal_round(worker);
			*stolen = work != NULL;
		}
		if (load_relaxed(&scheduler->stopping))
			break;
	}
	work = close_mailbox(worker, work);
	learn_patience(worker, round > 1 || work == NULL, work != NULL);
	return work;
}

/* ---- sleeping ---- */

/* Whether anything is there that this worker could run or must do.  Runs after I1 or I3. */
static bool anything_to_do(struct worker *worker)
{
	struct scheduler *scheduler = worker->scheduler;

	if (inject_count(&scheduler->inject) > 0 || load_seq_cst(&scheduler->stopping) ||
		pinned_was_sent(&worker->pinned))
		return true;
	if (scheduler->has_more != NULL && scheduler->has_more(worker))
		return true;
	/* A layer with queues of its own leaves these empty. */
	for (uint32_t i = 0; scheduler->find == NULL && i < scheduler_made(scheduler); i++) {
		struct worker *victim = &scheduler->workers[i];

		if (runq_length(&victim->runq) > 0 || deque_length(&victim->spawners) > 0 ||
			load_seq_cst(&victim->next) != NULL)
			return true;
	}
	return deadlines_earliest(&scheduler->deadlines) <= clock_now_ns();
}

/* One of the sleepers keeps the time; the others sleep until they are woken. */
static int64_t become_keeper(struct scheduler *scheduler, bool *keeper)
{
	uint32_t nobody = 0;

	/* D2: a read-modify-write before the look at `earliest`.  Pairs with D1. */
	*keeper = cas_seq_cst(&scheduler->idle.keeper, &nobody, 1);
	return *keeper ? load_seq_cst(&scheduler->deadlines.earliest) : DEADLINE_NEVER;
}

/* What the source has given it is made ready before anybody else can wait there; it counts as a
 * searcher again, so whoever finds the role taken meanwhile relies on its next look. */
static void stop_keeping(struct worker *worker)
{
	struct idle *idle = &worker->scheduler->idle;
	struct idle_source *source = load_acquire(&idle->source);

	if (source != NULL)
		source->poll(source, worker, IDLE_POLL_SLEPT);
	store_seq_cst(&idle->keeper, 0);
}

static void sleep_once(struct worker *worker, bool was_searching)
{
	struct scheduler *scheduler = worker->scheduler;
	uint32_t ticket = idle_prepare_sleep(&scheduler->idle, was_searching);
	bool keeper;
	int64_t until_ns = become_keeper(scheduler, &keeper);

	store_relaxed(&worker->doing, WORKER_SLEEPING);
	if (load_seq_cst(&scheduler->closing))
		scheduler->quiet(scheduler);
	if (pinned_begin_sleep(&worker->pinned) || anything_to_do(worker)) {
		idle_cancel_sleep(&scheduler->idle);
	} else {
		COUNTER_ADD(worker, sleeps, 1);
		TRACE(TRACE_WORKER_SLEEP, 0, 0, worker->place);
		worker->intrudes =
			idle_sleep_until(&scheduler->idle, ticket, until_ns, worker->index, keeper);
		TRACE(TRACE_WORKER_WAKE, 0, 0, worker->place);
	}
	pinned_end_sleep(&worker->pinned);
	idle_get_up(&scheduler->idle);
	store_relaxed(&worker->doing, WORKER_SEARCHING);
	if (keeper)
		stop_keeping(worker);
}

/* Found something; the last searcher sees to it that somebody searches if there is more, or keeps
 * the time.  The source can do without a keeper for a while: this worker polls it now and then, and
 * if it does not, the watcher wakes one. */
static void stop_searching(struct worker *worker)
{
	struct scheduler *scheduler = worker->scheduler;

	if (!idle_end_search(&scheduler->idle) || scheduler->worker_limit == 1 ||
		!(anything_to_do(worker) ||
			deadlines_earliest(&scheduler->deadlines) != DEADLINE_NEVER ||
			(idle_source_is_wanted(&scheduler->idle) && !watch_exists(scheduler))))
		return;
	/* What a layer with queues of its own has found is, as a rule, computed. */
	if (scheduler->find != NULL)
		aside_wake_one(scheduler);
	else
		idle_wake_one(&scheduler->idle);
}

/* ---- resting ---- */

static bool is_surplus(struct worker *worker)
{
	return !worker->spare && worker->index >= load_relaxed(&worker->scheduler->working);
}

/* Until it is needed again, or the scheduler stops.  It is neither searching nor sleeping. */
static void rest(struct worker *worker)
{
	struct scheduler *scheduler = worker->scheduler;
	uint32_t working;

	blocking_look(worker);
	if (scheduler->rests != NULL)
		scheduler->rests(worker, true);
	/* I2: somebody else must look after this one's last step, as if it had made work. */
	idle_wake_one(&scheduler->idle);
	store_relaxed(&worker->doing, WORKER_RESTING);
	while (worker->index >= (working = load_acquire(&scheduler->working)))
		(void)futex_wait_until(&scheduler->working, working, DEADLINE_NEVER);
	if (scheduler->rests != NULL)
		scheduler->rests(worker, false);
}

/*
 * The next piece of work, or NULL: the scheduler stops, or the worker is to rest.  Sleeps if need
 * be.
 *
 * 1. what was handed over      5. search: others' queues, inject queue, deadlines, for a while
 * 2. now and then, outside     6. announce sleep, look at everything once more
 * 3. next slot                 7. sleep
 * 4. own queue, then outside   8. back to 5, as a searcher
 */
static struct work *worker_find_work(struct worker *worker)
{
	struct scheduler *scheduler = worker->scheduler;
	struct work *work = worker->handed;
	bool searching, stolen = false;

	worker->handed = NULL;
	if (FILAR_UNLIKELY(is_surplus(worker)) && work == NULL)
		rest(worker);
	if (work == NULL)
		work = worker_pick(worker);
	if (work != NULL || load_relaxed(&scheduler->stopping)) {
		watch_wake(worker); /* has it been started? */
		return work;
	}
	store_relaxed(&worker->doing, WORKER_SEARCHING);
	searching = idle_begin_search(&scheduler->idle, (scheduler->worker_count + 1) / 2);
	for (bool slept = false;; slept = true) {
		if (searching)
			work = search(worker, &stolen);
		worker->eager = work != NULL && !slept && !stolen;
		if (work != NULL || load_relaxed(&scheduler->stopping) || is_surplus(worker))
			break;
		sleep_once(worker, searching);
		searching = true;
	}
	if (searching)
		stop_searching(worker);
	watch_wake(worker);
	return work;
}

/* ---- life ---- */

/* What a spare picks when it is one too many.  Only its own loop can do it; whoever runs picked
 * work from elsewhere passes it by. */
static void pass_by(struct worker *worker, struct work *work)
{
	(void)worker;
	(void)work;
}

static const struct work_class retirement_class = { .name = "retirement", .run = pass_by };

enum filar_status worker_init(struct worker *worker, struct scheduler *scheduler, uint32_t index)
{
	bool shared = scheduler->worker_limit > 1 && scheduler->find == NULL;
	enum filar_status status;

	memset(worker, 0, sizeof *worker);
	worker->scheduler = scheduler;
	worker->index = index;
	worker->place = (int32_t)(scheduler->serial << 16 | index);
	worker->turns = worker->pace = WORKER_TURNS;
	worker->cpu = -1;
	pinned_init(&worker->pinned);
	worker->watch = &scheduler->blocking.watch;
	worker->spare = index >= scheduler->worker_count;
	worker->retirement.class = &retirement_class;
	parker_init(&worker->parker);
	random_init(&worker->random, random_mix((uint64_t)index + 1));
	status = runq_init(&worker->runq, shared);
	if (status != FILAR_OK)
		return status;
	status = deque_init(&worker->spawners, shared);
	if (status != FILAR_OK)
		runq_deinit(&worker->runq);
	return status;
}

void worker_deinit(struct worker *worker)
{
	runq_deinit(&worker->runq);
	deque_deinit(&worker->spawners);
}

static bool begin(struct worker *worker, struct self *self)
{
	worker->status = self != NULL ? FILAR_OK : FILAR_NO_MEMORY;
	if (self != NULL)
		store_relaxed(&worker->tid, kthread_tid(kthread_self()));
	if (self != NULL && worker->scheduler->worker_begins != NULL)
		worker->status = worker->scheduler->worker_begins(worker);
	if (worker->status != FILAR_OK)
		return false;
	self->worker = worker;
	context_init_running(&worker->loop);
	return true;
}

static void say_running(struct worker *worker)
{
	/* K8: release; pairs with K9: this start came after whatever an earlier one left. */
	store_release(&worker->doing, WORKER_RUNNING);
}

void worker_main(void *pointer)
{
	struct worker *worker = pointer;
	struct scheduler *scheduler = worker->scheduler;
	struct self *self = self_get_or_create();
	bool begun = begin(worker, self);
	struct work *work;

	scheduler_worker_is_up(worker);
	if (begun) {
		say_running(worker);
		while ((work = worker_find_work(worker)) != NULL ||
			!load_relaxed(&scheduler->stopping)) {
			if (work == NULL)
				continue;
			say_running(worker);
			if (FILAR_UNLIKELY(work == &worker->retirement))
				blocking_retire(worker);
			else
				work->class->run(worker, work);
		}
		context_deinit(&worker->loop);
		self->worker = NULL;
		if (scheduler->worker_ends != NULL)
			scheduler->worker_ends(worker);
	}
	aside_end(worker);
	store_relaxed(&worker->doing, WORKER_ENDED);
}
