/*
 * rwlock.c - a count of readers, a writer, and one queue for both; always granted by hand.
 */
#include "block/rwlock.h"

#define WRITER WAITQ_WORD(1)
#define READER WAITQ_WORD(2)

enum { ENTRY_READ, ENTRY_WRITE };

void rwlock_init(struct rwlock *lock, const char *name)
{
	waitq_init(&lock->queue, 0);
	atomic_init(&lock->writer_token, 0);
	atomic_init(&lock->writer_number, 0);
	lock->name = name;
}

static uint64_t value_of(uint64_t word)
{
	return WAITQ_WORD(WAITQ_VALUE(word));
}

static void set_writer(struct rwlock *lock, struct owner owner)
{
	store_relaxed(&lock->writer_number, owner.number);
	store_relaxed(&lock->writer_token, owner.token);
}

static struct owner writer_of(struct rwlock *lock)
{
	return (struct owner){ load_relaxed(&lock->writer_token),
		load_relaxed(&lock->writer_number) };
}

/* The fields are cleared before each unlock, so a former writer never finds itself. */
static bool is_mine(struct rwlock *lock)
{
	struct owner writer = writer_of(lock), self = owner_self();

	return writer.token == self.token && writer.number == self.number;
}

static enum filar_status complain(struct rwlock *lock, enum filar_status status, const char *what)
{
	char object[OBJECT_TEXT_BYTES], writer[OWNER_TEXT_BYTES], self[OWNER_TEXT_BYTES];
	uint64_t readers = WAITQ_VALUE(load_relaxed(&lock->queue.word)) / 2;

	object_describe("read-write lock", lock->name, lock, object, sizeof object);
	owner_describe(writer_of(lock), writer, sizeof writer);
	owner_describe_self(self, sizeof self);
	return status_detail(status, "%s %s %s, which %s writes and %llu read", self, what, object,
		writer, (unsigned long long)readers);
}

/* Locked.  Gives the lock to those at the front of the queue who can have it now. */
static uint64_t grant(struct rwlock *lock, uint64_t word, struct list *claimed)
{
	struct waitq_entry *entry;

	list_init(claimed);
	while ((entry = waitq_first(&lock->queue)) != NULL) {
		if (entry->kind == ENTRY_WRITE ? value_of(word) != 0 : (word & WRITER) != 0)
			break;
		(void)waitq_pop(&lock->queue);
		list_push_back(claimed, &entry->link);
		if (entry->kind == ENTRY_WRITE)
			set_writer(lock, entry->owner);
		word += entry->kind == ENTRY_WRITE ? WRITER : READER;
	}
	return word;
}

static void grant_and_unlock(struct rwlock *lock, uint64_t word)
{
	struct list claimed;

	word = grant(lock, word, &claimed);
	waitq_unlock(&lock->queue, word);
	waitq_wake_all(&claimed);
}

/* Locked, and it cannot be had at once; unlocks. */
static enum filar_status wait(
	struct rwlock *lock, uint64_t word, struct waitq_entry *entry, int64_t deadline_ns)
{
	enum wait_reason reason = entry->kind == ENTRY_WRITE ? WAIT_WRITE_LOCK : WAIT_READ_LOCK;
	enum filar_status status;

	waitq_push(&lock->queue, entry);
	waitq_unlock(&lock->queue, word);
	status = waiter_wait_until(&entry->waiter, deadline_ns, reason, WAIT_CANCELLABLE);
	if (status == FILAR_OK || !waitq_take_back(&lock->queue, entry, &word, reason))
		return FILAR_OK;
	/* A writer that leaves may have held up the readers behind it. */
	grant_and_unlock(lock, word);
	return status;
}

/* True: taken; else it is locked, and *word what was found. */
static bool read_or_lock(struct rwlock *lock, uint64_t *word)
{
	*word = load_relaxed(&lock->queue.word);
	while ((*word & (WAITQ_LOCKED | WAITQ_WAITERS | WRITER)) == 0) {
		/* B2; pairs with B1. */
		if (cas_acquire(&lock->queue.word, word, *word + READER))
			return true;
	}
	*word = waitq_lock(&lock->queue);
	if ((*word & (WAITQ_WAITERS | WRITER)) != 0)
		return false;
	waitq_unlock(&lock->queue, *word + READER);
	return true;
}

static bool write_or_lock(struct rwlock *lock, struct owner self, uint64_t *word)
{
	*word = 0;
	/* B2; pairs with B1. */
	if (cas_acquire(&lock->queue.word, word, WRITER)) {
		set_writer(lock, self);
		return true;
	}
	*word = waitq_lock(&lock->queue);
	if (value_of(*word) != 0 || (*word & WAITQ_WAITERS) != 0)
		return false;
	set_writer(lock, self);
	waitq_unlock(&lock->queue, WRITER);
	return true;
}

enum filar_status rwlock_read_lock_until(struct rwlock *lock, int64_t deadline_ns)
{
	struct waitq_entry entry = { .kind = ENTRY_READ };
	uint64_t word;

	if (read_or_lock(lock, &word))
		return FILAR_OK;
	if (is_mine(lock)) {
		waitq_unlock(&lock->queue, word);
		return complain(lock, FILAR_DEADLOCK, "would wait for itself at");
	}
	return wait(lock, word, &entry, deadline_ns);
}

enum filar_status rwlock_write_lock_until(struct rwlock *lock, int64_t deadline_ns)
{
	struct waitq_entry entry = { .kind = ENTRY_WRITE, .owner = owner_self() };
	uint64_t word;

	if (write_or_lock(lock, entry.owner, &word))
		return FILAR_OK;
	if (is_mine(lock)) {
		waitq_unlock(&lock->queue, word);
		return complain(lock, FILAR_DEADLOCK, "would wait for itself at");
	}
	return wait(lock, word, &entry, deadline_ns);
}

enum filar_status rwlock_try_read_lock(struct rwlock *lock)
{
	uint64_t word;

	if (read_or_lock(lock, &word))
		return FILAR_OK;
	waitq_unlock(&lock->queue, word);
	return FILAR_BUSY;
}

enum filar_status rwlock_try_write_lock(struct rwlock *lock)
{
	uint64_t word;

	if (write_or_lock(lock, owner_self(), &word))
		return FILAR_OK;
	waitq_unlock(&lock->queue, word);
	return FILAR_BUSY;
}

enum filar_status rwlock_read_unlock(struct rwlock *lock)
{
	uint64_t word = load_relaxed(&lock->queue.word);

	/* Only the last reader has to look at the queue. */
	while ((word & (WAITQ_LOCKED | WRITER)) == 0 && value_of(word) != 0 &&
		((word & WAITQ_WAITERS) == 0 || value_of(word) > READER)) {
		/* B1, by a compare-and-swap. */
		if (cas_release(&lock->queue.word, &word, word - READER))
			return FILAR_OK;
	}
	word = waitq_lock(&lock->queue);
	if ((word & WRITER) != 0 || value_of(word) == 0) {
		waitq_unlock(&lock->queue, word);
		return complain(lock, FILAR_WRONG_STATE, "does not read");
	}
	grant_and_unlock(lock, word - READER);
	return FILAR_OK;
}

enum filar_status rwlock_write_unlock(struct rwlock *lock)
{
	uint64_t word = WRITER;

	if (!is_mine(lock))
		return complain(lock, FILAR_WRONG_STATE, "does not write");
	set_writer(lock, (struct owner){ 0, 0 });
	/* B1, by a compare-and-swap. */
	if (cas_release(&lock->queue.word, &word, 0))
		return FILAR_OK;
	word = waitq_lock(&lock->queue);
	grant_and_unlock(lock, word - WRITER);
	return FILAR_OK;
}
