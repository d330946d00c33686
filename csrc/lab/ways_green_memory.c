/*
 * ways_green_memory.c - what a parked green thread occupies, and what the kernel knows of it.
 *
 * Memory is read on the driver before the first spawn and when all are parked, per green thread.
 * A guard counts only if it refuses a byte: the kernel is asked to read one just below the stack,
 * which it can without a fault.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "lab/crew.h"
#include "lab/grove.h"
#include "lab/procfile.h"
#include "lab/registry.h"
#include "lab/tasklist.h"
#include "os/calls.h"

/* ---- green-memory ---- */

enum {
	VALUE_RESIDENT,
	VALUE_VIRTUAL,
	VALUE_PAGE_TABLES,
	VALUE_AVAILABLE,
	VALUE_GUARDED,
	VALUE_MAPS,
	VALUE_COUNT
};

_Static_assert((int)VALUE_COUNT <= (int)FILAR_METRICS_MAX, "a metric for each");

#define GUARDS_LOOKED_AT_MAX 10000u

static const struct {
	const char *path;
	const char *field;
	int sign; /* MemAvailable falls where the others grow */
} fields[] = {
	[VALUE_RESIDENT] = { "/proc/self/status", "VmRSS", 1 },
	[VALUE_VIRTUAL] = { "/proc/self/status", "VmSize", 1 },
	[VALUE_PAGE_TABLES] = { "/proc/self/status", "VmPTE", 1 },
	[VALUE_AVAILABLE] = { "/proc/meminfo", "MemAvailable", -1 },
};

/* Lines of /proc/self/maps; NaN where it cannot be read. */
static double count_maps(void)
{
	int fd = call_open("/proc/self/maps", O_RDONLY);
	char text[4096];
	double lines = 0;
	ssize_t got;

	if (fd < 0)
		return NAN;
	while ((got = call_read(fd, text, sizeof text)) > 0) {
		for (ssize_t i = 0; i < got; i++)
			lines += text[i] == '\n';
	}
	close(fd);
	return got < 0 ? NAN : lines;
}

static void read_footprint(double values[])
{
	for (size_t i = 0; i < FILAR_COUNT_OF(fields); i++) {
		if (procfile_read_bytes(fields[i].path, fields[i].field, &values[i]) != FILAR_OK)
			values[i] = NAN;
	}
	values[VALUE_MAPS] = count_maps();
}

/* Share of the members whose guard refuses a byte; all of them, or so many evenly spread. */
static double count_guarded(const struct grove *grove)
{
	uint32_t step = grove->count / GUARDS_LOOKED_AT_MAX + 1, looked = 0, refused = 0;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0)
		return NAN;
	for (uint32_t i = 0; i < grove->count; i += step, looked++) {
		const char *low = grove->members[i].ref.green->slot.low;
		char byte;

		if (write(fds[1], low - 1, 1) < 0 && errno == EFAULT)
			refused++;
		else
			(void)!read(fds[0], &byte, 1);
	}
	close(fds[0]);
	close(fds[1]);
	return (double)refused / looked;
}

struct parking {
	struct grove grove;
	uint32_t count; /* I */
};

static enum filar_status park_all(void *pointer)
{
	struct parking *state = pointer;
	enum filar_status status = grove_spawn(&state->grove, state->count, grove_sleep);

	if (status == FILAR_OK) {
		grove_await_sleepers(&state->grove);
		return FILAR_OK;
	}
	grove_cancel(&state->grove);
	grove_join(&state->grove);
	return status;
}

/* From the driver: nothing is to be allocated for it. */
static void wake_all(struct parking *state)
{
	grove_cancel(&state->grove);
	grove_join(&state->grove);
}

static enum filar_status sample_green_memory(struct way_run *run)
{
	double before[VALUE_COUNT], after[VALUE_COUNT];
	struct parking state = { .count = (uint32_t)run->params[0] };
	enum filar_status status = param_check("count", run->params[0], 1, GROVE_MEMBERS_MAX);

	if (status != FILAR_OK)
		return status;
	status = grove_open(&state.grove, run, 1, -1, state.count, &state);
	if (status != FILAR_OK)
		goto close;
	read_footprint(before);
	status = grove_run(&state.grove, park_all, &state);
	if (status != FILAR_OK)
		goto close;
	read_footprint(after);
	for (size_t i = 0; i < FILAR_COUNT_OF(fields); i++)
		run->values[i] = fields[i].sign * (after[i] - before[i]) / state.count;
	run->values[VALUE_MAPS] = after[VALUE_MAPS] - before[VALUE_MAPS];
	run->values[VALUE_GUARDED] = 100 * count_guarded(&state.grove);
	wake_all(&state);
close:
	grove_close(&state.grove);
	return status;
}

/* ---- green-seen: the system's list of threads ---- */

enum { SEEN_THREADS, SEEN_KERNEL };
enum { VALUE_BEFORE, VALUE_WITH, VALUE_ALIVE };

struct seen {
	struct tasklist before, with; /* W  driver */
};

static void count_arrival(struct crew_member *member)
{
	(void)member;
}

static enum filar_status look_at_greens(struct way_run *run, struct seen *seen, uint32_t count)
{
	struct parking state = { .count = count };
	enum filar_status status = grove_open(&state.grove, run, 1, -1, count, &state);

	if (status == FILAR_OK)
		status = tasklist_read(&seen->before);
	if (status == FILAR_OK)
		status = grove_run(&state.grove, park_all, &state);
	if (status == FILAR_OK) {
		status = tasklist_read(&seen->with);
		run->values[VALUE_ALIVE] = state.grove.count;
		wake_all(&state);
	}
	grove_close(&state.grove);
	return status;
}

static enum filar_status look_at_threads(struct way_run *run, struct seen *seen, uint32_t count)
{
	struct crew crew;
	enum filar_status status = tasklist_read(&seen->before);

	if (status == FILAR_OK)
		status = crew_create(&crew, count, NULL, count_arrival, NULL);
	if (status != FILAR_OK)
		return status;
	status = tasklist_read(&seen->with);
	run->values[VALUE_ALIVE] = crew.count;
	crew_join(&crew);
	return status;
}

static enum filar_status sample_seen(struct way_run *run)
{
	enum filar_status status = param_check("threads", run->params[SEEN_THREADS], 1, CREW_MAX);
	uint32_t count = (uint32_t)run->params[SEEN_THREADS];
	struct seen seen = { 0 };

	if (status != FILAR_OK)
		return status;
	status = run->params[SEEN_KERNEL] != 0 ? look_at_threads(run, &seen, count)
					       : look_at_greens(run, &seen, count);
	run->values[VALUE_BEFORE] = (double)tasklist_kept(&seen.before, &seen.with);
	run->values[VALUE_WITH] = (double)seen.with.count;
	tasklist_free(&seen.before);
	tasklist_free(&seen.with);
	return status;
}

const struct way ways_green_memory[] = {
	{ .name = "green-memory",
		.summary = "memory of one of `count` parked green threads; maps: of all together; "
			   "guarded: share whose guard refuses a byte",
		.params = { { "count", 1000 } },
		.metrics = { { "resident", "B" }, { "virtual", "B" }, { "page tables", "B" },
			{ "no longer available", "B" }, { "guarded", "percent" },
			{ "maps", "count" } },
		.batch_max = 1,
		.sample = sample_green_memory },
	{ .name = "green-seen",
		.summary =
			"threads in /proc/self/task before and with so many more; kernel: kernel "
			"threads instead of green threads",
		.params = { { "threads", 1000 }, { "kernel", 0 } },
		.metrics = { { "tasks before", "count" }, { "tasks with them", "count" },
			{ "alive", "count" } },
		.batch_max = 1,
		.sample = sample_seen },
	{ .name = NULL },
};
