/*
 * topology.c - from sysfs to struct filar_topology, with a fallback for each part.
 *
 * Which CPUs:   possible, present, online (sysfs); without them sysconf and the affinity.
 * Cores:        by the lists of thread siblings, not by core_id, which repeats in each package and
 * on some machines in each cluster.  A list that leaves out its own CPU is not believed. Caches:
 * each is taken once, at the lowest online CPU of those that share it. Allowed:      the affinity
 * of the main thread, not the caller's: a pinned thread asks about its process.
 *
 * Always: cpus is sorted by number; each index into lists stays below list_count.
 */
#include "os/topology.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/memory.h"
#include "os/affinity.h"
#include "os/cgroup.h"
#include "os/textfile.h"

#define CACHES_PER_CPU_MAX 16
#define NODES_MAX          1024
#define NOTES_BYTES        1024
#define CPU_DIR            "%s/sys/devices/system/cpu"

struct topology {
	filar_topology facts; /* what the user sees; first, so that one pointer is both */
	filar_cpu *cpus;
	filar_cache *caches;
	filar_node *nodes;
	int32_t *lists;
	size_t cache_room, node_room, list_count, list_room;
	struct cgroup_facts groups;
	char notes[NOTES_BYTES];
};

/* What is needed while reading. */
struct reader {
	struct topology *topology;
	const char *root;
	struct cpu_mask present, online, allowed;
	struct cpu_mask scratch; /* W  one list at a time; too large for each small function */
};

FILAR_PRINTF(2, 3) static void note(struct topology *topology, const char *format, ...)
{
	size_t used = strlen(topology->notes);
	va_list arguments;

	if (used > 0 && used + 2 < sizeof topology->notes)
		used += (size_t)snprintf(
			topology->notes + used, sizeof topology->notes - used, "\n");
	va_start(arguments, format);
	vsnprintf(topology->notes + used, sizeof topology->notes - used, format, arguments);
	va_end(arguments);
}

/* Room for `more` further items; false when memory is short. */
static bool make_room(void **items, size_t count, size_t more, size_t *room, size_t size)
{
	size_t wanted = (count + more) * 2;
	void *grown;

	if (count + more <= *room)
		return true;
	grown = memory_resize(*items, wanted, size);
	if (grown == NULL)
		return false;
	*items = grown;
	*room = wanted;
	return true;
}

static enum filar_status no_memory(void)
{
	return status_detail(FILAR_NO_MEMORY, "no memory for the topology");
}

/* ---- which CPUs ---- */

/* False when there is no list or no CPU in it. */
static bool read_cpu_list(const struct reader *reader, const char *name, struct cpu_mask *mask)
{
	return textfile_read_cpus(mask, CPU_DIR "/%s", reader->root, name) == FILAR_OK &&
	       cpu_mask_count(mask) > 0;
}

/* The affinity as an injected /proc shows it. */
static bool read_allowed_list(struct reader *reader)
{
	static const char name[] = "Cpus_allowed_list:";
	const char *found;
	bool good = false;
	char *text;

	if (textfile_read(&text, "%s/proc/self/status", reader->root) != FILAR_OK)
		return false;
	found = strstr(text, name);
	if (found != NULL) {
		found += strlen(name);
		found += strspn(found, " \t");
		good = cpulist_parse(&reader->allowed, found) &&
		       cpu_mask_count(&reader->allowed) > 0;
	}
	memory_release(text);
	return good;
}

static enum filar_status read_allowed(struct reader *reader)
{
	if (reader->root[0] != '\0' && read_allowed_list(reader))
		return FILAR_OK;
	return affinity_get((int32_t)getpid(), &reader->allowed);
}

static void add_all(struct cpu_mask *mask, const struct cpu_mask *more)
{
	for (int cpu = cpu_mask_next(more, 0); cpu >= 0; cpu = cpu_mask_next(more, cpu + 1))
		cpu_mask_add(mask, cpu);
}

/* Without a list in sysfs: 0 to n-1, as sysconf counts, and what the affinity names. */
static void guess_cpus(struct cpu_mask *mask, const struct cpu_mask *allowed, int which)
{
	long count = sysconf(which);

	cpu_mask_clear(mask);
	for (int cpu = 0; cpu < count && cpu < CPUS_MAX; cpu++)
		cpu_mask_add(mask, cpu);
	add_all(mask, allowed);
}

static void read_cpu_lists(struct reader *reader)
{
	struct topology *topology = reader->topology;

	topology->facts.source = "/sys/devices/system/cpu";
	if (!read_cpu_list(reader, "online", &reader->online)) {
		guess_cpus(&reader->online, &reader->allowed, _SC_NPROCESSORS_ONLN);
		topology->facts.source = "sched_getaffinity and sysconf";
		note(topology, "the list of online CPUs in /sys cannot be read: counted with "
			       "sched_getaffinity and sysconf instead");
	}
	if (!read_cpu_list(reader, "present", &reader->present))
		reader->present = reader->online;
	add_all(&reader->present, &reader->online);
	topology->facts.cpus_possible = cpu_mask_count(&reader->present);
	if (read_cpu_list(reader, "possible", &reader->scratch))
		topology->facts.cpus_possible = cpu_mask_count(&reader->scratch);
}

enum filar_status topology_check_list(const int32_t *cpus, size_t count)
{
	struct cpu_mask online, wanted;
	enum filar_status status = cpu_mask_from_list(&wanted, cpus, count);

	/* Where /sys is hidden the kernel decides, when somebody is pinned. */
	if (status != FILAR_OK || textfile_read_cpus(&online, CPU_DIR "/online", "") != FILAR_OK)
		return status;
	for (size_t i = 0; i < count; i++) {
		if (!cpu_mask_has(&online, cpus[i]))
			return status_detail(FILAR_NO_CPU,
				"CPU %d of the list does not exist or is not online; %d are",
				cpus[i], cpu_mask_count(&online));
	}
	return FILAR_OK;
}

/* ---- one CPU ---- */

static int32_t read_cpu_number(
	const struct reader *reader, int cpu, const char *name, int32_t otherwise)
{
	int64_t value;

	if (textfile_read_number(&value, CPU_DIR "/cpu%d/%s", reader->root, cpu, name) !=
			FILAR_OK ||
		value < 0 || value > INT32_MAX)
		return otherwise;
	return (int32_t)value;
}

/* The CPUs of its core into scratch: the kernel's list, or the CPU alone.  False: not known. */
static bool read_siblings(struct reader *reader, int cpu)
{
	struct cpu_mask *mask = &reader->scratch;

	if (textfile_read_cpus(mask, CPU_DIR "/cpu%d/topology/thread_siblings_list", reader->root,
		    cpu) == FILAR_OK &&
		cpu_mask_has(mask, cpu))
		return true;
	cpu_mask_clear(mask);
	cpu_mask_add(mask, cpu);
	return false;
}

static filar_cpu *find_cpu(struct topology *topology, int cpu)
{
	size_t low = 0, high = topology->facts.cpu_count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (topology->cpus[middle].cpu < cpu)
			low = middle + 1;
		else
			high = middle;
	}
	return low < topology->facts.cpu_count && topology->cpus[low].cpu == cpu
		       ? &topology->cpus[low]
		       : NULL;
}

/* Joins the core of the lowest online sibling, or opens a new one.  CPUs come in order of their
 * numbers, so that one has its core already. */
static void assign_core(struct reader *reader, filar_cpu *cpu)
{
	struct topology *topology = reader->topology;

	for (int other = cpu_mask_next(&reader->scratch, 0); other >= 0 && other < cpu->cpu;
		other = cpu_mask_next(&reader->scratch, other + 1)) {
		const filar_cpu *sibling = find_cpu(topology, other);

		if (sibling == NULL || sibling->core < 0)
			continue;
		if (cpu->core < 0)
			cpu->core = sibling->core;
		cpu->smt += sibling->core == cpu->core;
	}
	if (cpu->core < 0)
		cpu->core = topology->facts.core_count++;
}

/* True when the core of the CPU is known and not guessed. */
static bool read_online_cpu(struct reader *reader, filar_cpu *cpu)
{
	bool known = read_siblings(reader, cpu->cpu);

	assign_core(reader, cpu);
	cpu->package = read_cpu_number(reader, cpu->cpu, "topology/physical_package_id", -1);
	cpu->capacity = read_cpu_number(reader, cpu->cpu, "cpu_capacity", 0);
	cpu->max_khz = read_cpu_number(reader, cpu->cpu, "cpufreq/cpuinfo_max_freq", 0);
	return known;
}

static void count_packages(struct topology *topology)
{
	const filar_cpu *cpus = topology->cpus;

	for (size_t i = 0; i < topology->facts.cpu_count; i++) {
		bool seen = !cpus[i].online;

		for (size_t j = 0; j < i && !seen; j++)
			seen = cpus[j].online && cpus[j].package == cpus[i].package;
		topology->facts.package_count += !seen;
	}
}

static enum filar_status read_cpus(struct reader *reader)
{
	struct topology *topology = reader->topology;
	int guessed = 0;

	topology->cpus =
		memory_acquire((size_t)cpu_mask_count(&reader->present), sizeof *topology->cpus);
	if (topology->cpus == NULL)
		return no_memory();
	for (int number = cpu_mask_next(&reader->present, 0); number >= 0;
		number = cpu_mask_next(&reader->present, number + 1)) {
		filar_cpu *cpu = &topology->cpus[topology->facts.cpu_count++];

		*cpu = (filar_cpu){ .cpu = number,
			.package = -1,
			.core = -1,
			.node = -1,
			.last_cache = -1,
			.online = cpu_mask_has(&reader->online, number),
			.allowed = cpu_mask_has(&reader->allowed, number) };
		if (cpu->online && !read_online_cpu(reader, cpu))
			guessed++;
	}
	if (guessed > 0)
		note(topology,
			"which CPUs share a core is not known for %d of %d: each counts as "
			"a core of its own",
			guessed, cpu_mask_count(&reader->online));
	count_packages(topology);
	return FILAR_OK;
}

/* ---- lists of CPUs ---- */

/* Appends the CPUs of the mask that are online. */
static bool append_list(
	struct reader *reader, const struct cpu_mask *mask, size_t *first, size_t *count)
{
	struct topology *topology = reader->topology;

	*first = topology->list_count;
	if (!make_room((void **)&topology->lists, topology->list_count,
		    (size_t)cpu_mask_count(mask) + 1, &topology->list_room,
		    sizeof *topology->lists))
		return false;
	for (int cpu = cpu_mask_next(mask, 0); cpu >= 0; cpu = cpu_mask_next(mask, cpu + 1)) {
		if (cpu_mask_has(&reader->online, cpu))
			topology->lists[topology->list_count++] = cpu;
	}
	*count = topology->list_count - *first;
	return true;
}

/* ---- caches ---- */

static int32_t cache_kind(const char *text)
{
	if (strncmp(text, "Data", 4) == 0)
		return FILAR_CACHE_DATA;
	if (strncmp(text, "Instruction", 11) == 0)
		return FILAR_CACHE_INSTRUCTION;
	return strncmp(text, "Unified", 7) == 0 ? FILAR_CACHE_UNIFIED : FILAR_CACHE_OTHER;
}

/* "48K", "2M". */
static int64_t parse_size(const char *text)
{
	char *end;
	int64_t size = strtoll(text, &end, 10);

	if (size <= 0 || size > INT64_C(1) << 40)
		return 0;
	return *end == 'K'   ? size << 10
	       : *end == 'M' ? size << 20
	       : *end == 'G' ? size << 30
			     : size;
}

static void read_cache_texts(const struct reader *reader, int cpu, int index, filar_cache *cache)
{
	char *text;

	if (textfile_read(&text, CPU_DIR "/cpu%d/cache/index%d/type", reader->root, cpu, index) ==
		FILAR_OK) {
		cache->kind = cache_kind(text);
		memory_release(text);
	}
	if (textfile_read(&text, CPU_DIR "/cpu%d/cache/index%d/size", reader->root, cpu, index) ==
		FILAR_OK) {
		cache->bytes = parse_size(text);
		memory_release(text);
	}
}

static int32_t read_cache_number(const struct reader *reader, int cpu, int index, const char *name)
{
	char path[64];

	snprintf(path, sizeof path, "cache/index%d/%s", index, name);
	return read_cpu_number(reader, cpu, path, 0);
}

static enum filar_status append_cache(struct reader *reader, filar_cache cache)
{
	struct topology *topology = reader->topology;

	if (!append_list(reader, &reader->scratch, &cache.cpu_first, &cache.cpu_count) ||
		!make_room((void **)&topology->caches, topology->facts.cache_count, 1,
			&topology->cache_room, sizeof *topology->caches))
		return no_memory();
	topology->caches[topology->facts.cache_count++] = cache;
	return FILAR_OK;
}

/* The lowest online CPU of scratch, or -1. */
static int lowest_online(const struct reader *reader)
{
	int cpu = cpu_mask_next(&reader->scratch, 0);

	while (cpu >= 0 && !cpu_mask_has(&reader->online, cpu))
		cpu = cpu_mask_next(&reader->scratch, cpu + 1);
	return cpu;
}

static enum filar_status read_caches_of(struct reader *reader, filar_cpu *cpu)
{
	int32_t last_level = 0;
	enum filar_status status = FILAR_OK;

	for (int index = 0; index < CACHES_PER_CPU_MAX && status == FILAR_OK; index++) {
		int32_t level = read_cache_number(reader, cpu->cpu, index, "level");
		int first;

		if (level <= 0)
			break;
		if (textfile_read_cpus(&reader->scratch,
			    CPU_DIR "/cpu%d/cache/index%d/shared_cpu_list", reader->root, cpu->cpu,
			    index) != FILAR_OK ||
			!cpu_mask_has(&reader->scratch, cpu->cpu)) {
			cpu_mask_clear(&reader->scratch);
			cpu_mask_add(&reader->scratch, cpu->cpu);
		}
		first = lowest_online(reader);
		if (level > last_level) {
			last_level = level;
			cpu->last_cache = first;
		}
		if (first == cpu->cpu) {
			filar_cache cache = { .level = level };

			read_cache_texts(reader, cpu->cpu, index, &cache);
			cache.line_bytes =
				read_cache_number(reader, cpu->cpu, index, "coherency_line_size");
			cache.ways =
				read_cache_number(reader, cpu->cpu, index, "ways_of_associativity");
			status = append_cache(reader, cache);
		}
	}
	return status;
}

static int compare_caches(const void *left_pointer, const void *right_pointer)
{
	const filar_cache *left = left_pointer, *right = right_pointer;

	if (left->level != right->level)
		return left->level < right->level ? -1 : 1;
	if (left->kind != right->kind)
		return left->kind < right->kind ? -1 : 1;
	/* CPUs were read in order, so were their lists. */
	return left->cpu_first < right->cpu_first ? -1 : left->cpu_first > right->cpu_first;
}

static enum filar_status read_caches(struct reader *reader)
{
	struct topology *topology = reader->topology;
	enum filar_status status = FILAR_OK;

	for (size_t i = 0; i < topology->facts.cpu_count && status == FILAR_OK; i++) {
		if (topology->cpus[i].online)
			status = read_caches_of(reader, &topology->cpus[i]);
	}
	if (topology->facts.cache_count > 0)
		qsort(topology->caches, topology->facts.cache_count, sizeof *topology->caches,
			compare_caches);
	else if (status == FILAR_OK)
		note(topology, "the caches are not described by this kernel or container");
	return status;
}

/* ---- NUMA nodes and memory ---- */

/* Bytes; 0 when there is no such line or no sense in it. */
static int64_t kib_after(const char *text, const char *name)
{
	int64_t kib;

	if (!text_number_after(text, name, &kib) || kib < 0 || kib > INT64_C(1) << 50)
		return 0;
	return kib << 10;
}

static void read_node_memory(const struct reader *reader, filar_node *node)
{
	char *text;

	if (textfile_read(&text, "%s/sys/devices/system/node/node%d/meminfo", reader->root,
		    node->node) != FILAR_OK)
		return;
	node->bytes = kib_after(text, "MemTotal:");
	node->free_bytes = kib_after(text, "MemFree:");
	memory_release(text);
}

static enum filar_status read_node(struct reader *reader, int number)
{
	struct topology *topology = reader->topology;
	filar_node node = { .node = number };

	(void)textfile_read_cpus(&reader->scratch, "%s/sys/devices/system/node/node%d/cpulist",
		reader->root, number);
	read_node_memory(reader, &node);
	if (!append_list(reader, &reader->scratch, &node.cpu_first, &node.cpu_count) ||
		!make_room((void **)&topology->nodes, topology->facts.node_count, 1,
			&topology->node_room, sizeof *topology->nodes))
		return no_memory();
	for (size_t i = 0; i < node.cpu_count; i++) {
		filar_cpu *cpu = find_cpu(topology, topology->lists[node.cpu_first + i]);

		if (cpu != NULL)
			cpu->node = number;
	}
	topology->nodes[topology->facts.node_count++] = node;
	return FILAR_OK;
}

static enum filar_status read_nodes(struct reader *reader)
{
	enum filar_status status = FILAR_OK;
	struct cpu_mask nodes; /* a list of numbers is a list of numbers */

	/* No such list: a kernel without NUMA. */
	if (textfile_read_cpus(&nodes, "%s/sys/devices/system/node/online", reader->root) !=
		FILAR_OK)
		return FILAR_OK;
	for (int node = cpu_mask_next(&nodes, 0);
		node >= 0 && node < NODES_MAX && status == FILAR_OK;
		node = cpu_mask_next(&nodes, node + 1))
		status = read_node(reader, node);
	return status;
}

static void read_memory(struct reader *reader)
{
	filar_topology *facts = &reader->topology->facts;
	char *text;

	if (textfile_read(&text, "%s/proc/meminfo", reader->root) != FILAR_OK) {
		note(reader->topology, "the size of memory is not known: no /proc/meminfo");
		return;
	}
	facts->memory_bytes = kib_after(text, "MemTotal:");
	facts->memory_available_bytes = kib_after(text, "MemAvailable:");
	memory_release(text);
}

/* ---- what the process was given ---- */

static filar_group_limit group_limit(const struct cgroup_limit *limit)
{
	return (filar_group_limit){ .max = limit->max, .used = limit->used, .file = limit->file };
}

static enum filar_status read_groups(struct reader *reader)
{
	struct topology *topology = reader->topology;
	filar_topology *facts = &topology->facts;
	enum filar_status status = cgroup_read(&topology->groups, reader->root);

	facts->group_version = topology->groups.version;
	facts->quota_cpus = topology->groups.quota_cpus;
	facts->quota_file = topology->groups.quota_file;
	facts->group_cpus = topology->groups.cpuset;
	facts->memory = group_limit(&topology->groups.memory);
	facts->threads = group_limit(&topology->groups.pids);
	return status;
}

static void count_usable(struct topology *topology)
{
	filar_topology *facts = &topology->facts;
	int32_t usable = 0;

	for (size_t i = 0; i < facts->cpu_count; i++)
		usable += topology->cpus[i].online && topology->cpus[i].allowed;
	if (facts->quota_cpus > 0 && facts->quota_cpus < usable) {
		note(topology,
			"a control group gives this process %.2f CPUs' worth of time on %d CPUs: "
			"more busy threads than that are stopped for the rest of each period",
			facts->quota_cpus, usable);
		usable = (int32_t)facts->quota_cpus;
	}
	facts->usable_cpus = usable > 0 ? usable : 1;
}

static void note_caller(struct reader *reader)
{
	if (reader->root[0] != '\0' || affinity_get(0, &reader->scratch) != FILAR_OK)
		return;
	if (cpu_mask_count(&reader->scratch) < cpu_mask_count(&reader->allowed))
		note(reader->topology, "the thread that asked is pinned to %d of the %d CPUs",
			cpu_mask_count(&reader->scratch), cpu_mask_count(&reader->allowed));
}

static enum filar_status read_everything(struct reader *reader)
{
	enum filar_status status = read_allowed(reader);

	if (status != FILAR_OK)
		return status;
	read_cpu_lists(reader);
	status = read_cpus(reader);
	if (status == FILAR_OK)
		status = read_caches(reader);
	if (status == FILAR_OK)
		status = read_nodes(reader);
	if (status != FILAR_OK)
		return status;
	read_memory(reader);
	status = read_groups(reader);
	count_usable(reader->topology);
	note_caller(reader);
	return status;
}

static void free_topology(struct topology *topology)
{
	memory_release(topology->cpus);
	memory_release(topology->caches);
	memory_release(topology->nodes);
	memory_release(topology->lists);
	memory_release(topology);
}

enum filar_status topology_read(const filar_topology **result, const char *root)
{
	struct topology *topology = memory_acquire(1, sizeof *topology);
	struct reader *reader = memory_acquire(1, sizeof *reader);
	enum filar_status status;

	if (topology == NULL || reader == NULL) {
		memory_release(topology);
		memory_release(reader);
		return no_memory();
	}
	reader->topology = topology;
	reader->root = root;
	status = read_everything(reader);
	memory_release(reader);
	if (status != FILAR_OK) {
		free_topology(topology);
		return status;
	}
	topology->facts.cpus = topology->cpus;
	topology->facts.caches = topology->caches;
	topology->facts.nodes = topology->nodes;
	topology->facts.lists = topology->lists;
	topology->facts.notes = topology->notes;
	*result = &topology->facts;
	filar_status_detail_clear(); /* files that were missing are no failure */
	return FILAR_OK;
}

void topology_release(const filar_topology *facts)
{
	if (facts != NULL)
		free_topology((struct topology *)(void *)(uintptr_t)facts);
}
