/*
 * recursive.h - a mutex that its holder may lock again; it is free after as many unlocks.
 */
#ifndef FILAR_BLOCK_RECURSIVE_H
#define FILAR_BLOCK_RECURSIVE_H

#include "block/cond.h"
#include "block/mutex.h"

struct recursive {
	struct mutex mutex;
	uint32_t depth; /* L  the holder's: how often it is locked */
};

void recursive_init(struct recursive *recursive, const char *name);
/* As mutex_lock_until(); FILAR_LIMIT: locked 2^32 - 1 times. */
enum filar_status recursive_lock_until(struct recursive *recursive, int64_t deadline_ns);
enum filar_status recursive_trylock(struct recursive *recursive);
enum filar_status recursive_unlock(struct recursive *recursive);
bool recursive_is_mine(struct recursive *recursive);
/* As cond_wait_until(): lets it go altogether, and has it locked as often again afterwards. */
enum filar_status recursive_cond_wait_until(
	struct recursive *recursive, struct cond *cond, int64_t deadline_ns);

#endif
