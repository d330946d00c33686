/*
 * runtimes.h - a runtime as a program sees it, through filar.h, begun and ended by a test.
 */
#ifndef FILAR_TESTS_RUNTIMES_H
#define FILAR_TESTS_RUNTIMES_H

#include "check.h"
#include "filar.h"

static filar_runtime *start_runtime(uint32_t workers)
{
	filar_runtime_options options;
	filar_runtime *runtime;

	filar_runtime_options_init(&options);
	options.workers = workers;
	CHECK_EQ(filar_runtime_create(&runtime, &options), FILAR_OK);
	return runtime;
}

/* Lets all green threads end, and the runtime with them. */
static void stop_runtime(filar_runtime *runtime)
{
	CHECK_EQ(filar_runtime_shutdown_until(runtime, FILAR_FOREVER), FILAR_OK);
	CHECK_EQ(filar_runtime_destroy(runtime), FILAR_OK);
}

#endif
