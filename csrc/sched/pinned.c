/*
 * pinned.c - a list of the worker's own and one under a lock.  Labels P1 to P4 are those of
 * README.md, "Pinned work".
 */
#include "sched/pinned.h"

#include "base/check.h"

/* As WORKER_NEXT_MAX: two that wake each other would keep the others waiting. */
#define PINNED_STREAK_MAX 16u

void pinned_init(struct pinned *pinned)
{
	*pinned = (struct pinned){ 0 };
	spinlock_init_ranked(&pinned->lock, RANK_INBOX);
	atomic_init(&pinned->count, 0);
	atomic_init(&pinned->asleep, 0);
}

/* ---- the worker's own ---- */

void pinned_push(struct pinned *pinned, struct work *work)
{
	work_chain_push(&pinned->queue, work);
}

void pinned_push_next(struct pinned *pinned, struct work *work)
{
	struct work *displaced = pinned->next;

	pinned->next = work;
	if (displaced != NULL)
		pinned_push(pinned, displaced);
}

struct work *pinned_pop(struct pinned *pinned)
{
	struct work *work = pinned->next;

	if (work != NULL) {
		pinned->next = NULL;
		if (pinned->queue.count == 0 || ++pinned->streak <= PINNED_STREAK_MAX)
			return work;
		pinned_push(pinned, work);
	}
	pinned->streak = 0;
	work = work_chain_pop(&pinned->queue);
	if (pinned->queue.count > 0)
		__builtin_prefetch(pinned->queue.first, 1);
	return work;
}

void pinned_begin_round(struct pinned *pinned, uint64_t own, uint64_t others)
{
	pinned->own_picks = pinned->queue.count + (pinned->next != NULL) + own;
	pinned->other_picks = others;
}

bool pinned_is_next(struct pinned *pinned)
{
	if (pinned->other_picks == 0) {
		pinned->own_picks -= pinned->own_picks > 0;
		return true;
	}
	/* What was just woken does not wait for the second half, but is not all that runs. */
	pinned->turn = !pinned->turn && pinned->next != NULL;
	pinned->other_picks -= !pinned->turn;
	return pinned->turn;
}

void pinned_read_inbox(struct pinned *pinned)
{
	struct work *work;

	if (FILAR_LIKELY(load_relaxed(&pinned->count) == 0))
		return;
	spinlock_lock(&pinned->lock);
	while ((work = work_chain_pop(&pinned->inbox)) != NULL)
		work_chain_push(&pinned->queue, work);
	store_relaxed(&pinned->count, 0);
	spinlock_unlock(&pinned->lock);
}

/* ---- sleep and send ---- */

bool pinned_was_sent(struct pinned *pinned)
{
	/* P4: seq_cst, after P3.  Pairs with P1. */
	return load_seq_cst(&pinned->count) > 0;
}

bool pinned_begin_sleep(struct pinned *pinned)
{
	/* P3: seq_cst, after the ticket of the eventcount was taken.  Pairs with P2. */
	store_seq_cst(&pinned->asleep, 1);
	return pinned_was_sent(pinned);
}

void pinned_end_sleep(struct pinned *pinned)
{
	store_relaxed(&pinned->asleep, 0);
}

void pinned_lock(struct pinned *pinned)
{
	spinlock_lock(&pinned->lock);
}

void pinned_unlock(struct pinned *pinned)
{
	spinlock_unlock(&pinned->lock);
}

bool pinned_send_locked(struct pinned *pinned, struct work *work)
{
	work_chain_push(&pinned->inbox, work);
	/* P1: seq_cst, before P2.  Pairs with P4. */
	store_seq_cst(&pinned->count, pinned->inbox.count);
	/* P2: seq_cst.  Pairs with P3. */
	return load_seq_cst(&pinned->asleep) != 0;
}
