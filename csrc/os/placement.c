/*
 * placement.c - in which order a set of threads takes the CPUs of a machine.
 *
 * Each CPU gets a key of six numbers; the order is that of the keys.  For scatter a CPU needs its
 * rank among those it should not meet early: smt among the usable CPUs of its core, `in_cache`
 * among the cores of its last-level cache, `cache_rank` among the caches of its package.  Ranks
 * count only CPUs that are online and allowed, so a half-forbidden core does not leave a hole.
 */
#include <stdlib.h>

#include "base/memory.h"
#include "os/topology.h"

#define KEY_WORDS 6

struct candidate {
	const filar_cpu *cpu;
	int32_t smt;        /* rank in its core */
	int32_t in_cache;   /* rank of its core in its cache */
	int32_t cache_rank; /* rank of its cache in its package */
	int32_t key[KEY_WORDS];
};

static bool same_cache(const filar_cpu *left, const filar_cpu *right)
{
	return left->package == right->package && left->node == right->node &&
	       left->last_cache == right->last_cache;
}

/* Fast cores go first, then low numbers. */
static bool core_before(const filar_cpu *left, const filar_cpu *right)
{
	if (left->capacity != right->capacity)
		return left->capacity > right->capacity;
	return left->core < right->core;
}

static void rank(struct candidate *all, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		for (size_t j = 0; j < i; j++)
			all[i].smt += all[j].cpu->core == all[i].cpu->core;
	}
	for (size_t i = 0; i < count; i++) {
		for (size_t j = 0; j < count; j++) {
			const filar_cpu *mine = all[i].cpu, *other = all[j].cpu;

			if (all[j].smt != 0)
				continue; /* one CPU stands for its core */
			if (same_cache(mine, other))
				all[i].in_cache += core_before(other, mine);
		}
	}
	/* The first core of each cache stands for the cache. */
	for (size_t i = 0; i < count; i++) {
		for (size_t j = 0; j < count; j++) {
			const filar_cpu *mine = all[i].cpu, *other = all[j].cpu;

			if (all[j].smt == 0 && all[j].in_cache == 0 &&
				other->package == mine->package && !same_cache(mine, other))
				all[i].cache_rank += other->node < mine->node ||
						     (other->node == mine->node &&
							     other->last_cache < mine->last_cache);
		}
	}
}

static void make_key(struct candidate *candidate, enum filar_placement placement)
{
	const filar_cpu *cpu = candidate->cpu;
	int32_t compact[KEY_WORDS] = { cpu->package, candidate->cache_rank, -cpu->capacity,
		cpu->core, candidate->smt, cpu->cpu };
	int32_t scatter[KEY_WORDS] = { candidate->smt, candidate->in_cache, candidate->cache_rank,
		cpu->package, cpu->core, cpu->cpu };
	int32_t cores[KEY_WORDS] = { -cpu->capacity, cpu->package, candidate->cache_rank, cpu->core,
		candidate->smt, cpu->cpu };
	const int32_t *key = placement == FILAR_PLACE_COMPACT   ? compact
			     : placement == FILAR_PLACE_SCATTER ? scatter
								: cores;

	for (size_t i = 0; i < KEY_WORDS; i++)
		candidate->key[i] = key[i];
}

static int compare(const void *left_pointer, const void *right_pointer)
{
	const struct candidate *left = left_pointer, *right = right_pointer;

	for (size_t i = 0; i < KEY_WORDS; i++) {
		if (left->key[i] != right->key[i])
			return left->key[i] < right->key[i] ? -1 : 1;
	}
	return 0;
}

enum filar_status topology_place(const filar_topology *topology, enum filar_placement placement,
	int32_t *cpus, size_t max, size_t *count)
{
	struct candidate *all = memory_acquire(topology->cpu_count, sizeof *all);
	size_t found = 0;

	*count = 0;
	if (all == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory to order the CPUs");
	for (size_t i = 0; i < topology->cpu_count; i++) {
		if (topology->cpus[i].online && topology->cpus[i].allowed)
			all[found++].cpu = &topology->cpus[i];
	}
	rank(all, found);
	for (size_t i = 0; i < found; i++)
		make_key(&all[i], placement);
	qsort(all, found, sizeof *all, compare);
	for (size_t i = 0; i < found && *count < max; i++) {
		if (placement != FILAR_PLACE_CORES || all[i].smt == 0)
			cpus[(*count)++] = all[i].cpu->cpu;
	}
	memory_release(all);
	return FILAR_OK;
}
