/*
 * test_topology.c - machines that are not this one, as trees of files; and this one.
 */
#include <sched.h>

#include "check.h"
#include "faketree.h"
#include "filar.h"
#include "os/affinity.h"
#include "os/cgroup.h"
#include "os/textfile.h"

static const filar_topology *read_tree(void)
{
	const filar_topology *topology = NULL;

	CHECK_EQ(filar_topology_read(&topology, tree_root), FILAR_OK);
	return topology;
}

/* Two sockets of two cores with two siblings each, numbered as Linux does (siblings 4 apart); CPU 7
 * is offline; each socket is a NUMA node. */
static void make_dual_socket(void)
{
	static const char *const siblings[] = { "0,4\n", "1,5\n", "2,6\n", "3\n", "0,4\n", "1,5\n",
		"2,6\n" };

	tree_make();
	tree_file("0-15\n", "sys/devices/system/cpu/possible");
	tree_file("0-7\n", "sys/devices/system/cpu/present");
	tree_file("0-6\n", "sys/devices/system/cpu/online");
	tree_file("Name:\tx\nCpus_allowed_list:\t0-7\nMems_allowed_list:\t0\n", "proc/self/status");
	for (int cpu = 0; cpu < 7; cpu++) {
		int package = cpu % 4 / 2;

		tree_cpu(cpu, package, siblings[cpu]);
		tree_cache(cpu, 0, "1\n", "Data\n", "48K\n", siblings[cpu]);
		tree_cache(cpu, 1, "3\n", "Unified\n", "32M\n",
			package == 0 ? "0-1,4-5\n" : "2-3,6\n");
	}
	tree_file("0-1\n", "sys/devices/system/node/online");
	tree_file("0-1,4-5\n", "sys/devices/system/node/node0/cpulist");
	tree_file("2-3,6-7\n", "sys/devices/system/node/node1/cpulist");
	tree_file("Node 0 MemTotal:   1024 kB\nNode 0 MemFree:  512 kB\n",
		"sys/devices/system/node/node0/meminfo");
	tree_file("MemTotal:       2048 kB\nMemAvailable:   1000 kB\n", "proc/meminfo");
}

static void check_order(
	const filar_topology *topology, int32_t placement, const int32_t *expected, size_t count)
{
	int32_t cpus[64];
	size_t found;

	CHECK_EQ(filar_topology_place(topology, placement, cpus, 64, &found), FILAR_OK);
	CHECK_EQ(found, count);
	for (size_t i = 0; i < count; i++)
		CHECK_EQ(cpus[i], expected[i]);
}

static void check_order_of_tree(int32_t placement, const int32_t *expected, size_t count)
{
	const filar_topology *topology = read_tree();

	check_order(topology, placement, expected, count);
	filar_topology_release(topology);
}

TEST(topology_dual_socket_finds_packages_cores_and_siblings)
{
	const filar_topology *topology;

	make_dual_socket();
	topology = read_tree();
	CHECK_EQ(topology->cpu_count, 8);
	CHECK_EQ(topology->cpus_possible, 16);
	CHECK_EQ(topology->package_count, 2);
	CHECK_EQ(topology->core_count, 4);
	CHECK_EQ(topology->usable_cpus, 7);
	CHECK_EQ(topology->cpus[4].core, topology->cpus[0].core);
	CHECK_EQ(topology->cpus[4].smt, 1);
	CHECK_EQ(topology->cpus[2].package, 1);
	CHECK_EQ(topology->cpus[3].node, 1);
	CHECK_EQ(topology->cpus[6].last_cache, 2);
	CHECK(topology->notes[0] == '\0');
	filar_topology_release(topology);
}

TEST(topology_offline_cpu_is_listed_and_belongs_to_no_core)
{
	const filar_topology *topology;

	make_dual_socket();
	topology = read_tree();
	CHECK_EQ(topology->cpus[7].cpu, 7);
	CHECK(!topology->cpus[7].online);
	CHECK_EQ(topology->cpus[7].core, -1);
	CHECK_EQ(topology->nodes[1].cpu_count, 3);
	filar_topology_release(topology);
}

TEST(topology_each_cache_is_listed_once_with_those_that_share_it)
{
	const filar_topology *topology;
	const filar_cache *last;

	make_dual_socket();
	topology = read_tree();
	CHECK_EQ(topology->cache_count, 4 + 2);
	CHECK_EQ(topology->caches[0].level, 1);
	CHECK_EQ(topology->caches[0].bytes, 48 << 10);
	CHECK_EQ(topology->caches[0].line_bytes, 64);
	last = &topology->caches[5];
	CHECK_EQ(last->level, 3);
	CHECK_EQ(last->kind, FILAR_CACHE_UNIFIED);
	CHECK_EQ(last->bytes, 32 << 20);
	CHECK_EQ(last->cpu_count, 3);
	CHECK_EQ(topology->lists[last->cpu_first], 2);
	filar_topology_release(topology);
}

TEST(topology_reads_memory_of_nodes_and_machine)
{
	const filar_topology *topology;

	make_dual_socket();
	topology = read_tree();
	CHECK_EQ(topology->node_count, 2);
	CHECK_EQ(topology->nodes[0].bytes, 1024 << 10);
	CHECK_EQ(topology->nodes[0].free_bytes, 512 << 10);
	CHECK_EQ(topology->nodes[1].bytes, 0);
	CHECK_EQ(topology->memory_bytes, 2048 << 10);
	CHECK_EQ(topology->memory_available_bytes, 1000 << 10);
	filar_topology_release(topology);
}

TEST(place_compact_fills_a_core_then_its_cache)
{
	static const int32_t expected[] = { 0, 4, 1, 5, 2, 6, 3 };

	make_dual_socket();
	check_order_of_tree(FILAR_PLACE_COMPACT, expected, 7);
}

TEST(place_scatter_alternates_packages_and_takes_siblings_last)
{
	static const int32_t expected[] = { 0, 2, 1, 3, 4, 6, 5 };

	make_dual_socket();
	check_order_of_tree(FILAR_PLACE_SCATTER, expected, 7);
}

TEST(place_cores_takes_one_cpu_of_each)
{
	static const int32_t expected[] = { 0, 1, 2, 3 };

	make_dual_socket();
	check_order_of_tree(FILAR_PLACE_CORES, expected, 4);
}

TEST(place_skips_what_is_not_allowed_without_losing_its_core)
{
	static const int32_t cores[] = { 4, 1, 6 };

	make_dual_socket();
	tree_file("Cpus_allowed_list:\t1,4-7\n", "proc/self/status");
	/* Core 0 is represented by its second sibling; cores are in order of their numbers. */
	check_order_of_tree(FILAR_PLACE_CORES, cores, 3);
}

TEST(place_writes_no_more_than_there_is_room_for)
{
	const filar_topology *topology;
	int32_t cpus[3] = { -7, -7, -7 };
	size_t count;

	make_dual_socket();
	topology = read_tree();
	CHECK_EQ(filar_topology_place(topology, FILAR_PLACE_COMPACT, cpus, 2, &count), FILAR_OK);
	CHECK_EQ(count, 2);
	CHECK_EQ(cpus[2], -7);
	CHECK_EQ(filar_topology_place(topology, 9, cpus, 2, &count), FILAR_INVALID);
	filar_topology_release(topology);
}

/* Four small cores with numbers below four large ones; no SMT; no caches described. */
static void make_big_little(void)
{
	char siblings[16];

	tree_make();
	tree_file("0-7\n", "sys/devices/system/cpu/online");
	tree_file("Cpus_allowed_list:\t0-7\n", "proc/self/status");
	for (int cpu = 0; cpu < 8; cpu++) {
		snprintf(siblings, sizeof siblings, "%d\n", cpu);
		tree_cpu(cpu, 0, siblings);
		tree_file(cpu < 4 ? "446\n" : "1024\n", "sys/devices/system/cpu/cpu%d/cpu_capacity",
			cpu);
		tree_file(cpu < 4 ? "1800000\n" : "2400000\n",
			"sys/devices/system/cpu/cpu%d/cpufreq/cpuinfo_max_freq", cpu);
	}
}

TEST(place_cores_starts_with_the_fast_ones)
{
	static const int32_t expected[] = { 4, 5, 6, 7, 0, 1, 2, 3 };
	const filar_topology *topology;

	make_big_little();
	topology = read_tree();
	CHECK_EQ(topology->cpus[0].capacity, 446);
	CHECK_EQ(topology->cpus[7].max_khz, 2400000);
	check_order(topology, FILAR_PLACE_CORES, expected, 8);
	check_order(topology, FILAR_PLACE_SCATTER, expected, 8);
	filar_topology_release(topology);
}

TEST(topology_without_caches_says_so)
{
	const filar_topology *topology;

	make_big_little();
	topology = read_tree();
	CHECK_TEXT_HAS(topology->notes, "caches are not described");
	filar_topology_release(topology);
}

TEST(topology_without_sys_counts_with_the_affinity_and_says_so)
{
	const filar_topology *topology;
	cpu_set_t set;

	tree_make();
	topology = read_tree();
	CHECK_EQ(sched_getaffinity(0, sizeof set, &set), 0);
	CHECK_GE(topology->cpu_count, CPU_COUNT(&set));
	CHECK_EQ(topology->usable_cpus, CPU_COUNT(&set));
	CHECK_EQ(topology->core_count, topology->cpu_count);
	CHECK_TEXT_HAS(topology->source, "sched_getaffinity");
	CHECK_TEXT_HAS(topology->notes, "cannot be read");
	CHECK_EQ(topology->memory.max, -1);
	CHECK_EQ(topology->group_version, 0);
	filar_topology_release(topology);
}

TEST(topology_garbage_is_treated_as_missing)
{
	const filar_topology *topology;

	tree_make();
	tree_file("0-1\n", "sys/devices/system/cpu/online");
	tree_file("8-2\n", "sys/devices/system/cpu/present");
	tree_file("99999999999999999999\n", "sys/devices/system/cpu/possible");
	tree_file("Cpus_allowed_list:\tzero\n", "proc/self/status");
	tree_cpu(0, 0, "5-6\n");
	tree_cpu(1, -3, "\n");
	tree_cache(0, 0, "1\n", "Nonsense\n", "-4K\n", "banana\n");
	tree_cache(1, 0, "many\n", "Data\n", "1K\n", "1\n");
	tree_file("0\n", "sys/devices/system/node/online");
	tree_file("MemTotal: 99999999999999999999 kB\n", "sys/devices/system/node/node0/meminfo");
	tree_file("MemTotal: none\n", "proc/meminfo");
	tree_file("0::\n9:\n:::::\n\n1:cpu\n", "proc/self/cgroup");
	tree_file("- - -\n1 2 3:4\n", "proc/self/mountinfo");
	topology = read_tree();
	CHECK_EQ(topology->cpu_count, 2);
	CHECK_EQ(topology->cpus_possible, 2);
	CHECK_EQ(topology->core_count, 2);
	CHECK_EQ(topology->cpus[1].package, -1);
	CHECK_EQ(topology->cache_count, 1);
	CHECK_EQ(topology->caches[0].bytes, 0);
	CHECK_EQ(topology->caches[0].cpu_count, 1);
	CHECK_EQ(topology->nodes[0].bytes, 0);
	CHECK_EQ(topology->memory_bytes, 0);
	CHECK_TEXT_HAS(topology->notes, "core of its own");
	filar_topology_release(topology);
}

/* ---- control groups ---- */

static void make_cgroup_v2(void)
{
	make_big_little();
	tree_file("0::/a/b\n", "proc/self/cgroup");
	tree_file("30 20 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n",
		"proc/self/mountinfo");
}

TEST(cgroup_v2_half_a_cpu_leaves_one_usable_with_a_note)
{
	const filar_topology *topology;

	make_cgroup_v2();
	tree_file("50000 100000\n", "sys/fs/cgroup/a/b/cpu.max");
	topology = read_tree();
	CHECK_EQ(topology->group_version, 2);
	CHECK_EQ((int)(topology->quota_cpus * 100), 50);
	CHECK_EQ(topology->usable_cpus, 1);
	CHECK_TEXT_HAS(topology->quota_file, "/sys/fs/cgroup/a/b/cpu.max");
	CHECK_TEXT_HAS(topology->notes, "0.50 CPUs' worth");
	filar_topology_release(topology);
}

TEST(cgroup_v2_tightest_of_all_ancestors_wins)
{
	const filar_topology *topology;

	make_cgroup_v2();
	tree_file("max 100000\n", "sys/fs/cgroup/a/b/cpu.max");
	tree_file("250000 100000\n", "sys/fs/cgroup/a/cpu.max");
	tree_file("100\n", "sys/fs/cgroup/a/b/pids.max");
	tree_file("10\n", "sys/fs/cgroup/a/b/pids.current");
	tree_file("500\n", "sys/fs/cgroup/a/pids.max");
	tree_file("480\n", "sys/fs/cgroup/a/pids.current");
	tree_file("max\n", "sys/fs/cgroup/a/b/memory.max");
	tree_file("1000000\n", "sys/fs/cgroup/memory.max");
	tree_file("0-3\n", "sys/fs/cgroup/a/b/cpuset.cpus.effective");
	topology = read_tree();
	CHECK_EQ((int)(topology->quota_cpus * 100), 250);
	CHECK_EQ(topology->usable_cpus, 2);
	/* 20 are left in /a, 90 in /a/b. */
	CHECK_EQ(topology->threads.max, 500);
	CHECK_EQ(topology->threads.used, 480);
	CHECK_TEXT_HAS(topology->threads.file, "/sys/fs/cgroup/a/pids.max");
	CHECK_EQ(topology->memory.max, 1000000);
	CHECK_EQ(topology->memory.used, -1);
	CHECK(strcmp(topology->group_cpus, "0-3") == 0);
	filar_topology_release(topology);
}

TEST(cgroup_v1_limits_are_found_per_controller)
{
	const filar_topology *topology;

	make_big_little();
	tree_file("9:name=systemd:/\n5:cpu,cpuacct:/x\n4:memory:/m\n3:pids:/p\n0::/\n",
		"proc/self/cgroup");
	tree_file("31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
		  "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup "
		  "rw,cpu,cpuacct\n"
		  "36 31 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
		  "37 31 0:34 / /sys/fs/cgroup/the\\040pids rw - cgroup cgroup rw,pids\n"
		  "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
		"proc/self/mountinfo");
	tree_file("-1\n", "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us");
	tree_file("300000\n", "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us");
	tree_file("100000\n", "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us");
	tree_file("9223372036854771712\n", "sys/fs/cgroup/memory/m/memory.limit_in_bytes");
	tree_file("77\n", "sys/fs/cgroup/the pids/p/pids.max");
	topology = read_tree();
	CHECK_EQ(topology->group_version, 1);
	CHECK_EQ((int)(topology->quota_cpus * 100), 300);
	CHECK_EQ(topology->usable_cpus, 3);
	CHECK_EQ(topology->memory.max, -1);
	CHECK_EQ(topology->threads.max, 77);
	CHECK_EQ(topology->threads.used, -1);
	filar_topology_release(topology);
}

TEST(cgroup_mounted_in_part_is_read_below_the_mount)
{
	const filar_topology *topology;

	make_big_little();
	tree_file("0::/docker/abc/inner\n", "proc/self/cgroup");
	tree_file("30 20 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
		"proc/self/mountinfo");
	tree_file("7\n", "sys/fs/cgroup/inner/pids.max");
	CHECK_EQ((topology = read_tree())->threads.max, 7);
	filar_topology_release(topology);
}

TEST(cgroup_outside_what_is_mounted_falls_back_to_the_mount_point)
{
	const filar_topology *topology;

	make_big_little();
	tree_file("0::/../elsewhere\n", "proc/self/cgroup");
	tree_file("30 20 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n", "proc/self/mountinfo");
	tree_file("8\n", "sys/fs/cgroup/pids.max");
	CHECK_EQ((topology = read_tree())->threads.max, 8);
	filar_topology_release(topology);
}

/* ---- lists, and this machine ---- */

TEST(cpulist_accepts_lists_and_nothing_else)
{
	static const char *const bad[] = { "x", "3-1", "1,,2", "1-", "-1", "99999", "1 2", "0x1" };
	struct cpu_mask mask;

	CHECK(cpulist_parse(&mask, "0-3,8,10-11\n"));
	CHECK_EQ(cpu_mask_count(&mask), 7);
	CHECK(cpu_mask_has(&mask, 8) && !cpu_mask_has(&mask, 9));
	CHECK(cpulist_parse(&mask, "\n"));
	CHECK_EQ(cpu_mask_count(&mask), 0);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		CHECK(!cpulist_parse(&mask, bad[i]));
		CHECK_EQ(cpu_mask_count(&mask), 0);
	}
}

TEST(a_file_is_read_into_the_room_there_is)
{
	char text[64], little[4];

	CHECK_EQ(textfile_read_into(text, sizeof text, "/proc/sys/kernel/ostype"), FILAR_OK);
	CHECK_EQ(strcmp(text, "Linux\n"), 0);
	CHECK_EQ(textfile_read_into(little, sizeof little, "/proc/sys/kernel/ostype"), FILAR_OK);
	CHECK_EQ(strcmp(little, "Lin"), 0);
	CHECK_EQ(textfile_read_into(text, sizeof text, "/proc/no-such-file"), FILAR_NOT_FOUND);
	CHECK_EQ(textfile_read_into(text, sizeof text, "/proc"), FILAR_SYSTEM);
	CHECK_EQ(strcmp(text, ""), 0);
}

TEST(topology_of_this_machine_agrees_with_the_system)
{
	const filar_topology *topology;
	int online = 0;

	CHECK_EQ(filar_topology_read(&topology, NULL), FILAR_OK);
	for (size_t i = 0; i < topology->cpu_count; i++) {
		online += topology->cpus[i].online;
		if (i > 0)
			CHECK(topology->cpus[i].cpu > topology->cpus[i - 1].cpu);
		CHECK_EQ(topology->cpus[i].online, topology->cpus[i].core >= 0);
	}
	CHECK_EQ(online, sysconf(_SC_NPROCESSORS_ONLN));
	CHECK_GE(topology->usable_cpus, 1);
	for (size_t i = 0; i < topology->cache_count; i++)
		CHECK_GE(topology->caches[i].cpu_count, 1);
	filar_topology_release(topology);
}

TEST(topology_of_a_pinned_process_allows_one_cpu)
{
	const filar_topology *topology;

	CHECK_EQ(affinity_pin_self(affinity_current_cpu()), FILAR_OK);
	CHECK_EQ(filar_topology_read(&topology, ""), FILAR_OK);
	CHECK_EQ(topology->usable_cpus, 1);
	filar_topology_release(topology);
}

TEST(topology_needs_a_place)
{
	CHECK_EQ(filar_topology_read(NULL, NULL), FILAR_INVALID);
	filar_topology_release(NULL);
}

TEST_MAIN()
