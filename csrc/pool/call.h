/*
 * call.h - the unit of a pool's work: a body, its argument, and who wants to know of its end.
 *
 * Calls are copied into and out of queues; whoever took one out of a queue owns it, runs or drops
 * it, and then counts it down in its group.
 */
#ifndef FILAR_POOL_CALL_H
#define FILAR_POOL_CALL_H

#include "base/atomic.h"
#include "block/waitgroup.h"

typedef void call_body(void *argument);

/* In the user's memory, as filar_token. */
struct token {
	_Atomic uint32_t cancelled; /* A  relaxed: it is a wish, not a message */
	int64_t deadline_ns;        /* I */
};

void token_init(struct token *token, int64_t deadline_ns);
void token_cancel(struct token *token);
/* FILAR_OK: go on.  FILAR_CANCELLED, FILAR_TIMED_OUT.  NULL is allowed. */
enum filar_status token_check(const struct token *token);

struct call {
	call_body *body; /* NULL in a queue: was taken out of the middle */
	void *argument;
	struct waitgroup *group; /* or NULL */
	struct token *token;     /* or NULL */
};

#endif
