/*
 * once.h - runs one way of the lab in a plan of its own, tiny, and looks for what it left behind.
 */
#ifndef FILAR_TESTS_ONCE_H
#define FILAR_TESTS_ONCE_H

#include <dirent.h>
#include <errno.h>
#include <math.h>

#include "check.h"
#include "filar.h"
#include "lab/plan.h"
#include "os/affinity.h"
#include "os/clock.h"

struct once {
	int status;                       /* of the plan, or else of the way */
	char detail[240];                 /* of the way */
	double values[FILAR_METRICS_MAX]; /* of the last round */
};

/* A plan with this one way; parameters in the order of its list, the rest default. */
__attribute__((unused)) static struct plan *once_plan(const char *name, const int64_t *params,
	size_t param_count, uint32_t batch, int32_t rounds, int32_t cpu)
{
	filar_plan_options options;
	struct plan *plan;
	int32_t index;

	CHECK(way_find(name) != NULL);
	plan_options_init(&options);
	options.rounds_min = options.rounds_max = rounds;
	options.warmup_rounds = 0;
	options.driver_cpu = cpu;
	if (plan_create(&plan, &options) != FILAR_OK)
		return NULL;
	if (plan_add(plan, way_find(name), params, param_count, batch, &index) == FILAR_OK)
		return plan;
	plan_destroy(plan);
	return NULL;
}

/* Runs it, fills the result, destroys it. */
__attribute__((unused)) static struct once once_run(
	const char *name, const int64_t *params, size_t param_count, uint32_t batch, int32_t cpu)
{
	struct plan *plan = once_plan(name, params, param_count, batch, 2, cpu);
	struct once once = { .status = FILAR_NO_MEMORY };
	filar_sample samples[2] = { 0 };
	const char *detail = "";
	size_t count;

	if (plan == NULL)
		return once;
	once.status = plan_start(plan);
	if (once.status == FILAR_OK) {
		once.status = plan_wait_until(plan, DEADLINE_NEVER);
		while (once.status == FILAR_INTERRUPTED)
			once.status = plan_wait_until(plan, DEADLINE_NEVER);
		if (once.status == FILAR_OK)
			once.status = plan_way_status(plan, 0, &detail);
		snprintf(once.detail, sizeof once.detail, "%s", detail);
	}
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

/* The second CPU of this process, or -1. */
__attribute__((unused)) static int32_t second_cpu(void)
{
	struct cpu_mask mask;

	CHECK_EQ(affinity_get(0, &mask), FILAR_OK);
	return cpu_mask_next(&mask, cpu_mask_next(&mask, 0) + 1);
}

__attribute__((unused)) static int32_t first_cpu(void)
{
	struct cpu_mask mask;

	CHECK_EQ(affinity_get(0, &mask), FILAR_OK);
	return cpu_mask_next(&mask, 0);
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

/* The plan's status, or else that of its one way; destroys the plan. */
__attribute__((unused)) static int end_of(struct plan *plan)
{
	const char *detail;
	int status = plan_wait_until(plan, DEADLINE_NEVER);

	if (status == FILAR_OK)
		status = plan_way_status(plan, 0, &detail);
	plan_destroy(plan);
	return status;
}

#endif
