/*
 * stack.h - stacks for green threads: guarded, recycled, a million at a time.
 *
 * A stack and the descriptor of the green thread that stands on it are one *slot* of a *slab*:
 *
 *   low                                                                    high
 *   | guard | usable stack ............................ | descriptor | colour |
 *
 * so that a parked green thread whose body is shallow keeps one page resident.  The descriptor
 * begins with a struct stack_slot.  Its place moves by `colour` bytes from slot to slot: with all
 * tops at one offset of a page, all descriptors would share a few sets of the cache.
 *
 * Slabs are reservations of address space, one size class each, doubling in size; a slot costs
 * memory once it is touched.  Freed slots go to the cache of their worker, from a full cache in
 * batches to the pool.  A batch gives back the pages beyond the topmost STACK_KEPT_BYTES of each
 * that was used deeply.
 *
 * Always: slot memory stays mapped until the pool ends, and a descriptor's slot never changes its
 * class: an old pointer to a descriptor may be looked at, though what is there may be someone
 * else's.
 */
#ifndef FILAR_GREEN_STACK_H
#define FILAR_GREEN_STACK_H

#include <stdbool.h>

#include "os/memory.h"
#include "sync/spinlock.h"

#define STACK_CLASSES        16
#define STACK_BYTES_SMALLEST ((size_t)16 * 1024) /* class 0; each class is twice the one before */
#define STACK_BYTES_LARGEST  (STACK_BYTES_SMALLEST << (STACK_CLASSES - 1))
#define STACK_KEPT_BYTES     ((size_t)16 * 1024)
#define STACK_COLOURS        32
#define STACK_SLABS_MAX      32

/* How many free stacks a worker keeps per class, and how many move at a time. */
#if FILAR_HARD || FILAR_INTERLEAVE
#define STACK_CACHE_MAX 4u
#define STACK_BATCH     2u
#else
#define STACK_CACHE_MAX 128u
#define STACK_BATCH     64u
#endif
#define STACK_AHEAD 8u /* spawns between fetching a slot and using it */
_Static_assert(STACK_BATCH <= PAGE_RANGES_MAX, "a batch is given back in one call");

struct stack_slot {
	void *low;            /* I  lowest usable byte; the stack ends where the slot begins */
	uint32_t class_index; /* I */
	uint32_t valgrind;    /* I  number of the stack there; 0 without */
};

struct stack_batch; /* free slots; written into the stack of the first of them */

struct stack_slab {
	_Atomic(char *) base;    /* A  published with Z1 */
	size_t slots;            /* I */
	_Atomic uint64_t carved; /* A  slots that have a guard; the first `carved` ones */
};

struct stack_class {
	size_t stack_bytes;                       /* I  usable, descriptor included */
	size_t slot_bytes;                        /* I  with the guard */
	struct stack_batch *batches;              /* L */
	_Atomic uint32_t slab_count;              /* A  written under L */
	struct stack_slab slabs[STACK_SLABS_MAX]; /*    see stack_slab */
};

struct stack_pool {
	struct spinlock lock;
	size_t guard_bytes;                        /* I  0: no guards */
	size_t descriptor_bytes;                   /* I */
	enum stack_guard guard;                    /* L  BEST until the first guard is installed */
	struct stack_class classes[STACK_CLASSES]; /*    see stack_class */
	/* For the overflow message: "green thread 7 \"worker\"" into text.  Runs in a signal
	 * handler. */
	void (*describe)(const struct stack_slot *slot, char *text, size_t bytes); /* I */
};

/* The free slots of one worker; only it touches them.  Arrays and not lists through the slots: what
 * the next spawns will touch is known ahead and can be fetched ahead. */
struct stack_cache {
	uint32_t count[STACK_CLASSES];                           /* W */
	struct stack_slot *free[STACK_CLASSES][STACK_CACHE_MAX]; /* W  the last one goes first */
};

/* `guard` NONE: no guards.  FILAR_LIMIT when too many pools are alive to watch them all. */
enum filar_status stack_pool_init(struct stack_pool *pool, size_t descriptor_bytes,
	enum stack_guard guard,
	void (*describe)(const struct stack_slot *slot, char *text, size_t bytes));
/* Nobody may stand on a stack of it or look at a descriptor any more. */
void stack_pool_deinit(struct stack_pool *pool);

/* The class that holds `bytes` (0 < bytes <= STACK_BYTES_LARGEST). */
uint32_t stack_class_index(size_t bytes);
size_t stack_class_bytes(uint32_t class_index);

/* Refills the cache of that class: FILAR_OK and at least one slot is there, or FILAR_NO_MEMORY or
 * FILAR_LIMIT with the limit's name. */
enum filar_status stack_cache_fill(
	struct stack_pool *pool, struct stack_cache *cache, uint32_t class_index);
/* Moves a batch to the pool. */
void stack_cache_spill(struct stack_pool *pool, struct stack_cache *cache, uint32_t class_index);

/* What a spawn will write: the descriptor's two lines, and the first frame below it. */
static FILAR_ALWAYS_INLINE void stack_prefetch(const struct stack_slot *slot)
{
	__builtin_prefetch(slot, 1);
	__builtin_prefetch((const char *)slot + FILAR_CACHELINE_BYTES, 1);
	__builtin_prefetch((const char *)slot - (size_t)3 * FILAR_CACHELINE_BYTES, 1);
}

/* A slot whose stack may be used now; the descriptor behind its stack_slot is as its last owner
 * left it, or zero. */
static inline enum filar_status stack_acquire(struct stack_slot **slot, struct stack_pool *pool,
	struct stack_cache *cache, uint32_t class_index)
{
	uint32_t count = cache->count[class_index];

	if (FILAR_UNLIKELY(count == 0)) {
		enum filar_status status = stack_cache_fill(pool, cache, class_index);

		if (status != FILAR_OK) {
			*slot = NULL;
			return status;
		}
		count = cache->count[class_index];
	}
	*slot = cache->free[class_index][--count];
	cache->count[class_index] = count;
	if (count >= STACK_AHEAD)
		stack_prefetch(cache->free[class_index][count - STACK_AHEAD]);
	return FILAR_OK;
}

/* Nobody stands on it any more. */
static inline void stack_release_slot(
	struct stack_pool *pool, struct stack_cache *cache, struct stack_slot *slot)
{
	uint32_t class_index = slot->class_index;

	cache->free[class_index][cache->count[class_index]++] = slot;
	if (FILAR_UNLIKELY(cache->count[class_index] == STACK_CACHE_MAX))
		stack_cache_spill(pool, cache, class_index);
}

/* Calls visit for every slot that was ever handed out, in no order; others may run meanwhile. */
void stack_pool_for_each(struct stack_pool *pool,
	void (*visit)(struct stack_slot *slot, void *argument), void *argument);

/* Slots handed out or cached so far. */
uint64_t stack_pool_carved(struct stack_pool *pool);

/*
 * The message on overflow needs a handler for SIGSEGV (installed once, when the first pool is made;
 * whatever handler was there is called for every other fault) and, per kernel thread that runs
 * green threads, a stack to run it on.
 */
struct signal_stack {
	void *memory; /* I */
	void *before; /* I  what was installed before */
	size_t bytes; /* I  likewise */
	int flags;    /* I  likewise */
};
enum filar_status signal_stack_install(struct signal_stack *stack);
void signal_stack_remove(struct signal_stack *stack);

#endif
