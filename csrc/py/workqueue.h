/*
 * workqueue.h - a queue of Python work, first in first out for each priority, and the workers who
 * empty it.
 *
 * WorkQueue is what the workers of a pool hold; the executor holds it too, and closes it when it is
 * dropped.  ExecutorCore is the C half of filar.ThreadPoolExecutor: submit().
 *
 * Always, under the guard: length = futures on the queue + items of its map jobs not yet taken;
 * sleeping_count workers are on `sleeping`; `waking` have been taken off it and have not looked at
 * the queue yet; `starting` threads have been asked for and have not looked yet.
 *
 * Waking: whoever adds work wakes one sleeper, unless one is waking already; a worker that takes
 * work and sees more wakes the next before it begins.  So with a GIL one wake serves any number of
 * short calls, and no work waits while a worker sleeps: the last one that was woken, or a worker
 * that took work after it, looks after the work was added.
 */
#ifndef FILAR_PY_WORKQUEUE_H
#define FILAR_PY_WORKQUEUE_H

#include "base/list.h"
#include "py/future.h"

enum queue_refusal {
	QUEUE_OPEN,
	QUEUE_SHUT_DOWN, /* what is queued still runs */
	QUEUE_BROKEN,    /* an initializer has failed */
};

enum when_full { FULL_BLOCK, FULL_REJECT, FULL_RUN };
enum context_policy { CONTEXT_WORKERS, CONTEXT_COPY, CONTEXT_EMPTY };

/* A thread inside work(); on its stack. */
struct pool_worker {
	struct waiter waiter;
	struct pool_worker *next_sleeping; /* G */
	struct list link;                  /* G  on queue->workers */
	struct py_work *current; /* W  written under the guard: a reference while it runs */
	struct sleeper *woken;   /* W  who waits for what it has completed */
	unsigned long ident;     /* I */
	uint32_t taken;          /* W  pieces of work since it began */
};

struct work_list {
	struct py_work *head, *tail; /* G  a reference each */
};

struct work_queue {
	PyObject_HEAD PyTypeObject *future_type; /* I */
	struct work_list lists[WORK_PRIORITIES]; /* G */
	uint32_t turns;                          /* G  pieces of work taken */
	size_t length;                           /* G */
	size_t limit;                            /* I  0: none */
	enum when_full when_full;                /* I */
	enum context_policy context;             /* I */
	struct pool_worker *sleeping; /* G  the last one to fall asleep first: it is warm */
	struct list workers;          /* G */
	struct sleeper *submitters;   /* G  wait for room */
	size_t sleeping_count;        /* G */
	size_t waking;                /* G */
	size_t starting;              /* G */
	size_t threads;               /* G  asked for and not ended */
	size_t threads_wanted;        /* G */
	enum queue_refusal refusal;   /* G  only grows */
	PyObject *broken;             /* G  a sentence, or NULL */
	uint32_t generation;          /* I  see future.h */
	uint64_t submitted, completed, rejected, run_by_submitter, wakes; /* G  only grow */
	size_t longest;                                                   /* G */
	struct guard guard;
};

extern PyTypeObject work_queue_type;
extern PyTypeObject executor_core_type;

struct executor {
	PyObject_HEAD struct work_queue *queue; /* I  NULL until __init__ */
	enum work_priority priority;            /* I  of what is submitted here */
	bool is_view;                           /* I  the queue is another executor's */
};

/* Whether it takes work; else the exception is set. */
bool queue_accepts(struct work_queue *queue);
/* Puts it at the end; takes a reference.  `items`: what it adds to the length. */
void queue_push(struct work_queue *queue, struct py_work *work);
/* Takes it out wherever it is; true: it was there, and the reference is the caller's. */
bool queue_remove(struct work_queue *queue, struct py_work *work);
/* Work was added: wakes a worker, or has the executor start threads.  False: exception, and there
 * is nobody who could do it. */
bool queue_attend(struct work_queue *queue, PyObject *executor);
/* Lets others have the GIL if they have asked for it, and handles signals: C code that calls no
 * Python function would never.  False: exception. */
bool let_others_run(void);
/* A new context for one piece of work, or NULL: none is needed, or exception. */
PyObject *queue_make_context(struct work_queue *queue);

#endif
