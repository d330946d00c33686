/*
 * api_build.c - how this library was built: what a result needs to say beside its figures.
 *
 * The build (setup.py or the Makefile) hands in version, flags and commit as strings; what it does
 * not know is "".
 */
#include "filar.h"

#ifndef FILAR_BUILD_VERSION
#define FILAR_BUILD_VERSION ""
#endif
#ifndef FILAR_BUILD_FLAGS
#define FILAR_BUILD_FLAGS ""
#endif
#ifndef FILAR_BUILD_COMMIT
#define FILAR_BUILD_COMMIT ""
#endif

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define COMPILER "gcc " __VERSION__
#else
#define COMPILER "unknown"
#endif

const filar_build *filar_build_info(void)
{
	static const filar_build build = { .version = FILAR_BUILD_VERSION,
		.compiler = COMPILER,
		.flags = FILAR_BUILD_FLAGS,
		.commit = FILAR_BUILD_COMMIT };

	return &build;
}
