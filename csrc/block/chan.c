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

/* What the word says of the channel when nobody holds its lock. */
static uint64_t unlocked_word(const struct chan *chan)
{
	uint64_t word = WAITQ_WORD((uint64_t)chan->count << 1 | chan->closed);

	if (!list_is_empty(&chan->queue.entries) || !list_is_empty(&chan->senders))
		word |= WAITQ_WAITERS;
	return word;
}

static void chan_unlock(struct chan *chan)
{
	uint64_t word = unlocked_word(chan);

	lockrank_pop(RANK_OBJECT, &chan->queue);
	/* B1: as waitq_unlock(), for two queues. */
	store_release(&chan->queue.word, word);
}

/* Most items are a pointer or a number: no call for these. */
static FILAR_ALWAYS_INLINE void copy_item(void *to, const void *from, size_t bytes)
{
	if (bytes == sizeof(uint64_t))
		memcpy(to, from, sizeof(uint64_t));
	else if (bytes == sizeof(uint32_t))
		memcpy(to, from, sizeof(uint32_t));
	else if (bytes == 1)
		memcpy(to, from, 1);
	else
		memcpy(to, from, bytes);
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
	copy_item(slot(chan, chan->count), item, chan->item_bytes);
	chan->count++;
}

static void ring_take(struct chan *chan, void *item)
{
	FILAR_ASSERT(chan->count > 0);
	copy_item(item, slot(chan, 0), chan->item_bytes);
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
	/* Whoever held the lock, if anybody did, is not in this process. */
	store_relaxed(&chan->queue.word, unlocked_word(chan));
}

static FILAR_NOINLINE enum filar_status is_closed(struct chan *chan)
{
	char object[OBJECT_TEXT_BYTES], closer[OWNER_TEXT_BYTES];

	/* The closer is constant once `closed` was seen under the lock, or by a close's wake. */
	object_describe("channel", chan->name, chan, object, sizeof object);
	owner_describe(chan->closer, closer, sizeof closer);
	return status_detail(FILAR_CLOSED, "%s was closed by %s", object, closer);
}

/* ---- one operation, locked ---- */

/* Popped: claims the wait that the entry belongs to.  True for one of all that try. */
static bool claim(struct chan_entry *entry)
{
	uint32_t none = WINNER_NONE;

	if (entry->wait == NULL)
		return true;
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
	if (partner->wait != NULL)
		waiter_wake(&partner->wait->waiter);
	else
		waiter_wake(&FILAR_CONTAINER_OF(partner, struct chan_alone, entry)->waiter);
}

static void finish_send(size_t item_bytes, const void *item, struct chan_entry *partner)
{
	if (partner == NULL)
		return;
	copy_item(partner->item, item, item_bytes);
	wake_partner(partner);
}

static void finish_receive(size_t item_bytes, void *item, struct chan_entry *partner, bool copy)
{
	if (partner == NULL)
		return;
	if (copy)
		copy_item(item, partner->item, item_bytes);
	wake_partner(partner);
}

/* ---- waiting for one channel ---- */

/* The wait has ended without a wake: takes the entry back, unless it was claimed just now. */
static FILAR_NOINLINE enum filar_status give_up(
	struct chan *chan, struct chan_alone *alone, enum wait_reason reason, enum filar_status why)
{
	enum filar_status status;
	bool queued;

	chan_lock(chan);
	queued = alone->entry.queued;
	if (queued)
		list_remove(&alone->entry.link);
	chan_unlock(chan);
	if (queued) {
		waiter_abandon(&alone->waiter);
		return why;
	}
	status = waiter_wait_until(&alone->waiter, DEADLINE_NEVER, reason, WAIT_SHIELDED);
	FILAR_CHECK_EQ(status, FILAR_OK);
	return FILAR_OK;
}

/* Locked, which it ends.  Queues the caller and waits until a partner has served it. */
static enum filar_status wait_alone(
	struct chan *chan, struct list *queue, void *item, int64_t deadline_ns)
{
	enum wait_reason reason = queue == &chan->senders ? WAIT_SEND : WAIT_RECEIVE;
	struct chan_alone alone;
	enum filar_status status;

	alone.entry = (struct chan_entry){ .item = item, .queued = true };
	waiter_init(&alone.waiter);
	list_push_back(queue, &alone.entry.link);
	chan_unlock(chan);
	status = waiter_wait_until(&alone.waiter, deadline_ns, reason, WAIT_CANCELLABLE);
	if (FILAR_UNLIKELY(status != FILAR_OK))
		status = give_up(chan, &alone, reason, status);
	if (FILAR_UNLIKELY(alone.entry.closed) && status == FILAR_OK)
		return is_closed(chan);
	return status;
}

/* `in_vain`: what to say when it would have to wait and the deadline is no time to wait for. */
static enum filar_status send(
	struct chan *chan, const void *item, int64_t deadline_ns, enum filar_status in_vain)
{
	for (;;) {
		size_t item_bytes = chan->item_bytes, slots;
		struct chan_entry *partner = NULL;
		enum outcome outcome;
		enum filar_status status;

		chan_lock(chan);
		outcome = send_locked(chan, item, &partner);
		if (outcome == OUTCOME_WAIT && deadline_ns > 0)
			return wait_alone(chan, &chan->senders, (void *)item, deadline_ns);
		slots = chan->slots;
		chan_unlock(chan);
		switch (outcome) {
		case OUTCOME_DONE:
			finish_send(item_bytes, item, partner);
			return FILAR_OK;
		case OUTCOME_WAIT:
			return in_vain;
		case OUTCOME_CLOSED:
			return is_closed(chan);
		default:
			status = grow(chan, slots);
			if (status != FILAR_OK)
				return status;
		}
	}
}

static enum filar_status receive(
	struct chan *chan, void *item, int64_t deadline_ns, enum filar_status in_vain)
{
	size_t item_bytes = chan->item_bytes;
	struct chan_entry *partner = NULL;
	enum outcome outcome;
	bool copy;

	chan_lock(chan);
	outcome = receive_locked(chan, item, &partner, &copy);
	if (outcome == OUTCOME_WAIT && deadline_ns > 0)
		return wait_alone(chan, &chan->queue.entries, item, deadline_ns);
	chan_unlock(chan);
	if (outcome == OUTCOME_CLOSED)
		return is_closed(chan);
	if (outcome == OUTCOME_WAIT)
		return in_vain;
	finish_receive(item_bytes, item, partner, copy);
	return FILAR_OK;
}

enum filar_status chan_send_until(struct chan *chan, const void *item, int64_t deadline_ns)
{
	return send(chan, item, deadline_ns, FILAR_TIMED_OUT);
}

enum filar_status chan_try_send(struct chan *chan, const void *item)
{
	return send(chan, item, 0, FILAR_BUSY);
}

enum filar_status chan_receive_until(struct chan *chan, void *item, int64_t deadline_ns)
{
	return receive(chan, item, deadline_ns, FILAR_TIMED_OUT);
}

enum filar_status chan_try_receive(struct chan *chan, void *item)
{
	/* Empty, open, nobody waits, nobody is changing it: seen without touching the line. */
	if (load_relaxed(&chan->queue.word) == 0)
		return FILAR_BUSY;
	return receive(chan, item, 0, FILAR_BUSY);
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
		finish_send(one->chan->item_bytes, one->item, selecting->partner);
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
