/*
 * once.h - runs one way of the lab in a plan of its own, tiny, and looks for what it left behind.
 */
#ifndef FILAR_TESTS_ONCE_H
#define FILAR_TESTS_ONCE_H

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <signal.h>

#include "check.h"
#include "cpus.h"
#include "fail.h"
#include "filar.h"
#include "lab/plan.h"
#include "os/clock.h"

struct once {
	int status;                       /* of the plan, or else of the way */
	char detail[240];                 /* of the way */
	double values[FILAR_METRICS_MAX]; /* of the last round */
};

/* Rounds of a plan that only cancelling ends. */
#define ONCE_FOR_EVER INT32_MAX

/* A plan with this one way; parameters in the order of its list, the rest default.  NULL when the
 * status is not FILAR_OK. */
__attribute__((unused)) static int once_create(struct plan **plan, const char *name,
	const int64_t *params, size_t param_count, uint32_t batch, int32_t rounds, int32_t cpu)
{
	filar_plan_options options;
	int32_t index;
	int status;

	CHECK(way_find(name) != NULL);
	*plan = NULL;
	plan_options_init(&options);
	options.rounds_min = options.rounds_max = rounds;
	options.warmup_rounds = 0;
	options.driver_cpu = cpu;
	status = plan_create(plan, &options);
	if (status != FILAR_OK)
		return status;
	status = plan_add(*plan, way_find(name), params, param_count, batch, &index);
	if (status == FILAR_OK)
		return status;
	plan_destroy(*plan);
	*plan = NULL;
	return status;
}

/* The plan, or NULL. */
__attribute__((unused)) static struct plan *once_plan(const char *name, const int64_t *params,
	size_t param_count, uint32_t batch, int32_t rounds, int32_t cpu)
{
	struct plan *plan;

	(void)once_create(&plan, name, params, param_count, batch, rounds, cpu);
	return plan;
}

__attribute__((unused)) static int once_wait_plan(struct plan *plan)
{
	int status;

	do
		status = plan_wait_until(plan, DEADLINE_NEVER);
	while (status == FILAR_INTERRUPTED);
	return status;
}

/* Waits for the end of the plan; its status, or else that of its one way with the detail. */
__attribute__((unused)) static int once_wait(struct plan *plan, const char **detail)
{
	int status = once_wait_plan(plan);

	*detail = "";
	return status == FILAR_OK ? plan_way_status(plan, 0, detail) : status;
}

/* Runs it, fills the result, destroys it. */
__attribute__((unused)) static struct once once_run(
	const char *name, const int64_t *params, size_t param_count, uint32_t batch, int32_t cpu)
{
	struct once once = { .status = FILAR_OK };
	filar_sample samples[2] = { 0 };
	const char *detail = "";
	struct plan *plan;
	size_t count;

	once.status = once_create(&plan, name, params, param_count, batch, 2, cpu);
	if (once.status != FILAR_OK)
		return once;
	once.status = plan_start(plan);
	if (once.status == FILAR_OK)
		once.status = once_wait(plan, &detail);
	snprintf(once.detail, sizeof once.detail, "%s", detail);
	count = plan_copy_samples(plan, samples, 2);
	if (count > 0)
		memcpy(once.values, samples[count - 1].values, sizeof once.values);
	plan_destroy(plan);
	return once;
}

/* ---- what is left behind ---- */

__attribute__((unused)) static int fds_open(void)
{
	DIR *folder = opendir("/proc/self/fd");
	int count = -1; /* the folder's own */

	while (readdir(folder) != NULL)
		count++;
	closedir(folder);
	return count;
}

/* Shared anonymous mappings of this process. */
__attribute__((unused)) static int shared_mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512];
	int count = 0;

	while (fgets(line, sizeof line, maps) != NULL)
		count += strstr(line, "/dev/zero") != NULL;
	fclose(maps);
	return count;
}

__attribute__((unused)) static bool no_child_left(void)
{
	return waitpid(-1, NULL, WNOHANG | __WALL) < 0 && errno == ECHILD;
}

__attribute__((unused)) static void check_nothing_left(int fds, int mappings)
{
	CHECK_EQ(fds_open(), fds);
	CHECK_EQ(shared_mappings(), mappings);
	CHECK(no_child_left());
}

/* ---- trouble ---- */

/* A child of this process that is not yet a zombie, from /proc; 0 if there is none. */
__attribute__((unused)) static pid_t some_child(void)
{
	DIR *folder = opendir("/proc");
	struct dirent *entry;
	pid_t found = 0;

	while (found == 0 && (entry = readdir(folder)) != NULL) {
		char path[300], state = 'Z';
		int parent = 0;
		FILE *stat;

		snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
		stat = atoi(entry->d_name) > 0 ? fopen(path, "r") : NULL;
		if (stat == NULL)
			continue;
		if (fscanf(stat, "%*d %*[^)]) %c %d", &state, &parent) == 2 && parent == getpid() &&
			state != 'Z')
			found = atoi(entry->d_name);
		fclose(stat);
	}
	closedir(folder);
	return found;
}

/* Starts the plan, and sends a signal to a process that its way has made. */
__attribute__((unused)) static void once_start_and_hit(struct plan *plan, int signal)
{
	pid_t child;

	CHECK_EQ(plan_start(plan), FILAR_OK);
	WAIT_UNTIL((child = some_child()) != 0);
	CHECK_EQ(kill(child, signal), 0);
}

/* The plan's status, or else that of its one way; destroys the plan. */
__attribute__((unused)) static int end_of(struct plan *plan)
{
	const char *detail;
	int status = once_wait(plan, &detail);

	plan_destroy(plan);
	return status;
}

#if FILAR_FAIL
/* ---- the n-th failure ---- */

static struct {
	const char *name;
	const int64_t *params;
	size_t param_count;
	uint32_t batch;
	int32_t cpu;
	int fds;
} failing;

__attribute__((unused)) static int failing_attempt(void)
{
	struct once once = once_run(
		failing.name, failing.params, failing.param_count, failing.batch, failing.cpu);

	check_nothing_left(failing.fds, 0);
	return once.status;
}

/* Runs the way, driven from that CPU (-1: any), with its 1st, 2nd, ... step failing, and looks each
 * time for what it left behind; how many steps can fail. */
__attribute__((unused)) static uint64_t fail_way_each_on(
	const char *name, const int64_t *params, size_t param_count, uint32_t batch, int32_t cpu)
{
	failing.name = name;
	failing.params = params;
	failing.param_count = param_count;
	failing.batch = batch;
	failing.cpu = cpu;
	failing.fds = fds_open();
	return fail_each(failing_attempt);
}

/* On the first one. */
__attribute__((unused)) static uint64_t fail_way_each(
	const char *name, const int64_t *params, size_t param_count, uint32_t batch)
{
	return fail_way_each_on(name, params, param_count, batch, first_cpu());
}

/* On any, a batch of three; some step can fail. */
#define FAIL_EACH(way, ...)                                                                        \
	do {                                                                                       \
		const int64_t params[] = { __VA_ARGS__ };                                          \
		CHECK(fail_way_each_on(way, params, FILAR_COUNT_OF(params), 3, -1) > 0);           \
	} while (0)
#endif

#endif
