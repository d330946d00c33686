/*
 * crowd.h - threads of every kind around one object: green on one worker and on two, kernel, mixed.
 *
 * A crowd's bodies are the same functions for all kinds; which kind runs them must make no
 * difference.  The time of a crowd is its share of stress_seconds().
 */
#ifndef FILAR_TESTS_CROWD_H
#define FILAR_TESTS_CROWD_H

#include "green/runtime.h"
#include "stress.h"

enum crowd_kind { CROWD_GREEN_ONE, CROWD_GREEN_TWO, CROWD_KERNEL, CROWD_MIXED, CROWD_KINDS };

#define CROWD_MAX 16

struct crowd_thread {
	void (*body)(struct crowd_thread *self);
	void *shared;
	int index;
	struct random random;
	struct green_ref ref;
	pthread_t pthread;
	bool kernel;
};

static struct runtime *crowd_runtime;

__attribute__((unused)) static void crowd_start(uint32_t workers)
{
	struct runtime_options options;

	runtime_options_init(&options);
	options.workers = workers;
	CHECK_EQ(runtime_create(&crowd_runtime, &options), FILAR_OK);
}

__attribute__((unused)) static void crowd_stop(void)
{
	CHECK_EQ(runtime_shutdown_until(crowd_runtime, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(runtime_destroy(crowd_runtime), FILAR_OK);
	crowd_runtime = NULL;
}

__attribute__((unused)) static struct green_ref crowd_spawn(green_body *body, void *argument)
{
	struct green_ref ref;

	CHECK_EQ(green_spawn(&ref, crowd_runtime, NULL, body, argument), FILAR_OK);
	return ref;
}

__attribute__((unused)) static void crowd_join(struct green_ref ref)
{
	enum filar_status status;

	do {
		status = green_join_until(ref, DEADLINE_NEVER);
	} while (status == FILAR_INTERRUPTED);
	CHECK_EQ(status, FILAR_OK);
}

/* Runs body(argument) on a green thread of a fresh runtime. */
__attribute__((unused)) static void crowd_on_green(
	uint32_t workers, green_body *body, void *argument)
{
	crowd_start(workers);
	crowd_join(crowd_spawn(body, argument));
	crowd_stop();
}

__attribute__((unused)) static bool crowd_is_parked(struct green_ref ref)
{
	return load_acquire(&ref.green->state) == GREEN_PARKED;
}

/* On any thread: lets others run until it is so. */
#define YIELD_UNTIL(condition)                                                                     \
	do {                                                                                       \
		while (!(condition))                                                               \
			green_yield();                                                             \
	} while (0)

static void crowd_green_main(void *argument)
{
	struct crowd_thread *self = argument;

	self->body(self);
}

static void *crowd_kernel_main(void *argument)
{
	struct crowd_thread *self = argument;

	self->body(self);
	return NULL;
}

/* Moves one thread's steps against the others'. */
__attribute__((unused)) static void crowd_jitter(struct crowd_thread *self)
{
	uint32_t draw = random_below(&self->random, 8);

	if (draw == 0)
		green_yield();
	else
		stress_jitter(&self->random);
}

/* Deadlines of all kinds: passed, soon, later, none. */
__attribute__((unused)) static int64_t crowd_deadline(struct crowd_thread *self)
{
	switch (random_below(&self->random, 4)) {
	case 0:
		return 0;
	case 1:
		return clock_now_ns() + random_below(&self->random, 3000);
	case 2:
		return clock_now_ns() + random_below(&self->random, 100000);
	default:
		return DEADLINE_NEVER;
	}
}

/* `count` threads to their end; thread i runs bodies[i % kinds].  `share` as in stress.h. */
__attribute__((unused)) static void crowd_run(enum crowd_kind kind,
	void (*const bodies[])(struct crowd_thread *), int kinds, int count, void *shared,
	double share)
{
	static struct crowd_thread threads[CROWD_MAX];

	CHECK_LE(count, CROWD_MAX);
	alarm((unsigned)stress_seconds() + test_seconds_max());
	if (kind != CROWD_KERNEL)
		crowd_start(kind == CROWD_GREEN_ONE ? 1 : 2);
	stress_end_ns = clock_now_ns() + (int64_t)(stress_seconds() * share * 1e9);
	for (int i = 0; i < count; i++) {
		/* Mixed: whole rounds of bodies alternate, so that each body has both kinds. */
		bool kernel = kind == CROWD_KERNEL || (kind == CROWD_MIXED && i / kinds % 2 == 1);

		threads[i] = (struct crowd_thread){
			.body = bodies[i % kinds], .shared = shared, .index = i, .kernel = kernel
		};
		random_init(&threads[i].random, random_mix(check_seed() + (uint64_t)i));
	}
	for (int i = 0; i < count; i++) {
		if (threads[i].kernel)
			CHECK_EQ(pthread_create(
					 &threads[i].pthread, NULL, crowd_kernel_main, &threads[i]),
				0);
		else
			threads[i].ref = crowd_spawn(crowd_green_main, &threads[i]);
	}
	for (int i = 0; i < count; i++) {
		if (threads[i].kernel)
			CHECK_EQ(pthread_join(threads[i].pthread, NULL), 0);
		else
			crowd_join(threads[i].ref);
	}
	if (kind != CROWD_KERNEL)
		crowd_stop();
}

#endif
