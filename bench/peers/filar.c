/*
 * filar.c - our green threads in the lines of peer.h.  Linked with libfilar.a, built without
 * assertions, as users get it.
 *
 * What the core does not have is reported with `skip` and why, so that the table says so.
 */
#include <fcntl.h>
#include <fenv.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "peer.h"

#include "arch/context.h"
#include "block/chan.h"
#include "filar.h"
#include "green/runtime.h"
#include "green/waiter.h"
#include "os/clock.h"

static struct runtime *runtime;
static struct green_ref refs[PEER_SPAWN_MANY];

static void check(int status, const char *what)
{
	if (status == FILAR_OK)
		return;
	fprintf(stderr, "%s: %s (%s)\n", what, filar_status_name(status), filar_status_detail());
	exit(1);
}

static void spawn(struct green_ref *ref, green_body *body, void *argument)
{
	check(green_spawn(ref, runtime, NULL, body, argument), "spawn");
}

static void join(struct green_ref ref)
{
	check(green_join_until(ref, DEADLINE_NEVER), "join");
}

static struct runtime *start(uint32_t workers, const int32_t *cpu)
{
	struct runtime_options options;
	struct runtime *started;

	runtime_options_init(&options);
	options.workers = workers;
	if (cpu != NULL) {
		options.pin = WORKER_PIN_LIST;
		options.cpus = cpu;
		options.cpu_count = 1;
	}
	check(runtime_create(&started, &options), "runtime");
	return started;
}

static void stop(struct runtime *started)
{
	check(runtime_shutdown_until(started, DEADLINE_NEVER), "shutdown");
	check(runtime_destroy(started), "destroy");
}

/* Runs body(argument) as the first green thread of a fresh runtime. */
static void on_runtime(uint32_t workers, green_body *body, void *argument)
{
	struct green_ref ref;

	runtime = start(workers, NULL);
	spawn(&ref, body, argument);
	join(ref);
	stop(runtime);
}

/* ---- G1: the bare switch ---- */

static struct context main_context, other_context;
static char other_stack[64 * 1024];

static void raise_float_flag(void)
{
	volatile double one = 1.0, three = 3.0, third = one / three;

	(void)third;
}

static void go_back(void *transfer, void *raise_flag)
{
	if (raise_flag != NULL)
		raise_float_flag();
	for (;;)
		transfer = context_switch(&other_context, &main_context, transfer);
}

static void measure_switch(const char *metric, void *raise_flag)
{
	feclearexcept(FE_ALL_EXCEPT);
	context_init_running(&main_context);
	context_init(&other_context, other_stack, sizeof other_stack, go_back, raise_flag);
	context_switch(&main_context, &other_context, NULL);
	for (int sample = 0; sample < PEER_SAMPLES; sample++) {
		struct peer_watch watch = peer_begin();

		feclearexcept(FE_ALL_EXCEPT); /* the watch raises some */
		for (int i = 0; i < PEER_SWITCHES; i++)
			context_switch(&main_context, &other_context, NULL);
		peer_end(watch, "G1", metric, 2.0 * PEER_SWITCHES, "ns");
	}
}

static void g1(void)
{
	measure_switch("switch", NULL);
	measure_switch("switch_flags", &main_context);
}

/* ---- G2, G3, G9: yields ---- */

struct crowd {
	const char *line, *metric;
	int members, yields, samples;
};

static int yields_each;

static void yield_often(void *argument)
{
	(void)argument;
	for (int i = 0; i < yields_each; i++)
		green_yield();
}

static void measure_crowd(void *argument)
{
	const struct crowd *crowd = argument;

	yields_each = crowd->yields;
	for (int sample = 0; sample < crowd->samples; sample++) {
		struct peer_watch watch = peer_begin();

		for (int i = 0; i < crowd->members; i++)
			spawn(&refs[i], yield_often, NULL);
		for (int i = 0; i < crowd->members; i++)
			join(refs[i]);
		peer_end(watch, crowd->line, crowd->metric, (double)crowd->members * crowd->yields,
			"ns");
	}
}

static void g2(void)
{
	struct crowd crowd = { "G2", "yield_2", 2, PEER_YIELDS / 2, PEER_SAMPLES };

	on_runtime(1, measure_crowd, &crowd);
}

static void g3(void)
{
	struct crowd thousand = { "G3", "yield_1000", 1000, PEER_YIELDS / 1000, PEER_SAMPLES };
	struct crowd ten_thousand = { "G3", "yield_10000", 10000, PEER_YIELDS / 10000,
		PEER_SAMPLES };

	on_runtime(1, measure_crowd, &thousand);
	on_runtime(1, measure_crowd, &ten_thousand);
}

static void g9(void)
{
	struct crowd crowd = { "G9", "yield_crowd", PEER_CROWD, PEER_CROWD_YIELDS, 1 };

	on_runtime(2, measure_crowd, &crowd);
}

/* ---- G4, G5: spawn and join ---- */

static void nothing(void *argument)
{
	(void)argument;
}

static void spawn_join(void *argument)
{
	(void)argument;
	for (int sample = 0; sample < PEER_SAMPLES; sample++) {
		struct peer_watch watch = peer_begin();

		for (int i = 0; i < PEER_SPAWN_JOIN; i++) {
			spawn(&refs[0], nothing, NULL);
			join(refs[0]);
		}
		peer_end(watch, "G4", "spawn_join", PEER_SPAWN_JOIN, "ns");
	}
}

static void g4(void)
{
	on_runtime(1, spawn_join, NULL);
}

/* The first time the stacks are touched for the first time. */
static void spawn_many(void *argument)
{
	(void)argument;
	for (int sample = 0; sample <= PEER_SAMPLES; sample++) {
		struct peer_watch watch = peer_begin();

		for (int i = 0; i < PEER_SPAWN_MANY; i++)
			spawn(&refs[i], nothing, NULL);
		for (int i = 0; i < PEER_SPAWN_MANY; i++)
			join(refs[i]);
		peer_end(watch, "G5", sample == 0 ? "spawn_many_first" : "spawn_many",
			PEER_SPAWN_MANY, "ns");
	}
}

static void g5(void)
{
	on_runtime(1, spawn_many, NULL);
}

/* ---- G6: memory ---- */

static void park(void *argument)
{
	(void)argument;
	(void)green_sleep_until(DEADLINE_NEVER);
}

static void g6(void)
{
	long count = peer_parked_wanted();
	double before;

	runtime = start(1, NULL);
	before = peer_resident_bytes();
	for (long i = 0; i < count; i++)
		spawn(NULL, park, NULL);
	while (load_relaxed(&runtime->scheduler.workers[0].counters.parks) < (uint64_t)count)
		peer_sleep_us(1000);
	peer_value("G6", "bytes", (peer_resident_bytes() - before) / (double)count, "B");
	peer_value("G6", "parked", (double)count, "threads");
	peer_value("G6", "guarded", runtime->pool.guard != STACK_GUARD_NONE, "bool");
	/* A million tidy ends take longer than what is measured, and tests see to them. */
	_exit(0);
}

/* ---- G7, G8: hand-off ---- */

/*
 * A signal with room for one, made of a waiter and one word: what a channel's hand-off rests on,
 * without the channel's lock, close and select.  One that sends, one that receives.
 */
struct cell {
	FILAR_CACHELINE_BREAK _Atomic(struct waiter *) word; /* A  NULL, CELL_FULL, or who waits */
};
#define CELL_FULL ((struct waiter *)1)

static void cell_send(struct cell *cell)
{
	struct waiter *found = NULL;

	if (cas_acq_rel(&cell->word, &found, CELL_FULL))
		return;
	store_relaxed(&cell->word, NULL);
	waiter_wake(found);
}

static void cell_receive(struct cell *cell)
{
	struct waiter waiter, *found = NULL;

	waiter_init(&waiter);
	if (cas_acq_rel(&cell->word, &found, &waiter)) {
		check(waiter_wait_until(&waiter, DEADLINE_NEVER, WAIT_EVENT, WAIT_SHIELDED),
			"wait");
		return;
	}
	waiter_abandon(&waiter);
	store_relaxed(&cell->word, NULL);
}

static struct cell ping, pong;

static void answer(void *argument)
{
	for (int i = *(int *)argument; i > 0; i--) {
		cell_receive(&ping);
		cell_send(&pong);
	}
}

/* The same through channels without room, as the peers do it. */
static struct chan ping_chan, pong_chan;

static void chan_put(struct chan *chan)
{
	char item = 1;

	check(chan_send_until(chan, &item, DEADLINE_NEVER), "send");
}

static void chan_take(struct chan *chan)
{
	char item;

	check(chan_receive_until(chan, &item, DEADLINE_NEVER), "receive");
}

static void answer_chan(void *argument)
{
	for (int i = *(int *)argument; i > 0; i--) {
		chan_take(&ping_chan);
		chan_put(&pong_chan);
	}
}

static void make_channels(void)
{
	check(chan_init(&ping_chan, 1, 0, NULL), "channel");
	check(chan_init(&pong_chan, 1, 0, NULL), "channel");
}

static void pingpong_same(void *argument)
{
	int count = PEER_PINGPONG;

	(void)argument;
	for (int sample = 0; sample < PEER_SAMPLES; sample++) {
		struct peer_watch watch;

		spawn(&refs[0], answer, &count);
		watch = peer_begin();
		for (int i = 0; i < count; i++) {
			cell_send(&ping);
			cell_receive(&pong);
		}
		peer_end(watch, "G7", "signal_same", 2.0 * count, "ns");
		join(refs[0]);
		spawn(&refs[0], answer_chan, &count);
		watch = peer_begin();
		for (int i = 0; i < count; i++) {
			chan_put(&ping_chan);
			chan_take(&pong_chan);
		}
		peer_end(watch, "G7", "channel_same", 2.0 * count, "ns");
		join(refs[0]);
	}
}

static void g7(void)
{
	make_channels();
	on_runtime(1, pingpong_same, NULL);
}

/* Two runtimes of one worker, each pinned to a CPU of its own: nothing can bring the two green
 * threads together. */
static struct runtime *runtimes[2];

static void pingpong_cross(void *argument)
{
	int count = PEER_CROSS;
	struct green_ref other;
	struct peer_watch watch;

	(void)argument;
	check(green_spawn(&other, runtimes[1], NULL, answer, &count), "spawn");
	watch = peer_begin();
	for (int i = 0; i < count; i++) {
		cell_send(&ping);
		cell_receive(&pong);
	}
	peer_end(watch, "G8", "signal_hot", 2.0 * count, "ns");
	join(other);
	check(green_spawn(&other, runtimes[1], NULL, answer_chan, &count), "spawn");
	watch = peer_begin();
	for (int i = 0; i < count; i++) {
		chan_put(&ping_chan);
		chan_take(&pong_chan);
	}
	peer_end(watch, "G8", "cross_hot", 2.0 * count, "ns");
	join(other);
}

static double sent_ns, delays_ns[PEER_COLD];

static void note_arrivals(void *argument)
{
	(void)argument;
	for (int i = 0; i < PEER_COLD; i++) {
		chan_take(&ping_chan);
		delays_ns[i] = peer_now_ns() - sent_ns;
		chan_put(&pong_chan);
	}
}

static int compare(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

static void wake_cold(void *argument)
{
	struct green_ref other;

	(void)argument;
	check(green_spawn(&other, runtimes[1], NULL, note_arrivals, NULL), "spawn");
	for (int i = 0; i < PEER_COLD; i++) {
		peer_sleep_us(PEER_COLD_PAUSE_US); /* this worker has nothing else to do */
		sent_ns = peer_now_ns();
		chan_put(&ping_chan);
		chan_take(&pong_chan);
	}
	join(other);
	qsort(delays_ns, PEER_COLD, sizeof delays_ns[0], compare);
	peer_value("G8", "cross_cold", delays_ns[PEER_COLD / 2], "ns");
}

static void g8(void)
{
	static const int32_t cpus[2] = { 0, 1 };
	struct green_ref ref;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2) {
		printf("skip G8 one CPU only\n");
		return;
	}
	make_channels();
	for (int i = 0; i < 2; i++)
		runtimes[i] = start(1, &cpus[i]);
	runtime = runtimes[0];
	spawn(&ref, pingpong_cross, NULL);
	join(ref);
	spawn(&ref, wake_cold, NULL);
	join(ref);
	for (int i = 0; i < 2; i++)
		stop(runtimes[i]);
}

/* ---- G10: skynet ---- */

struct node {
	long first, size, sum;
};

static void skynet_node(void *argument)
{
	static const struct green_options options = { .run_first = true };
	struct node *node = argument, children[10];
	struct green_ref child_refs[10];

	node->sum = node->first;
	if (node->size == 1)
		return;
	node->sum = 0;
	for (int i = 0; i < 10; i++) {
		children[i].size = node->size / 10;
		children[i].first = node->first + i * children[i].size;
		check(green_spawn(&child_refs[i], runtime, &options, skynet_node, &children[i]),
			"spawn");
	}
	for (int i = 0; i < 10; i++) {
		join(child_refs[i]);
		node->sum += children[i].sum;
	}
}

/* In one runtime; the first time touches the stacks. */
static void skynet(uint32_t workers, const char *first_metric, const char *metric)
{
	runtime = start(workers, NULL);
	for (int sample = 0; sample < 2; sample++) {
		struct node root = { 0, PEER_SKYNET, 0 };
		struct peer_watch watch = peer_begin();
		struct green_ref ref;

		spawn(&ref, skynet_node, &root);
		join(ref);
		peer_end(watch, "G10", sample == 0 ? first_metric : metric, 1e6, "ms");
		if (root.sum != (long)PEER_SKYNET * (PEER_SKYNET - 1) / 2) {
			fprintf(stderr, "skynet: wrong sum %ld\n", root.sum);
			exit(1);
		}
	}
	stop(runtime);
}

static void g10(void)
{
	skynet(1, "skynet_1_first", "skynet_1");
	skynet(2, "skynet_2_first", "skynet_2");
}

/* ---- G11: a body that never yields ---- */

static _Atomic bool spinning;

static void spin(void *argument)
{
	double end_ns = peer_now_ns() + PEER_SPIN_MS * 1e6;

	(void)argument;
	store_relaxed(&spinning, true);
	while (peer_now_ns() < end_ns)
		continue;
	store_relaxed(&spinning, false);
}

static void worst_gap(void *argument)
{
	double worst_ns = 0, last_ns;
	struct green_ref ref;

	(void)argument;
	check(green_spawn(
		      &ref, runtime, &(struct green_options){ .preemptible = true }, spin, NULL),
		"spawn");
	last_ns = peer_now_ns();
	do {
		double now_ns;

		green_yield();
		now_ns = peer_now_ns();
		worst_ns = now_ns - last_ns > worst_ns ? now_ns - last_ns : worst_ns;
		last_ns = now_ns;
	} while (load_relaxed(&spinning));
	peer_value("G11", "next_waits", worst_ns / 1e6, "ms");
	join(ref);
}

/* As often as Go looks (its clock tick of 10 ms). */
static void g11(void)
{
	struct runtime_options options;
	struct green_ref ref;

	runtime_options_init(&options);
	options.workers = 1;
	options.preempt_ns = 10 * NS_PER_MS;
	check(runtime_create(&runtime, &options), "runtime");
	spawn(&ref, worst_gap, NULL);
	join(ref);
	stop(runtime);
}

/* ---- G12: pipes ---- */

/* Read ends, then write ends, of there and back. */
static int there[2], back[2];

static void pipe_put(int fd)
{
	size_t done;

	check(filar_write_until(fd, "", 1, DEADLINE_NEVER, &done), "write");
}

static void pipe_take(int fd)
{
	size_t done;
	char byte;

	check(filar_read_until(fd, &byte, 1, DEADLINE_NEVER, &done), "read");
}

static void answer_pipe(void *argument)
{
	(void)argument;
	for (int i = 0; i < PEER_PIPE; i++) {
		pipe_take(there[0]);
		pipe_put(back[1]);
	}
}

static void pingpong_pipe(void *argument)
{
	(void)argument;
	for (int sample = 0; sample < PEER_SAMPLES; sample++) {
		struct peer_watch watch;

		spawn(&refs[0], answer_pipe, NULL);
		watch = peer_begin();
		for (int i = 0; i < PEER_PIPE; i++) {
			pipe_put(there[1]);
			pipe_take(back[0]);
		}
		peer_end(watch, "G12", "pipe", 2.0 * PEER_PIPE, "ns");
		join(refs[0]);
	}
}

static void g12(void)
{
	if (pipe2(there, O_NONBLOCK | O_CLOEXEC) != 0 || pipe2(back, O_NONBLOCK | O_CLOEXEC) != 0) {
		perror("pipe2");
		exit(1);
	}
	on_runtime(1, pingpong_pipe, NULL);
}

/* ---- G13: calls that may block; G14: after a burst ---- */

enum { CALLS = 1000000 };

static double calls_cpu_ns(bool marked)
{
	double start_ns = peer_cpu_ns();

	for (int i = 0; i < CALLS; i++) {
		if (marked)
			filar_blocking_begin();
		syscall(SYS_getppid);
		if (marked)
			filar_blocking_end();
	}
	return peer_cpu_ns() - start_ns;
}

/* As the Go peer: the same call with and without the bookkeeping, in CPU time. */
static void mark_calls(void *argument)
{
	(void)argument;
	for (int i = 0; i < PEER_SAMPLES; i++) {
		double plain_ns = calls_cpu_ns(false);

		peer_value("G13", "bookkeeping", (calls_cpu_ns(true) - plain_ns) / CALLS, "ns");
	}
}

static void g13(void)
{
	on_runtime(2, mark_calls, NULL);
}

static void burst(void *argument)
{
	(void)argument;
	for (int i = 0; i < PEER_BURST; i++)
		spawn(&refs[i], nothing, NULL);
	for (int i = 0; i < PEER_BURST; i++)
		join(refs[i]);
}

static void g14(void)
{
	struct green_ref ref;

	runtime = start(2, NULL);
	spawn(&ref, burst, NULL);
	join(ref);
	peer_know_threads();
	spawn(&ref, burst, NULL);
	join(ref);
	peer_report_idle_burn("G14");
	stop(runtime);
}

/* ---- G15: at rest ---- */

enum { RESTING = 1000 };

static void wait_for_token(void *argument)
{
	(void)argument;
	chan_take(&ping_chan);
}

/* As users get it: two workers, spares allowed, so there is a watcher, too. */
static void g15(void)
{
	struct green_ref ref[RESTING];

	make_channels();
	runtime = start(2, NULL);
	for (int i = 0; i < RESTING; i++)
		spawn(&ref[i], wait_for_token, NULL);
	peer_report_idle_share();
	for (int i = 0; i < RESTING; i++)
		chan_put(&ping_chan);
	for (int i = 0; i < RESTING; i++)
		join(ref[i]);
	stop(runtime);
}

int main(int argc, char **argv)
{
	static const struct peer_line lines[] = { { "G1", g1 }, { "G2", g2 }, { "G3", g3 },
		{ "G4", g4 }, { "G5", g5 }, { "G6", g6 }, { "G7", g7 }, { "G8", g8 }, { "G9", g9 },
		{ "G10", g10 }, { "G11", g11 }, { "G12", g12 }, { "G13", g13 }, { "G14", g14 },
		{ "G15", g15 }, { NULL, NULL } };

	return peer_main(lines, argc, argv);
}
