/*
 * api_lab.c - the public side of ways and plans: check the arguments, call down.
 */
#include "base/status.h"
#include "filar.h"
#include "lab/forkcosts.h"
#include "lab/plan.h"
#include "os/clock.h"

static struct plan *inner(filar_plan *plan)
{
	return (struct plan *)plan;
}

static int describe(const struct way *way, filar_way_info *info)
{
	*info = (filar_way_info){ .name = way->name, .summary = way->summary };
	while (info->param_count < FILAR_PARAMS_MAX &&
		way->params[info->param_count].name != NULL) {
		info->param_names[info->param_count] = way->params[info->param_count].name;
		info->param_defaults[info->param_count] = way->params[info->param_count].fallback;
		info->param_count++;
	}
	while (info->metric_count < FILAR_METRICS_MAX &&
		way->metrics[info->metric_count].name != NULL) {
		info->metric_names[info->metric_count] = way->metrics[info->metric_count].name;
		info->metric_units[info->metric_count] = way->metrics[info->metric_count].unit;
		info->metric_count++;
	}
	return FILAR_OK;
}

int32_t filar_way_count(void)
{
	return way_count();
}

int filar_way_describe(int32_t index, filar_way_info *info)
{
	const struct way *way = index >= 0 ? way_at(index) : NULL;

	if (way == NULL || info == NULL)
		return status_detail(FILAR_NOT_FOUND, "there is no way number %d", index);
	return describe(way, info);
}

int filar_way_find(const char *name, filar_way_info *info)
{
	const struct way *way = name != NULL ? way_find(name) : NULL;

	if (way == NULL || info == NULL)
		return status_detail(FILAR_NOT_FOUND, "there is no way named \"%.64s\"",
			name != NULL ? name : "");
	return describe(way, info);
}

void filar_plan_options_init(filar_plan_options *options)
{
	if (options != NULL)
		plan_options_init(options);
}

int filar_plan_create(filar_plan **plan, const filar_plan_options *options)
{
	filar_plan_options plain;
	enum filar_status status;

	if (plan == NULL)
		return status_detail(FILAR_INVALID, "a plan needs a place for its handle");
	if (options == NULL) {
		plan_options_init(&plain);
		options = &plain;
	}
	status = plan_check_options(options);
	return status == FILAR_OK ? plan_create((struct plan **)plan, options) : status;
}

int filar_plan_add(filar_plan *plan, const char *way_name, const int64_t *params,
	size_t param_count, uint32_t batch, int32_t *index)
{
	const struct way *way = way_name != NULL ? way_find(way_name) : NULL;

	if (plan == NULL || index == NULL || (params == NULL && param_count > 0))
		return status_detail(FILAR_INVALID,
			"a plan, its parameters and a place for the index are needed");
	if (way == NULL)
		return status_detail(FILAR_NOT_FOUND, "there is no way named \"%.64s\"",
			way_name != NULL ? way_name : "");
	return plan_add(inner(plan), way, params, param_count, batch, index);
}

int filar_plan_start(filar_plan *plan)
{
	return plan != NULL ? (int)plan_start(inner(plan))
			    : status_detail(FILAR_INVALID, "no plan to start");
}

int filar_plan_wait_until(filar_plan *plan, int64_t deadline_ns)
{
	if (plan == NULL)
		return status_detail(FILAR_INVALID, "no plan to wait for");
	return plan_wait_until(inner(plan), deadline_ns);
}

void filar_plan_cancel(filar_plan *plan)
{
	if (plan != NULL)
		plan_cancel(inner(plan));
}

void filar_plan_read_progress(filar_plan *plan, filar_plan_progress *progress)
{
	if (plan != NULL && progress != NULL)
		plan_read_progress(inner(plan), progress);
}

int filar_plan_way_status(filar_plan *plan, int32_t index, const char **detail)
{
	if (plan == NULL)
		return status_detail(FILAR_INVALID, "no plan to ask");
	return plan_way_status(inner(plan), index, detail);
}

size_t filar_plan_sample_count(filar_plan *plan)
{
	return plan != NULL ? plan_sample_count(inner(plan)) : 0;
}

size_t filar_plan_copy_samples(filar_plan *plan, filar_sample *samples, size_t max)
{
	return plan != NULL && samples != NULL ? plan_copy_samples(inner(plan), samples, max) : 0;
}

size_t filar_plan_point_count(filar_plan *plan)
{
	return plan != NULL ? plan_point_count(inner(plan)) : 0;
}

size_t filar_plan_copy_points(filar_plan *plan, filar_point *points, size_t max)
{
	return plan != NULL && points != NULL ? plan_copy_points(inner(plan), points, max) : 0;
}

uint64_t filar_plan_points_lost(filar_plan *plan)
{
	return plan != NULL ? plan_points_lost(inner(plan)) : 0;
}

void filar_plan_destroy(filar_plan *plan)
{
	if (plan != NULL)
		plan_destroy(inner(plan));
}

int filar_measure_fork_costs(int64_t time_ns, filar_fork_costs *costs)
{
	if (costs == NULL)
		return status_detail(FILAR_INVALID, "no place for the costs");
	if (time_ns < 0 || time_ns > 60 * NS_PER_S)
		return status_detail(FILAR_INVALID,
			"time_ns is %lld; from 0 to a minute is possible", (long long)time_ns);
	return fork_costs_measure(time_ns, costs);
}
