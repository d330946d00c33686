/*
 * tracepoint.c - the rings behind tracepoint_emit().
 *
 * One writer a ring (its kernel thread), any number of readers.  Each slot is a small seqlock made
 * of relaxed atomics: the writer marks the slot busy, writes, then publishes its sequence number
 * (T1); a reader keeps a copy only if the number is the same before and after (T2).
 *
 * Always: rings are on `all_rings` from creation until tracepoint_reset() finds them retired.
 * A fork happens under `rings_lock`, so that the child finds the list whole and the lock free.
 */
#include "base/tracepoint.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/list.h"
#include "base/memory.h"
#include "base/self.h"

#define SLOT_BUSY UINT64_MAX

struct trace_slot {
	_Atomic uint64_t
		stamp; /* A  sequence + 1 of the record inside; 0 empty; SLOT_BUSY in writing */
	_Atomic int64_t time_ns; /* A  relaxed, guarded by stamp; so are the next two */
	_Atomic uint64_t subject;
	_Atomic uint64_t event_argument;
};

struct trace_ring {
	struct list link;         /* L  all_rings */
	_Atomic uint64_t written; /* A  owner writes, anyone reads */
	bool retired;             /* L */
	struct trace_slot slots[TRACE_RING_RECORDS];
};

_Atomic bool tracepoint_enabled;

static pthread_mutex_t rings_lock = PTHREAD_MUTEX_INITIALIZER;
static struct list all_rings = { &all_rings, &all_rings };

static const char *const event_names[] = { "none", "kthread-create", "kthread-start",
	"kthread-exit", "kthread-join", "park", "unpark", "mark", "green-spawn", "green-run",
	"green-park", "green-wake", "green-end", "steal", "worker-sleep", "worker-wake",
	"blocking-begin", "blocking-end", "relieve", "resume", "stand-in", "retire",
	"green-preempt" };

_Static_assert(FILAR_COUNT_OF(event_names) == TRACE_EVENT_COUNT, "a name for each event");

const char *tracepoint_event_name(enum trace_event event)
{
	return event < TRACE_EVENT_COUNT ? event_names[event] : "unknown";
}

void tracepoint_enable(bool enabled)
{
	store_relaxed(&tracepoint_enabled, enabled);
}

static void before_fork(void)
{
	pthread_mutex_lock(&rings_lock);
}

static void after_fork_in_parent(void)
{
	pthread_mutex_unlock(&rings_lock);
}

/* The writers of all rings but the caller's stayed in the parent. */
static void after_fork_in_child(void)
{
	struct self *self = self_get();
	struct list *link;

	LIST_FOR_EACH(link, &all_rings)
	{
		struct trace_ring *ring = FILAR_CONTAINER_OF(link, struct trace_ring, link);

		if (self == NULL || self->trace_ring != ring)
			ring->retired = true;
	}
	pthread_mutex_unlock(&rings_lock);
}

/*
 * When the library is loaded, not when the first ring is made: a fork that begins before the
 * handlers are known does not run them, and its child would find rings_lock held by a thread it
 * does not have.
 */
__attribute__((constructor)) static void register_fork_handlers(void)
{
	(void)pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

static struct trace_ring *ring_of_caller(void)
{
	struct self *self = self_get_or_create();
	struct trace_ring *ring;

	if (self == NULL)
		return NULL;
	if (self->trace_ring != NULL)
		return self->trace_ring;
	ring = memory_acquire(1, sizeof *ring);
	if (ring == NULL)
		return NULL;
	pthread_mutex_lock(&rings_lock);
	list_push_back(&all_rings, &ring->link);
	pthread_mutex_unlock(&rings_lock);
	self->trace_ring = ring;
	return ring;
}

void tracepoint_emit_slow(enum trace_event event, uint64_t subject, int32_t argument)
{
	struct trace_ring *ring = ring_of_caller();
	struct trace_slot *slot;
	struct timespec now;
	uint64_t sequence;

	if (ring == NULL)
		return;
	sequence = load_relaxed(&ring->written);
	slot = &ring->slots[sequence % TRACE_RING_RECORDS];
	clock_gettime(CLOCK_MONOTONIC, &now);
	/* An exchange, not a store: the writes below must not move above it (acquire). */
	(void)exchange_acq_rel(&slot->stamp, SLOT_BUSY);
	store_relaxed(&slot->time_ns, (int64_t)now.tv_sec * 1000000000 + now.tv_nsec);
	store_relaxed(&slot->subject, subject);
	store_relaxed(&slot->event_argument, (uint64_t)event << 32 | (uint32_t)argument);
	/* T1: publishes the slot's fields.  Pairs with T2 in slot_read(). */
	store_release(&slot->stamp, sequence + 1);
	store_relaxed(&ring->written, sequence + 1);
}

/* False when the slot does not hold record `sequence` (any more). */
static bool slot_read(struct trace_slot *slot, uint64_t sequence, struct trace_record *record)
{
	uint64_t event_argument, stamp_after;

	/* T2: pairs with T1; the fields read below are at least as new as this stamp. */
	if (load_acquire(&slot->stamp) != sequence + 1)
		return false;
	record->time_ns = atomic_load_explicit(&slot->time_ns, memory_order_acquire);
	record->subject = atomic_load_explicit(&slot->subject, memory_order_acquire);
	event_argument = atomic_load_explicit(&slot->event_argument, memory_order_acquire);
	/* The acquire loads above keep this one last. */
	stamp_after = load_relaxed(&slot->stamp);
	record->event = (uint32_t)(event_argument >> 32);
	record->argument = (int32_t)(uint32_t)event_argument;
	record->sequence = sequence;
	return stamp_after == sequence + 1;
}

static size_t ring_copy(
	struct trace_ring *ring, struct trace_record *records, size_t max, uint64_t *lost)
{
	uint64_t end = load_relaxed(&ring->written);
	uint64_t kept = end < TRACE_RING_RECORDS ? end : TRACE_RING_RECORDS;
	uint64_t first = end - (kept < max ? kept : max);
	size_t copied = 0;

	*lost += first;
	for (uint64_t sequence = first; sequence < end; sequence++) {
		if (slot_read(&ring->slots[sequence % TRACE_RING_RECORDS], sequence,
			    &records[copied]))
			copied++;
		else
			(*lost)++;
	}
	return copied;
}

size_t tracepoint_copy(struct trace_record *records, size_t max, uint64_t *lost)
{
	size_t copied = 0;
	struct list *link;

	*lost = 0;
	pthread_mutex_lock(&rings_lock);
	LIST_FOR_EACH(link, &all_rings)
	copied += ring_copy(FILAR_CONTAINER_OF(link, struct trace_ring, link), records + copied,
		max - copied, lost);
	pthread_mutex_unlock(&rings_lock);
	return copied;
}

void tracepoint_reset(void)
{
	struct list *link, *next;

	pthread_mutex_lock(&rings_lock);
	for (link = all_rings.next; link != &all_rings; link = next) {
		struct trace_ring *ring = FILAR_CONTAINER_OF(link, struct trace_ring, link);

		next = link->next;
		if (ring->retired) {
			list_remove(link);
			memory_release(ring);
			continue;
		}
		for (size_t i = 0; i < TRACE_RING_RECORDS; i++)
			store_relaxed(&ring->slots[i].stamp, 0);
	}
	pthread_mutex_unlock(&rings_lock);
}

void tracepoint_ring_retire(struct trace_ring *ring)
{
	if (ring == NULL)
		return;
	pthread_mutex_lock(&rings_lock);
	ring->retired = true;
	pthread_mutex_unlock(&rings_lock);
}
