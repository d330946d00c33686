/*
 * chan.h - items from senders to receivers, and waiting for one of several channels.
 *
 * Capacity 0 is a rendezvous: a send ends when its item is received.  A bounded channel keeps up to
 * `capacity` items, an unbounded one as many as memory allows.  An item is copied once where a
 * receiver waits already: from the sender's memory into the receiver's.  README.md, "Channel" and
 * "Select", has the protocol.
 *
 * Fair: items come out in the order in which they went in, waiting senders and receivers are served
 * first come, first served.  A select with several ready cases takes the first from a random place
 * on.
 */
#ifndef FILAR_BLOCK_CHAN_H
#define FILAR_BLOCK_CHAN_H

#include "base/status.h"
#include "block/waitq.h"

#define CHAN_UNBOUNDED      SIZE_MAX
#define CHAN_ITEM_BYTES_MAX 4096u /* copied under the lock: send pointers to what is larger */
#define SELECT_CASES_MAX    256u

struct chan {
	struct waitq queue;  /* value: closed + 2 * count; entries: receivers (struct chan_entry) */
	struct list senders; /* L */
	char *ring;          /* L */
	size_t slots;        /* L  in the ring */
	size_t head;         /* L  slot of the oldest item */
	size_t count;        /* L */
	size_t item_bytes;   /* I */
	size_t capacity;     /* I */
	uint64_t turns;      /* L  selects so far: their random start */
	bool closed;         /* L */
	struct owner closer; /* L */
	const char *name;    /* I  for messages; may be NULL */
};

/* What is shared by the cases of one select. */
struct chan_wait {
	struct waiter waiter;
	_Atomic uint32_t winner; /* A  WINNER_NONE, WINNER_NOBODY, or the case that was claimed */
};

struct chan_entry {
	struct list link;       /* L */
	struct chan_wait *wait; /* I  NULL: the entry is that of a struct chan_alone */
	void *item;             /* I  where to take it or put it; the waker's once it has claimed */
	uint32_t index;         /* I  of the case */
	bool queued;            /* L */
	bool closed;            /* S  the waker's: woken by a close */
};

/* One that waits for this channel only: whoever pops it has claimed it.  What a waker writes is one
 * line. */
struct chan_alone {
	_Alignas(FILAR_CACHELINE_BYTES) struct chan_entry entry;
	struct waiter waiter;
};

enum chan_operation { CHAN_SEND, CHAN_RECEIVE };

struct select_case {
	struct chan *chan; /* NULL: never ready */
	enum chan_operation operation;
	void *item;              /* to be sent from, or received into */
	uint32_t order;          /* the select's: cases in the order of their channels' addresses */
	struct chan_entry entry; /* the select's */
};

/* FILAR_NO_MEMORY; FILAR_INVALID: item_bytes is 0 or above CHAN_ITEM_BYTES_MAX, or the capacity
 * does not fit into memory. */
enum filar_status chan_init(
	struct chan *chan, size_t item_bytes, size_t capacity, const char *name);
/* Drops the items.  FILAR_BUSY: somebody waits.  All other calls on it have returned. */
enum filar_status chan_deinit(struct chan *chan);

/*
 * FILAR_OK; FILAR_CLOSED: closed, the detail says by whom; FILAR_TIMED_OUT, FILAR_CANCELLED,
 * FILAR_INTERRUPTED, FILAR_NO_MEMORY (capacity above 1024): the item was not sent, or none
 * received.  What was in a closed channel can still be received.
 */
enum filar_status chan_send_until(struct chan *chan, const void *item, int64_t deadline_ns);
enum filar_status chan_receive_until(struct chan *chan, void *item, int64_t deadline_ns);
/* Never wait; FILAR_BUSY: full, or empty. */
enum filar_status chan_try_send(struct chan *chan, const void *item);
enum filar_status chan_try_receive(struct chan *chan, void *item);
/* All who wait end with FILAR_CLOSED.  FILAR_CLOSED: it was closed before. */
enum filar_status chan_close(struct chan *chan);
/* A moment's view. */
size_t chan_count(struct chan *chan);
/* Gives back what a large ring holds, if it is empty. */
void chan_trim(struct chan *chan);
/* For callers who keep all others from changing it meanwhile: the item at a place, 0 the oldest. */
void *chan_item(struct chan *chan, size_t position);

/*
 * Does exactly one of the cases, the first that is possible.  FILAR_OK or FILAR_CLOSED or
 * FILAR_NO_MEMORY: *chosen is the case; FILAR_TIMED_OUT, FILAR_CANCELLED, FILAR_INTERRUPTED: none
 * was done.  FILAR_DEADLOCK: no channel and no deadline.  A channel may stand in several cases.
 */
enum filar_status select_until(
	struct select_case *cases, uint32_t count, int64_t deadline_ns, uint32_t *chosen);

/* In the child of a fork: forgets the threads that waited in the parent; its items are kept.  Only
 * where no other thread was inside a call at the moment of the fork, except to wait. */
void chan_after_fork(struct chan *chan);

#endif
