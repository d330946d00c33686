/*
 * latch.h - waits until so many have arrived; it opens once and stays open.
 */
#ifndef FILAR_BLOCK_LATCH_H
#define FILAR_BLOCK_LATCH_H

#include "base/status.h"
#include "block/waitq.h"

struct latch {
	struct waitq queue;      /* value: how many are still missing */
	enum wait_reason reason; /* I  latch or waitgroup */
	const char *name;        /* I  for messages; may be NULL */
};

/* count <= WAITQ_VALUE_MAX; 0: open from the beginning. */
void latch_init(struct latch *latch, uint64_t count, const char *name);
/* n arrive.  FILAR_WRONG_STATE: fewer are missing; nothing has changed. */
enum filar_status latch_count_down(struct latch *latch, uint64_t n);
/* Until none is missing: what all that arrived did before is visible. */
enum filar_status latch_wait_until(struct latch *latch, int64_t deadline_ns);
/* The same without deadline, whatever happens to the thread that waits. */
void latch_wait_shielded(struct latch *latch);
uint64_t latch_missing(struct latch *latch);

/* Kind of an entry whose thread can do what is missing (pool/wait.c): woken also when something is
 * added. */
#define LATCH_HELPER 1u

#endif
