/*
 * submit.c - calls into lanes.
 *
 * submit_some() decides which lane and what happens when there is no room; the rest are leaves.
 * Protocols: README.md, "Submitting" and "A full queue".
 */
#include "base/memory.h"
#include "base/self.h"
#include "base/tracepoint.h"
#include "os/clock.h"
#include "pool/pool.h"

void submission_init(struct submission *how)
{
	*how = (struct submission){
		.priority = POOL_NORMAL, .worker = -1, .deadline_ns = DEADLINE_NEVER
	};
}

/* A run of calls with one submission. */
struct calls {
	const filar_call *list;
	size_t count;
	size_t done;  /* pushed or run so far */
	bool counted; /* in their group, all of them; else each as it is pushed */
};

/* ---- pushing ---- */

/* Who is to be woken once the lane's lock is let go of: a system call with the lock held would only
 * have those who wake run into it.  Nothing of this lies in the pool or the group, which may be
 * gone by then. */
struct wakes {
	struct list helpers;
	struct eventcount *workers; /* or NULL; only its address matters */
	bool all;
};

/* Locked.  A worker that waits for this group, asleep, must look again: what has come is perhaps
 * only its to run.  The group cannot be gone: its call is in the lane, and the lane locked. */
static void claim_helpers(struct pool *pool, struct waitgroup *group, struct wakes *wakes)
{
	struct waitq *queue = &group->latch.queue;
	uint64_t word;

	/* Relaxed: the lane's lock orders both with a helper's last look.  The first is of a line
	 * that is seldom written, the second of the one that all who submit and end calls write. */
	if (load_relaxed(&pool->helpers) == 0 || (load_relaxed(&queue->word) & WAITQ_WAITERS) == 0)
		return;
	word = waitq_lock(queue);
	waitq_pop_kind(queue, LATCH_HELPER, &wakes->helpers);
	waitq_unlock(queue, word);
}

/* Locked: whoever is about to sleep looks into the lane under its lock (README.md, "Submitting").
 */
static void claim_worker(struct pool *pool, struct lane *lane, struct wakes *wakes)
{
	struct idle *idle = &pool->scheduler.idle;
	bool one = true;

	/* A pinned call is for one worker, and any other that searches does not see it. */
	wakes->all = pool->options.queues == POOL_PINNED && lane->pinned;
	if (wakes->all) /* I2, by hand. */
		one = IDLE_SLEEPING(load_relaxed(&idle->word)) > 0 &&
		      eventcount_announce(&idle->sleepers);
	else
		one = idle_grant_one_locked(idle);
	wakes->workers = one ? &idle->sleepers : NULL;
}

static void wake_claimed(struct wakes *wakes)
{
	if (FILAR_UNLIKELY(wakes->workers != NULL))
		eventcount_wake_announced(wakes->workers, wakes->all);
	waitq_wake_all(&wakes->helpers);
}

static bool is_full(struct pool *pool, struct lane *lane)
{
	return pool->options.queue_max > 0 && lane_count(lane) >= pool->options.queue_max;
}

/* Locked.  How many of so many calls a bound lets in. */
static size_t admit(struct pool *pool, struct lane *lane, size_t wanted)
{
	uint64_t room;

	if (FILAR_LIKELY(pool->options.queue_max == 0))
		return wanted;
	room = is_full(pool, lane) ? 0 : pool->options.queue_max - lane_count(lane);
	return wanted < room ? wanted : (size_t)room;
}

/* Locked.  Some of them, in one block: between two blocks the lock is free, so that workers begin
 * while more is pushed.  FILAR_BUSY: full; FILAR_NO_MEMORY: the lane wants a block. */
static enum filar_status push_locked(
	struct pool *pool, struct lane *lane, const struct submission *how, struct calls *calls)
{
	const filar_call *next = &calls->list[calls->done];
	size_t admitted = admit(pool, lane, calls->count - calls->done), pushed;
	enum filar_status status;

	if (admitted == 0)
		return FILAR_BUSY;
	if (!lane_has_room_locked(lane))
		return FILAR_NO_MEMORY;
	if (!calls->counted) {
		status = lane_count_locked(lane, how->group);
		if (status != FILAR_OK)
			return status;
	}
	pushed = lane_push_run_locked(lane, next, admitted, how->group, how->token);
	store_relaxed(&lane->pushed, load_relaxed(&lane->pushed) + pushed);
	calls->done += pushed;
	for (; tracepoint_is_on() && pushed > 0; pushed--, next++)
		TRACE(TRACE_CALL_SUBMIT, TRACE_ADDRESS(next->argument), TRACE_ADDRESS(next->body),
			trace_place());
	return FILAR_OK;
}

/* FILAR_OK: all are in.  FILAR_BUSY: full.  FILAR_WRONG_STATE: the lane is closed.  FILAR_LIMIT:
 * the group counts no further. */
static enum filar_status push(struct pool *pool, struct lane *lane, bool from_inside,
	const struct submission *how, struct calls *calls)
{
	struct lane_block *block = NULL;
	enum filar_status status;
	size_t before;

	do {
		struct wakes wakes = { .workers = NULL };

		list_init(&wakes.helpers);
		before = calls->done;
		spinlock_lock(&lane->lock);
		if (block != NULL && lane_give_block(lane, block))
			block = NULL;
		status = lane->closed && !from_inside ? FILAR_WRONG_STATE
						      : push_locked(pool, lane, how, calls);
		if (calls->done > before) {
			claim_worker(pool, lane, &wakes);
			if (how->group != NULL)
				claim_helpers(pool, how->group, &wakes);
		}
		/* Nothing of the pool is touched after this if it was the last: what was pushed may
		 * end it. */
		spinlock_unlock(&lane->lock);
		wake_claimed(&wakes);
		if (status == FILAR_NO_MEMORY && block == NULL) {
			block = lane_block_create();
			if (block == NULL)
				return status_detail(
					FILAR_NO_MEMORY, "no memory for the pool's queue");
		}
	} while (status == FILAR_NO_MEMORY || (status == FILAR_OK && calls->done < calls->count));
	memory_release(block);
	return status;
}

/* ---- no room ---- */

/* The submitter runs the next one. */
static void run_inline(struct pool *pool, struct pool_worker *self, const struct submission *how,
	struct calls *calls)
{
	const filar_call *next = &calls->list[calls->done++];
	const struct token *outer = self != NULL ? self->forks.token : NULL;

	fetch_add_relaxed(&pool->inlined, 1);
	if (self != NULL)
		self->forks.token = how->token;
	if (token_check(how->token) == FILAR_OK)
		next->body(next->argument);
	if (self != NULL)
		self->forks.token = outer;
	if (how->group != NULL)
		(void)waitgroup_done(how->group);
}

/* Until the lane has had room for a moment, or the pool is closed. */
static enum filar_status wait_for_room(
	struct pool *pool, struct lane *lane, const struct submission *how)
{
	struct waitq_entry entry = { .kind = 0 };
	struct waitq *room = &pool->room[how->priority];
	uint64_t word = waitq_lock(room);
	bool is_room;

	waitq_push(room, &entry);
	waitq_unlock(room, word);
	/* Once more, after it is known that somebody waits: "A full queue". */
	spinlock_lock(&lane->lock);
	is_room = lane->closed || !is_full(pool, lane);
	spinlock_unlock(&lane->lock);
	if (!is_room)
		return waitq_wait_until(
			room, &entry, how->deadline_ns, WAIT_SEND, WAIT_CANCELLABLE);
	if (waitq_take_back(room, &entry, &word, WAIT_SEND))
		waitq_unlock(room, word);
	else
		pool_made_room(pool, how->priority); /* that wake may be for another now */
	return FILAR_OK;
}

static enum filar_status closed(void)
{
	return status_detail(FILAR_WRONG_STATE, "the pool was shut down and takes no more calls");
}

static enum filar_status reject(struct pool *pool)
{
	fetch_add_relaxed(&pool->rejected, 1);
	return status_detail(FILAR_BUSY, "the pool's queue is full: %llu calls wait",
		(unsigned long long)pool->options.queue_max);
}

/* ---- which lane ---- */

static struct lane *worker_lane(struct pool *pool, const struct submission *how)
{
	uint32_t workers = load_relaxed(&pool->workers), worker = (uint32_t)how->worker;

	if (how->worker < 0)
		worker = fetch_add_relaxed(&pool->next_pinned, 1);
	return &pool->locals[worker % workers].lane;
}

/* The same for all calls of a thread: they lie in order. */
static uint32_t stripe_of_caller(void)
{
	struct self *self = self_get_or_create();
	struct green *green = green_self();

	if (green != NULL)
		return (uint32_t)load_relaxed(&green->number) % POOL_STRIPES;
	return self != NULL ? self->number % POOL_STRIPES : 0;
}

static struct lane *choose_lane(
	struct pool *pool, struct pool_worker *self, const struct submission *how)
{
	if (pool->options.queue_max > 0 || how->priority != POOL_NORMAL)
		return &pool->lanes[how->priority];
	switch (pool->options.queues) {
	case POOL_STEALING:
		return self != NULL ? &self->lane : pool_stripe(pool, stripe_of_caller());
	case POOL_PINNED:
		return worker_lane(pool, how);
	default:
		return &pool->lanes[POOL_NORMAL];
	}
}

/* Until all are queued or run. */
static enum filar_status submit_some(struct pool *pool, struct pool_worker *self,
	const struct submission *how, struct calls *calls)
{
	struct lane *lane = choose_lane(pool, self, how);
	/* Calls of the pool may submit until it has ended; not to a worker that rests. */
	bool from_inside = self != NULL && (!lane->pinned || lane == &self->lane);

	while (calls->done < calls->count) {
		enum filar_status status = push(pool, lane, from_inside, how, calls);

		if (status == FILAR_OK)
			return status;
		if (status == FILAR_WRONG_STATE && lane->pinned && lane != &pool->locals[0].lane) {
			/* That worker has just gone to rest. */
			lane = self != NULL ? &self->lane : &pool->locals[0].lane;
			from_inside = self != NULL;
			continue;
		}
		if (status == FILAR_WRONG_STATE)
			return closed();
		if (status != FILAR_BUSY)
			return status;
		if (pool->options.when_full == POOL_FULL_REJECT)
			return reject(pool);
		if (pool->options.when_full == POOL_FULL_RUN || self != NULL) {
			run_inline(pool, self, how, calls);
			continue;
		}
		status = wait_for_room(pool, lane, how);
		if (status != FILAR_OK)
			return status;
	}
	return FILAR_OK;
}

/* One call for one of the pool's lanes is counted in its group there, with others that come: many
 * threads that submit would else take the group's line from each other for each call. */
static bool is_counted_in_lane(
	struct pool *pool, struct pool_worker *self, const struct submission *how, size_t count)
{
	return count == 1 && how->group != NULL && self == NULL && pool->options.queue_max == 0 &&
	       pool->options.queues != POOL_PINNED;
}

enum filar_status pool_submit_many(struct pool *pool, const struct submission *how,
	const filar_call *list, size_t count, size_t *submitted)
{
	struct pool_worker *self = pool_worker_of(pool);
	bool counted = !is_counted_in_lane(pool, self, how, count);
	struct calls calls = { list, count, 0, counted };
	enum filar_status status = self != NULL ? FILAR_OK : pool_start(pool);

	if (status == FILAR_OK && how->group != NULL && counted)
		status = waitgroup_add(how->group, count);
	if (status == FILAR_OK) {
		status = submit_some(pool, self, how, &calls);
		if (how->group != NULL && counted && calls.done < count)
			(void)latch_count_down(&how->group->latch, count - calls.done);
	}
	if (submitted != NULL)
		*submitted = calls.done;
	return status;
}

enum filar_status pool_submit(
	struct pool *pool, const struct submission *how, call_body *body, void *argument)
{
	return pool_submit_many(pool, how, &(filar_call){ body, argument }, 1, NULL);
}
