/*
 * outside.h - kernel threads that wait for a file descriptor: ppoll, and an end to it when the fd
 * is closed.  README.md, "Kernel threads".
 *
 * fd.c waits through it for whoever is no green thread of a live runtime.
 */
#ifndef FILAR_IO_OUTSIDE_H
#define FILAR_IO_OUTSIDE_H

#include "base/status.h"

/* Until one of `events` (POLL*) is there.  FILAR_OK: *ready; FILAR_TIMED_OUT, FILAR_INTERRUPTED;
 * FILAR_CLOSED, FILAR_BUSY (look again).  FILAR_SYSTEM with *error: it failed. */
enum filar_status outside_wait_until(
	int fd, uint32_t events, int64_t deadline_ns, uint32_t *ready, int *error);
/* The same without waiting: FILAR_TIMED_OUT if there is none. */
enum filar_status outside_look(int fd, uint32_t events, uint32_t *ready, int *error);
/* Ends the waits for the fd with that outcome: FILAR_CLOSED before close(2), FILAR_BUSY after. */
void outside_end_waits(int fd, enum filar_status outcome);

#endif
