/*
 * tid.h - the kernel's number of the calling thread.
 *
 * glibc has gettid() from 2.30 on, and wheels are built against 2.28 (RELEASING.md).
 */
#ifndef FILAR_BASE_TID_H
#define FILAR_BASE_TID_H

#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline int32_t tid_self(void)
{
	return (int32_t)syscall(SYS_gettid);
}

#endif
