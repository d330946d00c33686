/*
 * tracepoint.c - the rings behind TRACE(), and the session they belong to.
 *
 * One writer a ring (its kernel thread), any number of readers.  Each slot is a small seqlock; the
 * labels T1 to T4 are those of README.md, "Trace rings".  A session is a number: a thread whose
 * ring is of another session takes one of this, or is left out, under `rings_lock`; so is all that
 * is rare.
 *
 * Always: rings are on `all_rings` from creation until they are freed; only retired rings are freed
 * by others than their owner; the rings there are take at most the session's bytes_max, but for
 * those that an earlier session with a larger one has left to threads that still live.
 * A fork happens under `rings_lock`, so that the child finds the list whole and the lock free.
 */
#include "base/tracepoint.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/list.h"
#include "base/memory.h"
#include "base/self.h"
#include "base/status.h"
#include "base/tid.h"

#define SLOT_BUSY UINT64_MAX

struct trace_slot {
	_Atomic uint64_t
		stamp; /* A  sequence + 1 of the record inside; 0 empty; SLOT_BUSY in writing */
	_Atomic int64_t time_ns; /* A  guarded by stamp; so are the next four */
	_Atomic uint64_t subject;
	_Atomic uint64_t object;
	_Atomic uint64_t what; /* A  event << 48 | CPU << 32 | argument */
	_Atomic int32_t thread;
};

struct trace_ring {
	struct list link;         /* L  all_rings */
	_Atomic uint64_t written; /* A  owner writes, anyone reads */
	uint64_t first;           /* L  the session's first record */
	uint32_t session;         /* L */
	uint32_t mask;            /* I  slots - 1 */
	int32_t thread;           /* W  the owner's id */
	bool retired;             /* L  its owner has ended: whoever needs a ring takes it */
	struct trace_slot slots[];
};

_Atomic bool tracepoint_enabled;

static pthread_mutex_t rings_lock = PTHREAD_MUTEX_INITIALIZER;
static struct list all_rings = { &all_rings, &all_rings }; /* L */
static _Atomic uint32_t session;  /* A  number of the last session; written under L */
static _Atomic uint64_t left_out; /* A  records of threads without a ring */
static uint32_t slots_each;       /* L */
static uint64_t bytes_max;        /* L */
static uint64_t bytes_now;        /* L  of all rings, those about to be allocated included */
static int64_t started_ns;        /* L  0: there was no session */
static int64_t stopped_ns;        /* L  0: it runs */

static const char *const event_names[] = {
#define X(name, text) text,
	TRACE_EVENTS(X)
#undef X
};

const char *tracepoint_event_name(uint32_t event)
{
	return event < TRACE_EVENT_COUNT ? event_names[event] : NULL;
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- rings, under the lock ---- */

static uint64_t ring_bytes(uint32_t slots)
{
	return sizeof(struct trace_ring) + slots * sizeof(struct trace_slot);
}

static void free_ring_locked(struct trace_ring *ring)
{
	bytes_now -= ring_bytes(ring->mask + 1);
	list_remove(&ring->link);
	memory_release(ring);
}

/* Whether it can go on in the session that is now. */
static bool fits_locked(const struct trace_ring *ring)
{
	return ring->mask + 1 == slots_each && bytes_now <= bytes_max;
}

static void join_session_locked(struct trace_ring *ring)
{
	if (ring->session == load_relaxed(&session))
		return; /* a retired one goes on: it holds records of more than one thread */
	ring->session = load_relaxed(&session);
	ring->first = load_relaxed(&ring->written);
}

static struct trace_ring *find_retired_locked(void)
{
	struct list *link;

	LIST_FOR_EACH(link, &all_rings)
	{
		struct trace_ring *ring = FILAR_CONTAINER_OF(link, struct trace_ring, link);

		if (ring->retired && fits_locked(ring))
			return ring;
	}
	return NULL;
}

static void free_retired_locked(void)
{
	struct list *link, *next;

	for (link = all_rings.next; link != &all_rings; link = next) {
		struct trace_ring *ring = FILAR_CONTAINER_OF(link, struct trace_ring, link);

		next = link->next;
		if (ring->retired)
			free_ring_locked(ring);
	}
}

/* ---- a thread's ring ---- */

/* Its own of an earlier session, or one whose owner has ended.  NULL: *bytes are reserved for a new
 * one, or 0: there is no room for it. */
static struct trace_ring *find_ring_locked(struct self *self, uint64_t *bytes)
{
	struct trace_ring *ring = self->trace_ring;

	*bytes = 0;
	if (ring != NULL && !fits_locked(ring)) {
		free_ring_locked(ring);
		ring = NULL;
	}
	self->trace_ring = NULL;
	if (ring == NULL)
		ring = find_retired_locked();
	if (ring == NULL && bytes_now + ring_bytes(slots_each) <= bytes_max) {
		*bytes = ring_bytes(slots_each);
		bytes_now += *bytes;
	}
	return ring;
}

/* Allocated without the lock: the child of a fork must not find the heap's locks behind it. */
static struct trace_ring *create_ring(uint64_t bytes)
{
	struct trace_ring *ring = bytes > 0 ? memory_acquire(1, bytes) : NULL;

	pthread_mutex_lock(&rings_lock);
	if (ring == NULL) {
		bytes_now -= bytes;
	} else {
		ring->mask = (uint32_t)((bytes - sizeof *ring) / sizeof(struct trace_slot)) - 1;
		list_push_back(&all_rings, &ring->link);
	}
	return ring;
}

static void emit_into(struct trace_ring *ring, enum trace_event event, uint64_t subject,
	uint64_t object, int32_t argument);

static void name_thread(struct trace_ring *ring)
{
	uint64_t words[2] = { 0 };

	if (prctl(PR_GET_NAME, words) != 0)
		return;
	for (int i = 0; i < 2 && words[i] != 0; i++)
		emit_into(
			ring, TRACE_THREAD_NAME, (uint64_t)(uint32_t)ring->thread, words[i], i * 8);
}

/* The caller's ring for this session, or NULL: it is left out of it. */
static FILAR_NOINLINE struct trace_ring *take_ring(struct self *self)
{
	struct trace_ring *ring;
	uint64_t bytes;

	pthread_mutex_lock(&rings_lock);
	self->trace_session = load_relaxed(&session);
	ring = find_ring_locked(self, &bytes);
	if (ring == NULL) {
		pthread_mutex_unlock(&rings_lock);
		ring = create_ring(bytes);
	}
	if (ring != NULL) {
		ring->retired = false;
		ring->thread = tid_self();
		join_session_locked(ring);
	}
	self->trace_ring = ring;
	pthread_mutex_unlock(&rings_lock);
	if (ring != NULL)
		name_thread(ring);
	return ring;
}

void tracepoint_ring_retire(struct trace_ring *ring)
{
	if (ring == NULL)
		return;
	pthread_mutex_lock(&rings_lock);
	ring->retired = true;
	if (ring->session != load_relaxed(&session) || started_ns == 0)
		free_ring_locked(ring);
	pthread_mutex_unlock(&rings_lock);
}

/* ---- writing ---- */

static void emit_into(struct trace_ring *ring, enum trace_event event, uint64_t subject,
	uint64_t object, int32_t argument)
{
	uint64_t sequence = load_relaxed(&ring->written);
	struct trace_slot *slot = &ring->slots[sequence & ring->mask];
	uint64_t cpu = (uint16_t)sched_getcpu();

	store_relaxed(&slot->stamp, SLOT_BUSY);
	/* T3: release, each of the five: who reads one of them sees BUSY or what came after it.
	 * Pairs with T4. */
	store_release(&slot->time_ns, now_ns());
	store_release(&slot->subject, subject);
	store_release(&slot->object, object);
	store_release(
		&slot->what, (uint64_t)event << 48 | cpu << 32 | (uint64_t)(uint32_t)argument);
	store_release(&slot->thread, ring->thread);
	/* T1: release, the slot's fields.  Pairs with T2. */
	store_release(&slot->stamp, sequence + 1);
	store_relaxed(&ring->written, sequence + 1);
}

static struct trace_ring *ring_of_caller(void)
{
	struct self *self = self_get_or_create();

	if (FILAR_UNLIKELY(self == NULL))
		return NULL;
	if (FILAR_LIKELY(self->trace_session == load_relaxed(&session)))
		return self->trace_ring;
	return take_ring(self);
}

void tracepoint_emit_slow(
	enum trace_event event, uint64_t subject, uint64_t object, int32_t argument)
{
	struct trace_ring *ring = ring_of_caller();

	if (FILAR_LIKELY(ring != NULL))
		emit_into(ring, event, subject, object, argument);
	else
		fetch_add_relaxed(&left_out, 1);
}

void tracepoint_emit_text_slow(enum trace_event event, uint64_t subject, const char *text)
{
	size_t length = strnlen(text, TRACE_TEXT_BYTES_MAX);

	for (size_t at = 0; at < length; at += 8) {
		uint64_t word = 0;

		memcpy(&word, text + at, length - at < 8 ? length - at : 8);
		tracepoint_emit_slow(event, subject, word, (int32_t)at);
	}
}

/* ---- reading ---- */

/* False when the slot does not hold record `sequence` (any more). */
static bool slot_read(struct trace_slot *slot, uint64_t sequence, struct trace_record *record)
{
	uint64_t what;

	/* T2: acquire; pairs with T1: the fields read below are at least as new as this stamp. */
	if (load_acquire(&slot->stamp) != sequence + 1)
		return false;
	/* T4: acquire, each of the five; pairs with T3: should one be newer than that stamp, the
	 * last look sees that, too. */
	record->time_ns = load_acquire(&slot->time_ns);
	record->subject = load_acquire(&slot->subject);
	record->object = load_acquire(&slot->object);
	what = load_acquire(&slot->what);
	record->thread = load_acquire(&slot->thread);
	record->event = (uint16_t)(what >> 48);
	record->cpu = (int16_t)(uint16_t)(what >> 32);
	record->argument = (int32_t)(uint32_t)what;
	record->sequence = (uint32_t)sequence;
	return load_relaxed(&slot->stamp) == sequence + 1;
}

static size_t copy_ring_locked(struct trace_ring *ring, struct trace_record *records, size_t max,
	struct trace_totals *totals)
{
	uint64_t end = load_relaxed(&ring->written), begin = ring->first;
	uint64_t kept = end - begin <= ring->mask ? end - begin : (uint64_t)ring->mask + 1;
	uint64_t copied = 0;

	totals->written += end - begin;
	totals->overwritten += end - begin - kept;
	for (uint64_t sequence = end - (kept < max ? kept : max); sequence != end; sequence++) {
		if (slot_read(&ring->slots[sequence & ring->mask], sequence, &records[copied]))
			copied++;
		else
			totals->overwritten++;
	}
	return copied;
}

size_t tracepoint_collect(struct trace_record *records, size_t max, struct trace_totals *totals)
{
	size_t copied = 0;
	struct list *link;

	pthread_mutex_lock(&rings_lock);
	*totals = (struct trace_totals){ .started_ns = started_ns,
		.stopped_ns = stopped_ns,
		.left_out = load_relaxed(&left_out),
		.bytes = bytes_now };
	LIST_FOR_EACH(link, &all_rings)
	{
		struct trace_ring *ring = FILAR_CONTAINER_OF(link, struct trace_ring, link);

		if (started_ns == 0 || ring->session != load_relaxed(&session))
			continue;
		totals->rings++;
		copied += copy_ring_locked(ring, records + copied, max - copied, totals);
	}
	pthread_mutex_unlock(&rings_lock);
	totals->written += totals->left_out;
	return copied;
}

/* ---- the session ---- */

static enum filar_status check_options(const struct trace_options *options)
{
	uint64_t wanted = options->records_per_thread;

	if (wanted > TRACE_RECORDS_MAX || (wanted != 0 && wanted < TRACE_RECORDS_MIN))
		return status_detail(FILAR_INVALID,
			"a thread's trace has %u to %u records, not %llu", TRACE_RECORDS_MIN,
			TRACE_RECORDS_MAX, (unsigned long long)wanted);
	return FILAR_OK;
}

static uint32_t power_of_two(uint32_t least)
{
	uint32_t power = TRACE_RECORDS_MIN;

	while (power < least)
		power *= 2;
	return power;
}

enum filar_status tracepoint_start(const struct trace_options *options)
{
	enum filar_status status = check_options(options);

	if (status != FILAR_OK)
		return status;
	pthread_mutex_lock(&rings_lock);
	if (started_ns != 0 && stopped_ns == 0) {
		status = status_detail(FILAR_BUSY, "a trace is being taken already");
		goto unlock;
	}
	slots_each = power_of_two(options->records_per_thread != 0 ? options->records_per_thread
								   : TRACE_RECORDS_DEFAULT);
	bytes_max = options->bytes_max != 0 ? options->bytes_max : TRACE_BYTES_DEFAULT;
	if (ring_bytes(slots_each) > bytes_max) {
		status = status_detail(FILAR_INVALID,
			"one thread's %u records take %llu bytes, and all together may take %llu",
			slots_each, (unsigned long long)ring_bytes(slots_each),
			(unsigned long long)bytes_max);
		goto unlock;
	}
	free_retired_locked();
	store_relaxed(&session, load_relaxed(&session) + 1);
	store_relaxed(&left_out, 0);
	started_ns = now_ns();
	stopped_ns = 0;
	/* Relaxed: a thread that sees it late writes its first record late. */
	store_relaxed(&tracepoint_enabled, true);
unlock:
	pthread_mutex_unlock(&rings_lock);
	return status;
}

enum filar_status tracepoint_stop(void)
{
	enum filar_status status = FILAR_OK;

	pthread_mutex_lock(&rings_lock);
	if (started_ns == 0 || stopped_ns != 0)
		status = status_detail(FILAR_WRONG_STATE, "no trace is being taken");
	else
		stopped_ns = now_ns();
	store_relaxed(&tracepoint_enabled, false);
	pthread_mutex_unlock(&rings_lock);
	return status;
}

static void forget_locked(void)
{
	started_ns = stopped_ns = 0;
	store_relaxed(&session, load_relaxed(&session) + 1);
	free_retired_locked();
}

enum filar_status tracepoint_clear(void)
{
	enum filar_status status = FILAR_OK;

	pthread_mutex_lock(&rings_lock);
	if (started_ns != 0 && stopped_ns == 0)
		status = status_detail(FILAR_BUSY, "a trace is being taken: stop it first");
	else
		forget_locked();
	pthread_mutex_unlock(&rings_lock);
	return status;
}

/* ---- fork ---- */

static void before_fork(void)
{
	pthread_mutex_lock(&rings_lock);
}

static void after_fork_in_parent(void)
{
	pthread_mutex_unlock(&rings_lock);
}

/* The writers of all rings but the caller's stayed in the parent, and so did the session: the child
 * is not traced, unless it asks for it. */
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
	store_relaxed(&tracepoint_enabled, false);
	started_ns = stopped_ns = 0;
	store_relaxed(&session, load_relaxed(&session) + 1);
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
