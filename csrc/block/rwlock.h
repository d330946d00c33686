/*
 * rwlock.h - many readers or one writer.
 *
 * Fair: first come, first served; readers that stand next to each other in the queue go together.
 * Nobody passes one that waits, so neither readers nor writers starve, and a reader that takes the
 * lock again while a writer waits waits for ever: do not.
 */
#ifndef FILAR_BLOCK_RWLOCK_H
#define FILAR_BLOCK_RWLOCK_H

#include "base/status.h"
#include "block/waitq.h"

struct rwlock {
	struct waitq queue;             /* value: 1 with a writer, 2 for each reader */
	_Atomic uint64_t writer_token;  /* A  0: none, or it has just come */
	_Atomic uint64_t writer_number; /* A */
	const char *name;               /* I  for messages; may be NULL */
};

void rwlock_init(struct rwlock *lock, const char *name);
/* FILAR_TIMED_OUT, FILAR_CANCELLED, FILAR_INTERRUPTED: not taken.  FILAR_DEADLOCK: the caller is
 * the writer. */
enum filar_status rwlock_read_lock_until(struct rwlock *lock, int64_t deadline_ns);
enum filar_status rwlock_write_lock_until(struct rwlock *lock, int64_t deadline_ns);
/* Never wait; FILAR_BUSY: held, or others wait. */
enum filar_status rwlock_try_read_lock(struct rwlock *lock);
enum filar_status rwlock_try_write_lock(struct rwlock *lock);
/* FILAR_WRONG_STATE: no reader has it (which reader is not known); the caller is not the writer. */
enum filar_status rwlock_read_unlock(struct rwlock *lock);
enum filar_status rwlock_write_unlock(struct rwlock *lock);

#endif
