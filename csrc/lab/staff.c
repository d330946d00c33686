/*
 * staff.c - opens, feeds and closes each kind of staff.
 *
 * Threads inherit the CPUs of whoever creates them, and filar's scheduler looks at the creator's to
 * decide whether spinning can pay; the plan's driver is pinned.  So the opener is let loose while
 * it opens, and pinned again before staff_open() returns.
 */
#include "lab/staff.h"

#include <pthread.h>
#include <unistd.h>

#include "base/check.h"
#include "base/memory.h"
#include "lab/lab_pool.h"
#include "lab/staff_textbook.h"
#include "os/affinity.h"
#include "os/calls.h"
#include "os/clock.h"
#include "green/runtime.h"

/* THREADS and GREEN: whoever runs one call. */
struct own_thread {
	pthread_t thread;
	struct green_ref green;
	staff_body *body;
	void *argument;
};

struct staff {
	enum staff_kind kind;      /* I */
	uint32_t calls_max;        /* I */
	struct textbook *book;     /* I  TEXTBOOK, DISPATCHER */
	struct pool *pool;         /* I  SHARED, STEALING, PINNED */
	struct waitgroup group;    /*    of the pool's calls */
	struct runtime *runtime;   /* I  GREEN */
	pthread_attr_t attributes; /* I  THREADS: the process's CPUs */
	struct own_thread *own;    /* W  THREADS and GREEN: room for calls_max of them */
	uint32_t own_count;        /* W  not joined yet */
};

const char *staff_kind_name(enum staff_kind kind)
{
	static const char *const names[STAFF_KINDS] = { "alone", "threads", "green threads",
		"textbook", "dispatcher", "shared", "stealing", "pinned" };

	return names[kind];
}

/* ---- a thread for each call ---- */

static void *kernel_thread_main(void *pointer)
{
	struct own_thread *self = pointer;

	self->body(self->argument);
	return NULL;
}

static enum filar_status start_thread(struct staff *staff, staff_body *body, void *argument)
{
	struct own_thread *next = &staff->own[staff->own_count];
	enum filar_status status = FILAR_OK;
	int error = 0;

	if (staff->own_count == staff->calls_max)
		return status_detail(FILAR_BUSY, "%u threads are alive", staff->own_count);
	*next = (struct own_thread){ .body = body, .argument = argument };
	if (staff->kind == STAFF_GREEN)
		status = green_spawn(&next->green, staff->runtime, NULL, body, argument);
	else
		error = call_thread_create(
			&next->thread, &staff->attributes, kernel_thread_main, next);
	if (error != 0)
		status = status_from_errno(error, "pthread_create");
	staff->own_count += status == FILAR_OK;
	return status;
}

static void join_one(struct staff *staff, const struct own_thread *one)
{
	enum filar_status status = FILAR_OK;

	if (staff->kind == STAFF_THREADS) {
		pthread_join(one->thread, NULL);
		return;
	}
	do {
		status = green_join_until(one->green, DEADLINE_NEVER);
	} while (status == FILAR_INTERRUPTED);
	FILAR_CHECK(status == FILAR_OK);
}

static void join_all(struct staff *staff)
{
	for (; staff->own_count > 0; staff->own_count--)
		join_one(staff, &staff->own[staff->own_count - 1]);
}

/* ---- opening ---- */

static enum filar_status open_book(struct staff *staff, const struct staff_options *options)
{
	uint32_t mask_count = options->cpus != NULL ? options->cpu_count : 1;
	struct cpu_mask *masks = memory_acquire(mask_count, sizeof *masks);
	enum filar_status status = FILAR_OK;

	if (masks == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for sets of CPUs");
	if (options->cpus == NULL)
		status = affinity_get((int32_t)getpid(), &masks[0]);
	for (uint32_t i = 0; status == FILAR_OK && options->cpus != NULL && i < mask_count; i++)
		status = cpu_mask_from_list(&masks[i], &options->cpus[i], 1);
	if (status == FILAR_OK)
		status = textbook_open(&staff->book, options, masks, mask_count);
	memory_release(masks);
	return status;
}

static enum filar_status open_pool(struct staff *staff, const struct staff_options *options)
{
	static const enum pool_queues queues[STAFF_KINDS] = { [STAFF_SHARED] = POOL_SHARED,
		[STAFF_STEALING] = POOL_STEALING,
		[STAFF_PINNED] = POOL_PINNED };
	struct pool_options wanted;
	enum filar_status status;

	pool_options_init(&wanted);
	wanted.workers = options->workers;
	wanted.workers_max = options->workers;
	wanted.queues = queues[options->kind];
	wanted.name = "lab-pool";
	wanted.spares_max = options->spares;
	if (options->cpus != NULL) {
		wanted.pin = WORKER_PIN_LIST;
		wanted.cpus = options->cpus;
		wanted.cpu_count = options->cpu_count;
	}
	waitgroup_init(&staff->group, "lab");
	status = pool_create(&staff->pool, &wanted);
	return status == FILAR_OK ? pool_start(staff->pool) : status;
}

static enum filar_status open_green(struct staff *staff, const struct staff_options *options)
{
	struct runtime_options wanted;

	runtime_options_init(&wanted);
	wanted.workers = options->workers;
	wanted.name = "lab-green";
	wanted.spares_max = 0; /* as many workers as all the others have */
	if (options->cpus != NULL) {
		wanted.pin = WORKER_PIN_LIST;
		wanted.cpus = options->cpus;
		wanted.cpu_count = options->cpu_count;
	}
	return runtime_create(&staff->runtime, &wanted);
}

static enum filar_status open_threads(struct staff *staff, const struct staff_options *options)
{
	struct cpu_mask all;
	enum filar_status status = affinity_get((int32_t)getpid(), &all);

	staff->own = memory_acquire(options->calls_max, sizeof *staff->own);
	if (staff->own == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for threads");
	if (status == FILAR_OK)
		(void)pthread_attr_setaffinity_np(&staff->attributes, all.bytes, all.bits);
	if (status == FILAR_OK && options->kind == STAFF_GREEN)
		status = open_green(staff, options);
	return status;
}

static enum filar_status open_kind(struct staff *staff, const struct staff_options *options)
{
	switch (options->kind) {
	case STAFF_TEXTBOOK:
	case STAFF_DISPATCHER:
		return open_book(staff, options);
	case STAFF_SHARED:
	case STAFF_STEALING:
	case STAFF_PINNED:
		return open_pool(staff, options);
	case STAFF_THREADS:
	case STAFF_GREEN:
		return open_threads(staff, options);
	default:
		return FILAR_OK;
	}
}

enum filar_status staff_open(struct staff **result, const struct staff_options *options)
{
	struct staff *staff = memory_acquire(1, sizeof *staff);
	struct cpu_mask kept;
	enum filar_status status;

	FILAR_ASSERT(options->workers <= STAFF_WORKERS_MAX && options->calls_max > 0);
	if (staff == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for a staff");
	pthread_attr_init(&staff->attributes);
	staff->kind = options->kind;
	staff->calls_max = options->calls_max;
	status = lab_pool_let_loose_from(&kept);
	if (status == FILAR_OK) {
		status = open_kind(staff, options);
		(void)affinity_set(0, &kept);
	}
	if (status == FILAR_OK)
		*result = staff;
	else
		staff_close(staff);
	return status;
}

/* ---- feeding ---- */

static enum filar_status submit_to_pool(struct staff *staff, staff_body *body, void *argument)
{
	struct submission how;

	submission_init(&how);
	how.group = &staff->group;
	return pool_submit(staff->pool, &how, body, argument);
}

enum filar_status staff_submit(struct staff *staff, staff_body *body, void *argument)
{
	switch (staff->kind) {
	case STAFF_ALONE:
		body(argument);
		return FILAR_OK;
	case STAFF_THREADS:
	case STAFF_GREEN:
		return start_thread(staff, body, argument);
	case STAFF_TEXTBOOK:
	case STAFF_DISPATCHER:
		return textbook_submit(staff->book, body, argument);
	default:
		return submit_to_pool(staff, body, argument);
	}
}

enum filar_status staff_wait(struct staff *staff)
{
	enum filar_status status = FILAR_OK;

	join_all(staff);
	if (staff->book != NULL)
		textbook_wait(staff->book);
	if (staff->pool != NULL) {
		do {
			status = pool_wait_until(staff->pool, &staff->group, DEADLINE_NEVER);
		} while (status == FILAR_INTERRUPTED);
	}
	return status;
}

static void close_runtime(struct runtime *runtime)
{
	while (runtime_shutdown_until(runtime, DEADLINE_NEVER) == FILAR_INTERRUPTED)
		continue;
	FILAR_CHECK(runtime_destroy(runtime) == FILAR_OK);
}

void staff_close(struct staff *staff)
{
	if (staff == NULL)
		return;
	join_all(staff);
	textbook_close(staff->book);
	lab_pool_close(staff->pool);
	if (staff->runtime != NULL)
		close_runtime(staff->runtime);
	pthread_attr_destroy(&staff->attributes);
	memory_release(staff->own);
	memory_release(staff);
}
