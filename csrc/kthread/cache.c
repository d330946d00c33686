/*
 * cache.c - who is parked, who works, and how a job changes hands.
 *
 * A thread's slot is on exactly one of: `unused` (no thread), `parked` (its thread waits for the
 * parker), or no list (its thread works, or has just been taken and is about to).
 *
 * Hand-off: the submitter takes a slot off `parked`, writes slot->job, unparks.  The thread runs
 * the job, goes back on `parked` and only then says that the job is done, so that who has joined a
 * job finds its thread parked.  From then on slot->job belongs to the next submitter: the thread
 * has its own copy of the pointer.
 *
 * End: a slot that is handed no job ends its thread; so does a finished job after `closing`.
 *
 * Always: parked + unused + working slots = threads_max.
 */
#include "kthread/cache.h"

#include <pthread.h>

#include "base/check.h"
#include "base/memory.h"
#include "os/clock.h"
#include "os/futex.h"
#include "sync/parker.h"

struct kcache_slot {
	struct kcache_slot *next; /* L  on the list it is on */
	struct kcache *cache;     /* I */
	struct kthread *thread;   /* S  the creator's; NULL: unused */
	struct kcache_job *job;   /* S  the submitter's until unpark, then the thread's */
	struct parker parker;     /* A */
};

struct kcache {
	filar_kthread_options thread_options; /* I */
	int32_t *cpus;                        /* I  own copy, or NULL */
	size_t threads_max;                   /* I */
	uint32_t fork_generation;             /* I */
	pthread_mutex_t lock;
	struct kcache_slot *parked; /* L  the one parked last is first */
	struct kcache_slot *unused; /* L */
	size_t threads_working;     /* L */
	size_t threads_parked;      /* L */
	bool closing;               /* L */
	struct kcache_slot slots[];
};

static bool is_forked(const struct kcache *cache)
{
	return cache->fork_generation != kthread_fork_generation();
}

/* ---- a thread of the cache ---- */

static void finish(struct kcache_job *job)
{
	/* C1: release; pairs with C2 in kcache_join_until(): what the body did is visible. */
	store_release(&job->done, 1);
	/* The job's owner may have freed it by now; a wake on its address is harmless. */
	futex_wake(&job->done, INT32_MAX);
}

/* False when the cache is closing: the thread ends instead. */
static bool go_parked(struct kcache_slot *slot)
{
	struct kcache *cache = slot->cache;
	bool stays;

	pthread_mutex_lock(&cache->lock);
	stays = !cache->closing;
	cache->threads_working--;
	if (stays) {
		slot->next = cache->parked;
		cache->parked = slot;
		cache->threads_parked++;
	}
	pthread_mutex_unlock(&cache->lock);
	return stays;
}

static void slot_main(void *pointer)
{
	struct kcache_slot *slot = pointer;
	struct kcache_job *job;
	bool stays;

	do {
		while (parker_park_until(&slot->parker, DEADLINE_NEVER) != FILAR_OK)
			;
		job = slot->job;
		if (job == NULL)
			return;
		job->body(job->argument);
		stays = go_parked(slot);
		finish(job);
	} while (stays);
}

static enum filar_status start_thread(struct kcache_slot *slot)
{
	return kthread_create(&slot->thread, &slot->cache->thread_options, slot_main, slot);
}

/* ---- submitting ---- */

/* A slot that is now the caller's (working), or NULL; one without a thread if none is parked. */
static struct kcache_slot *take_slot(struct kcache *cache)
{
	struct kcache_slot *slot;

	pthread_mutex_lock(&cache->lock);
	slot = cache->parked != NULL ? cache->parked : cache->unused;
	if (slot == NULL) {
		pthread_mutex_unlock(&cache->lock);
		return NULL;
	}
	if (slot == cache->parked) {
		cache->parked = slot->next;
		cache->threads_parked--;
	} else {
		cache->unused = slot->next;
	}
	cache->threads_working++;
	pthread_mutex_unlock(&cache->lock);
	return slot;
}

static void give_slot_back_unused(struct kcache_slot *slot)
{
	struct kcache *cache = slot->cache;

	pthread_mutex_lock(&cache->lock);
	slot->next = cache->unused;
	cache->unused = slot;
	cache->threads_working--;
	pthread_mutex_unlock(&cache->lock);
}

enum filar_status kcache_submit(
	struct kcache *cache, struct kcache_job *job, kthread_body *body, void *argument)
{
	struct kcache_slot *slot;
	enum filar_status status;

	if (is_forked(cache))
		return status_detail(FILAR_FORKED, "the cache's threads run in the parent process");
	slot = take_slot(cache);
	if (slot == NULL)
		return status_detail(
			FILAR_BUSY, "all %zu threads of the cache are working", cache->threads_max);
	job->body = body;
	job->argument = argument;
	atomic_init(&job->done, 0);
	if (slot->thread == NULL) {
		status = start_thread(slot);
		if (status != FILAR_OK) {
			give_slot_back_unused(slot);
			return status;
		}
	}
	slot->job = job;
	parker_unpark(&slot->parker);
	return FILAR_OK;
}

enum filar_status kcache_join_until(struct kcache_job *job, int64_t deadline_ns)
{
	enum filar_status status;

	/* C2: acquire; pairs with C1. */
	while (load_acquire(&job->done) == 0) {
		status = futex_wait_until(&job->done, 0, deadline_ns);
		if (status != FILAR_OK && load_acquire(&job->done) == 0)
			return status;
	}
	return FILAR_OK;
}

void kcache_count(struct kcache *cache, size_t *threads, size_t *parked)
{
	pthread_mutex_lock(&cache->lock);
	*threads = cache->threads_working + cache->threads_parked;
	*parked = cache->threads_parked;
	pthread_mutex_unlock(&cache->lock);
}

/* ---- the beginning and the end ---- */

static struct kcache *allocate(const struct kcache_options *options)
{
	size_t slots_bytes, bytes;

	if (__builtin_mul_overflow(
		    options->threads_max, sizeof(struct kcache_slot), &slots_bytes) ||
		__builtin_add_overflow(slots_bytes, sizeof(struct kcache), &bytes))
		return NULL;
	return memory_acquire(1, bytes);
}

static bool copy_cpus(struct kcache *cache, const struct kcache_options *options)
{
	if (options->cpus == NULL)
		return true;
	cache->cpus = memory_acquire(options->cpu_count, sizeof *cache->cpus);
	if (cache->cpus == NULL)
		return false;
	for (size_t i = 0; i < options->cpu_count; i++)
		cache->cpus[i] = options->cpus[i];
	return true;
}

static void init_slots(struct kcache *cache)
{
	for (size_t i = cache->threads_max; i-- > 0;) {
		struct kcache_slot *slot = &cache->slots[i];

		slot->cache = cache;
		parker_init(&slot->parker);
		slot->next = cache->unused;
		cache->unused = slot;
	}
}

/* Parked slots are taken first, so all threads are started before any slot is put there. */
static enum filar_status start_ready_threads(struct kcache *cache, size_t count)
{
	enum filar_status status = FILAR_OK;
	size_t started = 0;

	while (started < count && status == FILAR_OK) {
		struct kcache_slot *slot = take_slot(cache);

		FILAR_CHECK(slot == &cache->slots[started]);
		status = start_thread(slot);
		if (status == FILAR_OK)
			started++;
		else
			give_slot_back_unused(slot);
	}
	for (size_t i = 0; i < started; i++)
		(void)go_parked(&cache->slots[i]);
	return status;
}

static void free_cache(struct kcache *cache)
{
	pthread_mutex_destroy(&cache->lock);
	memory_release(cache->cpus);
	memory_release(cache);
}

static enum filar_status check_options(const struct kcache_options *options)
{
	if (options->threads_max == 0 || options->threads_ready > options->threads_max)
		return status_detail(FILAR_INVALID,
			"a cache needs at least one thread and at most %zu ready ones, not %zu",
			options->threads_max, options->threads_ready);
	if (options->cpus != NULL && options->cpu_count == 0)
		return status_detail(FILAR_INVALID, "the list of CPUs is empty");
	return FILAR_OK;
}

enum filar_status kcache_create(struct kcache **result, const struct kcache_options *options)
{
	enum filar_status status = check_options(options);
	struct kcache *cache;

	if (status != FILAR_OK)
		return status;
	cache = allocate(options);
	if (cache == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for a cache of %zu threads",
			options->threads_max);
	pthread_mutex_init(&cache->lock, NULL);
	cache->threads_max = options->threads_max;
	cache->fork_generation = kthread_fork_generation();
	if (!copy_cpus(cache, options)) {
		free_cache(cache);
		return status_detail(FILAR_NO_MEMORY, "no memory for a list of CPUs");
	}
	kthread_options_init(&cache->thread_options);
	cache->thread_options.name = "filar-cache";
	cache->thread_options.cpus = cache->cpus;
	cache->thread_options.cpu_count = options->cpu_count;
	cache->thread_options.stack_bytes = options->stack_bytes;
	init_slots(cache);
	status = kthread_check_options(&cache->thread_options);
	if (status == FILAR_OK)
		status = start_ready_threads(cache, options->threads_ready);
	if (status != FILAR_OK) {
		kcache_destroy(cache);
		return status;
	}
	*result = cache;
	return FILAR_OK;
}

/* From here on a thread that finishes its job ends; the parked ones are told to. */
static void close_cache(struct kcache *cache)
{
	struct kcache_slot *slot, *parked;

	pthread_mutex_lock(&cache->lock);
	cache->closing = true;
	parked = cache->parked;
	cache->parked = NULL;
	pthread_mutex_unlock(&cache->lock);
	while ((slot = parked) != NULL) {
		parked = slot->next;
		slot->job = NULL;
		parker_unpark(&slot->parker);
	}
}

void kcache_destroy(struct kcache *cache)
{
	bool forked = is_forked(cache);

	if (!forked)
		close_cache(cache);
	for (size_t i = 0; i < cache->threads_max; i++) {
		struct kthread *thread = cache->slots[i].thread;

		if (thread == NULL)
			continue;
		while (!forked && kthread_join_until(thread, DEADLINE_NEVER) == FILAR_INTERRUPTED)
			;
		kthread_release(thread);
	}
	free_cache(cache);
}
