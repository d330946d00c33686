/*
 * idle.h - which workers search for work and which sleep; and whom to wake when there is new work.
 *
 * A worker is running, searching or sleeping.  Whoever makes work calls idle_wake_one() afterwards:
 * it wakes a sleeper unless a searcher is there already, who will see the work.  A searcher that
 * finds work and was the last one wakes the next if there is more.  The proof that no work is left
 * behind is in README.md, "Going to sleep"; labels I1 to I3 are those of the proof.
 *
 * Always: granted <= sleeping.
 */
#ifndef FILAR_SCHED_IDLE_H
#define FILAR_SCHED_IDLE_H

#include <stdbool.h>

#include "sched/idle_source.h"
#include "sync/eventcount.h"

/* One word, so that all transitions have one order. */
#define IDLE_SEARCHING(word) ((uint32_t)((word)&0xffff))
#define IDLE_SLEEPING(word)  ((uint32_t)((word) >> 16 & 0xffff))
#define IDLE_GRANTED(word)   ((uint32_t)((word) >> 32 & 0xffff))
#define IDLE_ONE_SEARCHING   UINT64_C(1)
#define IDLE_ONE_SLEEPING    (UINT64_C(1) << 16)
#define IDLE_ONE_GRANTED     (UINT64_C(1) << 32)
#define IDLE_WORKERS_MAX     0xffff

struct idle {
	/* searching: workers that search, and those that were woken to; sleeping: between
	 * idle_prepare_sleep() and its end; granted: of these, how many must get up and search. */
	FILAR_CACHELINE_BREAK _Atomic uint64_t word; /* A */
	struct eventcount sleepers;
	_Atomic uint32_t keeper; /* A  1: a worker sleeps until the earliest deadline */
	_Atomic(struct idle_source *) source; /* A  where the keeper waits; NULL: none */
	_Atomic uint32_t in_source; /* A  index + 1 of the one that waits there, or is about to */
	_Atomic uint64_t wakes;     /* A  for statistics */
	_Atomic int32_t
		waker_cpu; /* A  where a submitter was when it granted; -1: nowhere; a hint */
};

void idle_init(struct idle *idle);

/* running -> searching, unless `searchers_max` do already. */
bool idle_begin_search(struct idle *idle, uint32_t searchers_max);
/* searching -> running.  True for the last one, if somebody sleeps who could be woken: it looks for
 * more work and wakes another for it. */
FILAR_MUST_USE bool idle_end_search(struct idle *idle);

/* running or searching -> sleeping, still awake: the caller now looks once more for work, and then
 * either gets up or sleeps, with this ticket. */
uint32_t idle_prepare_sleep(struct idle *idle, bool was_searching);
/* Until idle_wake_*() or the deadline.  `index` is the worker's: idle_wake_worker() means it.  The
 * keeper waits in the source, if there is one.  True: it has driven the one that woke it from its
 * CPU. */
bool idle_sleep_until(
	struct idle *idle, uint32_t ticket, int64_t deadline_ns, uint32_t index, bool keeper);
/* Instead of sleeping. */
void idle_cancel_sleep(struct idle *idle);
/* sleeping -> searching, after either. */
void idle_get_up(struct idle *idle);

/* After work was made visible. */
void idle_wake_one_slow(struct idle *idle, uint64_t word);
/* The same; this worker, if it still sleeps. */
void idle_wake_this_slow(struct idle *idle, uint64_t word, uint32_t index);
/* That worker gets up and looks (and perhaps some whose numbers are 32 apart). */
void idle_wake_worker(struct idle *idle, uint32_t index);
/* From any thread: the keeper waits there from now on.  False: there is one already. */
FILAR_MUST_USE bool idle_attach_source(struct idle *idle, struct idle_source *source);
/* Somebody waits for something that only the source sees. */
static inline bool idle_source_is_wanted(struct idle *idle)
{
	struct idle_source *source = load_acquire(&idle->source);

	return source != NULL && load_relaxed(&source->wanted) > 0;
}
/* A guess: whether somebody searches, or sleeps and could be woken. */
static inline bool idle_somebody_is_free(struct idle *idle)
{
	uint64_t word = load_relaxed(&idle->word);

	return IDLE_SEARCHING(word) > 0 || IDLE_SLEEPING(word) > IDLE_GRANTED(word);
}
/* Everybody gets up and looks. */
void idle_wake_all(struct idle *idle);

static FILAR_ALWAYS_INLINE void idle_wake_one(struct idle *idle)
{
	/* I2: a read-modify-write, after the work was published.  Pairs with I1. */
	uint64_t word = fetch_add_seq_cst(&idle->word, 0);

	if (IDLE_SEARCHING(word) == 0 && IDLE_SLEEPING(word) > IDLE_GRANTED(word))
		idle_wake_one_slow(idle, word);
}

/* The same, by one who still holds the lock under which the work was published, and under which
 * those look who are about to sleep: does not write to the word either.  True: once the lock is let
 * go of, eventcount_wake_announced() is to follow. */
bool idle_grant_one_slow(struct idle *idle, uint64_t word);
static FILAR_ALWAYS_INLINE bool idle_grant_one_locked(struct idle *idle)
{
	/* I2, by a relaxed load: the lock orders it. */
	uint64_t word = load_relaxed(&idle->word);

	return IDLE_SEARCHING(word) == 0 && IDLE_SLEEPING(word) > IDLE_GRANTED(word) &&
	       idle_grant_one_slow(idle, word);
}

/* The same, after the work was published by a seq_cst store or read-modify-write to a place where
 * those about to sleep look by a seq_cst load: does not write to the word, which all workers
 * share. */
static FILAR_ALWAYS_INLINE void idle_wake_one_announced(struct idle *idle)
{
	/* I2, by a seq_cst load. */
	uint64_t word = load_seq_cst(&idle->word);

	if (IDLE_SEARCHING(word) == 0 && IDLE_SLEEPING(word) > IDLE_GRANTED(word))
		idle_wake_one_slow(idle, word);
}

#endif
