/*
 * preemption.h - taking the worker from Python bodies that compute: sys.monitoring, switched on for
 * a moment.
 *
 * The watcher (sched/watch.c) tells that a worker has run one and the same thing for too long.  A
 * kernel thread of ours, the preempter, then takes the GIL and has the interpreter report jumps and
 * the beginnings of calls in the functions on top of that green thread's stack; the next report
 * finds the green thread itself, on its worker, which switches the reports off and yields.  While
 * nobody is overdue nothing is switched on, and code runs as it always does.
 *
 * Where it yields: between two instructions of Python, of the frames that the body itself has
 * called from Python; never with a C function in between (an import, a garbage collection, a
 * finalizer, a stream that writes: what they hold nobody can see), and never while it holds a
 * threading.Lock or RLock (held.h).  What is refused is asked for again as long as it computes.
 */
#ifndef FILAR_PY_PREEMPTION_H
#define FILAR_PY_PREEMPTION_H

#include <Python.h>

#include "green/runtime.h"

struct preempter;

/* Whether a body may be preempted: what it takes from its stack's top to its first frame is known
 * for these. */
enum preemptible { PREEMPTIBLE_NOT, PREEMPTIBLE_FUNCTION, PREEMPTIBLE_METHOD, PREEMPTIBLE_COUNT };
enum preemptible preemption_kind(PyObject *callable);

/* For a runtime's beginning: the first before its workers start, the second after. */
enum filar_status preemption_create(struct preempter **preempter, int64_t preempt_ns);
enum filar_status preemption_begin(struct preempter *preempter);
/* And for its end: the kernel thread; when the workers are gone, the memory. */
void preemption_end(struct preempter *preempter);
void preemption_free(struct preempter *preempter);
/* What the watcher is to look for, so that the request comes in time. */
int64_t preemption_watch_ns(int64_t preempt_ns);
/* The watcher's call.  Does not wait. */
void preemption_is_due(struct worker *worker);

/* For Python (green.py), under the GIL; see there. */
PyObject *preemption_prepare(PyObject *module, PyObject *unused);
PyObject *preemption_done(PyObject *module, PyObject *unused);
PyObject *preemption_sample(PyObject *module, PyObject *code);
PyObject *preemption_refusals(PyObject *module, PyObject *unused);
/* In the child of a fork: nobody preempts. */
void preemption_after_fork(void);

#endif
