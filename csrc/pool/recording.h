/*
 * recording.h - a program of forks and loops, taken down while one thread runs all of it.
 *
 * Outside of a pool filar_join() is two calls, one after the other.  On a thread that is being
 * recorded these two, and the pieces of the loops it calls, are timed, and what it ran becomes a
 * tree: strands (code without a fork), sequences, forks, loops.  Work and span can be read off the
 * tree, and a simulation can run it on any number of workers.
 *
 * Inside a pool nothing is recorded and nothing is asked: there the code is what it was.
 *
 * Fine forks.  Two stamps cost more than the shortest bodies.  So what forks below a body at a
 * depth that lately took less than the grain is only counted, not timed (it is *quiet*), and what
 * the stamps and the counting cost is measured when a recording begins, and taken off.
 *
 * Memory is taken once, at the start.  When the tree is full, the grain is doubled and everything
 * finished with less work than it becomes one strand, until a quarter is free.
 *
 * Always: only the thread that started a recording touches it until it is stopped.
 */
#ifndef FILAR_POOL_RECORDING_H
#define FILAR_POOL_RECORDING_H

#include "filar.h"
#include "pool/call.h"

struct recording;

/* How many threads are being recorded.  Hidden: read by its distance, not through a table. */
extern _Atomic uint32_t recordings_running __attribute__((visibility("hidden")));

struct recording *recording_current_slow(void);
/* The caller's, or NULL; for code that does not stand on a worker. */
static FILAR_ALWAYS_INLINE struct recording *recording_current(void)
{
	/* Relaxed: a thread sees the count that it has raised itself. */
	return FILAR_LIKELY(load_relaxed(&recordings_running) == 0) ? NULL
								    : recording_current_slow();
}

/* FILAR_NO_MEMORY; FILAR_BUSY: the thread is being recorded; FILAR_WRONG_STATE: it is a worker. */
enum filar_status recording_start(
	struct recording **recording, const filar_recording_options *options);
/* By the thread that started it; else, or inside of one of its forks, FILAR_WRONG_STATE. */
enum filar_status recording_stop(struct recording *recording, filar_recording_totals *totals);
/* Of one that was stopped: parents before children, children in order.  How many there are. */
size_t recording_copy(const struct recording *recording, filar_recorded_part *parts, size_t max);
/* FILAR_BUSY: it runs, on another thread or with a fork open. */
enum filar_status recording_destroy(struct recording *recording);

/* ---- what runs, by the recorded thread ---- */

enum filar_status recording_join(struct recording *recording, call_body *first,
	void *first_argument, call_body *second, void *second_argument);

/* What pool_call() would have a worker do. */
void recording_call(struct recording *recording, call_body *body, void *argument);

/* A loop: begin, then for each piece begin_piece, the body, end_piece; then end. */
struct recording_frame {
	struct recording_frame *outer; /* W */
	uint32_t node;                 /* W  the fork or loop that this is a part of */
	uint32_t sequence;             /* W  what was done in this part so far */
};

/* False: it is quiet, and may be run in one piece without further calls. */
bool recording_begin_loop(struct recording *recording, const filar_recorded_part *loop,
	struct recording_frame *frame);
void recording_begin_piece(struct recording *recording, struct recording_frame *frame);
/* How long it took, ns. */
double recording_end_piece(
	struct recording *recording, struct recording_frame *frame, int64_t steps);
void recording_end_loop(struct recording *recording, struct recording_frame *frame);

/* Fork and join outside of a pool: one after the other. */
static FILAR_ALWAYS_INLINE enum filar_status join_outside(
	call_body *first, void *first_argument, call_body *second, void *second_argument)
{
	struct recording *recording = recording_current();

	if (FILAR_UNLIKELY(recording != NULL))
		return recording_join(recording, first, first_argument, second, second_argument);
	first(first_argument);
	second(second_argument);
	return FILAR_OK;
}

#endif
