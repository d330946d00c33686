/*
 * carrier.c - thread states made, lent, cleaned and deleted, each on the kernel thread it is bound
 * to; and who holds the GIL while green threads take turns.
 *
 * A Python green thread waits in one of two ways.  Called through cffi its state is detached, and
 * cffi attaches it again afterwards: nothing to do here but to put things right for that.  Called
 * from this folder (`attached`) the state stays attached until carrier_leave().  On 3.11, where
 * PyThreadState_Swap() changes the current state and leaves the GIL alone, the GIL is then handed
 * to the next green thread if that one wants it, and so changes hands once per batch instead of
 * once per switch.  From 3.12 on a swap lets the GIL go and takes it again by itself: there is
 * nothing to gain, so the state is detached and the next one attached.
 *
 * 3.11 keeps PyGILState's idea of "the state of this kernel thread" in a pthread key that it sets
 * only once.  Callbacks from C (ctypes, Cython, NumPy) ask it, and would deadlock.  The key is
 * found by asking all of them, and set before each attach.  Later versions do that themselves.
 */
#include "py/carrier.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>

#include "base/check.h"
#include "base/memory.h"
#include "green/switch.h"
#include "os/calls.h"
#include "os/clock.h"
#include "py/held.h"
#include "py/internal.h"

#define HANDS_OVER (PY_VERSION_HEX < 0x030C0000)

/* Shells a carrier keeps: what a burst of green threads needs again at once. */
#define POOL_MAX 1024u

/* ---- per process ---- */

static bool prepared;
static struct cxx_globals *(*cxx_get_globals)(void);
static void (*cffi_restore_errno)(void), (*cffi_save_errno)(void);
static PyThreadState *forked_state; /* of the green thread that forked, in the child */
static green_body *python_body;     /* so that the one that leaves knows what comes next */

#if PY_VERSION_HEX < 0x030C0000
static pthread_key_t state_key;

static bool is_state_key(unsigned int key)
{
	PyThreadState *state = PyGILState_GetThisThreadState();
	bool found;

	if (state == NULL || pthread_getspecific(key) != state)
		return false;
	if (pthread_setspecific(key, NULL) != 0)
		return false;
	found = PyGILState_GetThisThreadState() == NULL;
	(void)pthread_setspecific(key, state);
	return found;
}

static enum filar_status find_state_key(void)
{
	for (unsigned int key = 0; key < PTHREAD_KEYS_MAX; key++) {
		if (is_state_key(key)) {
			state_key = key;
			return FILAR_OK;
		}
	}
	return status_detail(FILAR_NOT_SUPPORTED,
		"this build of Python 3.11 keeps its thread states where they cannot be found");
}

static void bind_state(PyThreadState *state)
{
	(void)pthread_setspecific(state_key, state);
}
#else
static enum filar_status find_state_key(void)
{
	return FILAR_OK;
}

static void bind_state(PyThreadState *state)
{
	(void)state;
}
#endif

#if PY_VERSION_HEX >= 0x030E0000
/* Not in 3.14.0 and 3.14.1, and one build runs on all. */
static int (*set_stack_protection)(PyThreadState *, void *, size_t);

static enum filar_status find_stack_protection(void)
{
	void *found = dlsym(RTLD_DEFAULT, "PyUnstable_ThreadState_SetStackProtection");

	if (found == NULL)
		return status_detail(FILAR_NOT_SUPPORTED,
			"Python %.6s takes every stack but the kernel thread's own for an overflow:"
			" green threads that run Python need 3.14.2 or later",
			Py_GetVersion());
	memcpy(&set_stack_protection, &found, sizeof found);
	return FILAR_OK;
}
#else
static enum filar_status find_stack_protection(void)
{
	return FILAR_OK;
}
#endif

/* Whoever throws C++ exceptions uses this one copy; it must be there before the first of them. */
static void find_cxx(void)
{
	void *library = dlopen("libstdc++.so.6", RTLD_LAZY | RTLD_LOCAL);
	void *found = library != NULL ? dlsym(library, "__cxa_get_globals") : NULL;

	memcpy(&cxx_get_globals, &found, sizeof found);
}

void border_set_errno_functions(void (*restore)(void), void (*save)(void))
{
	cffi_restore_errno = restore;
	cffi_save_errno = save;
}

enum filar_status carrier_prepare(void)
{
	enum filar_status status;

	if (prepared)
		return FILAR_OK;
#ifdef Py_GIL_DISABLED
	return status_detail(FILAR_NOT_SUPPORTED,
		"green threads that run Python need a build of Python with the GIL");
#endif
	status = find_state_key();
	if (status == FILAR_OK)
		status = find_stack_protection();
	if (status != FILAR_OK)
		return status;
	find_cxx();
	prepared = true;
	return FILAR_OK;
}

/* ---- thread states ---- */

/*
 * How deep recursion through C may go on this stack.  3.12 and 3.13 count the levels of C alone
 * (call.c).  3.11 counts those of Python and C together, and one of sorted() with a key function
 * takes 2.4 KB; the usual thousand of them fits in the default stack.
 */
#define STACK_BYTES_PER_LEVEL_311 3584

static void bound_stack(PyThreadState *state, struct green *green)
{
	char *low = green->slot.low;
	size_t bytes = (size_t)((char *)green - low);
#if PY_VERSION_HEX >= 0x030E0000
	/* With an exception set, -1: the stack is too small; then it stays unprotected. */
	(void)set_stack_protection(state, low, bytes);
#else
#if PY_VERSION_HEX >= 0x030C0000
	state->c_recursion_remaining = border_levels_in(bytes);
#else
	int levels = (int)(bytes / STACK_BYTES_PER_LEVEL_311);

	state->recursion_remaining =
		levels < state->recursion_limit ? levels : state->recursion_limit;
#endif
#endif
}

static bool has_locals(PyThreadState *state)
{
#if PY_VERSION_HEX >= 0x030D0000
	if (state->threading_local_key != NULL)
		return true;
#endif
	return state->dict != NULL && PyDict_GET_SIZE(state->dict) > 0;
}

/* What a body may have left in its state, which the next one must not find. */
static void clear_state(PyThreadState *state)
{
	if (state->c_tracefunc != NULL)
		PyEval_SetTrace(NULL, NULL);
	if (state->c_profilefunc != NULL)
		PyEval_SetProfile(NULL, NULL);
	/* Its locals: what their destructors do runs still on this green thread. */
	if (state->dict != NULL && PyDict_GET_SIZE(state->dict) > 0)
		PyDict_Clear(state->dict);
#if PY_VERSION_HEX >= 0x030D0000
	Py_CLEAR(state->threading_local_sentinel);
	Py_CLEAR(state->threading_local_key);
#endif
	Py_CLEAR(state->async_gen_firstiter);
	Py_CLEAR(state->async_gen_finalizer);
	Py_CLEAR(state->async_exc);
	Py_CLEAR(state->context);
	state->coroutine_origin_tracking_depth = 0;
}

static struct shell *shell_create(struct carrier *carrier)
{
	struct shell *shell = memory_acquire(1, sizeof *shell);

	if (shell == NULL)
		return NULL;
	shell->carrier = carrier;
	shell->state = PyThreadState_New(carrier->home->interp);
	if (shell->state == NULL) {
		memory_release(shell);
		return NULL;
	}
	fetch_add_relaxed(&carrier->states_made, 1);
	return shell;
}

static struct shell *shell_acquire(struct carrier *carrier)
{
	struct shell *shell = carrier->pool;

	if (shell == NULL)
		return shell_create(carrier);
	carrier->pool = shell->next;
	carrier->pooled--;
	return shell;
}

/* Attached, on its own kernel thread: nothing else is allowed to delete a state. */
static void shell_destroy(struct shell *shell)
{
	PyThreadState_Clear(shell->state);
	PyThreadState_DeleteCurrent();
	memory_release(shell);
}

/* Attached before, detached after. */
static void shell_release(struct shell *shell)
{
	struct carrier *carrier = shell->carrier;

	if (carrier->pooled >= POOL_MAX) {
		shell_destroy(shell);
		return;
	}
	(void)PyEval_SaveThread();
	shell->next = carrier->pool;
	carrier->pool = shell;
	carrier->pooled++;
}

/* ---- a worker's life ---- */

/*
 * Workers begin with every signal blocked.  Processes that Python code starts would inherit that,
 * and not hear of Ctrl-C or SIGTERM: so it runs with what the runtime's creator had blocked.  The
 * kernel prefers the main thread for what is sent to the process; should a worker get it,
 * Python's own handler only leaves a note for the main thread.
 */
static enum filar_status take_signals(struct worker *worker)
{
	sigset_t blocked = carrier_runtime_of(runtime_of_worker(worker))->signals;
	int error;

	/* Overflows of stacks are told of by a handler (green/stack.h). */
	sigdelset(&blocked, SIGSEGV);
	sigdelset(&blocked, SIGBUS);
	sigdelset(&blocked, SIGFPE);
	sigdelset(&blocked, SIGILL);
	if (worker->scheduler->preempt_signal != 0)
		sigdelset(&blocked, worker->scheduler->preempt_signal);
	error = call_sigmask(SIG_SETMASK, &blocked, NULL);
	return error == 0 ? FILAR_OK : status_from_errno(error, "pthread_sigmask");
}

static enum filar_status carrier_starts(struct worker *worker)
{
	struct carrier *carrier;
	enum filar_status status = take_signals(worker);

	if (status != FILAR_OK)
		return status;
	carrier = memory_acquire(1, sizeof *carrier);
	if (carrier == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for a carrier of Python");
	/* Made here, so that it is bound to this kernel thread.  Needs no GIL. */
	carrier->home = PyThreadState_New(PyInterpreterState_Main());
	if (carrier->home == NULL) {
		memory_release(carrier);
		return status_detail(FILAR_NO_MEMORY, "no memory for a Python thread state");
	}
	if (cxx_get_globals != NULL)
		carrier->cxx = cxx_get_globals();
	worker->carrier = carrier;
	return FILAR_OK;
}

static void carrier_ends(struct worker *worker)
{
	struct carrier *carrier = worker->carrier;
	struct shell *shell;

	FILAR_CHECK(!carrier->held);
	while ((shell = carrier->pool) != NULL) {
		carrier->pool = shell->next;
		bind_state(shell->state);
		PyEval_RestoreThread(shell->state);
		shell_destroy(shell);
	}
	bind_state(carrier->home);
	PyEval_RestoreThread(carrier->home);
	border_forget_kernel_thread();
	PyThreadState_Clear(carrier->home);
	PyThreadState_DeleteCurrent();
	memory_release(carrier);
}

/* ---- leaving and arriving ---- */

static struct carrier *carrier_here(void)
{
	return worker_here()->carrier;
}

/* Whether what comes next takes the GIL as the first thing it does. */
static bool wants_lock(struct work *next)
{
	struct green *green;

	if (!HANDS_OVER || next == NULL || next->class != &green_work_class)
		return false;
	green = GREEN_OF(next);
	if (green->work.home == NULL)
		return green->body == python_body;
	return ((struct shell *)green->attended)->attached;
}

static void carrier_leave(struct green *green, struct work *next)
{
	struct shell *shell = green->attended;
	struct carrier *carrier = shell->carrier;

	if (shell->attached)
		cffi_restore_errno(); /* as cffi itself does before a call */
	shell->error = errno;
	if (carrier->cxx != NULL) {
		shell->cxx_caught = carrier->cxx->caught;
		shell->cxx_uncaught = carrier->cxx->uncaught;
		*carrier->cxx = (struct cxx_globals){ 0 };
	}
	if (!shell->attached)
		return;
	if (wants_lock(next))
		carrier->held = true;
	else
		(void)PyEval_SaveThread();
}

/* The GIL, and this state is the current one. */
static void attach(struct shell *shell)
{
	struct carrier *carrier = shell->carrier;

	bind_state(shell->state);
	if (carrier->held) {
		carrier->held = false;
		(void)PyThreadState_Swap(shell->state);
	} else {
		TRACE(TRACE_GIL_WAIT, trace_runner(worker_here()), 0, 0);
		PyEval_RestoreThread(shell->state);
		TRACE(TRACE_GIL_HELD, trace_runner(worker_here()), 0, 0);
	}
}

/*
 * Whoever let go of the GIL (cffi, ctypes, an extension) will attach the state again.  But C code
 * that waited here may call Python before that, and PyGILState would then find the state of whoever
 * ran on this kernel thread meanwhile.  Attaching is the one way to be found.
 */
static void be_found(struct shell *shell)
{
	bind_state(shell->state);
	if (FILAR_LIKELY(PyGILState_GetThisThreadState() == shell->state))
		return;
	PyEval_RestoreThread(shell->state);
	(void)PyEval_SaveThread();
}

/* Workers look at deadlines and at what comes from outside every so many turns (sched/worker.h).
 * A turn of Python may be long: so also at the first change of turns after each tick of the clock.
 */
static void tick(struct carrier *carrier, struct worker *worker)
{
	int64_t now_ns = clock_coarse_ns();

	if (FILAR_LIKELY(now_ns == carrier->ticked_ns))
		return;
	carrier->ticked_ns = now_ns;
	worker_look_soon(worker);
}

static void carrier_arrive(struct green *green)
{
	struct shell *shell = green->attended;

	tick(shell->carrier, green->work.home);
	if (shell->carrier->cxx != NULL)
		*shell->carrier->cxx =
			(struct cxx_globals){ shell->cxx_caught, shell->cxx_uncaught };
	if (shell->attached)
		attach(shell);
	else
		be_found(shell);
	errno = shell->error;
	if (shell->attached)
		cffi_save_errno();
}

static void carrier_arrive_noted(struct green *green)
{
	struct shell *shell = green->attended;

	/* Y3: release, the shell's making; pairs with Y4 in preemption.c. */
	store_release(&shell->carrier->running, shell);
	carrier_arrive(green);
}

/*
 * The lock of a module being imported belongs to a kernel thread.  Another green thread of this
 * worker would pass it and see half a module, and nobody else could let it go: so who imports does
 * not wait.
 */
static enum filar_status carrier_may_wait(struct green *green)
{
	const struct shell *shell = green->attended;

	if (FILAR_LIKELY(shell->importing == NULL))
		return FILAR_OK;
	return status_detail(FILAR_WRONG_STATE,
		"a green thread cannot wait while it imports a module (%.80s): import it before",
		PyUnicode_AsUTF8(shell->importing));
}

static struct attendant plain = {
	.begins = carrier_starts,
	.ends = carrier_ends,
	.leave = carrier_leave,
	.arrive = carrier_arrive,
	.may_wait = carrier_may_wait,
};
static struct attendant noting;
const struct attendant *carrier_attendant = &plain, *carrier_noting_attendant = &noting;

void carrier_set_bodies(
	green_body *body, void (*failed)(struct green_late *late, enum filar_status status))
{
	python_body = body;
	plain.late_body = body;
	plain.late_failed = failed;
	noting = plain;
	noting.arrive = carrier_arrive_noted;
}

struct py_runtime *carrier_runtime_of(struct runtime *runtime)
{
	return runtime != NULL && (runtime->attendant == &plain || runtime->attendant == &noting)
		       ? runtime->attended
		       : NULL;
}

/* ---- a green thread's life ---- */

static void attach_home(struct carrier *carrier)
{
	bind_state(carrier->home);
	if (carrier->held) {
		carrier->held = false;
		(void)PyThreadState_Swap(carrier->home);
	} else {
		PyEval_RestoreThread(carrier->home);
	}
}

struct shell *carrier_begin(struct green *green)
{
	struct carrier *carrier = carrier_here();
	struct shell *shell = shell_acquire(carrier);

	if (shell == NULL) {
		attach_home(carrier);
		return NULL;
	}
	bound_stack(shell->state, green);
	shell->attached = false;
	shell->owner = NULL;
	store_release(&carrier->running, shell); /* Y3, again */
	green_pin(green, shell);
	tick(carrier, green->work.home);
	attach(shell);
	/* A native body that called Python on this worker has found this state, since it was the
	 * last to be attached, and used its locals. */
	if (FILAR_UNLIKELY(has_locals(shell->state)))
		clear_state(shell->state);
	return shell;
}

void carrier_attach_home(void)
{
	attach_home(carrier_here());
}

void carrier_abandon(void)
{
	(void)PyEval_SaveThread();
}

void carrier_finish(struct green *green, struct shell *shell)
{
	shell->owner = NULL;
	Py_CLEAR(shell->importing); /* a generator was left in the middle of an import */
	clear_state(shell->state);
	held_forget_shell(shell);
	/* While we have the GIL: who holds it next must not find a shell that may be gone. */
	store_relaxed(&shell->carrier->running, NULL);
	shell->carrier->asked = NULL;
	/* In the child of a fork there is no worker any more. */
	if (worker_current() == NULL) {
		(void)PyEval_SaveThread();
		return;
	}
	shell_release(shell);
	green_unpin(green);
}

struct shell *carrier_shell_here(void)
{
	struct green *green = green_self();
	struct shell *shell;

	if (FILAR_UNLIKELY(green == NULL)) {
		if (forked_state != NULL && PyThreadState_Get() == forked_state)
			border_raise(status_detail(FILAR_FORKED,
				"the runtime of this green thread runs in the parent process"));
		return NULL;
	}
	shell = green->work.home != NULL ? green->attended : NULL;
	if (FILAR_LIKELY(shell != NULL && PyThreadState_Get() == shell->state))
		return shell;
	border_raise(status_detail(FILAR_WRONG_STATE,
		"a native green thread that calls Python cannot wait or yield there"));
	return NULL;
}

void carrier_after_fork(void)
{
	/* Only the caller's state is left.  Whether it was a green thread's: its stack says so. */
	forked_state = border_is_green_state(PyThreadState_Get()) ? PyThreadState_Get() : NULL;
}
