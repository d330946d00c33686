/*
 * token.c - whether a call should stop.
 */
#include "os/clock.h"
#include "pool/call.h"

void token_init(struct token *token, int64_t deadline_ns)
{
	atomic_init(&token->cancelled, 0);
	token->deadline_ns = deadline_ns;
}

void token_cancel(struct token *token)
{
	store_relaxed(&token->cancelled, 1);
}

enum filar_status token_check(const struct token *token)
{
	if (token == NULL)
		return FILAR_OK;
	if (load_relaxed(&token->cancelled) != 0)
		return FILAR_CANCELLED;
	if (token->deadline_ns != DEADLINE_NEVER && clock_now_ns() >= token->deadline_ns)
		return FILAR_TIMED_OUT;
	return FILAR_OK;
}
