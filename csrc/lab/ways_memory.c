/*
 * ways_memory.c - what a sleeping kernel thread or process occupies, and how many fit under a
 * limit.
 *
 * Memory is read before and after creating a herd, per thread: from /proc/self/status what belongs
 * to the process, from /proc/meminfo what the kernel keeps for it.  The latter is the whole
 * machine's, so a herd must be large enough to stand out of what others do meanwhile; rounds show
 * how well it does.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"
#include "lab/child.h"
#include "lab/herd.h"
#include "lab/procfile.h"
#include "lab/registry.h"
#include "os/calls.h"
#include "os/clock.h"

enum {
	VALUE_RESIDENT,
	VALUE_VIRTUAL,
	VALUE_KERNEL_STACK,
	VALUE_PAGE_TABLES,
	VALUE_SLAB,
	VALUE_AVAILABLE
};

static const struct {
	const char *path;
	const char *field;
	int sign; /* MemAvailable falls where the others grow */
} fields[] = {
	[VALUE_RESIDENT] = { "/proc/self/status", "VmRSS", 1 },
	[VALUE_VIRTUAL] = { "/proc/self/status", "VmSize", 1 },
	[VALUE_KERNEL_STACK] = { "/proc/meminfo", "KernelStack", 1 },
	[VALUE_PAGE_TABLES] = { "/proc/meminfo", "PageTables", 1 },
	[VALUE_SLAB] = { "/proc/meminfo", "Slab", 1 },
	[VALUE_AVAILABLE] = { "/proc/meminfo", "MemAvailable", -1 },
};

_Static_assert(FILAR_COUNT_OF(fields) <= FILAR_METRICS_MAX, "a metric for each field");

#define SETTLE_STEP_NS (4 * NS_PER_MS)
#define SETTLE_LOOKS   25
#define SETTLE_STILL   3

static void read_memory(double values[])
{
	for (size_t i = 0; i < FILAR_COUNT_OF(fields); i++) {
		if (procfile_read_bytes(fields[i].path, fields[i].field, &values[i]) != FILAR_OK)
			values[i] = NAN;
	}
}

/*
 * Page tables of threads and processes that have ended are given back behind an RCU grace period:
 * what is read before it is over belongs to the round before.  Waits until the kernel's figure has
 * stood still for SETTLE_STILL looks, 100 ms at most.
 */
static void settle(void)
{
	struct timespec pause_between = clock_timespec(SETTLE_STEP_NS);
	double last = -1, now = 0;

	for (int look = 0, still = 0; look < SETTLE_LOOKS && still < SETTLE_STILL; look++) {
		if (procfile_read_bytes("/proc/meminfo", "PageTables", &now) != FILAR_OK)
			return;
		still = now == last ? still + 1 : 0;
		last = now;
		(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause_between, NULL);
	}
}

static void fill_growth(
	struct way_run *run, const double before[], const double after[], double count)
{
	for (size_t i = 0; i < FILAR_COUNT_OF(fields); i++)
		run->values[i] = fields[i].sign * (after[i] - before[i]) / count;
}

/* ---- kthread-memory ---- */

static enum filar_status sample_kthread_memory(struct way_run *run)
{
	double before[FILAR_COUNT_OF(fields)], after[FILAR_COUNT_OF(fields)];
	struct herd herd;
	enum filar_status status;

	settle();
	read_memory(before);
	status = herd_create(&herd, (uint32_t)run->params[0], (size_t)run->params[1], run);
	if (status != FILAR_OK)
		return status;
	read_memory(after);
	fill_growth(run, before, after, (double)run->params[0]);
	herd_destroy(&herd);
	return FILAR_OK;
}

/* ---- process-memory: forked children that sleep ---- */

static enum filar_status fork_sleepers(
	pid_t *children, uint32_t count, uint32_t *forked, const struct way_run *run)
{
	for (*forked = 0; *forked < count; (*forked)++) {
		enum filar_status status =
			way_cancelled(run) ? FILAR_CANCELLED : child_fork(&children[*forked], 60);

		if (status != FILAR_OK)
			return status;
		if (children[*forked] == 0) {
			for (;;)
				pause();
		}
	}
	return FILAR_OK;
}

/* What was measured is theirs only if they are still there. */
static enum filar_status check_alive(const pid_t *children, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		if (child_has_ended(children[i]))
			return status_detail(FILAR_SYSTEM,
				"a sleeping child process (%d) ended before its time",
				(int)children[i]);
	}
	return FILAR_OK;
}

static enum filar_status sample_process_memory(struct way_run *run)
{
	double before[FILAR_COUNT_OF(fields)], after[FILAR_COUNT_OF(fields)];
	uint32_t count = (uint32_t)run->params[0], forked;
	pid_t *children = memory_acquire(count, sizeof *children);
	enum filar_status status;

	if (children == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for %u process ids", count);
	settle();
	read_memory(before);
	status = fork_sleepers(children, count, &forked, run);
	read_memory(after);
	if (status == FILAR_OK)
		status = check_alive(children, count);
	if (status == FILAR_OK) {
		fill_growth(run, before, after, count);
		/* The parent's own figures say nothing of the children's. */
		run->values[VALUE_RESIDENT] = run->values[VALUE_VIRTUAL] = NAN;
	}
	while (forked > 0)
		child_kill(children[--forked]);
	memory_release(children);
	return status;
}

/* ---- thread-limit: threads until one is refused, in a child under one tightened limit ---- */

enum limit_kind { LIMIT_ADDRESS_SPACE, LIMIT_NPROC, LIMIT_MAPS };

struct limit_report {
	_Atomic uint32_t created;
	_Atomic int32_t error;
	_Atomic bool tightened, counted; /* how far the child has come */
};

#define UID_NOBODY 65534
#define MAPS_LEFT  1000
/* A fork of a program with more threads than this is counted a little too well. */
#define KEPT_STACKS_MAX 5000

static double map_count_max(void)
{
	char text[32] = "";
	int fd = call_open("/proc/sys/vm/max_map_count", 0);
	double limit = 65530; /* the kernel's default */

	if (fd < 0)
		return limit;
	if (call_read(fd, text, sizeof text - 1) > 0)
		limit = strtod(text, NULL);
	close(fd);
	return limit;
}

/* Maps single pages whose neighbours have another protection, so that none merge. */
static bool use_up_maps(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t count = (size_t)map_count_max();
	char *area = mmap(
		NULL, count * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	void *reserve[MAPS_LEFT];
	size_t kept = 0;

	if (area == MAP_FAILED)
		return false;
	/* Some maps are kept back first, then freed for the threads: the rest is driven to the
	 * limit. */
	while (kept < MAPS_LEFT) {
		reserve[kept] = mmap(NULL, page, kept % 2 ? PROT_READ : PROT_NONE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (reserve[kept] == MAP_FAILED)
			break;
		kept++;
	}
	for (size_t i = 0; i < count; i += 2) {
		if (mprotect(area + i * page, page, PROT_READ) != 0)
			break;
	}
	while (kept > 0)
		(void)munmap(reserve[--kept], page);
	return true;
}

static bool tighten(enum limit_kind kind, int64_t value)
{
	struct rlimit limit = { (rlim_t)value, (rlim_t)value };
	double virtual_bytes;

	switch (kind) {
	case LIMIT_ADDRESS_SPACE:
		if (procfile_read_bytes("/proc/self/status", "VmSize", &virtual_bytes) != FILAR_OK)
			return false;
		limit.rlim_cur = limit.rlim_max = (rlim_t)(virtual_bytes + (double)value);
		return setrlimit(RLIMIT_AS, &limit) == 0;
	case LIMIT_NPROC:
		/* Root is exempt: become nobody first where we are root. */
		return setrlimit(RLIMIT_NPROC, &limit) == 0 &&
		       (getuid() != 0 || setuid(UID_NOBODY) == 0);
	case LIMIT_MAPS:
		return use_up_maps();
	}
	return false;
}

static void *sleeper(void *unused)
{
	for (;;)
		pause();
	return unused;
}

/*
 * After a fork glibc keeps the stacks of the parent's other threads for new ones: so many threads
 * would cost neither a map nor address space.  They are used up by threads that are not counted,
 * until one takes memory.  RLIMIT_NPROC counts tasks, whatever their stacks are.
 */
static void use_up_kept_stacks(const pthread_attr_t *attributes, int64_t stack_bytes)
{
	double before, now = 0;
	pthread_t thread;

	for (int kept = 0; kept < KEPT_STACKS_MAX; kept++) {
		if (procfile_read_bytes("/proc/self/status", "VmSize", &before) != FILAR_OK ||
			pthread_create(&thread, attributes, sleeper, NULL) != 0 ||
			procfile_read_bytes("/proc/self/status", "VmSize", &now) != FILAR_OK ||
			now - before >= (double)stack_bytes)
			return;
	}
}

FILAR_NORETURN static void count_threads(struct limit_report *report, const int64_t *params)
{
	pthread_attr_t attributes;
	pthread_t thread;
	int error = 0;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, (size_t)params[2]);
	if (params[0] != LIMIT_NPROC)
		use_up_kept_stacks(&attributes, params[2]);
	if (!tighten((enum limit_kind)params[0], params[1]))
		child_exit(2);
	store_relaxed(&report->tightened, true);
	for (int64_t i = 0; i < params[3] && error == 0; i++) {
		error = pthread_create(&thread, &attributes, sleeper, NULL);
		if (error == 0)
			fetch_add_relaxed(&report->created, 1);
	}
	store_relaxed(&report->error, error);
	store_relaxed(&report->counted, true);
	child_exit(0);
}

/* Of a child that has ended. */
static enum filar_status status_of_report(const struct limit_report *report, int wait_status)
{
	if (load_relaxed(&report->counted))
		return FILAR_OK;
	if (!load_relaxed(&report->tightened) && WIFEXITED(wait_status))
		return status_detail(
			FILAR_NO_PERMISSION, "the limit could not be set in the child");
	return status_detail(FILAR_SYSTEM,
		"the child ended before a thread was refused (wait status %#x)",
		(unsigned)wait_status);
}

static enum filar_status sample_thread_limit(struct way_run *run)
{
	struct limit_report *report = shared_acquire(sizeof *report);
	enum filar_status status;
	int wait_status = 0;
	pid_t pid;

	if (report == NULL)
		return FILAR_NO_MEMORY;
	status = child_fork(&pid, 20);
	if (status == FILAR_OK && pid == 0)
		count_threads(report, run->params);
	if (status == FILAR_OK)
		status = child_reap(pid, &wait_status);
	if (status == FILAR_OK)
		status = status_of_report(report, wait_status);
	if (status == FILAR_OK) {
		run->values[0] = load_relaxed(&report->created);
		run->values[1] = load_relaxed(&report->error);
	}
	shared_release(report, sizeof *report);
	return status;
}

#define MEMORY_METRICS                                                                             \
	{                                                                                          \
		{ "resident", "B" }, { "virtual", "B" }, { "kernel stack", "B" },                  \
			{ "page tables", "B" }, { "slab", "B" },                                   \
		{                                                                                  \
			"no longer available", "B"                                                 \
		}                                                                                  \
	}

const struct way ways_memory[] = {
	{ .name = "kthread-memory",
		.summary = "memory of one of `count` sleeping kernel threads",
		.params = { { "count", 1000 }, { "stack_bytes", 0 } },
		.metrics = MEMORY_METRICS,
		.batch_max = 1,
		.sample = sample_kthread_memory },
	{ .name = "process-memory",
		.summary = "memory the kernel keeps for one of `count` sleeping forked processes",
		.params = { { "count", 100 } },
		.metrics = MEMORY_METRICS,
		.batch_max = 1,
		.sample = sample_process_memory },
	{ .name = "thread-limit",
		.summary =
			"threads created in a child process until one is refused; limit 0: `value` more bytes "
			"of address space, 1: RLIMIT_NPROC as nobody, 2: memory maps all but used up",
		.params = { { "limit", 0 }, { "value", 1 << 30 }, { "stack_bytes", 8 << 20 },
			{ "threads_max", 2000 } },
		.metrics = { { "threads", "count" }, { "errno", "count" } },
		.batch_max = 1,
		.sample = sample_thread_limit },
	{ .name = NULL },
};
