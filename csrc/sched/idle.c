/*
 * idle.c - transitions of the idle word.  The labels are those of README.md, "Going to sleep".
 */
#include "sched/idle.h"

#include <sched.h>

#include "base/check.h"
#include "base/tracepoint.h"

void idle_init(struct idle *idle)
{
	atomic_init(&idle->word, 0);
	eventcount_init(&idle->sleepers);
	atomic_init(&idle->keeper, 0);
	atomic_init(&idle->source, NULL);
	atomic_init(&idle->in_source, 0);
	atomic_init(&idle->wakes, 0);
	atomic_init(&idle->waker_cpu, -1);
}

bool idle_begin_search(struct idle *idle, uint32_t searchers_max)
{
	uint64_t word = load_relaxed(&idle->word);

	do {
		if (IDLE_SEARCHING(word) >= searchers_max)
			return false;
	} while (!cas_seq_cst(&idle->word, &word, word + IDLE_ONE_SEARCHING));
	return true;
}

bool idle_end_search(struct idle *idle)
{
	/* I3: a read-modify-write, before the look for more work.  Pairs with I2. */
	uint64_t before = fetch_sub_seq_cst(&idle->word, IDLE_ONE_SEARCHING);

	FILAR_CHECK(IDLE_SEARCHING(before) > 0);
	return IDLE_SEARCHING(before) == 1 && IDLE_SLEEPING(before) > IDLE_GRANTED(before);
}

uint32_t idle_prepare_sleep(struct idle *idle, bool was_searching)
{
	uint32_t ticket = eventcount_prepare_wait(&idle->sleepers);
	uint64_t change = IDLE_ONE_SLEEPING - (was_searching ? IDLE_ONE_SEARCHING : 0);
	uint64_t before;

	/* I1: a read-modify-write, after the ticket and before the last look.  Pairs with I2. */
	before = fetch_add_seq_cst(&idle->word, change);
	FILAR_CHECK(!was_searching || IDLE_SEARCHING(before) > 0);
	return ticket;
}

static void sleep_in_source(struct idle *idle, struct idle_source *source, uint32_t ticket,
	int64_t deadline_ns, uint32_t index)
{
	/* U1: seq_cst, before the look whether the ticket is still good.  Pairs with U2. */
	store_seq_cst(&idle->in_source, index + 1);
	if (eventcount_is_current(&idle->sleepers, ticket))
		source->wait_until(source, deadline_ns);
	store_seq_cst(&idle->in_source, 0);
	eventcount_cancel_wait(&idle->sleepers);
}

static uint32_t mask_of(uint32_t index)
{
	return UINT32_C(1) << index % 32;
}

/* Whether the one that woke us was on the CPU on which we are now: then we have driven it out. */
static bool took_wakers_cpu(struct idle *idle)
{
	int32_t cpu = load_relaxed(&idle->waker_cpu);

	if (cpu < 0)
		return false;
	store_relaxed(&idle->waker_cpu, -1);
	return cpu == sched_getcpu();
}

bool idle_sleep_until(
	struct idle *idle, uint32_t ticket, int64_t deadline_ns, uint32_t index, bool keeper)
{
	/* U3: seq_cst, after the ticket.  Pairs with U4. */
	struct idle_source *source = keeper ? load_seq_cst(&idle->source) : NULL;

	if (source != NULL) {
		sleep_in_source(idle, source, ticket, deadline_ns, index);
		return false;
	}
	/* A signal or a failed futex call is as good as a wake: the worker looks and comes back. */
	(void)eventcount_commit_wait_masked_until(
		&idle->sleepers, ticket, deadline_ns, mask_of(index));
	return took_wakers_cpu(idle);
}

void idle_cancel_sleep(struct idle *idle)
{
	eventcount_cancel_wait(&idle->sleepers);
}

void idle_get_up(struct idle *idle)
{
	uint64_t word = load_relaxed(&idle->word), after;

	do {
		FILAR_CHECK(IDLE_SLEEPING(word) > 0);
		after = word - IDLE_ONE_SLEEPING;
		/* A grant has counted its searcher already. */
		after += IDLE_GRANTED(word) > 0 ? -IDLE_ONE_GRANTED : IDLE_ONE_SEARCHING;
	} while (!cas_seq_cst(&idle->word, &word, after));
}

static void interrupt_source(struct idle *idle)
{
	struct idle_source *source = load_acquire(&idle->source);

	source->interrupt(source);
}

void idle_wake_worker(struct idle *idle, uint32_t index)
{
	fetch_add_relaxed(&idle->wakes, 1);
	eventcount_notify_masked(&idle->sleepers, mask_of(index));
	/* U2, for this worker alone. */
	if (load_seq_cst(&idle->in_source) == index + 1)
		interrupt_source(idle);
}

static bool grant(struct idle *idle, uint64_t word)
{
	do {
		if (IDLE_SEARCHING(word) > 0 || IDLE_SLEEPING(word) <= IDLE_GRANTED(word))
			return false;
	} while (!cas_seq_cst(&idle->word, &word, word + IDLE_ONE_GRANTED + IDLE_ONE_SEARCHING));
	fetch_add_relaxed(&idle->wakes, 1);
	TRACE(TRACE_WORKER_NOTIFY, TRACE_ADDRESS(idle), 0, 0);
	return true;
}

bool idle_grant_one_slow(struct idle *idle, uint64_t word)
{
	/* Who sleeps in a source is not woken by an address. */
	FILAR_ASSERT(load_relaxed(&idle->source) == NULL);
	if (!grant(idle, word))
		return false;
	store_relaxed(&idle->waker_cpu, sched_getcpu());
	return eventcount_announce(&idle->sleepers);
}

void idle_wake_one_slow(struct idle *idle, uint64_t word)
{
	if (!grant(idle, word))
		return;
	/* U2: seq_cst, after the epoch was changed (E4).  Pairs with U1. */
	if (!eventcount_notify_one(&idle->sleepers) && load_seq_cst(&idle->in_source) != 0)
		interrupt_source(idle);
}

void idle_wake_this_slow(struct idle *idle, uint64_t word, uint32_t index)
{
	if (!grant(idle, word))
		return;
	/* U2, again. */
	if (!eventcount_notify_one_of(&idle->sleepers, mask_of(index)) &&
		load_seq_cst(&idle->in_source) != 0)
		interrupt_source(idle);
}

void idle_wake_all(struct idle *idle)
{
	eventcount_notify_all(&idle->sleepers);
	/* U2, again. */
	if (load_seq_cst(&idle->in_source) != 0)
		interrupt_source(idle);
}

bool idle_attach_source(struct idle *idle, struct idle_source *source)
{
	struct idle_source *none = NULL;

	/* U4: seq_cst, before everybody gets up.  Pairs with U3. */
	if (!cas_seq_cst(&idle->source, &none, source))
		return false;
	idle_wake_all(idle);
	return true;
}
