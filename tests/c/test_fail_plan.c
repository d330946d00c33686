/*
 * test_fail_plan.c - the n-th allocation or system call of a whole plan fails, for every n.
 *
 * FAIL builds only.  A failure ends in a status of the plan or of one way, and leaves no allocation
 * and no thread behind.
 */
#include "fail.h"
#include "lab/plan.h"
#include "lab/registry.h"
#include "os/clock.h"

#if FILAR_FAIL
static enum filar_status record_points(struct way_run *run)
{
	for (int i = 0; i < 400; i++)
		way_point(run, 0, i, 0, 0);
	return FILAR_OK;
}

static const struct way way_points = {
	.name = "points", .summary = "records points", .batch_max = 1, .sample = record_points
};

/* What a user sees in the end: the plan's status, else the first way's that is not OK. */
static int outcome_of(struct plan *plan)
{
	enum filar_status status;
	const char *detail;

	while ((status = plan_wait_until(plan, DEADLINE_NEVER)) == FILAR_INTERRUPTED)
		;
	for (int32_t i = 0; i < 3 && status == FILAR_OK; i++) {
		status = plan_way_status(plan, i, &detail);
		if (status != FILAR_OK)
			CHECK(detail[0] != '\0');
	}
	return status;
}

static int a_whole_plan(void)
{
	filar_plan_options options;
	struct plan *plan;
	int32_t index;
	int status;

	plan_options_init(&options);
	options.rounds_min = options.rounds_max = 2;
	status = plan_create(&plan, &options);
	if (status != FILAR_OK)
		return status;
	status = plan_add(plan, way_find("kthread-create"), NULL, 0, 1, &index);
	if (status == FILAR_OK)
		status = plan_add(plan, way_find("page-fault"), NULL, 0, 1, &index);
	if (status == FILAR_OK)
		status = plan_add(plan, &way_points, NULL, 0, 1, &index);
	if (status == FILAR_OK)
		status = plan_start(plan);
	if (status == FILAR_OK)
		status = outcome_of(plan);
	plan_destroy(plan);
	return status;
}

TEST(no_failure_of_the_outside_leaves_anything_behind)
{
	CHECK_GE(fail_each(a_whole_plan), 10);
}
#else
TEST(failures_are_injected_in_fail_builds_only)
{
	CHECK(!failpoint_hit(FAILPOINT_MEMORY));
}
#endif

TEST_MAIN()
