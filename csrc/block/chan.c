/*
 * chan.c - the ring, the two queues, and select.  README.md, "Channel" and "Select".
 */
#include "block/chan.h"

#include <string.h>

#include "base/check.h"
#include "base/memory.h"
#include "base/random.h"
#include "os/clock.h"

#define WINNER_NONE   UINT32_MAX
#define WINNER_NOBODY (UINT32_MAX - 1)

#if FILAR_HARD
#define FIRST_SLOTS 1u
#define EAGER_SLOTS 2u
#else
#define FIRST_SLOTS 16u
#define EAGER_SLOTS 1024u /* up to here a ring has all its slots from the beginning */
#endif

enum outcome { OUTCOME_DONE, OUTCOME_WAIT, OUTCOME_CLOSED, OUTCOME_GROW };

/* ---- lock, ring ---- */

static void chan_lock(struct chan *chan)
{
	(void)waitq_lock(&chan->queue);
}

static void chan_unlock(struct chan *chan)
{
	uint64_t word = WAITQ_WORD((uint64_t)chan->count << 1 | chan->closed);

	if (!list_is_empty(&chan->queue.entries) || !list_is_empty(&chan->senders))
		word |= WAITQ_WAITERS;
	lockrank_pop(RANK_OBJECT, &chan->queue);
	/* B1: as waitq_unlock(), for two queues. */
	store_release(&chan->queue.word, word);
}

static char *slot(const struct chan *chan, size_t position)
{
	size_t index = chan->head + position;

	if (index >= chan->slots)
		index -= chan->slots;
	return chan->ring + index * chan->item_bytes;
}

static void ring_put(struct chan *chan, const void *item)
{
	FILAR_ASSERT(chan->count < chan->slots);
	memcpy(slot(chan, chan->count), item, chan->item_bytes);
	chan->count++;
}

static void ring_take(struct chan *chan, void *item)
{
	FILAR_ASSERT(chan->count > 0);
	memcpy(item, slot(chan, 0), chan->item_bytes);
	chan->head = chan->head + 1 == chan->slots ? 0 : chan->head + 1;
	chan->count--;
}

/* Locked; the items move.  The old ring, to be given back unlocked. */
static char *replace_ring(struct chan *chan, char *ring, size_t slots)
{
	char *old = chan->ring;

	for (size_t i = 0; i < chan->count; i++)
		memcpy(ring + i * chan->item_bytes, slot(chan, i), chan->item_bytes);
	chan->ring = ring;
	chan->slots = slots;
	chan->head = 0;
	return old;
}

/* Not locked.  At least one slot more than `slots`, which was found too few; allocates unlocked. */
static enum filar_status grow(struct chan *chan, size_t slots)
{
	size_t more = slots < chan->capacity / 2 ? slots * 2 : chan->capacity;
	char *ring = memory_acquire(more, chan->item_bytes);

	if (ring == NULL) {
		char object[OBJECT_TEXT_BYTES];

		object_describe("channel", chan->name, chan, object, sizeof object);
		return status_detail(
			FILAR_NO_MEMORY, "no memory for more than %zu items in %s", slots, object);
	}
	chan_lock(chan);
	/* Unless another sender has been faster. */
	if (chan->slots == slots)
		ring = replace_ring(chan, ring, more);
	chan_unlock(chan);
	memory_release(ring);
	return FILAR_OK;
}

void chan_trim(struct chan *chan)
{
	char *ring;

	if (chan_count(chan) != 0 || chan->capacity <= EAGER_SLOTS)
		return;
	ring = memory_acquire(FIRST_SLOTS, chan->item_bytes);
	if (ring == NULL)
		return; /* it stays as it is */
	chan_lock(chan);
	if (chan->count == 0)
		ring = replace_ring(chan, ring, FIRST_SLOTS);
	chan_unlock(chan);
	memory_release(ring);
}

enum filar_status chan_init(struct chan *chan, size_t item_bytes, size_t capacity, const char *name)
{
	size_t slots = capacity <= EAGER_SLOTS ? capacity : FIRST_SLOTS;

	if (item_bytes == 0 || item_bytes > CHAN_ITEM_BYTES_MAX)
		return status_detail(FILAR_INVALID, "a channel's items have 1 to %u bytes, not %zu",
			CHAN_ITEM_BYTES_MAX, item_bytes);
	if (capacity != CHAN_UNBOUNDED && capacity > SIZE_MAX / 4 / item_bytes)
		return status_detail(FILAR_INVALID,
			"a channel of %zu items of %zu bytes is larger than any memory", capacity,
			item_bytes);
	*chan = (struct chan){
		.slots = slots, .item_bytes = item_bytes, .capacity = capacity, .name = name
	};
	waitq_init(&chan->queue, 0);
	list_init(&chan->senders);
	if (slots == 0)
		return FILAR_OK;
	chan->ring = memory_acquire(slots, item_bytes);
	if (chan->ring == NULL)
		return status_detail(FILAR_NO_MEMORY,
			"no memory for a channel of %zu items of %zu bytes", slots, item_bytes);
	return FILAR_OK;
}

enum filar_status chan_deinit(struct chan *chan)
{
	char object[OBJECT_TEXT_BYTES];
	uint64_t word = waitq_lock(&chan->queue);

	if ((word & WAITQ_WAITERS) != 0) {
		chan_unlock(chan);
		object_describe("channel", chan->name, chan, object, sizeof object);
		return status_detail(FILAR_BUSY,
			"%s cannot be destroyed while threads wait for it: close it first", object);
	}
	memory_release(chan->ring);
	chan->ring = NULL;
	chan->slots = chan->count = 0;
	chan_unlock(chan);
	return FILAR_OK;
}

size_t chan_count(struct chan *chan)
{
	return (size_t)(WAITQ_VALUE(load_relaxed(&chan->queue.word)) >> 1);
}

void *chan_item(struct chan *chan, size_t position)
{
	FILAR_ASSERT(position < chan->count);
	return slot(chan, position);
}

void chan_after_fork(struct chan *chan)
{
	list_init(&chan->queue.entries);
	list_init(&chan->senders);
	chan_unlock(chan);
}

static enum filar_status is_closed(struct chan *chan)
{
	char object[OBJECT_TEXT_BYTES], closer[OWNER_TEXT_BYTES];

	/* The closer is constant once `closed` was seen under the lock, or by a close's wake. */
	object_describe("channel", chan->name, chan, object, sizeof object);
	owner_describe(chan->closer, closer, sizeof closer);
	return status_detail(FILAR_CLOSED, "%s was closed by %s", object, closer);
}

/* ---- one operation, locked ---- */

/* Claims the wait that the entry belongs to: true for one of all that try. */
static bool claim(struct chan_entry *entry)
{
	uint32_t none = WINNER_NONE;

	/* X1: release: pairs with X2.  What the waker still has to say follows by its wake. */
	return cas_acq_rel(&entry->wait->winner, &none, entry->index);
}

/* The first of a queue that could be claimed; those that were claimed elsewhere are dropped. */
static struct chan_entry *pop_claimed(struct list *entries)
{
	struct list *link;

	while ((link = list_pop_front(entries)) != NULL) {
		struct chan_entry *entry = FILAR_CONTAINER_OF(link, struct chan_entry, link);

		entry->queued = false;
		if (claim(entry))
			return entry;
	}
	return NULL;
}

/* OUTCOME_DONE with *partner: the item is still to be copied to it, after the unlock. */
static enum outcome send_locked(struct chan *chan, const void *item, struct chan_entry **partner)
{
	if (chan->closed)
		return OUTCOME_CLOSED;
	*partner = pop_claimed(&chan->queue.entries);
	if (*partner != NULL)
		return OUTCOME_DONE;
	if (chan->count == chan->slots)
		return chan->count < chan->capacity ? OUTCOME_GROW : OUTCOME_WAIT;
	ring_put(chan, item);
	return OUTCOME_DONE;
}

/* OUTCOME_DONE with *partner and *copy: its item is still to be copied from it, after the unlock.
 */
static enum outcome receive_locked(
	struct chan *chan, void *item, struct chan_entry **partner, bool *copy)
{
	*copy = chan->count == 0;
	if (chan->count > 0)
		ring_take(chan, item);
	*partner = pop_claimed(&chan->senders);
	/* The ring was full, or there is none: the sender's item takes the place. */
	if (*partner != NULL && !*copy)
		ring_put(chan, (*partner)->item);
	if (!*copy || *partner != NULL)
		return OUTCOME_DONE;
	return chan->closed ? OUTCOME_CLOSED : OUTCOME_WAIT;
}

/* What is left to do when nothing is locked any more: its memory is ours until it is woken. */
static void wake_partner(struct chan_entry *partner)
{
	if (partner != NULL)
		waiter_wake(&partner->wait->waiter);
}

static void finish_send(struct chan *chan, const void *item, struct chan_entry *partner)
{
	if (partner != NULL)
		memcpy(partner->item, item, chan->item_bytes);
	wake_partner(partner);
}

static void finish_receive(size_t item_bytes, void *item, struct chan_entry *partner, bool copy)
{
	if (partner != NULL && copy)
		memcpy(item, partner->item, item_bytes);
	wake_partner(partner);
}

/* ---- one channel, without waiting ---- */

static enum outcome send_now(struct chan *chan, const void *item, size_t *slots)
{
	size_t item_bytes = chan->item_bytes;
	struct chan_entry *partner = NULL;
	enum outcome outcome;

	chan_lock(chan);
	outcome = send_locked(chan, item, &partner);
	*slots = chan->slots;
	chan_unlock(chan);
	if (partner != NULL)
		memcpy(partner->item, item, item_bytes);
	wake_partner(partner);
	return outcome;
}

static enum outcome receive_now(struct chan *chan, void *item)
{
	size_t item_bytes = chan->item_bytes;
	struct chan_entry *partner = NULL;
	enum outcome outcome;
	bool copy;

	chan_lock(chan);
	outcome = receive_locked(chan, item, &partner, &copy);
	chan_unlock(chan);
	finish_receive(item_bytes, item, partner, copy);
	return outcome;
}

static enum filar_status wait_for_one(
	struct chan *chan, enum chan_operation operation, void *item, int64_t deadline_ns)
{
	struct select_case only = { .chan = chan, .operation = operation, .item = item };
	uint32_t chosen;

	return select_until(&only, 1, deadline_ns, &chosen);
}

static enum filar_status send_growing(struct chan *chan, const void *item, enum outcome *outcome)
{
	enum filar_status status = FILAR_OK;
	size_t slots;

	do {
		*outcome = send_now(chan, item, &slots);
		if (*outcome == OUTCOME_GROW)
			status = grow(chan, slots);
	} while (*outcome == OUTCOME_GROW && status == FILAR_OK);
	return status;
}

enum filar_status chan_send_until(struct chan *chan, const void *item, int64_t deadline_ns)
{
	enum outcome outcome;
	enum filar_status status = send_growing(chan, item, &outcome);

	if (status != FILAR_OK || outcome == OUTCOME_DONE)
		return status;
	if (outcome == OUTCOME_CLOSED)
		return is_closed(chan);
	return wait_for_one(chan, CHAN_SEND, (void *)item, deadline_ns);
}

enum filar_status chan_try_send(struct chan *chan, const void *item)
{
	enum outcome outcome;
	enum filar_status status = send_growing(chan, item, &outcome);

	if (status != FILAR_OK || outcome == OUTCOME_DONE)
		return status;
	return outcome == OUTCOME_CLOSED ? is_closed(chan) : FILAR_BUSY;
}

enum filar_status chan_receive_until(struct chan *chan, void *item, int64_t deadline_ns)
{
	enum outcome outcome = receive_now(chan, item);

	if (outcome == OUTCOME_DONE)
		return FILAR_OK;
	if (outcome == OUTCOME_CLOSED)
		return is_closed(chan);
	return wait_for_one(chan, CHAN_RECEIVE, item, deadline_ns);
}

enum filar_status chan_try_receive(struct chan *chan, void *item)
{
	enum outcome outcome;

	/* Empty, open, nobody waits, nobody is changing it: seen without touching the line. */
	if (load_relaxed(&chan->queue.word) == 0)
		return FILAR_BUSY;
	outcome = receive_now(chan, item);
	if (outcome == OUTCOME_DONE)
		return FILAR_OK;
	return outcome == OUTCOME_CLOSED ? is_closed(chan) : FILAR_BUSY;
}

/* ---- close ---- */

static void claim_all(struct list *entries, struct list *claimed)
{
	struct chan_entry *entry;

	while ((entry = pop_claimed(entries)) != NULL) {
		entry->closed = true;
		list_push_back(claimed, &entry->link);
	}
}

enum filar_status chan_close(struct chan *chan)
{
	struct list claimed, *link;

	list_init(&claimed);
	chan_lock(chan);
	if (chan->closed) {
		chan_unlock(chan);
		return is_closed(chan);
	}
	chan->closed = true;
	chan->closer = owner_self();
	claim_all(&chan->queue.entries, &claimed);
	claim_all(&chan->senders, &claimed);
	chan_unlock(chan);
	while ((link = list_pop_front(&claimed)) != NULL)
		wake_partner(FILAR_CONTAINER_OF(link, struct chan_entry, link));
	return FILAR_OK;
}

/* ---- select ---- */

struct selecting {
	struct select_case *cases;
	uint32_t count;
	/* How it ended, if it did not have to wait. */
	uint32_t chosen;
	enum outcome outcome;
	struct chan_entry *partner;
	bool copy;
	size_t slots;
};

/* Cases in the order of their channels' addresses: the order in which channels are locked. */
static void sort_cases(struct selecting *selecting)
{
	struct select_case *cases = selecting->cases;

	for (uint32_t i = 0; i < selecting->count; i++) {
		uintptr_t address = (uintptr_t)cases[i].chan;
		uint32_t place = i;

		for (; place > 0 && (uintptr_t)cases[cases[place - 1].order].chan > address;
			place--)
			cases[place].order = cases[place - 1].order;
		cases[place].order = i;
	}
}

/* The channel at a place of the order, once; NULL: none, or the same as the one before. */
static struct chan *channel_at(const struct selecting *selecting, uint32_t place)
{
	const struct select_case *cases = selecting->cases;
	struct chan *chan = cases[cases[place].order].chan;

	return place > 0 && cases[cases[place - 1].order].chan == chan ? NULL : chan;
}

static void lock_all(const struct selecting *selecting)
{
	for (uint32_t place = 0; place < selecting->count; place++) {
		struct chan *chan = channel_at(selecting, place);

		if (chan != NULL)
			chan_lock(chan);
	}
}

static void unlock_all(const struct selecting *selecting)
{
	for (uint32_t place = selecting->count; place > 0; place--) {
		struct chan *chan = channel_at(selecting, place - 1);

		if (chan != NULL)
			chan_unlock(chan);
	}
}

/* Locked.  True: the case is done, or needs something other than waiting. */
static bool try_case(struct selecting *selecting, uint32_t index)
{
	struct select_case *one = &selecting->cases[index];

	if (one->chan == NULL)
		return false;
	selecting->chosen = index;
	selecting->slots = one->chan->slots;
	if (one->operation == CHAN_SEND)
		selecting->outcome = send_locked(one->chan, one->item, &selecting->partner);
	else
		selecting->outcome =
			receive_locked(one->chan, one->item, &selecting->partner, &selecting->copy);
	return selecting->outcome != OUTCOME_WAIT;
}

/* Locked.  From a random case on, so that none is always the last. */
static bool try_cases(struct selecting *selecting)
{
	uint32_t last = selecting->cases[selecting->count - 1].order, start;
	struct chan *chan = selecting->cases[last].chan; /* NULL only if all are */

	if (chan == NULL)
		return false;
	start = (uint32_t)(random_mix(++chan->turns) % selecting->count);
	for (uint32_t i = 0; i < selecting->count; i++) {
		if (try_case(selecting, (start + i) % selecting->count))
			return true;
	}
	return false;
}

/* Locked.  From here on each case may be claimed. */
static void queue_all(const struct selecting *selecting, struct chan_wait *wait)
{
	for (uint32_t i = 0; i < selecting->count; i++) {
		struct select_case *one = &selecting->cases[i];

		if (one->chan == NULL)
			continue;
		one->entry = (struct chan_entry){
			.wait = wait, .item = one->item, .index = i, .queued = true
		};
		list_push_back(one->operation == CHAN_SEND ? &one->chan->senders
							   : &one->chan->queue.entries,
			&one->entry.link);
	}
}

/* The wait is over: nobody may find the entries any more.  The winner's is off its queue already.
 */
static void unqueue_all(const struct selecting *selecting, uint32_t winner)
{
	for (uint32_t i = 0; i < selecting->count; i++) {
		struct select_case *one = &selecting->cases[i];

		if (one->chan == NULL || i == winner)
			continue;
		chan_lock(one->chan);
		if (one->entry.queued)
			list_remove(&one->entry.link);
		chan_unlock(one->chan);
	}
}

/* Queued and not locked: until one case was claimed and done by its waker. */
static enum filar_status wait_for_winner(
	struct selecting *selecting, struct chan_wait *wait, int64_t deadline_ns)
{
	enum wait_reason reason = selecting->count > 1                         ? WAIT_SELECT
				  : selecting->cases[0].operation == CHAN_SEND ? WAIT_SEND
									       : WAIT_RECEIVE;
	uint32_t none = WINNER_NONE;
	enum filar_status status =
		waiter_wait_until(&wait->waiter, deadline_ns, reason, WAIT_CANCELLABLE);

	if (status != FILAR_OK && cas_acq_rel(&wait->winner, &none, WINNER_NOBODY)) {
		waiter_abandon(&wait->waiter);
		unqueue_all(selecting, WINNER_NOBODY);
		return status;
	}
	/* Claimed just now: its waker comes. */
	if (status != FILAR_OK)
		status = waiter_wait_until(&wait->waiter, DEADLINE_NEVER, reason, WAIT_SHIELDED);
	FILAR_CHECK_EQ(status, FILAR_OK);
	/* X2: acquire; pairs with X1. */
	selecting->chosen = load_acquire(&wait->winner);
	unqueue_all(selecting, selecting->chosen);
	return FILAR_OK;
}

/* Done, or closed, without a wait. */
static enum filar_status finish_now(struct selecting *selecting)
{
	struct select_case *one = &selecting->cases[selecting->chosen];

	if (selecting->outcome == OUTCOME_CLOSED)
		return is_closed(one->chan);
	if (one->operation == CHAN_SEND)
		finish_send(one->chan, one->item, selecting->partner);
	else
		finish_receive(
			one->chan->item_bytes, one->item, selecting->partner, selecting->copy);
	return FILAR_OK;
}

static enum filar_status select_or_wait(struct selecting *selecting, int64_t deadline_ns)
{
	struct chan_wait wait;
	enum filar_status status;

	for (;;) {
		lock_all(selecting);
		if (!try_cases(selecting))
			break;
		unlock_all(selecting);
		if (selecting->outcome != OUTCOME_GROW)
			return finish_now(selecting);
		status = grow(selecting->cases[selecting->chosen].chan, selecting->slots);
		if (status != FILAR_OK)
			return status;
	}
	if (deadline_ns <= 0) {
		unlock_all(selecting);
		return FILAR_TIMED_OUT;
	}
	waiter_init(&wait.waiter);
	atomic_init(&wait.winner, WINNER_NONE);
	queue_all(selecting, &wait);
	unlock_all(selecting);
	status = wait_for_winner(selecting, &wait, deadline_ns);
	if (status == FILAR_OK && selecting->cases[selecting->chosen].entry.closed)
		return is_closed(selecting->cases[selecting->chosen].chan);
	return status;
}

enum filar_status select_until(
	struct select_case *cases, uint32_t count, int64_t deadline_ns, uint32_t *chosen)
{
	struct selecting selecting = { .cases = cases, .count = count };
	bool any = false;
	enum filar_status status;

	if (count > SELECT_CASES_MAX)
		return status_detail(FILAR_INVALID, "a select has at most %u cases, not %u",
			SELECT_CASES_MAX, count);
	for (uint32_t i = 0; i < count; i++)
		any |= cases[i].chan != NULL;
	if (!any && deadline_ns == DEADLINE_NEVER)
		return status_detail(FILAR_DEADLOCK,
			"a select without channels and without a deadline would never end");
	if (!any) {
		status = green_sleep_until(deadline_ns);
		return status == FILAR_OK ? FILAR_TIMED_OUT : status;
	}
	sort_cases(&selecting);
	status = select_or_wait(&selecting, deadline_ns);
	*chosen = selecting.chosen;
	return status;
}
