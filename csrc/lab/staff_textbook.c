/*
 * staff_textbook.c - a ring of calls under one mutex; workers sleep on a condition variable.
 *
 * With a dispatcher, workers do not touch the ring: they put themselves on a list of those that are
 * free, and the dispatcher, when there is a call and somebody free, writes the call into that
 * worker's hands and wakes it.
 *
 * Always, under the lock: pending = calls in the ring + in a worker's hands + being run.
 */
#include "lab/staff_textbook.h"

#include <pthread.h>
#include <stdbool.h>

#include "base/memory.h"
#include "os/calls.h"

struct book_call {
	staff_body *body; /* NULL: no call */
	void *argument;
};

struct book_worker {
	struct textbook *book;         /* I */
	pthread_t thread;              /* I  after creation */
	pthread_cond_t handed;         /*    the dispatcher wrote `call`, or the end has come */
	struct book_call call;         /* L  the dispatcher's gift */
	struct book_worker *next_free; /* L */
};

struct textbook {
	pthread_mutex_t lock;
	pthread_cond_t submitted;    /* there is a call; who waits: workers, or the dispatcher */
	pthread_cond_t finished;     /* pending has become 0 */
	struct book_call *ring;      /* L */
	uint32_t capacity;           /* I */
	uint32_t first, count;       /* L  of the ring */
	uint32_t pending;            /* L */
	bool ending;                 /* L */
	bool dispatches;             /* I */
	struct book_worker *free;    /* L  dispatcher only: workers without a call */
	pthread_t dispatcher;        /* I  after creation */
	bool has_dispatcher;         /* W  the opener */
	struct book_worker *workers; /* I */
	uint32_t started;            /* W  the opener */
};

static struct book_call take_first(struct textbook *book)
{
	struct book_call call = book->ring[book->first];

	book->first = (book->first + 1) % book->capacity;
	book->count--;
	return call;
}

/* Without the lock; the lock is held again at the end. */
static void run_call(struct textbook *book, struct book_call call)
{
	pthread_mutex_unlock(&book->lock);
	call.body(call.argument);
	pthread_mutex_lock(&book->lock);
	if (--book->pending == 0)
		pthread_cond_signal(&book->finished);
}

static void *worker_of_queue(void *pointer)
{
	struct book_worker *self = pointer;
	struct textbook *book = self->book;

	pthread_mutex_lock(&book->lock);
	for (;;) {
		while (book->count == 0 && !book->ending)
			pthread_cond_wait(&book->submitted, &book->lock);
		if (book->count == 0)
			break;
		run_call(book, take_first(book));
	}
	pthread_mutex_unlock(&book->lock);
	return NULL;
}

static void *worker_of_dispatcher(void *pointer)
{
	struct book_worker *self = pointer;
	struct textbook *book = self->book;

	pthread_mutex_lock(&book->lock);
	for (;;) {
		self->call.body = NULL;
		self->next_free = book->free;
		book->free = self;
		if (book->count > 0)
			pthread_cond_signal(&book->submitted);
		while (self->call.body == NULL && !book->ending)
			pthread_cond_wait(&self->handed, &book->lock);
		if (self->call.body == NULL)
			break;
		run_call(book, self->call);
	}
	pthread_mutex_unlock(&book->lock);
	return NULL;
}

static void *dispatcher_main(void *pointer)
{
	struct textbook *book = pointer;

	pthread_mutex_lock(&book->lock);
	while (!book->ending) {
		struct book_worker *worker = book->free;

		if (book->count == 0 || worker == NULL) {
			pthread_cond_wait(&book->submitted, &book->lock);
			continue;
		}
		book->free = worker->next_free;
		worker->call = take_first(book);
		pthread_cond_signal(&worker->handed);
	}
	pthread_mutex_unlock(&book->lock);
	return NULL;
}

/* ---- life ---- */

static enum filar_status start(
	pthread_t *thread, const struct cpu_mask *mask, void *(*body)(void *), void *argument)
{
	pthread_attr_t attributes;
	int error = pthread_attr_init(&attributes);

	if (error == 0) {
		error = pthread_attr_setaffinity_np(&attributes, mask->bytes, mask->bits);
		if (error == 0)
			error = call_thread_create(thread, &attributes, body, argument);
		pthread_attr_destroy(&attributes);
	}
	return error == 0 ? FILAR_OK : status_from_errno(error, "pthread_create");
}

static enum filar_status start_workers(
	struct textbook *book, uint32_t count, const struct cpu_mask *masks, uint32_t mask_count)
{
	enum filar_status status = FILAR_OK;

	while (status == FILAR_OK && book->started < count) {
		struct book_worker *worker = &book->workers[book->started];

		worker->book = book;
		pthread_cond_init(&worker->handed, NULL);
		status = start(&worker->thread, &masks[book->started % mask_count],
			book->dispatches ? worker_of_dispatcher : worker_of_queue, worker);
		if (status == FILAR_OK)
			book->started++;
		else
			pthread_cond_destroy(&worker->handed);
	}
	return status;
}

enum filar_status textbook_open(struct textbook **result, const struct staff_options *options,
	const struct cpu_mask *masks, uint32_t mask_count)
{
	struct textbook *book = memory_acquire(1, sizeof *book);
	enum filar_status status = FILAR_OK;

	if (book == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for a pool");
	pthread_mutex_init(&book->lock, NULL);
	pthread_cond_init(&book->submitted, NULL);
	pthread_cond_init(&book->finished, NULL);
	book->capacity = options->calls_max;
	book->dispatches = options->kind == STAFF_DISPATCHER;
	book->ring = memory_acquire(options->calls_max, sizeof *book->ring);
	book->workers = memory_acquire(options->workers, sizeof *book->workers);
	if (book->ring == NULL || book->workers == NULL)
		status = status_detail(FILAR_NO_MEMORY, "no memory for a queue");
	if (status == FILAR_OK)
		status = start_workers(book, options->workers, masks, mask_count);
	if (status == FILAR_OK && book->dispatches) {
		status = start(&book->dispatcher, &masks[0], dispatcher_main, book);
		book->has_dispatcher = status == FILAR_OK;
	}
	if (status == FILAR_OK)
		*result = book;
	else
		textbook_close(book);
	return status;
}

enum filar_status textbook_submit(struct textbook *book, staff_body *body, void *argument)
{
	bool full;

	pthread_mutex_lock(&book->lock);
	full = book->count == book->capacity;
	if (!full) {
		book->ring[(book->first + book->count) % book->capacity] =
			(struct book_call){ .body = body, .argument = argument };
		book->count++;
		book->pending++;
		pthread_cond_signal(&book->submitted);
	}
	pthread_mutex_unlock(&book->lock);
	return full ? status_detail(FILAR_BUSY, "the queue of %u calls is full", book->capacity)
		    : FILAR_OK;
}

void textbook_wait(struct textbook *book)
{
	pthread_mutex_lock(&book->lock);
	while (book->pending > 0)
		pthread_cond_wait(&book->finished, &book->lock);
	pthread_mutex_unlock(&book->lock);
}

void textbook_close(struct textbook *book)
{
	if (book == NULL)
		return;
	pthread_mutex_lock(&book->lock);
	book->ending = true;
	pthread_cond_broadcast(&book->submitted);
	for (uint32_t i = 0; i < book->started; i++)
		pthread_cond_signal(&book->workers[i].handed);
	pthread_mutex_unlock(&book->lock);
	if (book->has_dispatcher)
		pthread_join(book->dispatcher, NULL);
	for (uint32_t i = 0; i < book->started; i++) {
		pthread_join(book->workers[i].thread, NULL);
		pthread_cond_destroy(&book->workers[i].handed);
	}
	pthread_cond_destroy(&book->submitted);
	pthread_cond_destroy(&book->finished);
	pthread_mutex_destroy(&book->lock);
	memory_release(book->workers);
	memory_release(book->ring);
	memory_release(book);
}
