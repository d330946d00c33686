/*
 * status.h - what went wrong outside the program: a status, its name, its sentence, and the detail.
 *
 * The enum itself is public (filar.h).  A function that knows more than the status says (which CPU,
 * which limit, which errno) leaves one sentence with status_detail(); it is kept per kernel thread
 * until the next one.
 */
#ifndef FILAR_BASE_STATUS_H
#define FILAR_BASE_STATUS_H

#include "base/compiler.h"
#include "filar.h"

/* Sets the calling thread's detail and returns `status`, so that callers can `return
 * status_detail(...)`. */
enum filar_status status_detail(enum filar_status status, const char *format, ...)
	FILAR_PRINTF(2, 3);
/* The status that an errno of a system call means; the detail becomes "<what>: <strerror> (errno
 * N)". */
enum filar_status status_from_errno(int error, const char *what);

#endif
