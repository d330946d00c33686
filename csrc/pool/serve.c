/*
 * serve.c - what a worker of a pool does: find a call, a fork or a loop, run it, find the next.
 *
 * find_next() is the one place that decides where is looked and in which order.
 */
#include "arch/cpu.h"
#include "base/check.h"
#include "base/tracepoint.h"
#include "os/clock.h"
#include "pool/loop.h"
#include "pool/pool.h"
#include "pool/task.h"

struct pool_worker *pool_worker_current(void)
{
	struct worker *worker = worker_current();

	if (worker == NULL || worker->scheduler->find != pool_find)
		return NULL;
	return worker->local;
}

/* ---- running a call ---- */

void pool_flush_group(struct pool_worker *self)
{
	struct waitgroup *group = self->group;

	if (group == NULL)
		return;
	self->group = NULL;
	FILAR_CHECK_EQ(latch_count_down(&group->latch, self->group_ended), FILAR_OK);
	self->group_ended = 0;
}

/* So many calls of the group have ended, or will not come.  They are counted down with those that
 * follow on this worker: the group cannot become empty before they have ended anyway. */
static void note_ends(struct pool_worker *self, struct waitgroup *group, uint64_t count)
{
	if (group == NULL || count == 0)
		return;
	if (self->group != group) {
		pool_flush_group(self);
		self->group = group;
	}
	self->group_ended += count;
}

static enum filar_status reason_to_drop(struct pool_worker *self, const struct call *call)
{
	if (FILAR_UNLIKELY(load_relaxed(&self->pool->cancelled)))
		return FILAR_CANCELLED;
	return FILAR_LIKELY(call->token == NULL) ? FILAR_OK : token_check(call->token);
}

void pool_run_call(struct pool_worker *self, const struct call *call)
{
	enum filar_status reason = reason_to_drop(self, call);

	if (self->group != NULL && self->group != call->group)
		pool_flush_group(self);
	POOL_COUNT(self, begun, 1);
	TRACE(TRACE_CALL_RUN, TRACE_ADDRESS(call->argument), TRACE_ADDRESS(call->body),
		self->worker->place);
	if (FILAR_LIKELY(reason == FILAR_OK)) {
		call_body *outer_body = load_relaxed(&self->body);
		void *outer_argument = load_relaxed(&self->argument);
		const struct token *outer_token = self->forks.token;

		if (call->body == task_body) {
			const struct task *task = call->argument;

			store_relaxed(&self->body, task->body);
			store_relaxed(&self->argument, task->argument);
		} else {
			store_relaxed(&self->body, call->body);
			store_relaxed(&self->argument, call->argument);
		}
		self->forks.token = call->token;
		call->body(call->argument);
		self->forks.token = outer_token;
		store_relaxed(&self->argument, outer_argument);
		store_relaxed(&self->body, outer_body);
	} else {
		POOL_COUNT(self, dropped, 1);
		if (call->body == task_body)
			task_drop(call->argument, reason);
	}
	TRACE(TRACE_CALL_END, TRACE_ADDRESS(call->argument), TRACE_ADDRESS(call->body),
		self->worker->place);
	note_ends(self, call->group, 1);
	/* S4: release, what the call did and what it submitted; pairs with S5. */
	store_release(&self->counters.ended, load_relaxed(&self->counters.ended) + 1);
}

bool pool_call_cancelled(void)
{
	struct pool_worker *self = pool_worker_current();

	return self != NULL &&
	       (load_relaxed(&self->pool->cancelled) || token_check(self->forks.token) != FILAR_OK);
}

/* ---- finding ---- */

void pool_made_room(struct pool *pool, enum pool_priority priority)
{
	struct waitq *room = &pool->room[priority];
	struct waitq_entry *entry;
	uint64_t word;

	/* Relaxed: the lane's lock orders it (README.md, "A full queue"). */
	if ((load_relaxed(&room->word) & WAITQ_WAITERS) == 0)
		return;
	word = waitq_lock(room);
	entry = waitq_pop(room);
	waitq_unlock(room, word);
	if (entry != NULL)
		waitq_wake(entry);
}

/* What has come into the own lane can be taken by others.  I2 of the scheduler is a load, under the
 * lock under which they look before they sleep: so the word, at which all look who submit, is not
 * written. */
static void wake_another(struct pool_worker *self)
{
	struct idle *idle = &self->pool->scheduler.idle;
	bool one;

	spinlock_lock(&self->lane.lock);
	one = idle_grant_one_locked(idle);
	spinlock_unlock(&self->lane.lock);
	if (one)
		eventcount_wake_announced(&idle->sleepers, false);
}

/* From one of the pool's lanes; a share of what is there goes to the own lane. */
static bool take_from(struct pool_worker *self, struct lane *lane, enum pool_priority priority)
{
	struct pool *pool = self->pool;
	uint64_t count = lane_count(lane), share;
	struct lane_advance advance;
	uint32_t taken;

	if (count == 0)
		return false;
	share = count / load_relaxed(&pool->workers);
	if (pool->one_by_one || priority != POOL_NORMAL)
		share = 0;
	taken = lane_take(lane, &self->call, &self->lane, share, &advance);
	if (taken == 0)
		return false;
	note_ends(self, advance.group, advance.count);
	if (pool->options.queue_max > 0)
		pool_made_room(pool, priority);
	if (taken > 1)
		wake_another(self);
	self->found = FOUND_CALL;
	return true;
}

static bool take_shared(struct pool_worker *self, enum pool_priority priority)
{
	return take_from(self, &self->pool->lanes[priority], priority);
}

/* The stripes in turn: each is somebody's who submits. */
static bool take_normal(struct pool_worker *self)
{
	struct pool *pool = self->pool;
	uint32_t stripes = pool->lane_count - POOL_PRIORITIES + 1;

	for (uint32_t i = 0; i < stripes; i++) {
		uint32_t stripe = (self->stripe + i) % stripes;

		if (take_from(self, pool_stripe(pool, stripe), POOL_NORMAL)) {
			self->last_stripe = stripe;
			self->stripe = stripe + 1;
			return true;
		}
	}
	return false;
}

static bool take_own(struct pool_worker *self)
{
	self->found = FOUND_CALL;
	return lane_take_own(&self->lane, &self->call);
}

/* Half of another worker's lane. */
static bool steal_lane(struct pool_worker *self, struct pool_worker *victim)
{
	uint64_t count = lane_count(&victim->lane), half = count / 2;
	struct lane_advance none;
	uint32_t taken;

	if (count == 0)
		return false;
	taken = lane_take(&victim->lane, &self->call, &self->lane, half, &none);
	if (taken == 0)
		return false;
	POOL_COUNT(self, steals, 1);
	POOL_COUNT(self, stolen, taken);
	TRACE(TRACE_STEAL, victim->worker->place, taken, self->worker->place);
	if (taken > 1)
		wake_another(self);
	self->found = FOUND_CALL;
	return true;
}

static bool steal_fork(struct pool_worker *self, struct pool_worker *victim)
{
	self->fork = forks_steal(&victim->forks, 0);
	self->found = FOUND_FORK;
	if (self->fork == NULL)
		return false;
	TRACE(TRACE_STEAL, victim->worker->place, 1, self->worker->place);
	return true;
}

/* From the other workers, beginning with a random one. */
static bool steal(struct pool_worker *self,
	bool (*from)(struct pool_worker *self, struct pool_worker *victim))
{
	uint32_t count = pool_worker_count(self->pool), start;

	if (count < 2)
		return false;
	start = random_below(&self->worker->random, count);
	for (uint32_t i = 0; i < count; i++) {
		struct pool_worker *victim = pool_worker_at(self->pool, (start + i) % count);

		if (victim != self && from(self, victim))
			return true;
	}
	return false;
}

static bool join_loop(struct pool_worker *self)
{
	self->found = FOUND_LOOP;
	return load_relaxed(&self->pool->loops_open) > 0 &&
	       loops_enter(self->pool, &self->loop, &self->loop_place);
}

/*
 * What to run next; false: nothing.
 *
 * 1. now and then the low lane first, so that nothing waits for ever
 * 2. the high lane           5. forks of others: parts of calls that have begun
 * 3. the own lane            6. the normal lane, and a share of it for the own
 * 4. loops that want helpers 7. the low lane   8. others' lanes
 */
static bool find_next(struct pool_worker *self)
{
	bool stealing = self->pool->options.queues == POOL_STEALING;

	if (FILAR_UNLIKELY(--self->turns == 0)) {
		self->turns = POOL_TURNS;
		if (take_shared(self, POOL_LOW) || take_normal(self))
			return true;
	}
	return take_shared(self, POOL_HIGH) || take_own(self) || join_loop(self) ||
	       steal(self, steal_fork) || take_normal(self) || take_shared(self, POOL_LOW) ||
	       (stealing && steal(self, steal_lane));
}

struct work *pool_find(struct worker *worker)
{
	struct pool_worker *self = worker->local;

	return find_next(self) ? &self->work : NULL;
}

/* Whether there are calls in it.  The last look before sleep takes the lock, which orders it with
 * those who submit; whoever only peeks, and finds nothing for now, looks again. */
static bool holds_calls(struct lane *lane, bool last_look)
{
	bool found = lane_count(lane) > 0;

	if (found || !last_look)
		return found;
	spinlock_lock(&lane->lock);
	found = lane_count(lane) > 0;
	spinlock_unlock(&lane->lock);
	return found;
}

/* Sees all that find_next() would find. */
static bool look_everywhere(struct pool_worker *self, bool last_look)
{
	struct pool *pool = self->pool;
	bool stealing = pool->options.queues == POOL_STEALING;
	uint32_t count = pool_worker_count(pool);

	for (uint32_t i = 0; i < pool->lane_count; i++) {
		if (holds_calls(&pool->lanes[i], last_look))
			return true;
	}
	if (holds_calls(&self->lane, last_look) || load_relaxed(&pool->loops_open) > 0)
		return true;
	for (uint32_t i = 0; i < count; i++) {
		struct pool_worker *victim = pool_worker_at(pool, i);

		if (victim == self)
			continue;
		if (forks_are_open(&victim->forks) ||
			(stealing && holds_calls(&victim->lane, last_look)))
			return true;
	}
	return false;
}

/* After I1 or I3. */
bool pool_has_more(struct worker *worker)
{
	return look_everywhere(worker->local, true);
}

bool pool_peek(struct worker *worker)
{
	return look_everywhere(worker->local, false);
}

/* ---- running ---- */

static void run_found(struct pool_worker *self)
{
	if (self->found != FOUND_CALL)
		pool_flush_group(self);
	switch (self->found) {
	case FOUND_CALL: {
		struct call call = self->call;

		pool_run_call(self, &call);
		break;
	}
	case FOUND_FORK:
		forks_run(&self->forks, self->fork);
		break;
	case FOUND_LOOP:
		POOL_COUNT(self, helpers, 1);
		loop_help(self, self->loop, self->loop_place);
		break;
	}
}

static bool goes_on(struct worker *worker)
{
	if (FILAR_UNLIKELY(worker->spare))
		return blocking_retirement(worker) == NULL;
	return worker->index < load_relaxed(&worker->scheduler->working);
}

/* ---- lingering ---- */

/* How long a worker whose lane has run dry waits before it looks again, if that pays: less than a
 * tenth of what a wake-up takes, and several times what two CPUs need to pass a line to and fro. */
#define LINGER_MIN_NS 400
#define LINGER_MAX_NS 1600
/* It has paid if so many calls have come meanwhile.  One that answers a call has come alone. */
#define LINGER_PAYS 4u
/* With so many there is no need to. */
#define LINGER_ENOUGH 32u
/* It is tried again after so many times at which nothing was at hand. */
#define LINGER_TRY 61u

static uint64_t calls_at_hand(struct pool_worker *self)
{
	return lane_count(&self->lane) + lane_count(pool_stripe(self->pool, self->last_stripe));
}

static void wait_without_looking(int64_t ns)
{
	int64_t until_ns = clock_now_ns() + ns;

	do
		cpu_pause();
	while (clock_now_ns() < until_ns);
}

/* Whether it is time for it, with so many calls at hand, none of them in the own lane. */
static bool lingers(struct pool_worker *self, uint64_t calls)
{
	if (self->found != FOUND_CALL || FILAR_HARD || !self->pool->scheduler.spin)
		return false;
	if (self->linger_ns > 0)
		return calls < LINGER_ENOUGH;
	if (calls > 0 || ++self->dry < LINGER_TRY)
		return false;
	self->dry = 0;
	self->linger_ns = LINGER_MIN_NS / 2;
	return true;
}

/*
 * The own lane is empty: whether calls are at hand.  Where a stream of them comes in one by one and
 * the worker is the faster, it would take the lane's and the group's lines from the submitter for
 * each call.  So it lets some come together, out of sight, and only then looks.
 */
static bool linger(struct pool_worker *self)
{
	uint64_t before = calls_at_hand(self), calls;

	if (!lingers(self, before))
		return before > 0;
	self->linger_ns *= 2;
	if (self->linger_ns > LINGER_MAX_NS)
		self->linger_ns = LINGER_MAX_NS;
	wait_without_looking(self->linger_ns);
	calls = calls_at_hand(self);
	if (calls < before + LINGER_PAYS)
		self->linger_ns = 0;
	return calls > 0;
}

/* Runs what was found, and what is found after it, until there is nothing more or the worker is to
 * rest.  So a call costs no way through the worker's loop. */
static void run(struct worker *worker, struct work *work)
{
	struct pool_worker *self = worker->local;

	(void)work;
	do {
		run_found(self);
		store_relaxed(&worker->ticks, load_relaxed(&worker->ticks) + 1);
		/* Who waits for what was perhaps the last one is told before a long look round. */
		if (lane_count(&self->lane) == 0 && !linger(self))
			pool_flush_group(self);
	} while (goes_on(worker) && find_next(self));
	pool_flush_group(self);
}

const struct work_class pool_work_class = { .name = "pool", .run = run };

/* ---- helping ---- */

/* Takes it out of that lane. */
static bool take_wish(struct lane *lane, const struct lane_wish *wish, struct call *call)
{
	struct lane_advance advance;

	if (!lane_take_wish(lane, wish, call, &advance))
		return false;
	if (advance.count > 0)
		FILAR_CHECK_EQ(latch_count_down(&advance.group->latch, advance.count), FILAR_OK);
	return true;
}

/* One look into all lanes. */
static bool take_wish_once(struct pool *pool, struct pool_worker *self,
	const struct lane_wish *wish, struct call *call)
{
	uint32_t count = pool_worker_count(pool);

	if (self != NULL && take_wish(&self->lane, wish, call))
		return true;
	for (uint32_t i = 0; i < pool->lane_count; i++) {
		if (!take_wish(&pool->lanes[i], wish, call))
			continue;
		if (pool->options.queue_max > 0)
			pool_made_room(pool, (enum pool_priority)i);
		return true;
	}
	for (uint32_t i = 0; i < count; i++) {
		if (take_wish(&pool_worker_at(pool, i)->lane, wish, call))
			return true;
	}
	return false;
}

bool pool_take_wish(struct pool *pool, struct pool_worker *self, const struct lane_wish *wish,
	struct call *call)
{
	uint64_t moves;

	/* Relaxed: the lanes' locks order it (README.md, "Waiting on a worker"). */
	do {
		moves = load_relaxed(&pool->moves);
		if (take_wish_once(pool, self, wish, call))
			return true;
	} while (load_relaxed(&pool->moves) != moves);
	return false;
}

bool pool_help(struct pool_worker *self, const struct lane_wish *wish)
{
	struct call call;

	if (!pool_take_wish(self->pool, self, wish, &call))
		return false;
	pool_run_call(self, &call);
	pool_flush_group(self);
	return true;
}

/* ---- resting ---- */

/* Nobody else takes from a lane of pinned calls: what is there is run first.  Nothing more comes in
 * from outside while it rests. */
void pool_rests(struct worker *worker, bool begins)
{
	struct pool_worker *self = worker->local;
	struct pool *pool = self->pool;

	spinlock_lock(&self->lane.lock);
	self->lane.closed = begins || load_relaxed(&pool->state) == POOL_CLOSED;
	spinlock_unlock(&self->lane.lock);
	while (begins && pool->options.queues == POOL_PINNED && take_own(self))
		run_found(self);
	pool_flush_group(self);
}
