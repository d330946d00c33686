/*
 * once.h - something that is done once, by the first to come; the others wait until it is.
 */
#ifndef FILAR_BLOCK_ONCE_H
#define FILAR_BLOCK_ONCE_H

#include "base/status.h"
#include "block/waitq.h"

typedef enum filar_status once_body(void *argument);

struct once {
	struct waitq queue; /* value: enum once_state */
	struct owner owner; /* L  who runs it */
};

void once_init(struct once *once);
/*
 * FILAR_OK: body() has returned FILAR_OK, here or elsewhere, and what it did is visible.  What else
 * body() returned: here; the next to come, or one that waits, tries again.  FILAR_TIMED_OUT,
 * FILAR_CANCELLED, FILAR_INTERRUPTED: another thread is still at it.  FILAR_DEADLOCK: the caller
 * is.
 */
enum filar_status once_run_until(
	struct once *once, once_body *body, void *argument, int64_t deadline_ns);
bool once_is_done(struct once *once);

#endif
