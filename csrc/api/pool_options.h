/*
 * pool_options.h - shared by the api files that take options of loops.
 */
#ifndef FILAR_API_POOL_OPTIONS_H
#define FILAR_API_POOL_OPTIONS_H

#include "pool/loop.h"

/* options NULL: the defaults.  FILAR_INVALID. */
enum filar_status pool_convert_loop(
	const filar_loop_options *options, struct loop_options *inner_options);

#endif
