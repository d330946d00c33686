/*
 * park.h - how a Python thread waits for something of csrc/block, and hears of signals.
 *
 * A call into csrc/block is made with the interpreter lock (GIL) held and lets go of it only while
 * it sleeps (wait_around, green/waiter.h) or parks (carrier.h, `attached`).  So what an object of
 * ours holds for Python (items in a channel, for one) changes only under the GIL: the garbage
 * collector and a fork find it whole, and a call that does not have to wait costs no hand-over of
 * the GIL.  A thread that was woken takes what it waited for only once it has the GIL, so nobody
 * holds a lock while it queues for the GIL.
 *
 * Signals (the main thread, the only one that runs handlers):
 *   leaving   a signal ends the wait, the handler runs, and it is asked for again.  For what is
 *             handed to one thread (locks, items): a handler may ask for the same thing.  A
 *             signal that interrupts no sleep is looked for now and then (park.c).
 *   staying   the handler runs while the thread is still in the queue.  For what is announced to
 *             those who wait (events, conditions): nothing is missed in between.
 *
 * Included by the .c files of this folder only, first of all: it includes Python.h.
 */
#ifndef FILAR_PY_PARK_H
#define FILAR_PY_PARK_H

#include <Python.h>

#include "base/status.h"
#include "os/clock.h"

typedef enum filar_status py_wait_call(void *object, int64_t deadline_ns);

/* FILAR_INTERRUPTED: a handler has raised, the exception is set.  Others: as the call says; nothing
 * is set. */
enum filar_status py_wait_leaving(py_wait_call *call, void *object, int64_t deadline_ns);
enum filar_status py_wait_staying(py_wait_call *call, void *object, int64_t deadline_ns);
/* Whether the caller can wait at all; else it has raised, as the two above would. */
bool py_may_wait(void);
/* For calls that are shielded: no handler runs.  After py_may_wait(). */
void py_wait_shielded(void (*call)(void *object), void *object);

/* Sets the exception that belongs to the status, with the detail of the last failed call; NULL. */
PyObject *py_raise(enum filar_status status);
/* What acquire() and its kin return: True, False (FILAR_TIMED_OUT, FILAR_BUSY), or raises. */
PyObject *py_outcome(enum filar_status status);

/* Sets an exception by the name under which it was given to py_wait_prepare(); NULL. */
PyObject *py_raise_named(const char *name, const char *text);

/* For py/types.c, once, at import: the exceptions by the names of their statuses, and a few more.
 */
int py_wait_prepare(PyObject *exceptions);

/* may_wait(): raises on a native green thread that has called Python. */
extern PyMethodDef py_may_wait_method;
/* raise_interrupt(): what filar_py_interrupted() (border.h) has left, if anything. */
extern PyMethodDef py_raise_interrupt_method;

/* How many forks lie between the first process and this one. */
extern uint32_t py_forks;

#endif
