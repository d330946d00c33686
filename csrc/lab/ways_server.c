/*
 * ways_server.c - a web server under load (serve-http): one of server.h's, which the way starts in
 * a process of its own, or one that runs elsewhere, by port and process number.
 *
 * A sample connects all clients, lets each have an answer, drives them for a window (load.h), takes
 * the server's own CPU time, context switches and memory from the kernel, hangs up, and waits until
 * the server has come to rest.  The load generator is the driver; it shares the machine with the
 * server, so what is measured is both together.
 *
 * Memory is what the server's process has grown since it started, anonymous pages and page tables:
 * sockets and kernel stacks are the kernel's and not in it.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "lab/crew.h"
#include "lab/load.h"
#include "lab/procfile.h"
#include "lab/registry.h"
#include "lab/server.h"
#include "base/memory.h"
#include "os/clock.h"
#include "os/textfile.h"

#define REST_LOOK_NS  NS_PER_MS
#define REST_MAX_NS   (2 * NS_PER_S)
#define REST_CPU_NS   (50 * NS_PER_US) /* of one look at rest: a timer, nothing else */
#define PORT_MAX      65535
#define PROCESSES_MAX (1 << 22) /* the kernel's own limit of process numbers */

enum {
	PARAM_KIND,
	PARAM_WORKERS,
	PARAM_CONNECTIONS,
	PARAM_STEPS,
	PARAM_BLOCK_US,
	PARAM_WINDOW_NS,
	PARAM_SLOW,
	PARAM_PAUSE_US,
	PARAM_RECONNECT,
	PARAM_LOCAL,
	PARAM_PATIENCE_NS,
	PARAM_PORT,
	PARAM_PROCESS
};

/* Beyond server.h's: a server that runs elsewhere. */
#define KIND_OTHER SERVER_KINDS

enum {
	METRIC_SERVED,
	METRIC_P50,
	METRIC_P99,
	METRIC_P999,
	METRIC_CPU,
	METRIC_SWITCHES,
	METRIC_MEMORY,
	METRIC_SILENT,
	METRIC_FAILED
};

struct http_way {
	struct server *server;         /* I  NULL: elsewhere */
	struct server_address address; /* I */
	pid_t process;                 /* I */
	clockid_t cpu_clock;           /* I */
	double memory;                 /* I  before the first connection, bytes */
};

struct usage {
	double cpu_ns, switches;
};

/* ---- what the kernel knows of the server ---- */

/*
 * The server may die between any two steps.  What the kernel then says depends on how far it has
 * come: first its memory is gone from /proc, then it is a zombie with one thread, then there is no
 * such process.  To the user it is server_lost(), every time.
 */

static enum filar_status read_cpu(const struct http_way *way, double *cpu_ns)
{
	struct timespec now;

	if (clock_gettime(way->cpu_clock, &now) != 0)
		return server_lost(way->process);
	*cpu_ns = (double)now.tv_sec * (double)NS_PER_S + (double)now.tv_nsec;
	return FILAR_OK;
}

static enum filar_status read_memory(const struct http_way *way, double *bytes)
{
	double tables = 0;
	char path[64];
	enum filar_status status;

	snprintf(path, sizeof path, "/proc/%d/status", (int)way->process);
	status = procfile_read_bytes(path, "RssAnon", bytes);
	if (status == FILAR_OK)
		status = procfile_read_bytes(path, "VmPTE", &tables);
	*bytes += tables;
	return status == FILAR_NOT_FOUND ? server_lost(way->process) : status;
}

/* A thread that ends meanwhile takes its count with it; within a window none does. */
static double switches_of_thread(pid_t process, const char *thread)
{
	char path[300], text[4096];
	int64_t voluntary = 0, involuntary = 0;

	snprintf(path, sizeof path, "/proc/%d/task/%s/status", (int)process, thread);
	if (textfile_read_into(text, sizeof text, path) != FILAR_OK)
		return 0;
	(void)text_number_after(text, "\nvoluntary_ctxt_switches:", &voluntary);
	(void)text_number_after(text, "\nnonvoluntary_ctxt_switches:", &involuntary);
	return (double)(voluntary + involuntary);
}

static enum filar_status sum_switches(const struct http_way *way, double *count)
{
	char path[64];
	struct dirent *entry;
	DIR *folder;

	snprintf(path, sizeof path, "/proc/%d/task", (int)way->process);
	folder = opendir(path);
	if (folder == NULL)
		return errno == ENOENT ? server_lost(way->process)
				       : status_from_errno(errno, "the threads of the server");
	*count = 0;
	while ((entry = readdir(folder)) != NULL) {
		if (entry->d_name[0] != '.')
			*count += switches_of_thread(way->process, entry->d_name);
	}
	(void)closedir(folder);
	return FILAR_OK;
}

static enum filar_status read_usage(const struct http_way *way, struct usage *usage)
{
	enum filar_status status = way->server != NULL
					   ? server_switches(way->server, &usage->switches)
					   : sum_switches(way, &usage->switches);

	return status == FILAR_OK ? read_cpu(way, &usage->cpu_ns) : status;
}

/* Connections that end leave work behind: the next sample is not to pay for it. */
static enum filar_status await_rest(const struct way_run *run, const struct http_way *way)
{
	int64_t deadline_ns = clock_now_ns() + REST_MAX_NS;
	double before = 0, after = 0;
	enum filar_status status = read_cpu(way, &before);

	while (status == FILAR_OK) {
		status = sleep_until(run, clock_now_ns() + REST_LOOK_NS);
		if (status == FILAR_OK)
			status = read_cpu(way, &after);
		if (status != FILAR_OK || after - before < (double)REST_CPU_NS ||
			clock_now_ns() > deadline_ns)
			break;
		before = after;
	}
	return status;
}

/* ---- life ---- */

static enum filar_status check_params(const int64_t *params)
{
	static const struct {
		int index;
		const char *name;
		int64_t low, high;
	} bounds[] = {
		{ PARAM_KIND, "kind", 0, KIND_OTHER },
		{ PARAM_WORKERS, "workers", 1, SERVER_WORKERS_MAX },
		{ PARAM_CONNECTIONS, "connections", 1, LOAD_CONNECTIONS_MAX },
		{ PARAM_STEPS, "steps", 0, NS_PER_S },
		{ PARAM_BLOCK_US, "block_us", 0, 10000000 },
		{ PARAM_WINDOW_NS, "window_ns", 1, 120 * NS_PER_S },
		{ PARAM_PAUSE_US, "pause_us", 1, 10000000 },
		{ PARAM_PATIENCE_NS, "patience_ns", 0, 60 * NS_PER_S },
		{ PARAM_PORT, "port", 0, PORT_MAX },
		{ PARAM_PROCESS, "process", 0, PROCESSES_MAX },
	};
	enum filar_status status = FILAR_OK;

	for (size_t i = 0; status == FILAR_OK && i < FILAR_COUNT_OF(bounds); i++)
		status = param_check(
			bounds[i].name, params[bounds[i].index], bounds[i].low, bounds[i].high);
	if (status == FILAR_OK)
		status = param_check("slow", params[PARAM_SLOW], 0, params[PARAM_CONNECTIONS] - 1);
	return status;
}

static enum filar_status find_server(struct way_run *run, struct http_way *way)
{
	const int64_t *params = run->params;
	enum filar_status status;

	if (params[PARAM_KIND] == KIND_OTHER) {
		way->address = loopback_address((uint16_t)params[PARAM_PORT]);
		way->process = (pid_t)params[PARAM_PROCESS];
		return FILAR_OK;
	}
	status = server_open(&way->server, run,
		&(struct server_options){ .kind = (enum server_kind)params[PARAM_KIND],
			.workers = (uint32_t)params[PARAM_WORKERS],
			.local = params[PARAM_LOCAL] != 0 });
	if (status == FILAR_OK) {
		way->address = *server_address(way->server);
		way->process = server_process(way->server);
	}
	return status;
}

static enum filar_status setup_http(struct way_run *run)
{
	enum filar_status status = check_params(run->params);
	struct http_way *way;

	if (status != FILAR_OK)
		return status;
	run->state = way = memory_acquire(1, sizeof *way);
	if (way == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for a server's record");
	status = find_server(run, way);
	if (status == FILAR_OK && clock_getcpuclockid(way->process, &way->cpu_clock) != 0)
		status = way->server != NULL ? server_lost(way->process)
					     : status_detail(FILAR_NOT_FOUND,
						       "there is no process %d", (int)way->process);
	return status == FILAR_OK ? read_memory(way, &way->memory) : status;
}

static void teardown_http(struct way_run *run)
{
	struct http_way *way = run->state;

	if (way == NULL)
		return;
	server_close(way->server);
	memory_release(way);
}

/* ---- a sample ---- */

static bool is_cancelled(const void *run)
{
	return way_cancelled(run);
}

static void put_latencies(struct way_run *run, const struct histogram *latencies)
{
	run->values[METRIC_P50] = histogram_quantile(latencies, 0.5);
	run->values[METRIC_P99] = histogram_quantile(latencies, 0.99);
	/* Of fewer than a thousand the last one would be all there is to it. */
	if (latencies->total >= 1000)
		run->values[METRIC_P999] = histogram_quantile(latencies, 0.999);
}

static void put_counts(struct way_run *run, const struct load_counts *counts,
	const struct usage *before, const struct usage *after)
{
	double answered = (double)counts->answered;
	double fast = (double)(run->params[PARAM_CONNECTIONS] - run->params[PARAM_SLOW]);

	run->values[METRIC_SERVED] = answered * (double)NS_PER_S / (double)counts->length_ns;
	run->values[METRIC_SILENT] = 100.0 * counts->silent / fast;
	run->values[METRIC_FAILED] = (double)counts->failed;
	/* What processes of their own use is theirs, not the server's. */
	if (counts->answered == 0 || run->params[PARAM_KIND] == SERVER_PROCESSES)
		return;
	run->values[METRIC_CPU] = (after->cpu_ns - before->cpu_ns) / answered;
	run->values[METRIC_SWITCHES] = (after->switches - before->switches) / answered;
}

static enum filar_status run_window(struct way_run *run, struct load *load)
{
	struct http_way *way = run->state;
	struct usage before, after;
	double memory = 0;
	enum filar_status status = read_usage(way, &before);

	if (status == FILAR_OK)
		status = load_run(load, run->params[PARAM_WINDOW_NS]);
	if (status == FILAR_OK)
		status = read_usage(way, &after);
	if (status == FILAR_OK)
		status = read_memory(way, &memory);
	if (status != FILAR_OK)
		return status;
	if (load_counts(load)->answered == 0 && load_counts(load)->failed > 0)
		return status_detail(
			FILAR_SYSTEM, "no request was answered: %s", load_trouble(load));
	put_latencies(run, load_latencies(load));
	put_counts(run, load_counts(load), &before, &after);
	if (run->params[PARAM_KIND] != SERVER_PROCESSES)
		run->values[METRIC_MEMORY] =
			(memory - way->memory) / (double)run->params[PARAM_CONNECTIONS];
	return FILAR_OK;
}

static enum filar_status sample_http(struct way_run *run)
{
	struct http_way *way = run->state;
	const int64_t *params = run->params;
	struct load *load = NULL;
	enum filar_status status = load_open(&load,
		&(struct load_options){ .address = (const struct sockaddr *)&way->address.storage,
			.address_bytes = way->address.bytes,
			.connections = (uint32_t)params[PARAM_CONNECTIONS],
			.slow = (uint32_t)params[PARAM_SLOW],
			.pause_ns = params[PARAM_PAUSE_US] * NS_PER_US,
			.steps = params[PARAM_STEPS],
			.block_us = params[PARAM_BLOCK_US],
			.reconnect = params[PARAM_RECONNECT] != 0,
			.patience_ns = params[PARAM_PATIENCE_NS],
			.cancelled = is_cancelled,
			.context = run });

	if (status == FILAR_OK)
		status = run_window(run, load);
	load_close(load);
	return status == FILAR_OK ? await_rest(run, way) : status;
}

const struct way ways_server[] = {
	{ .name = "serve-http",
		.summary = "clients that ask a web server again and again over the loopback, in a "
			   "closed loop; "
			   "kinds: 0 iterative, 1 a thread each, 2 a process each, 3 pool by "
			   "connection, "
			   "4 pool by request, 5 events, 6 green threads, 7 elsewhere (port, "
			   "process)",
		.params = { { "kind", SERVER_THREADS }, { "workers", 8 }, { "connections", 10 },
			{ "steps", 0 }, { "block_us", 0 }, { "window_ns", 50 * NS_PER_MS },
			{ "slow", 0 }, { "pause_us", 1000 }, { "reconnect", 0 }, { "local", 0 },
			{ "patience_ns", 300 * NS_PER_MS }, { "port", 0 }, { "process", 0 } },
		.metrics = { { "served", "1/s" }, { "latency", "ns" }, { "latency p99", "ns" },
			{ "latency p99.9", "ns" }, { "server CPU per request", "ns" },
			{ "switches per request", "count" }, { "memory per connection", "B" },
			{ "clients without an answer", "percent" }, { "failed", "count" } },
		.batch_max = 1,
		.setup = setup_http,
		.sample = sample_http,
		.teardown = teardown_http },
	{ .name = NULL },
};
