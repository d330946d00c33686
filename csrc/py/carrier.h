/*
 * carrier.h - what a worker keeps so that Python can run on its green threads.
 *
 * A *carrier* is the Python side of one worker: a home thread state that outlives all others there,
 * and a pool of *shells*.  A shell is a thread state of its own for one Python green thread at a
 * time, bound to this kernel thread; a started Python green thread is pinned (sched/README.md,
 * "Pinned work"), so its shell never leaves it.
 *
 * Always: on a carrier at most one thread state is attached, and it is that of the running green
 * thread, except between carrier_leave() and carrier_arrive() when `held` is set.
 */
#ifndef FILAR_PY_CARRIER_H
#define FILAR_PY_CARRIER_H

#include <Python.h>

#include "green/runtime.h"

/* The C++ ABI's: what __cxa_get_globals() points to. */
struct cxx_globals {
	void *caught;
	unsigned int uncaught;
};

struct shell {
	PyThreadState *state;    /* I */
	struct carrier *carrier; /* I */
	struct shell *next;      /* W  in the pool */
	PyObject *owner;         /* W  whose green thread it is now; borrowed */
	/* It waits with its state attached: carrier_leave() lets the lock go or hands it over.
	 * False: cffi has detached the state around the call, and will attach it again. */
	bool attached;          /* W */
	int error;              /* W  errno while it is not running */
	char importing[80];     /* W  the module whose body it executes, or "" */
	struct cxx_globals cxx; /* W  likewise */
};

struct carrier {
	PyThreadState *home; /* I */
	struct shell *pool;  /* W */
	uint32_t pooled;     /* W */
	/* The GIL is on its way from one green thread to the next. */
	bool held;                    /* W */
	struct cxx_globals *cxx;      /* I  of this kernel thread; NULL without libstdc++ */
	_Atomic uint64_t states_made; /* A  for statistics */
};

extern const struct attendant carrier_attendant;
/* The body of every Python green thread: so that the one that leaves knows what comes next. */
extern green_body *carrier_body;

/* With the GIL, once per process before the first runtime.  FILAR_NOT_SUPPORTED with the reason. */
enum filar_status carrier_prepare(void);

/* On a fresh green thread: pins it and attaches a shell's state.  NULL: no memory; then the home
 * state is attached, and carrier_abandon() ends that. */
struct shell *carrier_begin(struct green *green);
void carrier_abandon(struct green *green);
/* The end: what Python code left in the state is cleared, the state detached. */
void carrier_finish(struct green *green, struct shell *shell);

/* The calling Python green thread's shell.  NULL without an exception: a kernel thread; with one:
 * a native green thread that called Python, or the child of a fork of a green thread. */
struct shell *carrier_shell_here(void);
/* In the child of a fork. */
void carrier_after_fork(void);

#endif
