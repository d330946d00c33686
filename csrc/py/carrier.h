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

#include <signal.h>

#include "green/runtime.h"

/* The C++ ABI's: what __cxa_get_globals() points to. */
struct cxx_globals {
	void *caught;
	unsigned int uncaught;
};

struct shell {
	PyThreadState *state;    /* I */
	struct carrier *carrier; /* I */
	union {
		struct shell *next; /* W  in the pool */
		PyObject *owner;    /* W  lent: whose green thread it is now; borrowed; or NULL */
	};
	PyObject *importing; /* L  of the GIL: name of the module whose body it executes, or NULL */
	/* While it is not running; as struct cxx_globals. */
	void *cxx_caught;          /* W */
	unsigned int cxx_uncaught; /* W */
	int error;                 /* W  errno, likewise */
	/* It waits with its state attached: carrier_leave() lets the lock go or hands it over.
	 * False: cffi has detached the state around the call, and will attach it again (as C code
	 * that calls back may do before). */
	bool attached; /* W */
};

struct carrier {
	PyThreadState *home; /* I */
	struct shell *pool;  /* W */
	uint32_t pooled;     /* W */
	/* The GIL is on its way from one green thread to the next. */
	bool held;               /* W */
	struct cxx_globals *cxx; /* I  of this kernel thread; NULL without libstdc++ */
	int64_t ticked_ns;       /* W  clock_coarse_ns() when it was last sent to look outside */
	/* For preemption.c; kept up only where the runtime preempts. */
	_Atomic(struct shell *) running; /* A  W writes, the GIL's holder reads: who came last */
	struct shell *asked;             /* L  of the GIL: asked to give up the worker, or NULL */
	_Atomic uint32_t overdue;        /* A  1: on the preempter's list */
	struct carrier *next_overdue;    /* S  there, as are the next two */
	int64_t due_ns;                  /* S  when the turn that the watcher saw is over */
	uint32_t due_ticks;              /* S  which turn that was: worker->ticks */
	_Atomic uint64_t states_made;    /* A  for statistics */
};

/* The second, for runtimes that preempt, notes who runs. */
extern const struct attendant *carrier_attendant, *carrier_noting_attendant;
/* Once: the body of every Python green thread, and what is called if there is no stack for it. */
void carrier_set_bodies(
	green_body *body, void (*failed)(struct green_late *late, enum filar_status status));
/* What the border keeps for each runtime. */
struct py_runtime {
	sigset_t signals;            /* I  what its creator had blocked: so do its green threads */
	struct preempter *preempter; /* I  NULL: it does not preempt */
};
/* NULL: not a runtime for Python. */
struct py_runtime *carrier_runtime_of(struct runtime *runtime);

/* With the GIL, once per process before the first runtime.  FILAR_NOT_SUPPORTED with the reason. */
enum filar_status carrier_prepare(void);

/* On a fresh green thread: pins it and attaches a shell's state.  NULL: no memory; then the home
 * state is attached, and carrier_abandon() ends that. */
struct shell *carrier_begin(struct green *green);
void carrier_abandon(void);
/* On a worker's own stack; carrier_abandon() ends it. */
void carrier_attach_home(void);
/* The end: what Python code left in the state is cleared, the state detached. */
void carrier_finish(struct green *green, struct shell *shell);

/* The calling Python green thread's shell.  NULL without an exception: a kernel thread; with one:
 * a native green thread that called Python, or the child of a fork of a green thread. */
struct shell *carrier_shell_here(void);
/* In the child of a fork. */
void carrier_after_fork(void);

#endif
