/*
 * forks.h - fork and join: a stack of forks per worker, whose oldest others may take.
 *
 * A fork is a record on its forker's stack.  The private part of the stack is touched by its owner
 * alone, with plain loads and stores; the public part, [top, split), is in one word that only
 * compare-and-swaps and additions change.  As long as something is public and untaken, a fork and
 * its join are some ten instructions.  After Lace's split deque (van Dijk, van de Pol, 2014); here
 * a claim is by number, not by pointer, and joins lower `top` again, so that neither tags nor
 * fences are needed.  The proof: README.md, "Fork and join".
 *
 * Always: top <= split <= bottom; slot i holds the fork of depth i until its join has returned.
 */
#ifndef FILAR_POOL_FORKS_H
#define FILAR_POOL_FORKS_H

#include "green/waiter.h"
#include "pool/call.h"
#include "sched/scheduler.h"

#if FILAR_HARD
#define FORKS_SLOTS_FIRST 4u
#define FORKS_PUBLIC      64u
#else
#define FORKS_SLOTS_FIRST 256u
/* Forks less deep than this are always public: where forks are few, leaves are long. */
#define FORKS_PUBLIC      4u
#endif

enum fork_state {
	FORK_OPEN,   /* private, public or being run */
	FORK_ASLEEP, /* its forker sleeps until it is done or the thief has something to help with
		      */
	FORK_DONE    /* has run; the forker's */
};

struct forks;

struct fork {
	call_body *body;               /* I */
	void *argument;                /* I */
	const struct token *token;     /* I  of the call that forked */
	_Atomic uint32_t state;        /* A  enum fork_state */
	uint32_t thief_base;           /* I  after F4: where the thief's own forks begin */
	_Atomic(struct forks *) thief; /* A  NULL until it runs there */
	struct waiter waiter;          /* S  ASLEEP: the forker's */
};

struct forks_array {
	struct forks_array *older;      /* I  outgrown, but a thief may still read it */
	uint32_t slots_count;           /* I */
	_Atomic(struct fork *) slots[]; /* A  relaxed; `open` publishes them */
};

struct forks {
	_Atomic(struct fork *) *slots;               /* W  of the array */
	uint32_t capacity;                           /* W */
	uint32_t bottom;                             /* W  forks that have not been joined */
	uint32_t split;                              /* W  as in `open` */
	uintptr_t stack_floor;                       /* I  below this address no more forks */
	struct worker *worker;                       /* I */
	struct fork *running;                        /* W  taken from another and running here */
	const struct token *token;                   /* W  of what runs here */
	FILAR_CACHELINE_BREAK _Atomic uint64_t open; /* A  top << 32 | split */
	_Atomic(struct forks_array *) array;         /* A  owner writes */
	_Atomic uint64_t taken; /* A  owner writes: forks of others that ran here */
};

#define FORKS_TOP(word)        ((uint32_t)((word) >> 32))
#define FORKS_SPLIT(word)      ((uint32_t)(word))
#define FORKS_WORD(top, split) ((uint64_t)(top) << 32 | (split))

/* On the worker's kernel thread. */
enum filar_status forks_init(struct forks *forks, struct worker *worker);
void forks_deinit(struct forks *forks);

/* Runs both; FILAR_LIMIT (stack), FILAR_NO_MEMORY: neither.  By the owner. */
enum filar_status forks_join(struct forks *forks, call_body *first, void *first_argument,
	call_body *second, void *second_argument);

/* A thief: the oldest public fork, if its depth is at least `depth_min`; or NULL. */
struct fork *forks_steal(struct forks *victim, uint32_t depth_min);
/* The thief runs it on its own stack and tells the forker. */
void forks_run(struct forks *forks, struct fork *fork);

static inline bool forks_are_open(struct forks *forks)
{
	uint64_t word = load_relaxed(&forks->open);

	return FORKS_TOP(word) < FORKS_SPLIT(word);
}

#endif
