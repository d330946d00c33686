/*
 * watch.c - one kernel thread for each scheduler that looks at the workers from outside.
 *
 * It relieves (blocking.h) those that have stayed in a marked section, or in one piece of work, for
 * a while.  It looks often while there is something to see, rarely while not, and sleeps without a
 * deadline while no worker runs.  It never takes a lock that is held over a wait, so a worker that
 * is stuck cannot stop it.
 *
 * What it sees is old by the time it acts on it; acting wrongly makes one worker too many for a
 * while, never one too few for ever (README.md, "Blocking").
 */
#include "base/check.h"
#include "kthread/kthread.h"
#include "os/clock.h"
#include "os/futex.h"
#include "sched/scheduler.h"

#if FILAR_HARD
#define WATCH_FIRST_NS (2 * NS_PER_US)
#else
#define WATCH_FIRST_NS (50 * NS_PER_US) /* between two looks when there is something to see */
#endif
#define WATCH_SLOW_NS    (2 * NS_PER_MS)  /* from here on begin() may ask for a closer look */
#define WATCH_LONGEST_NS (10 * NS_PER_MS) /* without watch_ns */
#define WATCH_RETRY_NS   (100 * NS_PER_MS)
#define WATCH_QUIET      1 /* looks at sleeping workers before it sleeps deeply itself */

/* What one look has found. */
struct sight {
	bool acted; /* somebody was relieved: there may be more of that */
	bool open;  /* a section is open, too young to be called blocking */
	bool quiet; /* nobody runs, and nobody has run since the last look */
};

/* ---- looking ---- */

static bool any_queue_waits(struct scheduler *scheduler)
{
	uint32_t made = scheduler_made(scheduler), i = 0;

	while (i < made && !blocking_holds_up(&scheduler->workers[i]))
		i++;
	return i < made;
}

/* A piece of work that was not marked is stuck only if somebody waits for it to end: for its CPU,
 * if it sleeps; for its worker, if it computes. */
static bool somebody_waits(struct worker *worker, enum worker_relief kind)
{
	struct scheduler *scheduler = worker->scheduler;

	if (idle_somebody_is_free(&scheduler->idle))
		return false;
	return inject_count(&scheduler->inject) > 0 || blocking_holds_up(worker) ||
	       (scheduler->has_more != NULL && scheduler->has_more(worker)) ||
	       (kind == RELIEF_STUCK && any_queue_waits(scheduler));
}

/* Forgets the last piece of work, remembers this one. */
static void see_anew(struct worker *worker, uint32_t ticks, uint32_t section, int64_t now_ns)
{
	worker->seen_ticks = ticks;
	worker->seen_section = section;
	store_relaxed(&worker->seen_since_ns, now_ns);
	/* A system call: only for what may turn out to be stuck. */
	if (now_ns != 0 && (section & 1) == 0 && worker->scheduler->blocking.watch.stuck_ns > 0)
		worker->seen_cpu_ns = kthread_cpu_ns(load_relaxed(&worker->kthread));
}

/* Since it was first seen it has slept in the kernel most of the time, or computed. */
static enum worker_relief kind_of_stuck(struct worker *worker, int64_t age_ns)
{
	int64_t used_ns = kthread_cpu_ns(load_relaxed(&worker->kthread)) - worker->seen_cpu_ns;

	return used_ns < age_ns / 8 ? RELIEF_STUCK : RELIEF_COMPUTING;
}

/* Why this worker should be relieved now, if at all. */
static enum worker_relief needs_relief(struct worker *worker, int64_t age_ns)
{
	struct blocking *blocking = &worker->scheduler->blocking;
	enum worker_relief kind;

	if ((worker->seen_section & 1) != 0)
		return age_ns >= BLOCKING_LONG_NS ? RELIEF_SECTION : RELIEF_NONE;
	if (blocking->watch.stuck_ns == 0 || age_ns < blocking->watch.stuck_ns)
		return RELIEF_NONE;
	kind = kind_of_stuck(worker, age_ns);
	if (!somebody_waits(worker, kind))
		return RELIEF_NONE;
	/* More threads that compute than twice the workers would only fight for the CPUs. */
	if (kind == RELIEF_COMPUTING &&
		load_relaxed(&blocking->computing) >= worker->scheduler->worker_count)
		return RELIEF_NONE;
	return kind;
}

/* What runs may be preempted and has had its time.  Whether others wait is for its yield to find
 * out: not all queues can be seen from here.  If it cannot be now, it yields by itself as soon as
 * it can; a signal that could not be sent is sent at the next look. */
static void preempt(struct worker *worker, int64_t age_ns)
{
	struct scheduler *scheduler = worker->scheduler;

	if (age_ns < scheduler->blocking.watch.preempt_ns)
		return;
	if (scheduler->preempt != NULL) {
		scheduler->preempt(worker);
		return;
	}
	if (load_relaxed(&worker->preemptible_ticks) != worker->seen_ticks)
		return;
	/* Real-time signals are queued: to a kernel thread that has no CPU they would come all at
	 * once, each on top of the last. */
	if (exchange_acq_rel(&worker->signalled, 1) == 0 &&
		!kthread_signal(load_relaxed(&worker->kthread), scheduler->preempt_signal))
		store_release(&worker->signalled, 0);
}

/* It is in its loop, and whoever has started it has said by which kernel thread: that one may come
 * later than the worker's first steps.  Until then it is left alone. */
static bool runs(struct worker *worker)
{
	/* K9: acquire; pairs with K8.  K11: acquire; pairs with K10. */
	return load_acquire(&worker->doing) == WORKER_RUNNING &&
	       load_acquire(&worker->kthread) != NULL;
}

static void look_at(struct worker *worker, int64_t now_ns, struct sight *sight)
{
	uint32_t ticks = load_relaxed(&worker->ticks), section = load_relaxed(&worker->section);
	enum worker_relief relief;

	if (ticks != worker->seen_ticks)
		sight->quiet = false;
	if (!runs(worker)) {
		see_anew(worker, ticks, section, 0);
		return;
	}
	if (ticks != worker->seen_ticks || section != worker->seen_section ||
		load_relaxed(&worker->seen_since_ns) == 0)
		see_anew(worker, ticks, section, now_ns);
	if (scheduler_preempts(worker->scheduler))
		preempt(worker, now_ns - load_relaxed(&worker->seen_since_ns));
	if (load_relaxed(&worker->relief) != RELIEF_NONE)
		return;
	sight->quiet = false;
	if (!scheduler_has_spares(worker->scheduler))
		return;
	relief = needs_relief(worker, now_ns - load_relaxed(&worker->seen_since_ns));
	if (relief != RELIEF_NONE && blocking_relieve(worker, relief))
		sight->acted = true;
	else
		sight->open |= (section & 1) != 0;
}

void watch_see_to_source(struct scheduler *scheduler)
{
	if (idle_source_is_wanted(&scheduler->idle) && load_relaxed(&scheduler->idle.keeper) == 0)
		idle_wake_one(&scheduler->idle);
}

/* A spare that is one too many, does nothing, and could retire if it heard of it; or NULL. */
static struct worker *idle_surplus(struct scheduler *scheduler)
{
	/* As for nobody_runs(). */
	if (load_seq_cst(&scheduler->blocking.active) <= load_relaxed(&scheduler->working))
		return NULL;
	for (uint32_t i = scheduler->worker_count; i < scheduler_made(scheduler); i++) {
		struct worker *spare = &scheduler->workers[i];
		uint32_t doing = load_relaxed(&spare->doing);

		if ((doing == WORKER_SLEEPING || doing == WORKER_SEARCHING) &&
			load_relaxed(&spare->anchored) == 0)
			return spare;
	}
	return NULL;
}

/* One for each look. */
static void wake_surplus(struct scheduler *scheduler, struct sight *sight)
{
	struct worker *spare = idle_surplus(scheduler);

	if (spare == NULL)
		return;
	sight->quiet = false;
	idle_wake_worker(&scheduler->idle, spare->index);
}

static struct sight look_around(struct scheduler *scheduler)
{
	struct sight sight = { .quiet = true };
	int64_t now_ns = clock_now_ns();

	for (uint32_t i = 0; i < scheduler_made(scheduler); i++)
		look_at(&scheduler->workers[i], now_ns, &sight);
	(void)blocking_fill_up(scheduler);
	watch_see_to_source(scheduler);
	wake_surplus(scheduler, &sight);
	sight.quiet &= !scheduler->blocking.wants_thread;
	return sight;
}

/* ---- sleeping ---- */

/* Every active worker sleeps.  Runs after K3. */
static bool nobody_runs(struct scheduler *scheduler)
{
	return IDLE_SLEEPING(load_seq_cst(&scheduler->idle.word)) >=
	       load_seq_cst(&scheduler->blocking.active);
}

/* From `*mood` to the next, for so long; false: somebody has changed it, *mood is what was found.
 */
static bool doze(struct watch *watch, uint32_t *mood, uint32_t next, int64_t until_ns)
{
	if (!cas_seq_cst(&watch->mood, mood, next))
		return false;
	*mood = next;
	(void)futex_wait_until(&watch->mood, next, until_ns);
	return true;
}

/* Sleeps until somebody runs; not at all if somebody does, or has since the last look made a
 * sleeping spare one too many. */
static void sleep_deeply(struct scheduler *scheduler, uint32_t *mood)
{
	struct watch *watch = &scheduler->blocking.watch;

	/* K3: seq_cst, before the look at who sleeps.  Pairs with K4. */
	if (!cas_seq_cst(&watch->mood, mood, WATCH_DEEP))
		return;
	while (nobody_runs(scheduler) && idle_surplus(scheduler) == NULL &&
		load_seq_cst(&watch->mood) == WATCH_DEEP)
		(void)futex_wait_until(&watch->mood, WATCH_DEEP, DEADLINE_NEVER);
}

static int64_t longest_period(const struct watch *watch)
{
	int64_t longest_ns = WATCH_LONGEST_NS;

	/* Twice in that time, so that it takes at most half as much again. */
	if (watch->stuck_ns > 0 && watch->stuck_ns / 2 < longest_ns)
		longest_ns = watch->stuck_ns / 2;
	if (watch->preempt_ns > 0 && watch->preempt_ns / 2 < longest_ns)
		longest_ns = watch->preempt_ns / 2;
	return longest_ns;
}

/* When it looks again.  After it has acted: soon.  An open section gets a second look soon, to see
 * whether it is still the same; if it is not, sections are short here, and the looks grow rarer. */
struct rhythm {
	int64_t period_ns;
	bool second_look;
};

static int64_t next_look(const struct watch *watch, struct rhythm *rhythm, struct sight sight)
{
	int64_t longest_ns = longest_period(watch);

	rhythm->second_look = sight.open && !rhythm->second_look;
	if (sight.acted)
		rhythm->period_ns = WATCH_FIRST_NS;
	else if (rhythm->second_look)
		return WATCH_FIRST_NS;
	else if (rhythm->period_ns * 2 < longest_ns)
		rhythm->period_ns *= 2;
	else
		rhythm->period_ns = longest_ns;
	return rhythm->period_ns;
}

void watch_main(void *pointer)
{
	struct scheduler *scheduler = pointer;
	struct watch *watch = &scheduler->blocking.watch;
	struct rhythm rhythm = { .period_ns = longest_period(watch) };
	uint32_t mood = load_acquire(&watch->mood), quiet_looks = 0;

	while (mood != WATCH_STOP) {
		struct sight sight = look_around(scheduler);
		int64_t wait_ns = next_look(watch, &rhythm, sight);

		quiet_looks = sight.quiet ? quiet_looks + 1 : 0;
		if (quiet_looks >= WATCH_QUIET)
			sleep_deeply(scheduler, &mood);
		else
			(void)doze(watch, &mood,
				wait_ns >= WATCH_SLOW_NS ? WATCH_SLOW : WATCH_ALERT,
				clock_now_ns() + wait_ns);
		mood = load_acquire(&watch->mood);
		if (mood == WATCH_KICKED)
			rhythm = (struct rhythm){ .period_ns = WATCH_FIRST_NS / 2 };
	}
}

/* ---- from the workers ---- */

static enum filar_status start_thread(struct scheduler *scheduler)
{
	filar_kthread_options options;
	char name[FILAR_NAME_BYTES_MAX + 1];

	scheduler_thread_options(scheduler, &options, name, "watch");
	return kthread_create(&scheduler->blocking.watch.kthread, &options, watch_main, scheduler);
}

/* OFF -> SLOW.  Without a watcher all works, but nobody is relieved: so it is tried again. */
static void start(struct scheduler *scheduler)
{
	struct blocking *blocking = &scheduler->blocking;
	struct watch *watch = &blocking->watch;
	uint32_t off = WATCH_OFF;
	enum filar_status status;

	if (!cas_seq_cst(&watch->mood, &off, WATCH_SLOW))
		return;
	status = start_thread(scheduler);
	if (status == FILAR_OK)
		return;
	store_relaxed(&blocking->refusal, status);
	fetch_add_relaxed(&blocking->refused, 1);
	store_relaxed(&watch->retry_at_ns, clock_now_ns() + WATCH_RETRY_NS);
	store_seq_cst(&watch->mood, WATCH_OFF);
}

/* A regular worker: blocking_stop() runs when those have ended; and spares have had a watcher. */
void watch_wake_slow(struct worker *worker, uint32_t mood)
{
	struct watch *watch = worker->watch;

	/* Not at every turn, if it cannot be started. */
	if (mood == WATCH_OFF && !worker->spare &&
		clock_now_ns() >= load_relaxed(&watch->retry_at_ns))
		start(worker->scheduler);
	if (mood == WATCH_DEEP && cas_seq_cst(&watch->mood, &mood, WATCH_SLOW))
		futex_wake(&watch->mood, 1);
}

void watch_kick_slow(struct worker *worker, uint32_t mood)
{
	if (mood == WATCH_OFF && !worker->spare)
		start(worker->scheduler);
	if (blocking_holds_up(worker) || inject_count(&worker->scheduler->inject) > 0)
		watch_kick(worker);
}

/* SLOW, DEEP -> KICKED. */
void watch_kick(struct worker *worker)
{
	struct watch *watch = worker->watch;
	uint32_t mood = load_relaxed(&watch->mood);

	while (mood == WATCH_SLOW || mood == WATCH_DEEP) {
		if (cas_seq_cst(&watch->mood, &mood, WATCH_KICKED)) {
			futex_wake(&watch->mood, 1);
			return;
		}
	}
}
