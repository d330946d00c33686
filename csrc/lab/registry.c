/*
 * registry.c - all ways, by table; a new file of ways adds one line here.
 */
#include "lab/registry.h"

#include <string.h>

static const struct way *const way_tables[] = {
	ways_floor,
	ways_create,
	ways_handoff,
	ways_memory,
	ways_process,
	ways_switch,
	ways_cache,
	ways_data,
	ways_sched,
	ways_crawl,
	ways_share,
	ways_timer,
	ways_locks,
	ways_race,
	ways_deadlock,
	ways_green,
	ways_green_memory,
	ways_green_wait,
	ways_pass,
	ways_start,
	ways_trace,
	ways_pool_tasks,
	ways_pool_serve,
	ways_pool_loops,
	ways_pool_kernels,
	ways_pool_process,
	ways_server,
};

int32_t way_count(void)
{
	int32_t count = 0;

	while (way_at(count) != NULL)
		count++;
	return count;
}

const struct way *way_at(int32_t index)
{
	for (size_t table = 0; table < FILAR_COUNT_OF(way_tables); table++) {
		for (const struct way *way = way_tables[table]; way->name != NULL; way++) {
			if (index-- == 0)
				return way;
		}
	}
	return NULL;
}

const struct way *way_find(const char *name)
{
	const struct way *way;

	for (int32_t index = 0; (way = way_at(index)) != NULL; index++) {
		if (strcmp(way->name, name) == 0)
			return way;
	}
	return NULL;
}
