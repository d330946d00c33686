/*
 * greens.h - one runtime of a test program, and the short words for what tests do with it.
 */
#ifndef FILAR_TESTS_GREENS_H
#define FILAR_TESTS_GREENS_H

#include "check.h"
#include "green/runtime.h"
#include "os/clock.h"

static struct runtime *runtime;

/* With spares that stand in for blocked workers, and what counts as stuck. */
__attribute__((unused)) static void start_watched(
	uint32_t workers, int32_t spares_max, int64_t watch_ns)
{
	struct runtime_options options;

	runtime_options_init(&options);
	options.workers = workers;
	options.spares_max = spares_max;
	options.watch_ns = watch_ns;
	CHECK_EQ(runtime_create(&runtime, &options), FILAR_OK);
}

/* Lets all green threads end, and the runtime with them. */
__attribute__((unused)) static void stop(void)
{
	CHECK_EQ(runtime_shutdown_until(runtime, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(runtime_destroy(runtime), FILAR_OK);
	runtime = NULL;
}

__attribute__((unused)) static struct green_ref spawn(green_body *body, void *argument)
{
	struct green_ref ref;

	CHECK_EQ(green_spawn(&ref, runtime, NULL, body, argument), FILAR_OK);
	return ref;
}

__attribute__((unused)) static void join(struct green_ref ref)
{
	CHECK_EQ(green_join_until(ref, DEADLINE_NEVER), FILAR_OK);
}

#endif
