/*
 * test_idle_source.c - workers that wait in a source of events instead of on their futex: a pipe,
 * as an I/O poller would have many.  What is lost shows as a hang.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "green/runtime.h"
#include "green/waiter.h"
#include "stress.h"

/* Each event in the pipe is the address of a waiter to wake. */
struct pipe_source {
	struct idle_source source;
	int events[2];
	int interrupts;
	_Atomic uint32_t waits_timed, polls_on_time, polls_empty;
	_Atomic bool waiting;
};

static struct pipe_source pipe_source;
static struct runtime *runtime;

static void wait_in_pipe(struct idle_source *source, int64_t deadline_ns)
{
	struct pipe_source *self = FILAR_CONTAINER_OF(source, struct pipe_source, source);
	struct pollfd fds[2] = { { self->events[0], POLLIN, 0 }, { self->interrupts, POLLIN, 0 } };
	int64_t left_ns = deadline_ns - clock_now_ns();
	struct timespec left = clock_timespec(left_ns);
	uint64_t value;

	CHECK(!exchange_acq_rel(&self->waiting, true)); /* one at a time */
	if (deadline_ns != DEADLINE_NEVER)
		fetch_add_relaxed(&self->waits_timed, 1);
	(void)ppoll(fds, 2, deadline_ns == DEADLINE_NEVER ? NULL : &left, NULL);
	store_release(&self->waiting, false);
	if ((fds[1].revents & POLLIN) != 0)
		CHECK_EQ(read(self->interrupts, &value, sizeof value), sizeof value);
}

static void poll_pipe(struct idle_source *source, struct worker *worker, enum idle_poll when)
{
	struct pipe_source *self = FILAR_CONTAINER_OF(source, struct pipe_source, source);
	struct waiter *waiter;

	CHECK(worker == worker_here());
	fetch_add_relaxed(when == IDLE_POLL_ON_TIME ? &self->polls_on_time : &self->polls_empty, 1);
	while (read(self->events[0], &waiter, sizeof waiter) == sizeof waiter)
		waiter_wake(waiter);
}

static void interrupt_pipe(struct idle_source *source)
{
	struct pipe_source *self = FILAR_CONTAINER_OF(source, struct pipe_source, source);
	uint64_t one = 1;

	CHECK_EQ(write(self->interrupts, &one, sizeof one), sizeof one);
}

static void start(uint32_t workers, bool spares)
{
	struct runtime_options options;

	pipe_source = (struct pipe_source){ .source = { .wait_until = wait_in_pipe,
						    .poll = poll_pipe,
						    .interrupt = interrupt_pipe } };
	CHECK_EQ(pipe2(pipe_source.events, O_NONBLOCK), 0);
	pipe_source.interrupts = eventfd(0, 0);
	runtime_options_init(&options);
	options.workers = workers;
	options.spares_max = spares ? 4 : 0;
	CHECK_EQ(runtime_create(&runtime, &options), FILAR_OK);
}

static void attach(void)
{
	CHECK(scheduler_attach_source(&runtime->scheduler, &pipe_source.source));
	CHECK(!scheduler_attach_source(&runtime->scheduler, &pipe_source.source));
}

static void stop(void)
{
	CHECK_EQ(runtime_shutdown_until(runtime, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(runtime_destroy(runtime), FILAR_OK);
	close(pipe_source.events[0]);
	close(pipe_source.events[1]);
	close(pipe_source.interrupts);
}

/* What a read of a socket will be: wait for an event. */
struct reader {
	struct waiter waiter;
	_Atomic bool ready;
	_Atomic bool done;
};

static void wait_for_event(void *argument)
{
	struct reader *reader = argument;

	fetch_add_seq_cst(&pipe_source.source.wanted, 1);
	waiter_init(&reader->waiter);
	store_release(&reader->ready, true);
	CHECK_EQ(waiter_wait_until(&reader->waiter, DEADLINE_NEVER, WAIT_EVENT, WAIT_SHIELDED),
		FILAR_OK);
	fetch_sub_seq_cst(&pipe_source.source.wanted, 1);
	store_release(&reader->done, true);
}

static void send_event(struct reader *reader)
{
	struct waiter *waiter = &reader->waiter;

	CHECK_EQ(write(pipe_source.events[1], &waiter, sizeof waiter), sizeof waiter);
}

static struct green_ref spawn(green_body *body, void *argument)
{
	struct green_ref ref;

	CHECK_EQ(green_spawn(&ref, runtime, NULL, body, argument), FILAR_OK);
	return ref;
}

static void join(struct green_ref ref)
{
	CHECK_EQ(green_join_until(ref, DEADLINE_NEVER), FILAR_OK);
}

TEST(an_event_wakes_an_idle_runtime)
{
	for (uint32_t workers = 1; workers <= 3; workers++) {
		start(workers, workers == 2);
		attach();
		for (int i = 0; i < 20; i++) {
			struct reader reader = { .ready = false };
			struct green_ref ref = spawn(wait_for_event, &reader);

			WAIT_UNTIL(load_acquire(&reader.ready));
			if (i % 2 == 0)
				WAIT_UNTIL(load_acquire(&pipe_source.waiting));
			send_event(&reader);
			join(ref);
		}
		stop();
	}
}

static void set_flag(void *argument)
{
	store_release((_Atomic bool *)argument, true);
}

TEST(work_from_outside_interrupts_the_only_worker_in_the_source)
{
	start(1, false);
	attach();
	for (int i = 0; i < 200; i++) {
		_Atomic bool flag = false;

		WAIT_UNTIL(load_acquire(&pipe_source.waiting));
		join(spawn(set_flag, &flag));
		CHECK(load_acquire(&flag));
	}
	stop();
}

static void sleep_a_little(void *argument)
{
	(void)argument;
	CHECK_EQ(green_sleep_until(clock_now_ns() + NS_PER_MS), FILAR_OK);
}

TEST(deadlines_end_a_wait_in_the_source)
{
	for (uint32_t workers = 1; workers <= 2; workers++) {
		start(workers, false);
		attach();
		/* On a busy machine a deadline may pass before anybody has come to the source. */
		for (int i = 0; i < 20 || load_relaxed(&pipe_source.waits_timed) < 5; i++)
			join(spawn(sleep_a_little, NULL));
		stop();
	}
}

TEST(a_source_may_come_when_workers_sleep_already)
{
	struct reader reader = { .ready = false };
	struct green_ref ref;

	start(2, false);
	ref = spawn(wait_for_event, &reader);
	WAIT_UNTIL(load_acquire(&reader.ready));
	WAIT_UNTIL(IDLE_SLEEPING(load_relaxed(&runtime->scheduler.idle.word)) == 2);
	send_event(&reader);
	attach();
	join(ref);
	stop();
}

struct yielder {
	struct reader *reader;
	_Atomic bool runs;
};

static void yield_until_done(void *argument)
{
	struct yielder *yielder = argument;

	store_release(&yielder->runs, true);
	while (!load_acquire(&yielder->reader->done))
		green_yield();
}

TEST(a_busy_worker_looks_at_the_source_now_and_then)
{
	struct reader reader = { .ready = false };
	struct yielder yielders[2] = { { .reader = &reader }, { .reader = &reader } };
	struct green_ref refs[3];

	start(1, false);
	attach();
	refs[0] = spawn(wait_for_event, &reader);
	refs[1] = spawn(yield_until_done, &yielders[0]);
	refs[2] = spawn(yield_until_done, &yielders[1]);
	WAIT_UNTIL(load_acquire(&reader.ready));
	/* One that yields alone leaves the queue empty: the worker would look for that reason. */
	for (int i = 0; i < 2; i++)
		WAIT_UNTIL(load_acquire(&yielders[i].runs));
	send_event(&reader);
	for (int i = 0; i < 3; i++)
		join(refs[i]);
	/* In hard builds a yield leaves the queue empty each time. */
	CHECK_GE(load_relaxed(&pipe_source.polls_on_time) + FILAR_HARD, 1);
	stop();
}

static void compute_until_done(void *argument)
{
	struct reader *reader = argument;

	while (!load_acquire(&reader->done))
		;
}

/* One worker computes, the other sleeps on its futex: it must come to keep the source. */
TEST(a_worker_that_computes_leaves_the_source_to_another)
{
	for (int spares = 0; spares < 2; spares++) {
		struct reader reader = { .ready = false };
		struct green_ref refs[2];

		start(2, spares == 1);
		attach();
		refs[0] = spawn(wait_for_event, &reader);
		WAIT_UNTIL(load_acquire(&reader.ready));
		refs[1] = spawn(compute_until_done, &reader);
		send_event(&reader);
		join(refs[0]);
		join(refs[1]);
		stop();
	}
}

static void make_events(struct stress_thread *self)
{
	while (stress_goes_on()) {
		struct reader reader = { .ready = false };
		struct green_ref ref = spawn(wait_for_event, &reader);

		while (!load_acquire(&reader.ready))
			sched_yield();
		stress_jitter(&self->random);
		send_event(&reader);
		if (random_below(&self->random, 4) == 0)
			join(spawn(sleep_a_little, NULL));
		join(ref);
		stress_jitter(&self->random);
	}
}

/*
 * Hunts: the keeper has looked at everything and goes into the source just when work is submitted
 * and nobody else sleeps (U1, U2); an event that comes when the keeper has just left and the others
 * rely on it.
 */
TEST(neither_events_nor_wakes_are_lost)
{
	for (uint32_t workers = 1; workers <= 3; workers++) {
		for (int spares = 0; spares < 2; spares++) {
			start(workers, spares == 1);
			attach();
			stress_run(make_events, (int)workers, NULL, 0.15);
			stop();
		}
	}
}

TEST_MAIN()
