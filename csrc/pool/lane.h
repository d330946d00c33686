/*
 * lane.h - a queue of calls under a lock: the pool's own (one for each priority) and each worker's.
 *
 * First in, first out, in linked blocks, so that nothing is copied when it grows and neighbours lie
 * in one cache line.  A lock and not a lock-free queue: it is taken once for many calls on both
 * sides, a call is found and taken out of the middle under it (by one that waits for it), and the
 * proofs of README.md rest on its order.
 *
 * Always: a call is in exactly one lane, or in the hands of the one that runs it; on its way from
 * lane to lane both locks are held.
 */
#ifndef FILAR_POOL_LANE_H
#define FILAR_POOL_LANE_H

#include <stddef.h>

#include "pool/call.h"
#include "sync/spinlock.h"

#if FILAR_HARD
#define LANE_BLOCK_CALLS 4u
#define LANE_SPARES_MAX  1u
#define LANE_COPY_MAX    2u
#else
#define LANE_BLOCK_CALLS 255u
/* Empty blocks that a lane keeps: 256 KiB. */
#define LANE_SPARES_MAX  32u
/* Calls that are copied at once from lane to lane: so few that it matters little if they are wanted
 * elsewhere, so many that the locks are no longer felt. */
#define LANE_COPY_MAX    48u
#endif
/* How many slots ahead lines are fetched that another CPU has. */
#define LANE_AHEAD 8u
/* Counts of a group that a lane takes in advance: README.md, "Where calls are". */
#define LANE_ADVANCE 32u

struct lane_block {
	struct lane_block *next;   /* L  towards the tail */
	struct lane_block *before; /* L */
	struct call calls[LANE_BLOCK_CALLS];
};

struct lane {
	struct spinlock lock;
	/* One line: all that a push and a pop touch, blocks apart. */
	struct lane_block *first; /* L  NULL: no block yet, and then last is NULL as well */
	struct lane_block *last;  /* L */
	uint32_t head;            /* L  next to pop, in first */
	uint32_t tail;            /* L  next to push, in last */
	uint32_t holes;           /* L  between these: calls that were taken out of the middle */
	uint32_t advance;         /* L  counts of `group` taken for calls that are still to come */
	struct waitgroup *group;  /* L  of the last call that lane_count_locked() counted */
	_Atomic uint64_t count;   /* A  calls in it; written under L, read by anyone */
	_Atomic uint64_t pushed;  /* A  submitted to it; written under L */
	bool closed;              /* L  refuses calls from outside */
	bool pinned;              /* I  only its worker takes from it */
	uint32_t spares;          /* L  how many */
	/* Seldom. */
	struct lane_block *spare; /* L  empty ones, linked by `next` */
	_Atomic uint64_t *moves;  /* I  the pool's: calls went from lane to lane */
};

_Static_assert(offsetof(struct lane, spare) - offsetof(struct lane, first) == FILAR_CACHELINE_BYTES,
	"one line");

void lane_init(struct lane *lane, _Atomic uint64_t *moves);
/* Frees the blocks, and forgets calls in them. */
void lane_deinit(struct lane *lane);

/* NULL: no memory.  Never with a lock held. */
struct lane_block *lane_block_create(void);
/* Locked.  True: the block is the lane's; false: it has enough, keep it. */
FILAR_MUST_USE bool lane_give_block(struct lane *lane, struct lane_block *block);

/* Counts of a group for which there was no call in the end: whoever takes something out of the
 * lane, and gets them, counts them down. */
struct lane_advance {
	struct waitgroup *group;
	uint32_t count;
};

/* Locked.  One call of the group, which is pushed next: counted in the group, if need be with some
 * in advance.  As waitgroup_add(). */
enum filar_status lane_count_locked(struct lane *lane, struct waitgroup *group);

/* Locked.  False: there is no block for another call. */
bool lane_has_room_locked(struct lane *lane);
/* Locked.  Appends; false: there is no block for it. */
bool lane_push_locked(struct lane *lane, const struct call *call);
/* Locked.  Appends the first ones, as many as the last block has room for; 0: there is no block. */
size_t lane_push_run_locked(struct lane *lane, const filar_call *list, size_t count,
	struct waitgroup *group, struct token *token);
/* Locked.  The oldest; false: empty. */
bool lane_pop_locked(struct lane *lane, struct call *call);

/* The oldest, for the lane's worker; false: empty. */
bool lane_take_own(struct lane *lane, struct call *call);
/*
 * The oldest goes to *first; of up to `more` that follow it, a block or LANE_COPY_MAX go to the end
 * of `own` (not locked), as far as it has room and its lock is free.  How many left the lane,
 * *first included; 0: *advance is left alone.
 */
uint32_t lane_take(struct lane *lane, struct call *first, struct lane *own, uint64_t more,
	struct lane_advance *advance);

/* Who waits on a worker takes out what it waits for: calls of the group, or the one with this body
 * and argument.  The youngest that fits; false: none, and *advance is left alone. */
struct lane_wish {
	const struct waitgroup *group; /* or NULL: */
	call_body *body;
	void *argument;
};
bool lane_take_wish(struct lane *lane, const struct lane_wish *wish, struct call *call,
	struct lane_advance *advance);

/* A guess unless locked. */
static inline uint64_t lane_count(struct lane *lane)
{
	return load_relaxed(&lane->count);
}

#endif
