/*
 * deadlock.h - who waits for which mutex, and whether that leads back to oneself.
 *
 * Each wait for a mutex without a deadline is an edge of the graph: thread -> mutex -> its owner.
 * Whoever adds an edge looks afterwards whether it closes a cycle, so a cycle is found by the last
 * thread that joins it.  README.md, "Deadlock detector", has the argument and the limits.
 */
#ifndef FILAR_BLOCK_DEADLOCK_H
#define FILAR_BLOCK_DEADLOCK_H

#include "base/status.h"
#include "block/owner.h"

struct mutex;
struct green;

/* Threads in the longest cycle that is found. */
#define DEADLOCK_THREADS_MAX 16u

/* On the stack of the one that waits. */
struct deadlock_edge {
	struct deadlock_edge *next; /* L */
	struct deadlock_edge **at;  /* L  what points to this */
	struct owner owner;         /* I  who waits */
	struct green *green;        /* I  the same; NULL: a kernel thread */
	struct mutex *mutex;        /* I  for what; lives as long as the edge is there */
	uint64_t serial;            /* I  of this wait */
};

/* The caller is queued at the mutex, and waits for it without a deadline. */
void deadlock_add(struct deadlock_edge *edge, struct mutex *mutex, struct owner owner);
void deadlock_remove(struct deadlock_edge *edge);
/* FILAR_DEADLOCK: the detail names the cycle; else FILAR_OK. */
enum filar_status deadlock_check(const struct deadlock_edge *edge);

#endif
