/*
 * api_clock.c - the public clock.
 */
#include "base/status.h"
#include "filar.h"
#include "os/clock.h"

int64_t filar_now_ns(void)
{
	return clock_now_ns();
}

int filar_clock_describe(filar_clock_info *info)
{
	if (info == NULL)
		return status_detail(FILAR_INVALID, "a place for the facts is needed");
	clock_describe(info);
	return FILAR_OK;
}
