/*
 * api_clock.c - the public clock.
 */
#include "filar.h"
#include "os/clock.h"

int64_t filar_now_ns(void)
{
	return clock_now_ns();
}
