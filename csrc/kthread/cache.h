/*
 * cache.h - parked kernel threads that are handed work instead of being created for it.
 *
 * A cache has up to threads_max kernel threads, all pinned to one set of CPUs.  A submitted job
 * goes to a parked thread (the one parked last, whose cache is warmest); if none is parked, a new
 * thread is created; if there are threads_max, the answer is FILAR_BUSY.  Nothing is ever queued.
 *
 * Jobs are the caller's memory, in use from kcache_submit() until kcache_join_until() was FILAR_OK.
 */
#ifndef FILAR_KTHREAD_CACHE_H
#define FILAR_KTHREAD_CACHE_H

#include "base/atomic.h"
#include "base/status.h"
#include "kthread/kthread.h"

struct kcache;

struct kcache_job {
	kthread_body *body;    /* I  after submit */
	void *argument;        /* I  after submit */
	_Atomic uint32_t done; /* A  futex: 1 when the body has returned */
};

struct kcache_options {
	size_t threads_max;   /* at least 1 */
	size_t threads_ready; /* created and parked before kcache_create() returns; <= threads_max
			       */
	const int32_t *cpus;  /* CPUs of every thread, copied; NULL: the creator's */
	size_t cpu_count;
	size_t stack_bytes; /* 0: the process's default */
};

enum filar_status kcache_create(struct kcache **cache, const struct kcache_options *options);
/* Any thread may submit.  FILAR_BUSY: all threads_max threads work.  FILAR_OK: the job will run. */
enum filar_status kcache_submit(
	struct kcache *cache, struct kcache_job *job, kthread_body *body, void *argument);
/* Any number of threads may join a job.  When it returns FILAR_OK the job's thread is already to be
 * had again. */
enum filar_status kcache_join_until(struct kcache_job *job, int64_t deadline_ns);
/* Threads that exist, and those of them that are parked. */
void kcache_count(struct kcache *cache, size_t *threads, size_t *parked);
/* Waits for the jobs that run, ends all threads.  Nobody may submit any more. */
void kcache_destroy(struct kcache *cache);

#endif
