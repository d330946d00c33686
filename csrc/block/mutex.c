/*
 * mutex.c - take, wait, let go.  README.md, "Mutex", has the argument.
 */
#include "block/mutex.h"

#include "base/check.h"
#include "block/deadlock.h"
#include "green/runtime.h"
#include "os/clock.h"
#include "sync/backoff.h"

#define OWNER_OF(word) ((word)&OWNER_TOKEN)

/* Who holds a mutex without an owner: the kernel has no thread 0. */
static const struct owner anybody = { .token = OWNER_KERNEL, .number = 0 };

void mutex_init(struct mutex *mutex, const char *name)
{
	waitq_init(&mutex->queue, 0);
	atomic_init(&mutex->number, 0);
	mutex->name = name;
}

struct owner mutex_owner(struct mutex *mutex)
{
	return (struct owner){ OWNER_OF(load_relaxed(&mutex->queue.word)),
		load_relaxed(&mutex->number) };
}

static bool is_owner(struct mutex *mutex, struct owner owner)
{
	struct owner found = mutex_owner(mutex);

	return found.token == owner.token && found.number == owner.number;
}

bool mutex_is_mine(struct mutex *mutex)
{
	return is_owner(mutex, owner_self());
}

/* "mutex "a"", who holds it, who asks. */
static enum filar_status complain(struct mutex *mutex, enum filar_status status, const char *format)
{
	char object[OBJECT_TEXT_BYTES], holder[OWNER_TEXT_BYTES], self[OWNER_TEXT_BYTES];

	object_describe("mutex", mutex->name, mutex, object, sizeof object);
	owner_describe(mutex_owner(mutex), holder, sizeof holder);
	owner_describe_self(self, sizeof self);
	return status_detail(status, format, object, holder, self);
}

/* free -> owned, past those who wait.  False: it is held. */
static bool take_if_free(struct mutex *mutex, struct owner owner, uint64_t clear)
{
	uint64_t word = load_relaxed(&mutex->queue.word);

	while (OWNER_OF(word) == 0 && (word & WAITQ_LOCKED) == 0) {
		/* B2: acquire, as a lock of the word would; pairs with B1. */
		if (cas_acquire(&mutex->queue.word, &word, (word | owner.token) & ~clear)) {
			store_relaxed(&mutex->number, owner.number);
			return true;
		}
	}
	return false;
}

/* Looks a few times before it queues: the holder may be on another CPU, and about to unlock. */
static bool spin(struct mutex *mutex, struct owner owner)
{
	struct runtime *runtime = runtime_of_worker(worker_current());
	struct backoff backoff;

	/* On the only worker, another green thread cannot unlock while this one spins. */
	if (FILAR_HARD || (runtime != NULL && (!runtime->scheduler.spin ||
						      runtime->scheduler.worker_count == 1)))
		return false;
	if (waiter_holds_something())
		return false;
	backoff_init(&backoff);
	while (backoff.rounds < BACKOFF_ROUNDS) {
		if ((load_relaxed(&mutex->queue.word) & WAITQ_WAITERS) != 0)
			return false;
		backoff_wait(&backoff);
		if (take_if_free(mutex, owner, 0))
			return true;
	}
	return false;
}

/* Queued: waits, without a deadline, unless that would be for ever. */
static enum filar_status wait_watched(
	struct mutex *mutex, struct waitq_entry *entry, enum wait_shield shield)
{
	struct deadlock_edge edge;
	enum filar_status status = FILAR_OK;
	uint64_t word;

	deadlock_add(&edge, mutex, entry->owner);
	if (shield == WAIT_CANCELLABLE)
		status = deadlock_check(&edge);
	if (status == FILAR_OK)
		status = waitq_wait_until(&mutex->queue, entry, DEADLINE_NEVER, WAIT_MUTEX, shield);
	else if (waitq_take_back(&mutex->queue, entry, &word, WAIT_MUTEX))
		waitq_unlock(&mutex->queue, word);
	else
		status = FILAR_OK; /* claimed just now, so it was no deadlock any more */
	deadlock_remove(&edge);
	return status;
}

/* One round of waiting: queued, then granted (FILAR_OK), or woken to try again (FILAR_BUSY).
 * FILAR_OK also if it was free after all. */
static enum filar_status wait_once(struct mutex *mutex, struct waitq_entry *entry,
	int64_t deadline_ns, enum wait_shield shield)
{
	uint64_t word = waitq_lock(&mutex->queue);
	bool woken = entry->losses > 0;
	enum filar_status status;

	if (woken)
		word &= ~WAITQ_WAKING;
	if (OWNER_OF(word) == 0) {
		store_relaxed(&mutex->number, entry->owner.number);
		waitq_unlock(&mutex->queue, word | entry->owner.token);
		return FILAR_OK;
	}
	if (woken)
		waitq_push_front(&mutex->queue, entry);
	else
		waitq_push(&mutex->queue, entry);
	waitq_unlock(&mutex->queue, word);
	if (deadline_ns == DEADLINE_NEVER && entry->owner.token != anybody.token)
		status = wait_watched(mutex, entry, shield);
	else
		status = waitq_wait_until(&mutex->queue, entry, deadline_ns, WAIT_MUTEX, shield);
	if (status != FILAR_OK)
		return status;
	return entry->granted ? FILAR_OK : FILAR_BUSY;
}

static enum filar_status lock_slow(
	struct mutex *mutex, struct owner owner, int64_t deadline_ns, enum wait_shield shield)
{
	struct waitq_entry entry = { .owner = owner };
	enum filar_status status = FILAR_BUSY;

	if (owner.token != anybody.token && is_owner(mutex, owner))
		return complain(mutex, FILAR_DEADLOCK, "%s is held by %s, and that is the caller");
	if (take_if_free(mutex, owner, 0) || spin(mutex, owner))
		return FILAR_OK;
	while (status == FILAR_BUSY) {
		status = wait_once(mutex, &entry, deadline_ns, shield);
		if (status == FILAR_BUSY) {
			if (take_if_free(mutex, owner, WAITQ_WAKING))
				return FILAR_OK;
			entry.losses++;
		}
	}
	return status;
}

static FILAR_ALWAYS_INLINE enum filar_status lock(
	struct mutex *mutex, struct owner owner, int64_t deadline_ns, enum wait_shield shield)
{
	uint64_t word = 0;

	/* B2, as in take_if_free(). */
	if (FILAR_LIKELY(cas_acquire(&mutex->queue.word, &word, owner.token))) {
		store_relaxed(&mutex->number, owner.number);
		return FILAR_OK;
	}
	return lock_slow(mutex, owner, deadline_ns, shield);
}

enum filar_status mutex_lock_until(struct mutex *mutex, int64_t deadline_ns)
{
	return lock(mutex, owner_self(), deadline_ns, WAIT_CANCELLABLE);
}

void mutex_lock_shielded(struct mutex *mutex)
{
	enum filar_status status = lock(mutex, owner_self(), DEADLINE_NEVER, WAIT_SHIELDED);

	FILAR_CHECK_EQ(status, FILAR_OK);
}

static FILAR_ALWAYS_INLINE bool trylock(struct mutex *mutex, struct owner owner)
{
	uint64_t word;

	if (FILAR_LIKELY(take_if_free(mutex, owner, 0)))
		return true;
	if (OWNER_OF(load_relaxed(&mutex->queue.word)) != 0)
		return false;
	/* The word was only locked. */
	word = waitq_lock(&mutex->queue);
	if (OWNER_OF(word) == 0) {
		store_relaxed(&mutex->number, owner.number);
		waitq_unlock(&mutex->queue, word | owner.token);
		return true;
	}
	waitq_unlock(&mutex->queue, word);
	return false;
}

enum filar_status mutex_trylock(struct mutex *mutex)
{
	return trylock(mutex, owner_self()) ? FILAR_OK
					    : complain(mutex, FILAR_BUSY, "%s is held by %s");
}

/* owned -> free with one on its way, or owned by the first in the queue.  False: it was free, as it
 * may be where it has no owner and two unlock it. */
static bool unlock_and_wake(struct mutex *mutex)
{
	uint64_t found = waitq_lock(&mutex->queue), word = found & ~OWNER_TOKEN;
	struct waitq_entry *entry = NULL;

	if (word == found) {
		waitq_unlock(&mutex->queue, word);
		return false;
	}
	if ((word & WAITQ_WAKING) == 0)
		entry = waitq_pop(&mutex->queue);
	if (entry != NULL && entry->losses >= MUTEX_LOSSES_MAX) {
		entry->granted = true;
		store_relaxed(&mutex->number, entry->owner.number);
		word |= entry->owner.token;
	} else if (entry != NULL) {
		word |= WAITQ_WAKING;
	}
	waitq_unlock(&mutex->queue, word);
	if (entry != NULL)
		waitq_wake(entry);
	return true;
}

enum filar_status mutex_unlock(struct mutex *mutex)
{
	struct owner owner = owner_self();
	uint64_t word = owner.token;

	if (FILAR_UNLIKELY(!is_owner(mutex, owner)))
		return complain(
			mutex, FILAR_WRONG_STATE, "%s is held by %s, so %s cannot unlock it");
	/* B1, by a compare-and-swap. */
	if (FILAR_LIKELY(cas_release(&mutex->queue.word, &word, 0)))
		return FILAR_OK;
	/* Somebody is on its way already: no need to wake another. */
	while ((word & WAITQ_LOCKED) == 0 && (word & WAITQ_WAKING) != 0) {
		if (cas_release(&mutex->queue.word, &word, word & ~OWNER_TOKEN))
			return FILAR_OK;
	}
	(void)unlock_and_wake(mutex);
	return FILAR_OK;
}

/* ---- without an owner ---- */

enum filar_status mutex_lock_unowned_until(struct mutex *mutex, int64_t deadline_ns)
{
	return lock(mutex, anybody, deadline_ns, WAIT_CANCELLABLE);
}

void mutex_lock_unowned_shielded(struct mutex *mutex)
{
	enum filar_status status = lock(mutex, anybody, DEADLINE_NEVER, WAIT_SHIELDED);

	FILAR_CHECK_EQ(status, FILAR_OK);
}

bool mutex_trylock_unowned(struct mutex *mutex)
{
	return trylock(mutex, anybody);
}

enum filar_status mutex_unlock_unowned(struct mutex *mutex)
{
	uint64_t word = anybody.token;

	/* B1, as in mutex_unlock(). */
	if (FILAR_LIKELY(cas_release(&mutex->queue.word, &word, 0)))
		return FILAR_OK;
	while ((word & WAITQ_LOCKED) == 0 && ((word & WAITQ_WAKING) != 0 || OWNER_OF(word) == 0)) {
		if (OWNER_OF(word) == 0)
			return FILAR_WRONG_STATE;
		if (cas_release(&mutex->queue.word, &word, word & ~OWNER_TOKEN))
			return FILAR_OK;
	}
	return unlock_and_wake(mutex) ? FILAR_OK : FILAR_WRONG_STATE;
}
