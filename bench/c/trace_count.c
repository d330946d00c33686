/*
 * trace_count.c - one sample of a way of the lab, for tools/trace_instructions.py, which counts the
 * instructions of two such samples of different length.
 *
 * Usage: trace_count WAY BATCH
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "filar.h"

static void check(int status, const char *what)
{
	if (status == FILAR_OK)
		return;
	fprintf(stderr, "%s: %s (%s)\n", what, filar_status_name(status), filar_status_detail());
	exit(1);
}

int main(int argc, char **argv)
{
	filar_plan_options options;
	const char *detail = "";
	filar_plan *plan;
	int32_t index;

	if (argc != 3) {
		fprintf(stderr, "Usage: trace_count WAY BATCH\n");
		return 2;
	}
	filar_plan_options_init(&options);
	options.rounds_min = options.rounds_max = 1;
	options.warmup_rounds = 0;
	check(filar_plan_create(&plan, &options), "plan");
	check(filar_plan_add(plan, argv[1], NULL, 0, (uint32_t)atol(argv[2]), &index), argv[1]);
	check(filar_plan_start(plan), "start");
	check(filar_plan_wait_until(plan, FILAR_FOREVER), "wait");
	check(filar_plan_way_status(plan, index, &detail), detail);
	filar_plan_destroy(plan);
	return 0;
}
