/*
 * test_runq.c - the run queue of a worker, its order, its halves, its growth; and the inject queue
 * and the heap of deadlines beside it.
 */
#include "base/memory.h"
#include "base/random.h"
#include "check.h"
#include "fail.h"
#include "os/clock.h"
#include "sched/deadline.h"
#include "sched/deque.h"
#include "sched/inject.h"
#include "sched/runq.h"

#define COUNT 3000
static struct work works[COUNT];

static struct runq make(bool shared)
{
	struct runq queue;

	CHECK_EQ(runq_init(&queue, shared), FILAR_OK);
	return queue;
}

/* Pushes works[from..to) as long as there is room; how many. */
static int push_all(struct runq *queue, int from, int to)
{
	int pushed = 0;

	while (from + pushed < to && runq_push(queue, &works[from + pushed]))
		pushed++;
	return pushed;
}

TEST(runq_pops_in_the_order_of_pushes)
{
	for (int shared = 0; shared < 2; shared++) {
		struct runq queue = make(shared != 0);
		int pushed = push_all(&queue, 0, COUNT);

		CHECK_EQ(pushed, FILAR_HARD ? (int)RUNQ_SLOTS_MAX : COUNT);
		CHECK_EQ(runq_length(&queue), pushed);
		for (int i = 0; i < pushed; i++)
			CHECK(runq_pop(&queue) == &works[i]);
		CHECK(runq_pop(&queue) == NULL);
		runq_deinit(&queue);
	}
}

TEST(deque_gives_its_owner_the_youngest_and_thieves_the_oldest)
{
	for (int shared = 0; shared < 2; shared++) {
		struct deque deque;
		int pushed = 0, first = 0;

		CHECK_EQ(deque_init(&deque, shared != 0), FILAR_OK);
		CHECK(deque_pop(&deque) == NULL);
		CHECK(deque_steal(&deque) == NULL);
		while (pushed < COUNT && deque_push(&deque, &works[pushed]))
			pushed++;
		CHECK_EQ(pushed, FILAR_HARD ? (int)RUNQ_SLOTS_MAX : COUNT);
		CHECK_EQ(deque_length(&deque), pushed);
		while (first < pushed) {
			CHECK(deque_pop(&deque) == &works[--pushed]);
			if (shared != 0 && first < pushed)
				CHECK(deque_steal(&deque) == &works[first++]);
		}
		CHECK(deque_is_empty(&deque));
		CHECK(deque_pop(&deque) == NULL);
		CHECK(deque_push(&deque, &works[0]));
		CHECK(deque_pop(&deque) == &works[0]);
		deque_deinit(&deque);
	}
}

TEST(runq_goes_round_its_ring_for_ever)
{
	struct runq queue = make(true);

	for (int i = 0; i < COUNT; i++) {
		CHECK(runq_push(&queue, &works[i % 7]));
		if (i >= 2)
			CHECK(runq_pop(&queue) == &works[(i - 2) % 7]);
	}
	CHECK_EQ(runq_length(&queue), 2);
	runq_deinit(&queue);
}

TEST(runq_steal_leaves_the_younger_half)
{
	struct runq queue = make(true);
	struct work *taken[RUNQ_STEAL_MAX];

	for (int length = 1; length <= 4; length++) {
		uint32_t half = (uint32_t)(length - length / 2);

		CHECK_EQ(push_all(&queue, 0, length), length);
		CHECK_EQ(runq_steal(&queue, taken), half);
		for (uint32_t i = 0; i < half; i++)
			CHECK(taken[i] == &works[i]);
		for (int i = (int)half; i < length; i++)
			CHECK(runq_pop(&queue) == &works[i]);
		CHECK_EQ(runq_steal(&queue, taken), 0);
	}
	runq_deinit(&queue);
}

TEST(runq_steal_takes_no_more_than_its_maximum)
{
	struct runq queue = make(true);
	struct work *taken[RUNQ_STEAL_MAX];
	int pushed = push_all(&queue, 0, COUNT);

	CHECK_EQ(runq_steal(&queue, taken), RUNQ_STEAL_MAX);
	CHECK_EQ(runq_length(&queue), pushed - (int)RUNQ_STEAL_MAX);
	CHECK(runq_pop(&queue) == &works[RUNQ_STEAL_MAX]);
	runq_deinit(&queue);
}

TEST(runq_take_half_chains_the_oldest)
{
	struct runq queue = make(true);
	struct work_chain chain = { 0 };

	CHECK_EQ(push_all(&queue, 0, 3), 3);
	runq_take_half(&queue, &chain);
	CHECK_EQ(chain.count, 2);
	CHECK(work_chain_pop(&chain) == &works[0]);
	CHECK(work_chain_pop(&chain) == &works[1]);
	CHECK(work_chain_pop(&chain) == NULL);
	CHECK(runq_pop(&queue) == &works[2]);
	runq_take_half(&queue, &chain);
	CHECK_EQ(chain.count, 0);
	runq_deinit(&queue);
}

TEST(inject_keeps_the_order_of_chains)
{
	struct inject inject;
	struct work_chain chain = { 0 };

	inject_init(&inject);
	for (int i = 0; i < 30; i++) {
		work_chain_push(&chain, &works[i]);
		if (i % 10 != 9)
			continue;
		inject_lock(&inject);
		inject_push_locked(&inject, &chain);
		inject_push_locked(&inject, &chain); /* empty now: nothing */
		inject_unlock(&inject);
	}
	CHECK_EQ(inject_count(&inject), 30);
	for (int i = 0; i < 30; i++) {
		if (chain.count == 0)
			inject_pop(&inject, &chain, 7);
		CHECK(work_chain_pop(&chain) == &works[i]);
	}
	inject_pop(&inject, &chain, 7);
	CHECK_EQ(chain.count, 0);
	CHECK_EQ(inject_count(&inject), 0);
}

/* ---- deadlines ---- */

struct alarm {
	struct deadline deadline;
	int fired;
};

static int64_t last_fired_ns;

static void note_firing(struct deadline *deadline)
{
	struct alarm *alarm = FILAR_CONTAINER_OF(deadline, struct alarm, deadline);

	CHECK_GE(deadline->at_ns, last_fired_ns);
	last_fired_ns = deadline->at_ns;
	alarm->fired++;
}

/* Against a plain array: which are armed, and which is the earliest. */
TEST(deadlines_fire_in_order_once_and_never_when_cancelled)
{
	enum { ALARMS = 200, STEPS = 20000 };
	static struct alarm alarms[ALARMS];
	struct deadlines deadlines;
	struct random random;
	int64_t now_ns = 0;

	random_init(&random, check_seed());
	deadlines_init(&deadlines);
	for (int step = 0; step < STEPS; step++) {
		struct alarm *alarm = &alarms[random_below(&random, ALARMS)];
		int64_t earliest_ns = DEADLINE_NEVER;

		alarm->deadline.fire = note_firing;
		if (!alarm->deadline.armed) {
			alarm->deadline.at_ns = now_ns + 1 + random_below(&random, 1000);
			alarm->fired = 0;
			CHECK_EQ(deadlines_add(&deadlines, &alarm->deadline),
				deadlines_earliest(&deadlines) == alarm->deadline.at_ns &&
					deadlines.root == &alarm->deadline);
		} else if (random_below(&random, 2) == 0) {
			deadlines_cancel(&deadlines, &alarm->deadline);
			CHECK_EQ(alarm->fired, 0);
			deadlines_cancel(&deadlines, &alarm->deadline); /* harmless */
		}
		if (step % 8 == 0) {
			now_ns += random_below(&random, 100);
			last_fired_ns = 0;
			(void)deadlines_fire(&deadlines, now_ns);
		}
		for (int i = 0; i < ALARMS; i++) {
			if (!alarms[i].deadline.armed)
				continue;
			CHECK_EQ(alarms[i].fired, 0);
			if (alarms[i].deadline.at_ns < earliest_ns)
				earliest_ns = alarms[i].deadline.at_ns;
		}
		CHECK_EQ(deadlines_earliest(&deadlines), earliest_ns);
		if (step % 8 == 0)
			CHECK_GE(earliest_ns, now_ns);
	}
}

#if FILAR_FAIL
static int attempt_queue(void)
{
	struct runq queue;
	enum filar_status status = runq_init(&queue, true);

	if (status != FILAR_OK)
		return status;
	/* Without memory to grow, a push is refused and the queue stays as it was. */
	for (int i = 0; i < 1000; i++) {
		if (!runq_push(&queue, &works[i])) {
			CHECK_EQ(runq_length(&queue), i);
			status = FILAR_NO_MEMORY;
			break;
		}
	}
	while (runq_pop(&queue) != NULL)
		;
	runq_deinit(&queue);
	return status;
}

TEST(a_queue_that_cannot_grow_says_so)
{
	CHECK_GE(fail_each(attempt_queue), 3);
}
#endif

TEST_MAIN()
