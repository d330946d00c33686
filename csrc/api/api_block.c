/*
 * api_block.c - the public things to wait on: check the arguments, call down.
 *
 * A handle is the object itself with room for its name behind it.
 */
#include <string.h>

#include "base/memory.h"
#include "block/barrier.h"
#include "block/chan.h"
#include "block/event.h"
#include "block/recursive.h"
#include "block/rwlock.h"
#include "block/semaphore.h"
#include "block/waitgroup.h"
#include "filar.h"
#include "green/preempt.h"

/* The object comes first: its address is the handle's. */
#define HANDLE(type)                                                                               \
	struct filar_##type {                                                                      \
		struct type object;                                                                \
		char name[FILAR_OBJECT_NAME_BYTES_MAX + 1];                                        \
	}

HANDLE(mutex);
HANDLE(recursive);
HANDLE(cond);
HANDLE(semaphore);
HANDLE(event);
HANDLE(latch);
HANDLE(waitgroup);
HANDLE(barrier);
HANDLE(rwlock);
HANDLE(chan);

_Static_assert(sizeof(filar_select_case) == sizeof(struct select_case), "one layout");
_Static_assert(offsetof(filar_select_case, chan) == offsetof(struct select_case, chan), "same");
_Static_assert(
	offsetof(filar_select_case, operation) == offsetof(struct select_case, operation), "same");
_Static_assert(offsetof(filar_select_case, item) == offsetof(struct select_case, item), "same");
_Static_assert(sizeof(enum chan_operation) == sizeof(int32_t), "same");
_Static_assert((int)FILAR_CHAN_SEND == CHAN_SEND && (int)FILAR_CHAN_RECEIVE == CHAN_RECEIVE,
	"one meaning");
_Static_assert(FILAR_SELECT_CASES_MAX == SELECT_CASES_MAX, "one limit");

static enum filar_status missing(const char *kind)
{
	return status_detail(FILAR_INVALID, "no %s was given", kind);
}

/* Zeroed memory for a handle; the text is copied to `name`, and *copy is it or NULL. */
static enum filar_status acquire(
	void **handle, size_t bytes, size_t name_at, const char *name, const char **copy)
{
	char *memory = memory_acquire_aligned(1, bytes);

	if (memory == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for %zu bytes", bytes);
	if (name != NULL)
		memcpy(memory + name_at, name, strnlen(name, FILAR_OBJECT_NAME_BYTES_MAX));
	*copy = name != NULL ? memory + name_at : NULL;
	*handle = memory;
	return FILAR_OK;
}

#define ACQUIRE(type, handle, text, copy)                                                          \
	acquire((void **)(handle), sizeof(struct filar_##type),                                    \
		offsetof(struct filar_##type, name), text, copy)

/* FILAR_BUSY, or gone. */
static enum filar_status release(const char *kind, void *handle, bool busy)
{
	if (busy)
		return status_detail(FILAR_BUSY, "the %s is in use and cannot be destroyed", kind);
	memory_release(handle);
	return FILAR_OK;
}

static bool has_waiters(struct waitq *queue)
{
	return (load_acquire(&queue->word) & (WAITQ_WAITERS | WAITQ_LOCKED)) != 0;
}

static bool is_free(struct waitq *queue)
{
	return load_acquire(&queue->word) == 0;
}

/* ---- mutexes, condition ---- */

int filar_mutex_create(filar_mutex **mutex, const char *name)
{
	PREEMPT_GUARD();
	enum filar_status status;
	const char *copy;

	if (mutex == NULL)
		return missing("place for the handle");
	status = ACQUIRE(mutex, mutex, name, &copy);
	if (status == FILAR_OK)
		mutex_init(&(*mutex)->object, copy);
	return status;
}

int filar_mutex_destroy(filar_mutex *mutex)
{
	PREEMPT_GUARD();

	if (mutex == NULL)
		return FILAR_OK;
	return release("mutex", mutex, !is_free(&mutex->object.queue));
}

int filar_mutex_lock_until(filar_mutex *mutex, int64_t deadline_ns)
{
	PREEMPT_GUARD();

	if (mutex == NULL)
		return missing("mutex");
	return mutex_lock_until(&mutex->object, deadline_ns);
}

int filar_mutex_trylock(filar_mutex *mutex)
{
	PREEMPT_GUARD();

	if (mutex == NULL)
		return missing("mutex");
	return mutex_trylock(&mutex->object);
}

int filar_mutex_unlock(filar_mutex *mutex)
{
	PREEMPT_GUARD();

	if (mutex == NULL)
		return missing("mutex");
	return mutex_unlock(&mutex->object);
}

int filar_recursive_create(filar_recursive **recursive, const char *name)
{
	PREEMPT_GUARD();
	enum filar_status status;
	const char *copy;

	if (recursive == NULL)
		return missing("place for the handle");
	status = ACQUIRE(recursive, recursive, name, &copy);
	if (status == FILAR_OK)
		recursive_init(&(*recursive)->object, copy);
	return status;
}

int filar_recursive_destroy(filar_recursive *recursive)
{
	PREEMPT_GUARD();

	if (recursive == NULL)
		return FILAR_OK;
	return release("recursive mutex", recursive, !is_free(&recursive->object.mutex.queue));
}

int filar_recursive_lock_until(filar_recursive *recursive, int64_t deadline_ns)
{
	PREEMPT_GUARD();

	if (recursive == NULL)
		return missing("recursive mutex");
	return recursive_lock_until(&recursive->object, deadline_ns);
}

int filar_recursive_trylock(filar_recursive *recursive)
{
	PREEMPT_GUARD();

	if (recursive == NULL)
		return missing("recursive mutex");
	return recursive_trylock(&recursive->object);
}

int filar_recursive_unlock(filar_recursive *recursive)
{
	PREEMPT_GUARD();

	if (recursive == NULL)
		return missing("recursive mutex");
	return recursive_unlock(&recursive->object);
}

int filar_cond_create(filar_cond **cond)
{
	PREEMPT_GUARD();
	enum filar_status status;
	const char *copy;

	if (cond == NULL)
		return missing("place for the handle");
	status = ACQUIRE(cond, cond, NULL, &copy);
	if (status == FILAR_OK)
		cond_init(&(*cond)->object);
	return status;
}

int filar_cond_destroy(filar_cond *cond)
{
	PREEMPT_GUARD();

	if (cond == NULL)
		return FILAR_OK;
	return release("condition", cond, has_waiters(&cond->object.queue));
}

int filar_cond_wait_until(filar_cond *cond, filar_mutex *mutex, int64_t deadline_ns)
{
	PREEMPT_GUARD();

	if (cond == NULL || mutex == NULL)
		return missing(cond == NULL ? "condition" : "mutex");
	return cond_wait_until(&cond->object, &mutex->object, deadline_ns);
}

int filar_cond_wait_recursive_until(
	filar_cond *cond, filar_recursive *recursive, int64_t deadline_ns)
{
	PREEMPT_GUARD();

	if (cond == NULL || recursive == NULL)
		return missing(cond == NULL ? "condition" : "recursive mutex");
	return recursive_cond_wait_until(&recursive->object, &cond->object, deadline_ns);
}

int filar_cond_signal(filar_cond *cond)
{
	PREEMPT_GUARD();

	if (cond == NULL)
		return missing("condition");
	cond_signal(&cond->object);
	return FILAR_OK;
}

int filar_cond_broadcast(filar_cond *cond)
{
	PREEMPT_GUARD();

	if (cond == NULL)
		return missing("condition");
	cond_broadcast(&cond->object);
	return FILAR_OK;
}

/* ---- semaphore, event ---- */

int filar_semaphore_create(
	filar_semaphore **semaphore, uint64_t value, uint64_t max, const char *name)
{
	PREEMPT_GUARD();
	enum filar_status status;
	const char *copy;

	if (semaphore == NULL)
		return missing("place for the handle");
	if (max > WAITQ_VALUE_MAX || value > max)
		return status_detail(FILAR_INVALID,
			"a semaphore of %llu units with a maximum of %llu",
			(unsigned long long)value, (unsigned long long)max);
	status = ACQUIRE(semaphore, semaphore, name, &copy);
	if (status == FILAR_OK)
		semaphore_init(&(*semaphore)->object, value, max, copy);
	return status;
}

int filar_semaphore_destroy(filar_semaphore *semaphore)
{
	PREEMPT_GUARD();

	if (semaphore == NULL)
		return FILAR_OK;
	return release("semaphore", semaphore, has_waiters(&semaphore->object.queue));
}

int filar_semaphore_acquire_until(filar_semaphore *semaphore, int64_t deadline_ns)
{
	PREEMPT_GUARD();

	if (semaphore == NULL)
		return missing("semaphore");
	return semaphore_acquire_until(&semaphore->object, deadline_ns);
}

int filar_semaphore_try_acquire(filar_semaphore *semaphore)
{
	PREEMPT_GUARD();

	if (semaphore == NULL)
		return missing("semaphore");
	return semaphore_try_acquire(&semaphore->object);
}

int filar_semaphore_release(filar_semaphore *semaphore, uint64_t units)
{
	PREEMPT_GUARD();

	if (semaphore == NULL)
		return missing("semaphore");
	return semaphore_release(&semaphore->object, units);
}

int filar_event_create(filar_event **event, bool set)
{
	PREEMPT_GUARD();
	enum filar_status status;
	const char *copy;

	if (event == NULL)
		return missing("place for the handle");
	status = ACQUIRE(event, event, NULL, &copy);
	if (status == FILAR_OK)
		event_init(&(*event)->object, set);
	return status;
}

int filar_event_destroy(filar_event *event)
{
	PREEMPT_GUARD();

	if (event == NULL)
		return FILAR_OK;
	return release("event", event, has_waiters(&event->object.queue));
}

int filar_event_wait_until(filar_event *event, int64_t deadline_ns)
{
	PREEMPT_GUARD();

	if (event == NULL)
		return missing("event");
	return event_wait_until(&event->object, deadline_ns);
}

int filar_event_set(filar_event *event)
{
	PREEMPT_GUARD();

	if (event == NULL)
		return missing("event");
	event_set(&event->object);
	return FILAR_OK;
}

int filar_event_reset(filar_event *event)
{
	PREEMPT_GUARD();

	if (event == NULL)
		return missing("event");
	event_reset(&event->object);
	return FILAR_OK;
}

bool filar_event_is_set(filar_event *event)
{
	PREEMPT_GUARD();

	return event != NULL && event_is_set(&event->object);
}

/* ---- latch, waitgroup, barrier ---- */

int filar_latch_create(filar_latch **latch, uint64_t count, const char *name)
{
	PREEMPT_GUARD();
	enum filar_status status;
	const char *copy;

	if (latch == NULL)
		return missing("place for the handle");
	if (count > WAITQ_VALUE_MAX)
		return status_detail(
			FILAR_INVALID, "a latch for %llu is too large", (unsigned long long)count);
	status = ACQUIRE(latch, latch, name, &copy);
	if (status == FILAR_OK)
		latch_init(&(*latch)->object, count, copy);
	return status;
}

int filar_latch_destroy(filar_latch *latch)
{
	PREEMPT_GUARD();

	if (latch == NULL)
		return FILAR_OK;
	return release("latch", latch, has_waiters(&latch->object.queue));
}

int filar_latch_count_down(filar_latch *latch, uint64_t arrivals)
{
	PREEMPT_GUARD();

	if (latch == NULL)
		return missing("latch");
	return latch_count_down(&latch->object, arrivals);
}

int filar_latch_wait_until(filar_latch *latch, int64_t deadline_ns)
{
	PREEMPT_GUARD();

	if (latch == NULL)
		return missing("latch");
	return latch_wait_until(&latch->object, deadline_ns);
}

int filar_waitgroup_create(filar_waitgroup **group, const char *name)
{
	PREEMPT_GUARD();
	enum filar_status status;
	const char *copy;

	if (group == NULL)
		return missing("place for the handle");
	status = ACQUIRE(waitgroup, group, name, &copy);
	if (status == FILAR_OK)
		waitgroup_init(&(*group)->object, copy);
	return status;
}

int filar_waitgroup_destroy(filar_waitgroup *group)
{
	PREEMPT_GUARD();

	if (group == NULL)
		return FILAR_OK;
	return release("waitgroup", group, has_waiters(&group->object.latch.queue));
}

int filar_waitgroup_add(filar_waitgroup *group, uint64_t count)
{
	PREEMPT_GUARD();

	if (group == NULL)
		return missing("waitgroup");
	return waitgroup_add(&group->object, count);
}

int filar_waitgroup_done(filar_waitgroup *group)
{
	PREEMPT_GUARD();

	if (group == NULL)
		return missing("waitgroup");
	return waitgroup_done(&group->object);
}

int filar_waitgroup_wait_until(filar_waitgroup *group, int64_t deadline_ns)
{
	PREEMPT_GUARD();

	if (group == NULL)
		return missing("waitgroup");
	return waitgroup_wait_until(&group->object, deadline_ns);
}

int filar_barrier_create(filar_barrier **barrier, uint32_t parties)
{
	PREEMPT_GUARD();
	enum filar_status status;
	const char *copy;

	if (barrier == NULL)
		return missing("place for the handle");
	if (parties == 0)
		return status_detail(FILAR_INVALID, "a barrier for nobody");
	status = ACQUIRE(barrier, barrier, NULL, &copy);
	if (status == FILAR_OK)
		barrier_init(&(*barrier)->object, parties);
	return status;
}

int filar_barrier_destroy(filar_barrier *barrier)
{
	PREEMPT_GUARD();

	if (barrier == NULL)
		return FILAR_OK;
	return release("barrier", barrier, has_waiters(&barrier->object.queue));
}

int filar_barrier_wait_until(filar_barrier *barrier, int64_t deadline_ns, bool *last)
{
	PREEMPT_GUARD();

	if (barrier == NULL)
		return missing("barrier");
	return barrier_wait_until(&barrier->object, deadline_ns, last);
}

/* ---- read-write lock ---- */

int filar_rwlock_create(filar_rwlock **lock, const char *name)
{
	PREEMPT_GUARD();
	enum filar_status status;
	const char *copy;

	if (lock == NULL)
		return missing("place for the handle");
	status = ACQUIRE(rwlock, lock, name, &copy);
	if (status == FILAR_OK)
		rwlock_init(&(*lock)->object, copy);
	return status;
}

int filar_rwlock_destroy(filar_rwlock *lock)
{
	PREEMPT_GUARD();

	if (lock == NULL)
		return FILAR_OK;
	return release("read-write lock", lock, !is_free(&lock->object.queue));
}

int filar_rwlock_read_lock_until(filar_rwlock *lock, int64_t deadline_ns)
{
	PREEMPT_GUARD();

	if (lock == NULL)
		return missing("read-write lock");
	return rwlock_read_lock_until(&lock->object, deadline_ns);
}

int filar_rwlock_try_read_lock(filar_rwlock *lock)
{
	PREEMPT_GUARD();

	if (lock == NULL)
		return missing("read-write lock");
	return rwlock_try_read_lock(&lock->object);
}

int filar_rwlock_read_unlock(filar_rwlock *lock)
{
	PREEMPT_GUARD();

	if (lock == NULL)
		return missing("read-write lock");
	return rwlock_read_unlock(&lock->object);
}

int filar_rwlock_write_lock_until(filar_rwlock *lock, int64_t deadline_ns)
{
	PREEMPT_GUARD();

	if (lock == NULL)
		return missing("read-write lock");
	return rwlock_write_lock_until(&lock->object, deadline_ns);
}

int filar_rwlock_try_write_lock(filar_rwlock *lock)
{
	PREEMPT_GUARD();

	if (lock == NULL)
		return missing("read-write lock");
	return rwlock_try_write_lock(&lock->object);
}

int filar_rwlock_write_unlock(filar_rwlock *lock)
{
	PREEMPT_GUARD();

	if (lock == NULL)
		return missing("read-write lock");
	return rwlock_write_unlock(&lock->object);
}

/* ---- channel ---- */

int filar_chan_create(filar_chan **chan, size_t item_bytes, int64_t capacity, const char *name)
{
	PREEMPT_GUARD();
	size_t slots = capacity == FILAR_CHAN_UNBOUNDED ? CHAN_UNBOUNDED : (size_t)capacity;
	enum filar_status status;
	const char *copy;
	filar_chan *made;

	if (chan == NULL)
		return missing("place for the handle");
	if (capacity < FILAR_CHAN_UNBOUNDED)
		return status_detail(
			FILAR_INVALID, "a channel cannot keep %lld items", (long long)capacity);
	status = ACQUIRE(chan, &made, name, &copy);
	if (status != FILAR_OK)
		return status;
	status = chan_init(&made->object, item_bytes, slots, copy);
	if (status != FILAR_OK)
		memory_release(made);
	else
		*chan = made;
	return status;
}

int filar_chan_destroy(filar_chan *chan)
{
	PREEMPT_GUARD();
	enum filar_status status = chan != NULL ? chan_deinit(&chan->object) : FILAR_OK;

	if (status == FILAR_OK)
		memory_release(chan);
	return status;
}

static enum filar_status check_chan(const filar_chan *chan, const void *item)
{
	if (chan == NULL)
		return missing("channel");
	return item == NULL ? missing("item") : FILAR_OK;
}

int filar_chan_send_until(filar_chan *chan, const void *item, int64_t deadline_ns)
{
	PREEMPT_GUARD();
	enum filar_status status = check_chan(chan, item);

	return status == FILAR_OK ? chan_send_until(&chan->object, item, deadline_ns) : status;
}

int filar_chan_receive_until(filar_chan *chan, void *item, int64_t deadline_ns)
{
	PREEMPT_GUARD();
	enum filar_status status = check_chan(chan, item);

	return status == FILAR_OK ? chan_receive_until(&chan->object, item, deadline_ns) : status;
}

int filar_chan_try_send(filar_chan *chan, const void *item)
{
	PREEMPT_GUARD();
	enum filar_status status = check_chan(chan, item);

	return status == FILAR_OK ? chan_try_send(&chan->object, item) : status;
}

int filar_chan_try_receive(filar_chan *chan, void *item)
{
	PREEMPT_GUARD();
	enum filar_status status = check_chan(chan, item);

	return status == FILAR_OK ? chan_try_receive(&chan->object, item) : status;
}

int filar_chan_close(filar_chan *chan)
{
	PREEMPT_GUARD();

	if (chan == NULL)
		return missing("channel");
	return chan_close(&chan->object);
}

size_t filar_chan_count(filar_chan *chan)
{
	PREEMPT_GUARD();

	return chan != NULL ? chan_count(&chan->object) : 0;
}

int filar_select_until(
	filar_select_case *cases, uint32_t count, int64_t deadline_ns, uint32_t *chosen)
{
	PREEMPT_GUARD();

	if (chosen == NULL || (cases == NULL && count > 0))
		return missing(chosen == NULL ? "place for the chosen case" : "case");
	if (count > FILAR_SELECT_CASES_MAX)
		return status_detail(FILAR_INVALID, "a select has at most %d cases, not %u",
			FILAR_SELECT_CASES_MAX, count);
	for (uint32_t i = 0; i < count; i++) {
		if (cases[i].chan == NULL)
			continue;
		if (cases[i].item == NULL)
			return missing("item");
		if (cases[i].operation != FILAR_CHAN_SEND &&
			cases[i].operation != FILAR_CHAN_RECEIVE)
			return status_detail(FILAR_INVALID, "unknown operation %d in case %u",
				cases[i].operation, i);
	}
	return select_until((struct select_case *)(void *)cases, count, deadline_ns, chosen);
}
