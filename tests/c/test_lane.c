/*
 * test_lane.c - a lane by itself: runs of calls over block ends, and counts of groups in advance.
 */
#include "check.h"
#include "pool/lane.h"

enum { MANY = 3 * LANE_BLOCK_CALLS + 1 };

static _Atomic uint64_t moves;

static void nothing(void *argument)
{
	(void)argument;
}

static struct lane *new_lane(void)
{
	static struct lane lane;

	memset(&lane, 0, sizeof lane);
	lane_init(&lane, &moves);
	return &lane;
}

/* Pushes them all, with as many blocks as it takes; how many runs that were. */
static int push_all(struct lane *lane, const filar_call *calls, size_t count)
{
	size_t done = 0;
	int runs = 0;

	spinlock_lock(&lane->lock);
	while (done < count) {
		size_t pushed = lane_push_run_locked(lane, &calls[done], count - done, NULL, NULL);

		done += pushed;
		runs += pushed > 0;
		if (pushed == 0) {
			CHECK(!lane_has_room_locked(lane));
			CHECK(lane_give_block(lane, lane_block_create()));
		}
	}
	spinlock_unlock(&lane->lock);
	return runs;
}

TEST(a_run_ends_with_its_block_and_keeps_its_order)
{
	static filar_call calls[MANY];
	struct lane *lane = new_lane();
	struct call call;

	for (size_t i = 0; i < MANY; i++)
		calls[i] = (filar_call){ nothing, &calls[i] };
	CHECK_EQ(push_all(lane, calls, MANY), 4);
	CHECK_EQ(lane_count(lane), MANY);
	for (size_t i = 0; i < MANY; i++) {
		CHECK(lane_take_own(lane, &call));
		CHECK(call.argument == &calls[i]);
	}
	CHECK(!lane_take_own(lane, &call));
	lane_deinit(lane);
}

static struct call call_of(struct waitgroup *group)
{
	return (struct call){ nothing, NULL, group, NULL };
}

static void count_and_push(struct lane *lane, struct waitgroup *group)
{
	struct call call = call_of(group);

	spinlock_lock(&lane->lock);
	if (!lane_has_room_locked(lane))
		CHECK(lane_give_block(lane, lane_block_create()));
	CHECK_EQ(lane_count_locked(lane, group), FILAR_OK);
	CHECK(lane_push_locked(lane, &call));
	spinlock_unlock(&lane->lock);
}

/* Takes one call: what its lane has counted in advance and not used. */
static uint32_t take(struct lane *lane, struct waitgroup *group)
{
	static struct lane own;
	struct lane_advance advance;
	struct call call;

	CHECK_EQ(lane_take(lane, &call, &own, 0, &advance), 1);
	CHECK(call.group == group);
	if (advance.count > 0)
		CHECK_EQ(latch_count_down(&advance.group->latch, advance.count), FILAR_OK);
	return advance.count;
}

TEST(a_group_counts_its_calls_and_what_lanes_have_in_advance)
{
	struct lane *lane = new_lane();
	struct waitgroup group;

	waitgroup_init(&group, NULL);
	count_and_push(lane, &group);
	CHECK_EQ(waitgroup_missing(&group), 1); /* one may be all there will be */
	count_and_push(lane, &group);
	count_and_push(lane, &group);
	CHECK_EQ(waitgroup_missing(&group), 1 + LANE_ADVANCE);
	CHECK_EQ(take(lane, &group), LANE_ADVANCE - 2);
	CHECK_EQ(waitgroup_missing(&group), 3);
	CHECK_EQ(take(lane, &group), 0);
	CHECK_EQ(take(lane, &group), 0);
	/* More than is counted at once. */
	for (uint32_t i = 0; i < 2 * LANE_ADVANCE + 1; i++)
		count_and_push(lane, &group);
	CHECK_EQ(take(lane, &group), LANE_ADVANCE - 1);
	CHECK_EQ(waitgroup_missing(&group), 3 + 2 * LANE_ADVANCE + 1);
	lane_deinit(lane);
}

TEST(calls_of_another_group_end_what_was_counted_in_advance)
{
	struct lane *lane = new_lane();
	struct waitgroup one, other;

	waitgroup_init(&one, NULL);
	waitgroup_init(&other, NULL);
	count_and_push(lane, &one);
	count_and_push(lane, &one);
	count_and_push(lane, &other);
	CHECK_EQ(waitgroup_missing(&one), 2);
	CHECK_EQ(waitgroup_missing(&other), 1);
	count_and_push(lane, &one);
	CHECK_EQ(waitgroup_missing(&one), 3);
	lane_deinit(lane);
}

TEST(who_takes_a_call_out_of_the_middle_gets_the_advance)
{
	struct lane *lane = new_lane();
	struct waitgroup group;
	struct lane_wish wish = { .group = &group };
	struct lane_advance advance;
	struct call call;

	waitgroup_init(&group, NULL);
	count_and_push(lane, &group);
	count_and_push(lane, &group);
	CHECK(lane_take_wish(lane, &wish, &call, &advance));
	CHECK(advance.group == &group);
	CHECK_EQ(advance.count, LANE_ADVANCE - 1);
	CHECK(lane_take_wish(lane, &wish, &call, &advance));
	CHECK_EQ(advance.count, 0);
	CHECK(!lane_take_wish(lane, &wish, &call, &advance));
	lane_deinit(lane);
}

/* A group that is almost full is counted one by one, then not at all. */
TEST(a_group_is_counted_to_its_limit_and_not_beyond)
{
	struct lane *lane = new_lane();
	struct waitgroup group;

	waitgroup_init(&group, NULL);
	CHECK_EQ(waitgroup_add(&group, WAITQ_VALUE_MAX - 3), FILAR_OK);
	for (int i = 0; i < 3; i++)
		count_and_push(lane, &group);
	CHECK_EQ(waitgroup_missing(&group), WAITQ_VALUE_MAX);
	spinlock_lock(&lane->lock);
	CHECK_EQ(lane_count_locked(lane, &group), FILAR_LIMIT);
	spinlock_unlock(&lane->lock);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(take(lane, &group), 0);
	lane_deinit(lane);
}

TEST_MAIN()
