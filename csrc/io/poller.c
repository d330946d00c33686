/*
 * poller.c - records, arming, events, forgetting, and what the scheduler calls.
 * Labels F1 to F5 are those of README.md.
 */
#include "io/poller.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"
#include "base/memory.h"
#include "os/calls.h"
#include "os/clock.h"

/* A target is generation << 32 | look << 21 | events; an fd's tag among the events has the fd in
 * place of these.  The eventfd's has a bit that no look has. */
#define TAG_INTERRUPT UINT64_MAX

#define GENERATION_ONE  (UINT64_C(1) << 32)
#define GENERATION_MASK (~(GENERATION_ONE - 1))
#define LOOK_ONE        (UINT64_C(1) << 21)
#define LOOKS           UINT64_C(1024) /* that are told apart */
#define LOOK_MASK       ((LOOKS - 1) * LOOK_ONE)
#define LOW_MASK        (LOOK_ONE - 1)

_Static_assert(POLLER_FDS_MAX <= LOOK_ONE && EPOLLRDHUP < LOOK_ONE, "both fit below a look");

/* Looks of a worker that has nothing to do, of which one is made. */
#define LOOKS_PER_CALL 4

/* ---- all pollers of the process ---- */

static struct spinlock pollers_lock;
static struct list pollers = { &pollers, &pollers };
static uint32_t forks;

static struct poller *poller_of_link(struct list *link)
{
	return FILAR_CONTAINER_OF(link, struct poller, link);
}

static void pollers_add(struct poller *poller)
{
	spinlock_lock(&pollers_lock);
	list_push_back(&pollers, &poller->link);
	spinlock_unlock(&pollers_lock);
}

/* Waits for those who stand on it. */
static void pollers_remove(struct poller *poller)
{
	bool in_use = true;

	while (in_use) {
		spinlock_lock(&pollers_lock);
		in_use = poller->users > 0;
		if (!in_use)
			list_remove(&poller->link);
		spinlock_unlock(&pollers_lock);
		if (in_use)
			sched_yield();
	}
}

/* The one after `before` (NULL: the first), which stays until it is given back by the next call. */
static struct poller *pollers_next(struct poller *before)
{
	struct list *link;

	spinlock_lock(&pollers_lock);
	link = before != NULL ? before->link.next : pollers.next;
	if (before != NULL)
		before->users--;
	if (link != &pollers)
		poller_of_link(link)->users++;
	spinlock_unlock(&pollers_lock);
	return link != &pollers ? poller_of_link(link) : NULL;
}

uint32_t poller_forks(void)
{
	return forks;
}

static void before_fork(void)
{
	spinlock_lock(&pollers_lock);
}

static void after_fork_in_parent(void)
{
	spinlock_unlock(&pollers_lock);
}

/* The parent's; each is still there to be destroyed with its runtime. */
static void after_fork_in_child(void)
{
	struct list *link;

	while ((link = list_pop_front(&pollers)) != NULL)
		poller_of_link(link)->users = 0;
	forks++;
	spinlock_unlock(&pollers_lock);
}

__attribute__((constructor)) static void register_fork_handlers(void)
{
	spinlock_init(&pollers_lock);
	(void)pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/* ---- records ---- */

static struct poller_chunk *make_chunk(struct poller *poller, uint32_t index)
{
	struct poller_chunk *chunk = memory_acquire_aligned(1, sizeof *chunk), *none = NULL;

	if (chunk == NULL)
		return NULL;
	for (uint32_t i = 0; i < POLLER_CHUNK_RECORDS; i++)
		waitq_init(&chunk->records[i].queue, 0);
	/* F4: release, the records; pairs with F5. */
	if (cas_acq_rel(&poller->chunks[index], &none, chunk))
		return chunk;
	memory_release(chunk);
	return none;
}

/* NULL: nobody has ever waited for such a number. */
static struct fd_record *find_record(struct poller *poller, int fd)
{
	struct poller_chunk *chunk;

	if (fd < 0 || fd >= POLLER_FDS_MAX)
		return NULL;
	/* F5: acquire; pairs with F4. */
	chunk = load_acquire(&poller->chunks[fd / POLLER_CHUNK_RECORDS]);
	return chunk != NULL ? &chunk->records[fd % POLLER_CHUNK_RECORDS] : NULL;
}

enum filar_status poller_record(struct fd_record **record, struct poller *poller, int fd)
{
	struct poller_chunk *chunk;

	FILAR_ASSERT(fd >= 0);
	*record = find_record(poller, fd);
	if (FILAR_LIKELY(*record != NULL))
		return FILAR_OK;
	if (fd >= POLLER_FDS_MAX)
		return status_detail(FILAR_LIMIT,
			"a runtime waits for file descriptors below %d, not for %d", POLLER_FDS_MAX,
			fd);
	chunk = make_chunk(poller, (uint32_t)fd / POLLER_CHUNK_RECORDS);
	if (chunk == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory to wait for fd %d", fd);
	*record = &chunk->records[fd % POLLER_CHUNK_RECORDS];
	return FILAR_OK;
}

/* ---- one wait ---- */

struct fd_wait {
	struct waitq_entry entry;
	uint32_t events;           /* I */
	uint64_t look;             /* L  of a wait for a level: its number; 0: tried */
	uint32_t ready;            /* of whoever has claimed it */
	enum filar_status outcome; /* likewise */
};

struct fd_ticket poller_ticket(struct fd_record *record)
{
	struct fd_ticket ticket;

	/* F2: acquire, before the count; the count's is B2. */
	ticket.closes = load_acquire(&record->closes);
	ticket.count = WAITQ_VALUE(load_acquire(&record->queue.word));
	return ticket;
}

static uint32_t events_of(uint64_t target)
{
	return (uint32_t)(target & LOW_MASK);
}

static uint64_t with_look(uint64_t target, uint64_t look)
{
	return (target & ~LOOK_MASK) | look % LOOKS * LOOK_ONE;
}

/* Locked.  The number in an event's tag, in full: the latest that it may be. */
static uint64_t look_told(const struct fd_record *record, uint64_t tag)
{
	return record->looks - (record->looks - tag / LOOK_ONE) % LOOKS;
}

/* Queues the wait, and says what epoll is to be told; or says why there is no wait. */
static enum filar_status queue_up(struct fd_record *record, struct fd_wait *wait,
	const struct fd_ticket *ticket, bool *must_arm)
{
	uint64_t word = waitq_lock(&record->queue);
	uint64_t target = load_relaxed(&record->target);
	enum filar_status status = FILAR_OK;

	if (ticket != NULL && load_relaxed(&record->closes) != ticket->closes)
		status = FILAR_CLOSED;
	else if (ticket != NULL && WAITQ_VALUE(word) != ticket->count)
		status = FD_LOOK_AGAIN;
	if (status == FILAR_OK) {
		*must_arm = ticket == NULL || (wait->events & ~load_relaxed(&record->armed)) != 0;
		if (ticket == NULL)
			wait->look = ++record->looks;
		if (ticket == NULL || (wait->events & ~events_of(target)) != 0)
			store_release(
				&record->target, with_look(target | wait->events, record->looks));
		waitq_push(&record->queue, &wait->entry);
	}
	waitq_unlock(&record->queue, word);
	return status;
}

/* Whether `target` is still what is wanted; then epoll is known to tell of its events. */
static bool confirm(struct fd_record *record, uint64_t target)
{
	uint64_t word;
	bool confirmed;

	if (load_relaxed(&record->armed) == events_of(target) &&
		load_acquire(&record->target) == target)
		return true;
	word = waitq_lock(&record->queue);
	confirmed = load_relaxed(&record->target) == target;
	if (confirmed)
		store_relaxed(&record->armed, events_of(target));
	waitq_unlock(&record->queue, word);
	return confirmed;
}

/* README.md, "Arming".  0 or an errno. */
static int arm(struct poller *poller, struct fd_record *record, int fd)
{
	int operation = load_relaxed(&record->armed) != 0 ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	for (;;) {
		/* F1: acquire; whoever stored it holds the queue's lock. */
		uint64_t target = load_acquire(&record->target);
		struct epoll_event event = { .events = events_of(target) | EPOLLET,
			.data.u64 = (target & ~LOW_MASK) | (uint32_t)fd };

		if (call_epoll_ctl(poller->epoll, operation, fd, &event) == 0) {
			if (confirm(record, target))
				return 0;
			operation = EPOLL_CTL_MOD;
		} else if (errno == EEXIST && operation == EPOLL_CTL_ADD) {
			operation = EPOLL_CTL_MOD;
		} else if (errno == ENOENT && operation == EPOLL_CTL_MOD) {
			operation = EPOLL_CTL_ADD;
		} else {
			return errno;
		}
	}
}

static enum wait_reason reason_of(uint32_t events)
{
	if ((events & EPOLLOUT) == 0)
		return (events & EPOLLIN) != 0 ? WAIT_READABLE : WAIT_FD;
	return (events & EPOLLIN) != 0 ? WAIT_FD : WAIT_WRITABLE;
}

static enum filar_status wait_queued(struct poller *poller, struct fd_record *record, int fd,
	struct fd_wait *wait, const struct fd_ticket *ticket, int64_t deadline_ns, int *error)
{
	enum wait_reason reason = reason_of(wait->events);
	bool must_arm;
	uint64_t word;
	enum filar_status status = queue_up(record, wait, ticket, &must_arm);

	if (status != FILAR_OK)
		return status;
	if (must_arm) {
		*error = arm(poller, record, fd);
		if (*error != 0) {
			if (!waitq_take_back(&record->queue, &wait->entry, &word, reason)) {
				*error = 0;
				return wait->outcome;
			}
			waitq_unlock(&record->queue, word);
			return FILAR_SYSTEM;
		}
	}
	status = waitq_wait_until(
		&record->queue, &wait->entry, deadline_ns, reason, WAIT_CANCELLABLE);
	return status == FILAR_OK ? wait->outcome : status;
}

enum filar_status poller_wait_until(struct poller *poller, struct fd_record *record, int fd,
	uint32_t events, const struct fd_ticket *ticket, int64_t deadline_ns, uint32_t *ready,
	int *error)
{
	struct fd_wait wait = { .events = events };
	enum filar_status status;

	*error = 0;
	fetch_add_relaxed(&poller->source.wanted, 1);
	status = wait_queued(poller, record, fd, &wait, ticket, deadline_ns, error);
	fetch_sub_relaxed(&poller->source.wanted, 1);
	*ready = wait.ready;
	return status;
}

/* ---- events ---- */

/* Locked.  Claims those who wait for one of the events, and did when epoll was told this look; or
 * all. */
static void claim(struct fd_record *record, uint32_t events, uint64_t look,
	enum filar_status outcome, struct list *claimed)
{
	struct list *link = record->queue.entries.next, *next;

	for (; link != &record->queue.entries; link = next) {
		struct fd_wait *wait = FILAR_CONTAINER_OF(link, struct fd_wait, entry.link);

		next = link->next;
		/* As poll(2): errors and the end concern everybody. */
		if (outcome == FILAR_OK &&
			((events & (wait->events | EPOLLERR | EPOLLHUP)) == 0 || wait->look > look))
			continue;
		list_remove(link);
		wait->entry.queued = false;
		wait->ready = events;
		wait->outcome = outcome;
		list_push_back(claimed, link);
	}
}

static void deliver(struct poller *poller, const struct epoll_event *event)
{
	uint64_t tag = event->data.u64, word;
	struct fd_record *record;
	struct list claimed;

	if (tag == TAG_INTERRUPT)
		return;
	record = find_record(poller, (int)(tag & LOW_MASK));
	word = load_relaxed(&record->queue.word);
	/* One of another generation does no harm where nobody waits. */
	while ((word & (WAITQ_LOCKED | WAITQ_WAITERS)) == 0) {
		/* B1, by a compare-and-swap. */
		if (cas_release(&record->queue.word, &word, word + WAITQ_ONE))
			return;
	}
	list_init(&claimed);
	word = waitq_lock(&record->queue);
	if ((load_relaxed(&record->target) & GENERATION_MASK) == (tag & GENERATION_MASK))
		claim(record, event->events, look_told(record, tag), FILAR_OK, &claimed);
	waitq_unlock(&record->queue, word + WAITQ_ONE);
	waitq_wake_all(&claimed);
}

/* ---- forgetting ---- */

/* FILAR_CLOSED or FD_LOOK_AGAIN for all who wait.  Whether epoll may know the fd. */
static bool disown(struct fd_record *record, enum filar_status outcome)
{
	struct list claimed;
	uint64_t word = waitq_lock(&record->queue);
	uint64_t target = load_relaxed(&record->target);
	bool known = events_of(target) != 0;

	list_init(&claimed);
	claim(record, 0, 0, outcome, &claimed);
	store_release(&record->target,
		with_look((target & GENERATION_MASK) + GENERATION_ONE, record->looks));
	store_relaxed(&record->armed, 0);
	store_relaxed(&record->mode, FD_MODE_UNKNOWN);
	if (outcome == FILAR_CLOSED)
		store_release(&record->closes, load_relaxed(&record->closes) + 1);
	waitq_unlock(&record->queue, word + WAITQ_ONE);
	waitq_wake_all(&claimed);
	return known;
}

void pollers_close(int fd)
{
	struct poller *poller = NULL;

	while ((poller = pollers_next(poller)) != NULL) {
		struct fd_record *record = find_record(poller, fd);

		/* It need not be there, and may not be open. */
		if (record != NULL && disown(record, FILAR_CLOSED))
			(void)call_epoll_ctl(poller->epoll, EPOLL_CTL_DEL, fd, NULL);
	}
}

void pollers_look_again(int fd)
{
	struct poller *poller = NULL;

	while ((poller = pollers_next(poller)) != NULL) {
		struct fd_record *record = find_record(poller, fd);

		if (record != NULL)
			(void)disown(record, FD_LOOK_AGAIN);
	}
}

void pollers_begin_anew(int fd)
{
	struct poller *poller = NULL;

	while ((poller = pollers_next(poller)) != NULL) {
		struct fd_record *record = find_record(poller, fd);

		/* Else the first wait arms, and asks for the mode, anyway. */
		if (record != NULL && (load_relaxed(&record->armed) != 0 ||
					      load_relaxed(&record->mode) != FD_MODE_UNKNOWN))
			(void)disown(record, FD_LOOK_AGAIN);
	}
}

void poller_is_new(struct fd_record *record)
{
	if (load_relaxed(&record->armed) != 0)
		(void)disown(record, FD_LOOK_AGAIN);
	store_relaxed(&record->mode, FD_MODE_NONBLOCKING);
}

/* ---- for the scheduler ---- */

static struct poller *poller_of_source(struct idle_source *source)
{
	return FILAR_CONTAINER_OF(source, struct poller, source);
}

/* A kernel before 5.11, or a filter in front of it: the time in ns is ppoll's. */
static int wait_by_ppoll(struct poller *poller, const struct timespec *timeout)
{
	struct pollfd fd = { .fd = poller->epoll, .events = POLLIN };

	(void)call_poll(&fd, 1, timeout);
	return call_epoll_look(poller->epoll, poller->slept.events, POLLER_BATCH);
}

static int wait_in_epoll(struct poller *poller, const struct timespec *timeout)
{
	int count;

	if (!poller->has_pwait2)
		return wait_by_ppoll(poller, timeout);
	count = call_epoll_wait(poller->epoll, poller->slept.events, POLLER_BATCH, timeout);
	if (count >= 0 || (errno != ENOSYS && errno != EPERM))
		return count;
	poller->has_pwait2 = false;
	return wait_by_ppoll(poller, timeout);
}

static void wait_until(struct idle_source *source, int64_t deadline_ns)
{
	struct poller *poller = poller_of_source(source);
	int64_t left_ns = 0;
	struct timespec left;
	uint64_t value;

	FILAR_ASSERT(poller->slept.count == 0);
	if (deadline_ns != DEADLINE_NEVER)
		left_ns = deadline_ns - clock_now_ns();
	left = clock_timespec(left_ns);
	poller->slept.count = wait_in_epoll(poller, deadline_ns != DEADLINE_NEVER ? &left : NULL);
	/* Somebody has closed what is filar's: it would neither sleep nor hear of anything. */
	FILAR_CHECK(poller->slept.count >= 0 || errno != EBADF);
	for (int i = 0; i < poller->slept.count; i++) {
		if (poller->slept.events[i].data.u64 == TAG_INTERRUPT)
			(void)!call_read(poller->interrupts, &value, sizeof value);
	}
}

/* Now and then, if it has nothing else to do: a look costs as much as many pauses. */
static bool is_worth_a_look(struct poller_batch *batch, enum idle_poll when)
{
	return when != IDLE_POLL_EMPTY || batch->looks++ % LOOKS_PER_CALL == 0;
}

static void poll_events(struct idle_source *source, struct worker *worker, enum idle_poll when)
{
	struct poller *poller = poller_of_source(source);
	struct poller_batch *batch = &poller->batches[worker->index];

	if (when == IDLE_POLL_SLEPT) {
		batch->looks = 0;
		batch = &poller->slept;
	} else if (is_worth_a_look(batch, when)) {
		batch->count = call_epoll_look(poller->epoll, batch->events, POLLER_BATCH);
	}
	if (batch->count > 0)
		batch->looks = 0;
	for (int i = 0; i < batch->count; i++)
		deliver(poller, &batch->events[i]);
	batch->count = 0;
}

static void interrupt(struct idle_source *source)
{
	struct poller *poller = poller_of_source(source);
	uint64_t one = 1;

	/* EAGAIN: it has been interrupted 2^64 times, and nobody has looked. */
	while (call_write(poller->interrupts, &one, sizeof one) < 0 && errno != EAGAIN)
		;
}

/* ---- life ---- */

static void free_poller(struct poller *poller)
{
	pollers_remove(poller);
	(void)close(poller->interrupts);
	(void)close(poller->epoll);
	for (uint32_t i = 0; i < POLLER_CHUNKS; i++)
		memory_release(load_relaxed(&poller->chunks[i]));
	memory_release(poller->batches);
	memory_release(poller);
}

static void destroy(struct idle_source *source)
{
	free_poller(poller_of_source(source));
}

static enum filar_status open_epoll(struct poller *poller)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = TAG_INTERRUPT };
	int error;

	poller->epoll = call_epoll_create(EPOLL_CLOEXEC);
	if (poller->epoll < 0)
		return status_from_errno(errno, "epoll_create1");
	poller->interrupts = call_eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (poller->interrupts < 0) {
		error = errno;
		(void)close(poller->epoll);
		return status_from_errno(error, "eventfd");
	}
	if (call_epoll_ctl(poller->epoll, EPOLL_CTL_ADD, poller->interrupts, &event) == 0)
		return FILAR_OK;
	error = errno;
	(void)close(poller->interrupts);
	(void)close(poller->epoll);
	return status_from_errno(error, "epoll_ctl");
}

static enum filar_status make_poller(struct poller **result, struct runtime *runtime)
{
	struct poller *poller = memory_acquire_aligned(1, sizeof *poller);
	enum filar_status status;

	if (poller == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for a poller");
	poller->batches =
		memory_acquire_aligned(runtime->scheduler.worker_limit, sizeof *poller->batches);
	status = poller->batches != NULL ? open_epoll(poller)
					 : status_detail(FILAR_NO_MEMORY, "no memory for a poller");
	if (status != FILAR_OK) {
		memory_release(poller->batches);
		memory_release(poller);
		return status;
	}
	poller->source = (struct idle_source){ .wait_until = wait_until,
		.poll = poll_events,
		.interrupt = interrupt,
		.destroy = destroy };
	poller->runtime = runtime;
	poller->forks = forks;
	poller->has_pwait2 = true;
	pollers_add(poller);
	*result = poller;
	return FILAR_OK;
}

static struct poller *attached_poller(struct runtime *runtime)
{
	/* What attaching (U4) has published. */
	struct idle_source *source = load_acquire(&runtime->scheduler.idle.source);

	FILAR_ASSERT(source == NULL || source->poll == poll_events);
	return source != NULL ? poller_of_source(source) : NULL;
}

static enum filar_status attach_poller(struct poller **poller, struct runtime *runtime)
{
	enum filar_status status = make_poller(poller, runtime);

	if (status != FILAR_OK || scheduler_attach_source(&runtime->scheduler, &(*poller)->source))
		return status;
	free_poller(*poller);
	*poller = attached_poller(runtime);
	return FILAR_OK;
}

enum filar_status poller_of(struct poller **poller, struct green *self)
{
	*poller = attached_poller(self->runtime);
	if (FILAR_LIKELY(*poller != NULL)) {
		if (FILAR_UNLIKELY((*poller)->forks != forks))
			*poller = NULL;
		return FILAR_OK;
	}
	return runtime_is_forked(self->runtime) ? FILAR_OK : attach_poller(poller, self->runtime);
}
