/*
 * blocking.c - who counts as active: relieving, coming back, spares that stand in and retire.
 *
 * Everything here is slow path and under blocking.lock, so `active`, the list of retired spares and
 * worker->relief always fit together.  Others are relieved by the watcher alone, and it alone
 * starts spares; only the worker itself comes back, only a spare itself retires.  Proofs:
 * README.md, "Blocking".
 */
#include "sched/blocking.h"

#include "base/check.h"
#include "os/clock.h"
#include "os/futex.h"
#include "sched/scheduler.h"

void blocking_init(struct scheduler *scheduler, const struct scheduler_options *options)
{
	struct blocking *blocking = &scheduler->blocking;
	bool watched = options->spares_max > 0 || options->preempt_ns > 0;

	spinlock_init_ranked(&blocking->lock, RANK_BLOCKING);
	atomic_init(&blocking->active, options->working > 0 ? options->working : options->workers);
	atomic_init(&blocking->watch.mood, watched ? WATCH_OFF : WATCH_NONE);
	blocking->watch.preempt_ns = options->preempt_ns;
	blocking->watch.stuck_ns = options->watch_ns;
}

static void hint_locked(struct blocking *blocking, enum watch_hint hint, bool set)
{
	uint32_t hints = load_relaxed(&blocking->watch.hints);

	store_relaxed(&blocking->watch.hints, set ? hints | hint : hints & ~(uint32_t)hint);
}

static void change_active_locked(struct blocking *blocking, int change)
{
	struct scheduler *scheduler = FILAR_CONTAINER_OF(blocking, struct scheduler, blocking);
	uint32_t active = load_relaxed(&blocking->active) + (uint32_t)change;

	/* seq_cst: the watcher reads it before it sleeps (K3). */
	store_seq_cst(&blocking->active, active);
	hint_locked(blocking, WATCH_SURPLUS, active > load_relaxed(&scheduler->working));
}

static bool is_hinted(struct blocking *blocking, enum watch_hint hint)
{
	return (load_relaxed(&blocking->watch.hints) & hint) != 0;
}

/* One that is to rest is not active, relieved or not. */
static bool counts(const struct worker *worker)
{
	return worker->spare || worker->index < load_relaxed(&worker->scheduler->working);
}

void blocking_set_working(struct scheduler *scheduler, uint32_t working)
{
	struct blocking *blocking = &scheduler->blocking;
	uint32_t before;

	spinlock_lock(&blocking->lock);
	before = load_relaxed(&scheduler->working);
	for (uint32_t i = before; i < working; i++)
		change_active_locked(
			blocking, load_relaxed(&scheduler->workers[i].relief) == RELIEF_NONE);
	for (uint32_t i = working; i < before; i++)
		change_active_locked(
			blocking, -(load_relaxed(&scheduler->workers[i].relief) == RELIEF_NONE));
	store_seq_cst(&scheduler->working, working);
	change_active_locked(blocking, 0);
	spinlock_unlock(&blocking->lock);
}

/* ---- the relieved worker ---- */

/* A look is old: the worker may have relieved itself, have come back and retired since, or be one
 * too many. */
static bool may_be_relieved(const struct worker *worker)
{
	return load_relaxed(&worker->relief) == RELIEF_NONE && !worker->retired && counts(worker);
}

static void relieve_locked(
	struct blocking *blocking, struct worker *worker, enum worker_relief relief)
{
	store_relaxed(&worker->relief, relief);
	worker->relieved_ns = 0;
	if (relief == RELIEF_COMPUTING)
		fetch_add_relaxed(&blocking->computing, 1);
	change_active_locked(blocking, -1);
	fetch_add_relaxed(&blocking->relieved, 1);
	if (relief != RELIEF_SECTION)
		fetch_add_relaxed(&blocking->stuck, 1);
}

bool blocking_relieve(struct worker *worker, enum worker_relief relief)
{
	struct blocking *blocking = &worker->scheduler->blocking;
	bool relieved;

	spinlock_lock(&blocking->lock);
	relieved = may_be_relieved(worker);
	if (relieved)
		relieve_locked(blocking, worker, relief);
	spinlock_unlock(&blocking->lock);
	if (!relieved)
		return false;
	TRACE(TRACE_RELIEVE, 0, relief, worker->place);
	/* All of it: those who steal take half, and come again only when they have nothing. */
	worker_empty(worker);
	return true;
}

/* Takes a spare off the list, if there is one: retired -> active.  The caller wakes it. */
static struct worker *recall_locked(struct blocking *blocking)
{
	struct worker *spare = blocking->retired;

	if (spare == NULL)
		return NULL;
	blocking->retired = spare->retired_next;
	spare->retired = false;
	change_active_locked(blocking, +1);
	return spare;
}

static void wake_spare(struct worker *spare)
{
	TRACE(TRACE_STAND_IN, 0, 0, spare->place);
	parker_unpark(&spare->parker);
}

/* Whether somebody stands in for one that begins a section: who is one too many does already; else
 * a spare, if long sections are expected. */
static bool somebody_stands_in_locked(struct blocking *blocking, struct worker **spare)
{
	if (!is_hinted(blocking, WATCH_SURPLUS) && is_hinted(blocking, WATCH_EXPECTANT))
		*spare = recall_locked(blocking);
	return is_hinted(blocking, WATCH_SURPLUS);
}

static bool try_relieve_self(struct worker *worker, struct worker **spare)
{
	struct blocking *blocking = &worker->scheduler->blocking;
	bool relieved;

	spinlock_lock(&blocking->lock);
	relieved = may_be_relieved(worker) && somebody_stands_in_locked(blocking, spare);
	if (relieved) {
		relieve_locked(blocking, worker, RELIEF_SECTION);
		worker->relieved_ns = clock_now_ns();
	}
	spinlock_unlock(&blocking->lock);
	return relieved;
}

/* Owner, at the beginning of a section.  While somebody is free nobody needs to be called: the
 * watcher does what is left to do. */
bool blocking_relieve_self(struct worker *worker)
{
	struct scheduler *scheduler = worker->scheduler;
	struct worker *spare = NULL;
	bool relieved = false;

	if (is_hinted(&scheduler->blocking, WATCH_SURPLUS) ||
		!idle_somebody_is_free(&scheduler->idle))
		relieved = try_relieve_self(worker, &spare);
	if (relieved) {
		TRACE(TRACE_RELIEVE, 0, RELIEF_SECTION, worker->place);
		if (worker_give_away(worker) > 0)
			idle_wake_one(&scheduler->idle);
	}
	if (spare != NULL)
		wake_spare(spare);
	else
		watch_see_to_source(scheduler);
	return relieved;
}

/* Of sections during which another stood in: whether the next is expected to be a long one. */
static void learn_locked(struct blocking *blocking, const struct worker *worker)
{
	if (load_relaxed(&worker->relief) == RELIEF_SECTION)
		hint_locked(blocking, WATCH_EXPECTANT,
			worker->relieved_ns == 0 ||
				clock_now_ns() - worker->relieved_ns >= BLOCKING_LONG_NS);
}

static void resume_locked(struct blocking *blocking, struct worker *worker)
{
	if (load_relaxed(&worker->relief) == RELIEF_COMPUTING)
		fetch_sub_relaxed(&blocking->computing, 1);
	learn_locked(blocking, worker);
	store_relaxed(&worker->relief, RELIEF_NONE);
	change_active_locked(blocking, counts(worker));
	fetch_add_relaxed(&blocking->resumed, 1);
}

/* Owner: relieved -> active.  Perhaps one too many now: a spare will notice. */
void blocking_resume(struct worker *worker)
{
	struct blocking *blocking = &worker->scheduler->blocking;

	spinlock_lock(&blocking->lock);
	resume_locked(blocking, worker);
	spinlock_unlock(&blocking->lock);
	TRACE(TRACE_RESUME, 0, 0, worker->place);
	watch_wake(worker);
}

/* Owner, looking for work: whatever was marked or noticed is over. */
void blocking_look_slow(struct worker *worker)
{
	uint32_t section = load_relaxed(&worker->section);

	if ((section & 1) != 0) {
		store_relaxed(&worker->section, section + 1);
		worker->section_depth = 0;
	}
	if (load_relaxed(&worker->relief) != RELIEF_NONE)
		blocking_resume(worker);
}

/* ---- spares ---- */

static void count_refusal(struct blocking *blocking, enum filar_status status)
{
	store_relaxed(&blocking->refusal, status);
	fetch_add_relaxed(&blocking->refused, 1);
}

/* One spare more.  Counted as active before it runs, taken back if it cannot. */
static enum filar_status start_spare(struct scheduler *scheduler)
{
	struct blocking *blocking = &scheduler->blocking;
	uint32_t index = scheduler->worker_count + blocking->spares_started;
	enum filar_status status = FILAR_OK;

	/* One that was made before may be waiting for its kernel thread. */
	if (index == scheduler_made(scheduler))
		status = scheduler_make_worker(scheduler);
	if (status != FILAR_OK)
		return status;
	spinlock_lock(&blocking->lock);
	change_active_locked(blocking, +1);
	spinlock_unlock(&blocking->lock);
	status = scheduler_start_spare(&scheduler->workers[index]);
	if (status == FILAR_OK) {
		blocking->spares_started++;
		fetch_add_relaxed(&blocking->started, 1);
		return FILAR_OK;
	}
	spinlock_lock(&blocking->lock);
	change_active_locked(blocking, -1);
	spinlock_unlock(&blocking->lock);
	return status;
}

/* One worker more, or why not. */
static enum filar_status stand_in(struct scheduler *scheduler)
{
	struct blocking *blocking = &scheduler->blocking;
	struct worker *spare;

	spinlock_lock(&blocking->lock);
	spare = recall_locked(blocking);
	spinlock_unlock(&blocking->lock);
	if (spare != NULL) {
		wake_spare(spare);
		return FILAR_OK;
	}
	if (scheduler->worker_count + blocking->spares_started == scheduler->worker_limit)
		return FILAR_LIMIT;
	return start_spare(scheduler);
}

static bool somebody_is_missing(struct scheduler *scheduler)
{
	/* K6: acquire; pairs with K7: who ends the scheduler raises `working` for those that rest,
	 * after `stopping`.  That calls for no spares. */
	uint32_t working = load_acquire(&scheduler->working);

	return load_relaxed(&scheduler->blocking.active) < working &&
	       !load_relaxed(&scheduler->stopping);
}

bool blocking_fill_up(struct scheduler *scheduler)
{
	struct blocking *blocking = &scheduler->blocking;
	enum filar_status status = FILAR_OK;
	bool at_limit;

	while (status == FILAR_OK && somebody_is_missing(scheduler))
		status = stand_in(scheduler);
	at_limit = scheduler->worker_count + blocking->spares_started == scheduler->worker_limit;
	/* Our own limit is no reason to try again: who comes back makes up for it. */
	blocking->wants_thread = status != FILAR_OK && !at_limit;
	if (status != FILAR_OK && (blocking->wants_thread || !blocking->is_short))
		count_refusal(blocking, status);
	blocking->is_short = status != FILAR_OK;
	return status == FILAR_OK;
}

static bool is_surplus(struct worker *worker)
{
	struct scheduler *scheduler = worker->scheduler;

	/* At the end nobody is: who comes back from its rest then is still in the list. */
	return load_relaxed(&worker->anchored) == 0 &&
	       is_hinted(&scheduler->blocking, WATCH_SURPLUS) &&
	       !load_relaxed(&scheduler->stopping);
}

struct work *blocking_retirement(struct worker *worker)
{
	return is_surplus(worker) ? &worker->retirement : NULL;
}

/* active -> retired, if there is still one too many. */
static bool enlist(struct worker *worker)
{
	struct blocking *blocking = &worker->scheduler->blocking;
	bool surplus;

	spinlock_lock(&blocking->lock);
	/* Relieved by an old look, a moment ago. */
	if (load_relaxed(&worker->relief) != RELIEF_NONE)
		resume_locked(blocking, worker);
	surplus = is_surplus(worker);
	if (surplus) {
		change_active_locked(blocking, -1);
		worker->retired = true;
		worker->retired_next = blocking->retired;
		blocking->retired = worker;
	}
	spinlock_unlock(&blocking->lock);
	return surplus;
}

static bool is_retired(struct worker *worker)
{
	struct blocking *blocking = &worker->scheduler->blocking;
	bool retired;

	spinlock_lock(&blocking->lock);
	retired = worker->retired;
	spinlock_unlock(&blocking->lock);
	return retired;
}

/* As one that goes to sleep for good: nothing may be left to it. */
static void hand_over_queue(struct worker *worker)
{
	struct scheduler *scheduler = worker->scheduler;
	uint64_t moved = worker_give_away(worker);

	if (moved > 0) {
		idle_wake_one(&scheduler->idle);
		/* Who made this one surplus may be in a section again. */
		watch_kick(worker);
	}
	/* K5: a read-modify-write of the word, as I1 is: whoever goes to sleep later has our ends
	 * before it ("Shutdown").  Pairs with I1. */
	fetch_add_seq_cst(&scheduler->idle.word, 0);
	if (load_seq_cst(&scheduler->closing))
		scheduler->quiet(scheduler);
}

void blocking_retire(struct worker *worker)
{
	struct scheduler *scheduler = worker->scheduler;

	if (!enlist(worker))
		return;
	store_relaxed(&worker->doing, WORKER_RETIRED);
	fetch_add_relaxed(&scheduler->blocking.retired_count, 1);
	TRACE(TRACE_RETIRE, 0, 0, worker->place);
	hand_over_queue(worker);
	while (is_retired(worker) && !load_seq_cst(&scheduler->stopping))
		(void)parker_park_until(&worker->parker, DEADLINE_NEVER);
	store_relaxed(&worker->doing, WORKER_RUNNING);
}

/* ---- the end ---- */

void blocking_stop(struct scheduler *scheduler)
{
	struct watch *watch = &scheduler->blocking.watch;

	if (watch->kthread != NULL) {
		store_seq_cst(&watch->mood, WATCH_STOP);
		futex_wake(&watch->mood, 1);
		scheduler_join_kthread(watch->kthread);
		watch->kthread = NULL;
	}
	/* Nobody makes spares any more. */
	idle_wake_all(&scheduler->idle);
	for (uint32_t i = scheduler->worker_count; i < scheduler_made(scheduler); i++) {
		struct worker *spare = &scheduler->workers[i];

		parker_unpark(&spare->parker);
		scheduler_join_worker(spare);
	}
}
