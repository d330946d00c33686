/*
 * mailbox.h - one place in which a piece of work from outside is put right before the eyes of a
 * worker that searches.
 *
 * A worker that searches opens it, and closes it before it sleeps or runs anything; whoever submits
 * work finds it open and puts it there by one compare-and-swap: no lock, no look for sleepers, no
 * second cache line.  Any worker may take what is there.  README.md, "Submitting from outside", has
 * the argument.
 *
 *   SHUT -> OPEN         a worker begins to search
 *   OPEN -> work         mailbox_post, from outside
 *   work -> SHUT         any worker takes it
 *   OPEN -> SHUT         a worker ends its search: its own opening, or another's
 */
#ifndef FILAR_SCHED_MAILBOX_H
#define FILAR_SCHED_MAILBOX_H

#include <stdbool.h>

#include "base/atomic.h"
#include "sched/work.h"

#define MAILBOX_SHUT ((struct work *)0)
#define MAILBOX_OPEN ((struct work *)1)

struct mailbox {
	FILAR_CACHELINE_BREAK _Atomic(struct work *) word; /* A */
};

static inline bool mailbox_is_full(struct mailbox *mailbox)
{
	return (uintptr_t)load_relaxed(&mailbox->word) > (uintptr_t)MAILBOX_OPEN;
}

/* Unless another worker has done so; the caller closes it in any case. */
static inline void mailbox_open(struct mailbox *mailbox)
{
	struct work *found = MAILBOX_SHUT;

	if (load_relaxed(&mailbox->word) == MAILBOX_SHUT)
		(void)cas_acq_rel(&mailbox->word, &found, MAILBOX_OPEN);
}

/* False: it is not open.  True: the last touch of the scheduler by the caller. */
static inline bool mailbox_post(struct mailbox *mailbox, struct work *work)
{
	struct work *found = MAILBOX_OPEN;

	/* M1: release, the work; pairs with M2. */
	return load_relaxed(&mailbox->word) == MAILBOX_OPEN &&
	       cas_acq_rel(&mailbox->word, &found, work);
}

/* What is there, or NULL. */
static inline struct work *mailbox_take(struct mailbox *mailbox)
{
	struct work *work = load_relaxed(&mailbox->word);

	/* M2: acquire; pairs with M1. */
	if ((uintptr_t)work > (uintptr_t)MAILBOX_OPEN &&
		cas_acq_rel(&mailbox->word, &work, MAILBOX_SHUT))
		return work;
	return NULL;
}

/* What came meanwhile, or NULL. */
static inline struct work *mailbox_close(struct mailbox *mailbox)
{
	struct work *found = load_relaxed(&mailbox->word);

	/* M2, again. */
	while (found != MAILBOX_SHUT && !cas_acq_rel(&mailbox->word, &found, MAILBOX_SHUT))
		continue;
	return found == MAILBOX_OPEN ? NULL : found;
}

#endif
