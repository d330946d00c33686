/*
 * ways_pool_serve.c - a pool as a server: clients that send their next request when the last was
 * answered (serve-closed), and requests that arrive whenever they like (serve-open).
 *
 * A request calculates, sleeps, or both.  In the closed loop each client's request is submitted
 * again by whoever has just served it, so a client is in one place at a time: its record needs no
 * lock, the queue hands it on.  In the open loop the driver submits at the times of a Poisson
 * process.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "base/memory.h"
#include "lab/crew.h"
#include "lab/registry.h"
#include "lab/staff.h"
#include "os/clock.h"
#include "sched/blocking.h"

#define CLIENTS_MAX  4096
#define SAMPLES_EACH 512u /* latencies kept of one client */
#define ARRIVALS_MAX 65536u

static void pause_ns(int64_t length_ns)
{
	struct timespec length = clock_timespec(length_ns);

	if (length_ns > 0)
		(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &length, NULL);
}

static int compare_doubles(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

/* Sorts; NaN of nothing. */
static double percentile_of(double *values, size_t count, double share)
{
	if (count == 0)
		return NAN;
	qsort(values, count, sizeof *values, compare_doubles);
	return values[(size_t)((double)(count - 1) * share)];
}

/* ---- closed loop ---- */

enum {
	CLOSED_KIND,
	CLOSED_WORKERS,
	CLOSED_CLIENTS,
	CLOSED_STEPS,
	CLOSED_SLEEP_NS,
	CLOSED_WINDOW_NS,
	CLOSED_BLOCKED,
	CLOSED_SPARES,
	CLOSED_SETTLE_NS
};

struct client {
	struct closed *closed;        /* I */
	int64_t submitted_ns;         /* S  whoever holds the request */
	double total_ns;              /* S  of all its latencies within the window */
	uint64_t served;              /* S  within the window */
	double late_ns[SAMPLES_EACH]; /* S  the first of them */
};

struct closed {
	const struct way_run *run; /* I */
	struct staff *staff;       /* W  driver */
	struct client *clients;    /* I */
	uint32_t count;            /* I */
	int64_t begin_ns;          /* W  driver, before it submits: of the window */
	_Atomic int64_t end_ns;    /* A  relaxed: of the window; 0: cancelled */
	_Atomic int32_t refused;   /* A  relaxed: a status, if a submission failed */
	struct gate blocked;       /* A  opened at the end of the window */
	double *scratch;           /* W  driver */
};

static void count_answer(struct client *client, double late_ns)
{
	if (client->served < SAMPLES_EACH)
		client->late_ns[client->served] = late_ns;
	client->total_ns += late_ns;
	client->served++;
}

static void serve_client(void *pointer)
{
	struct client *client = pointer;
	struct closed *closed = client->closed;
	const int64_t *params = closed->run->params;
	enum filar_status status;
	int64_t now;

	spin_steps((uint64_t)params[CLOSED_STEPS]);
	pause_ns(params[CLOSED_SLEEP_NS]);
	now = clock_now_ns();
	if (now >= load_relaxed(&closed->end_ns))
		return;
	if (now >= closed->begin_ns)
		count_answer(client, (double)(now - client->submitted_ns));
	client->submitted_ns = now;
	status = staff_submit(closed->staff, serve_client, client);
	if (status != FILAR_OK)
		store_relaxed(&closed->refused, (int32_t)status);
}

/* A request that blocks its worker for the whole window, and says so to those who can help. */
static void block(void *pointer)
{
	struct closed *closed = pointer;

	blocking_begin();
	(void)gate_wait(&closed->blocked);
	blocking_end();
}

static enum filar_status check_closed(const int64_t *params)
{
	enum filar_status status = param_check("kind", params[CLOSED_KIND], 0, STAFF_KINDS - 1);

	/* Served by its submitter, a request that submits itself again would never return; a thread
	 * cannot join the thread that it starts. */
	if (status == FILAR_OK && params[CLOSED_KIND] < STAFF_TEXTBOOK)
		status = status_detail(FILAR_INVALID, "a closed loop needs a pool");
	if (status == FILAR_OK)
		status = param_check("workers", params[CLOSED_WORKERS], 1, STAFF_WORKERS_MAX);
	if (status == FILAR_OK)
		status = param_check("clients", params[CLOSED_CLIENTS], 1, CLIENTS_MAX);
	if (status == FILAR_OK)
		status = param_check("window_ns", params[CLOSED_WINDOW_NS], 1, 60 * NS_PER_S);
	if (status == FILAR_OK)
		status = param_check("sleep_ns", params[CLOSED_SLEEP_NS], 0, NS_PER_S);
	if (status == FILAR_OK)
		status = param_check("settle_ns", params[CLOSED_SETTLE_NS], 0, NS_PER_S);
	if (status == FILAR_OK)
		status = param_check("steps", params[CLOSED_STEPS], 0, NS_PER_S);
	return status == FILAR_OK
		       ? param_check("blocked", params[CLOSED_BLOCKED], 0, params[CLOSED_WORKERS])
		       : status;
}

static void teardown_closed(struct way_run *run)
{
	struct closed *closed = run->state;

	if (closed == NULL)
		return;
	staff_close(closed->staff);
	memory_release(closed->clients);
	memory_release(closed->scratch);
	memory_release(closed);
}

static enum filar_status setup_closed(struct way_run *run)
{
	enum filar_status status = check_closed(run->params);
	uint32_t count = (uint32_t)run->params[CLOSED_CLIENTS];
	struct closed *closed;

	if (status != FILAR_OK)
		return status;
	run->state = closed = memory_acquire(1, sizeof *closed);
	if (closed == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory");
	closed->run = run;
	closed->count = count;
	closed->clients = memory_acquire(count, sizeof *closed->clients);
	closed->scratch = memory_acquire((size_t)count * SAMPLES_EACH, sizeof(double));
	if (closed->clients == NULL || closed->scratch == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for %u clients", count);
	return staff_open(&closed->staff,
		&(struct staff_options){ .kind = (enum staff_kind)run->params[CLOSED_KIND],
			.workers = (uint32_t)run->params[CLOSED_WORKERS],
			.calls_max = count + (uint32_t)run->params[CLOSED_BLOCKED],
			.spares = (uint32_t)run->params[CLOSED_SPARES] });
}

static enum filar_status send_all(struct closed *closed)
{
	enum filar_status status = FILAR_OK;

	for (int64_t i = 0; status == FILAR_OK && i < closed->run->params[CLOSED_BLOCKED]; i++)
		status = staff_submit(closed->staff, block, closed);
	closed->begin_ns = clock_now_ns() + closed->run->params[CLOSED_SETTLE_NS];
	store_relaxed(&closed->end_ns, closed->begin_ns + closed->run->params[CLOSED_WINDOW_NS]);
	for (uint32_t i = 0; status == FILAR_OK && i < closed->count; i++) {
		struct client *client = &closed->clients[i];

		client->closed = closed;
		client->served = 0;
		client->total_ns = 0;
		client->submitted_ns = clock_now_ns();
		status = staff_submit(closed->staff, serve_client, client);
	}
	return status;
}

static enum filar_status run_window(struct way_run *run, struct closed *closed)
{
	enum filar_status status = send_all(closed), waited;

	if (status == FILAR_OK)
		status = sleep_until(run, load_relaxed(&closed->end_ns));
	if (status != FILAR_OK)
		store_relaxed(&closed->end_ns, 0);
	gate_open(&closed->blocked, 1);
	waited = staff_wait(closed->staff);
	if (status == FILAR_OK)
		status = (enum filar_status)load_relaxed(&closed->refused);
	return status == FILAR_OK ? waited : status;
}

static void add_up_closed(struct way_run *run, struct closed *closed)
{
	double served = 0, total_ns = 0, window_ns = (double)run->params[CLOSED_WINDOW_NS];
	size_t kept = 0;

	for (uint32_t i = 0; i < closed->count; i++) {
		const struct client *client = &closed->clients[i];
		size_t mine = client->served < SAMPLES_EACH ? client->served : SAMPLES_EACH;

		served += (double)client->served;
		total_ns += client->total_ns;
		memcpy(closed->scratch + kept, client->late_ns, mine * sizeof(double));
		kept += mine;
	}
	run->values[0] = served * (double)NS_PER_S / window_ns;
	run->values[1] = percentile_of(closed->scratch, kept, 0.5);
	run->values[2] = percentile_of(closed->scratch, kept, 0.99);
	/* Little: L = X W; L is known, each client is in the system all the time. */
	run->values[3] = total_ns / window_ns;
}

static enum filar_status sample_closed(struct way_run *run)
{
	struct closed *closed = run->state;
	enum filar_status status;

	store_relaxed(&closed->refused, FILAR_OK);
	store_relaxed(&closed->blocked.word, 0);
	status = run_window(run, closed);
	if (status == FILAR_OK)
		add_up_closed(run, closed);
	return status;
}

/* ---- open loop ---- */

enum { OPEN_KIND, OPEN_WORKERS, OPEN_PER_S, OPEN_SERVICE_NS, OPEN_COMPUTES, OPEN_WINDOW_NS };

struct arrival {
	struct open_loop *loop; /* I */
	int64_t service_ns;     /* I  drawn: exponential */
	int64_t arrived_ns;     /* S */
	int64_t began_ns;       /* S */
	int64_t ended_ns;       /* S */
};

struct open_loop {
	const struct way_run *run; /* I */
	struct staff *staff;       /* W  driver */
	struct arrival *arrivals;  /* W  driver; each entry S */
	uint32_t count;            /* W  driver */
	double *waits_ns;          /* W  driver */
};

static void serve_arrival(void *pointer)
{
	struct arrival *arrival = pointer;

	arrival->began_ns = clock_now_ns();
	if (arrival->loop->run->params[OPEN_COMPUTES] != 0) {
		spin_steps((uint64_t)arrival->service_ns);
	} else {
		/* The service time is to be as drawn; the default slack adds 50 us.  The thread is
		 * the staff's and ends with it. */
		(void)prctl(PR_SET_TIMERSLACK, 1UL);
		pause_ns(arrival->service_ns);
	}
	arrival->ended_ns = clock_now_ns();
}

static int64_t draw_exponential(struct random *random, double mean_ns)
{
	double uniform = ((double)(random_next(random) >> 11) + 0.5) / 9007199254740992.0;

	return (int64_t)(-log(uniform) * mean_ns);
}

static enum filar_status check_open(const int64_t *params)
{
	enum filar_status status =
		param_check("kind", params[OPEN_KIND], STAFF_TEXTBOOK, STAFF_KINDS - 1);

	if (status == FILAR_OK)
		status = param_check("workers", params[OPEN_WORKERS], 1, STAFF_WORKERS_MAX);
	if (status == FILAR_OK)
		status = param_check("per_s", params[OPEN_PER_S], 1, 10 * 1000 * 1000);
	if (status == FILAR_OK)
		status = param_check("service_ns", params[OPEN_SERVICE_NS], 1, NS_PER_S);
	return status == FILAR_OK
		       ? param_check("window_ns", params[OPEN_WINDOW_NS], 1, 60 * NS_PER_S)
		       : status;
}

static void teardown_open(struct way_run *run)
{
	struct open_loop *loop = run->state;

	if (loop == NULL)
		return;
	staff_close(loop->staff);
	memory_release(loop->arrivals);
	memory_release(loop->waits_ns);
	memory_release(loop);
}

static enum filar_status setup_open(struct way_run *run)
{
	enum filar_status status = check_open(run->params);
	struct open_loop *loop;

	if (status != FILAR_OK)
		return status;
	run->state = loop = memory_acquire(1, sizeof *loop);
	if (loop == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory");
	loop->run = run;
	loop->arrivals = memory_acquire(ARRIVALS_MAX, sizeof *loop->arrivals);
	loop->waits_ns = memory_acquire(ARRIVALS_MAX, sizeof *loop->waits_ns);
	if (loop->arrivals == NULL || loop->waits_ns == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for %u arrivals", ARRIVALS_MAX);
	return staff_open(&loop->staff,
		&(struct staff_options){ .kind = (enum staff_kind)run->params[OPEN_KIND],
			.workers = (uint32_t)run->params[OPEN_WORKERS],
			.calls_max = ARRIVALS_MAX });
}

/* Until the window is over; a driver that comes late submits at once, and the stamp says when. */
static enum filar_status send_arrivals(struct way_run *run, struct open_loop *loop)
{
	double gap_ns = (double)NS_PER_S / (double)run->params[OPEN_PER_S];
	int64_t due = clock_now_ns(), end = due + run->params[OPEN_WINDOW_NS];
	enum filar_status status = FILAR_OK;

	loop->count = 0;
	while (status == FILAR_OK && loop->count < ARRIVALS_MAX) {
		struct arrival *next = &loop->arrivals[loop->count];

		due += draw_exponential(run->random, gap_ns);
		if (due >= end)
			break;
		status = sleep_until(run, due);
		if (status != FILAR_OK)
			break;
		*next = (struct arrival){ .loop = loop,
			.service_ns =
				draw_exponential(run->random, (double)run->params[OPEN_SERVICE_NS]),
			.arrived_ns = clock_now_ns() };
		status = staff_submit(loop->staff, serve_arrival, next);
		loop->count += status == FILAR_OK;
	}
	return status;
}

/* Of the arrivals after the first fifth of the window, when the queue has filled. */
static void add_up_open(struct way_run *run, struct open_loop *loop)
{
	double wait_ns = 0, service_ns = 0, window_ns, workers = (double)run->params[OPEN_WORKERS];
	uint32_t first = loop->count / 5, counted = loop->count - first;

	if (counted < 2)
		return;
	window_ns = (double)(loop->arrivals[loop->count - 1].arrived_ns -
			     loop->arrivals[first].arrived_ns);
	for (uint32_t i = first; i < loop->count; i++) {
		const struct arrival *one = &loop->arrivals[i];
		double waited = (double)(one->began_ns - one->arrived_ns);

		loop->waits_ns[i - first] = waited;
		wait_ns += waited;
		service_ns += (double)(one->ended_ns - one->began_ns);
	}
	run->values[0] = wait_ns / counted;
	run->values[1] = percentile_of(loop->waits_ns, counted, 0.99);
	run->values[2] = service_ns / counted;
	run->values[3] = (counted - 1) / window_ns * (double)NS_PER_S;
	run->values[4] = (counted - 1) / window_ns * (service_ns / counted) / workers;
}

static enum filar_status sample_open(struct way_run *run)
{
	struct open_loop *loop = run->state;
	enum filar_status status, waited;

	/* Arrivals in time: without it each would be 50 us late.  0 is the default again. */
	(void)prctl(PR_SET_TIMERSLACK, 1UL);
	status = send_arrivals(run, loop);
	(void)prctl(PR_SET_TIMERSLACK, 0UL);
	waited = staff_wait(loop->staff);
	if (status == FILAR_OK && waited == FILAR_OK)
		add_up_open(run, loop);
	return status == FILAR_OK ? waited : status;
}

const struct way ways_pool_serve[] = {
	{ .name = "serve-closed",
		.summary =
			"clients that send the next request when the last is answered; a request "
			"does steps of work and sleeps; counted after settle_ns; kinds as in calls",
		.params = { { "kind", STAFF_SHARED }, { "workers", 2 }, { "clients", 8 },
			{ "steps", 0 }, { "sleep_ns", 0 }, { "window_ns", 50 * NS_PER_MS },
			{ "blocked", 0 }, { "spares", 0 }, { "settle_ns", 0 } },
		.metrics = { { "served", "1/s" }, { "latency", "ns" }, { "latency p99", "ns" },
			{ "rate x latency", "count" } },
		.batch_max = 1,
		.setup = setup_closed,
		.sample = sample_closed,
		.teardown = teardown_closed },
	{ .name = "serve-open",
		.summary = "requests that arrive as a Poisson process and need exponential times, "
			   "asleep or (computes) at work; kinds as in calls",
		.params = { { "kind", STAFF_SHARED }, { "workers", 4 }, { "per_s", 1000 },
			{ "service_ns", 500 * NS_PER_US }, { "computes", 0 },
			{ "window_ns", 200 * NS_PER_MS } },
		.metrics = { { "wait", "ns" }, { "wait p99", "ns" }, { "service", "ns" },
			{ "arrivals", "1/s" }, { "load", "ratio" } },
		.batch_max = 1,
		.setup = setup_open,
		.sample = sample_open,
		.teardown = teardown_open },
	{ .name = NULL },
};
