/*
 * barrier.h - so many wait for each other, again and again.
 *
 * One that leaves early (deadline, cancel, signal) takes its arrival back: the others go on waiting
 * for as many as before.
 */
#ifndef FILAR_BLOCK_BARRIER_H
#define FILAR_BLOCK_BARRIER_H

#include "base/status.h"
#include "block/waitq.h"

struct barrier {
	struct waitq queue; /* value: how many wait */
	uint32_t parties;   /* I */
};

/* parties >= 1. */
void barrier_init(struct barrier *barrier, uint32_t parties);
/* FILAR_OK: all have arrived; *last, if not NULL: whether the caller was the last, for one. */
enum filar_status barrier_wait_until(struct barrier *barrier, int64_t deadline_ns, bool *last);
/* A moment's view. */
uint32_t barrier_waiting(struct barrier *barrier);

#endif
