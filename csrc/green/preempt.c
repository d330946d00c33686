/*
 * preempt.c - the handler, and who is out of its reach when.
 *
 * No operation here is a read-modify-write: `preempt_off` is changed by its green thread alone, the
 * handler included, which finds and leaves it as it was.
 */
#include "green/preempt.h"

#include <errno.h>
#include <pthread.h>
#include <ucontext.h>

#include "base/check.h"
#include "green/runtime.h"
#include "green/switch.h"
#include "os/calls.h"

_Atomic uint32_t preempt_runtimes;

/* ---- errno, of whatever kernel thread we are on ---- */

/* A compiler may keep the address of errno (its function is declared constant) across the switch.
 */
FILAR_NOINLINE static int errno_of_thread(void)
{
	FILAR_COMPILER_BARRIER();
	return errno;
}

FILAR_NOINLINE static void set_errno_of_thread(int value)
{
	errno = value;
	FILAR_COMPILER_BARRIER();
}

/* ---- out of reach ---- */

/* The green thread on whose stack we stand.  Preemption may strike in the middle and move us, so
 * that the worker we asked is not ours any more: then what it runs has another stack. */
static struct green *green_under_us(void)
{
	for (;;) {
		struct green *green = green_self();
		char *here = (char *)__builtin_frame_address(0);

		if (green == NULL || (here >= (char *)green->slot.low && here < (char *)green))
			return green;
		/* The child of a fork, a handler on another stack: nobody is preempted there. */
		if (worker_current() == NULL)
			return NULL;
	}
}

struct green *preempt_disable_slow(void)
{
	struct green *green = green_under_us();

	if (green == NULL || !green->preemptible)
		return NULL;
	store_relaxed(&green->preempt_off, load_relaxed(&green->preempt_off) + 1);
	FILAR_COMPILER_BARRIER();
	return green;
}

/* A yield would end it.  Only where we cannot be moved. */
static bool in_section(void)
{
	struct worker *worker = worker_here();

	return worker != NULL && (load_relaxed(&worker->section) & 1) != 0;
}

/* To the watcher: what runs since the last pick may be preempted. */
static void announce(void)
{
	struct worker *worker = worker_here();

	if (worker != NULL)
		store_relaxed(&worker->preemptible_ticks, load_relaxed(&worker->ticks));
}

void preempt_enable_slow(struct green *green)
{
	uint16_t off = load_relaxed(&green->preempt_off);

	if (off == 1) {
		if (load_relaxed(&green->preempt_wanted) != 0 && !in_section()) {
			store_relaxed(&green->preempt_wanted, 0);
			green_yield();
		}
		announce();
	}
	FILAR_COMPILER_BARRIER();
	store_relaxed(&green->preempt_off, off - 1);
}

void preempt_body_begins(struct green *green)
{
	announce();
	FILAR_COMPILER_BARRIER();
	store_relaxed(&green->preempt_off, 0);
}

void preempt_body_ends(struct green *green)
{
	store_relaxed(&green->preempt_off, 1);
	FILAR_COMPILER_BARRIER();
}

/* ---- the handler ---- */

/* On the stack of the one that is preempted; on return another kernel thread may be running it. */
static void yield_in_handler(struct green *green)
{
	struct worker *worker = worker_here();

	store_relaxed(&green->preempt_off, 1);
	store_relaxed(&green->preempt_wanted, 0);
	COUNTER_ADD(worker, preemptions, 1);
	TRACE(TRACE_GREEN_PREEMPT, trace_green(worker->scheduler, green), 0, worker->place);
	green_yield();
	announce();
	FILAR_COMPILER_BARRIER();
	store_relaxed(&green->preempt_off, 0);
}

static void on_signal(int signal, siginfo_t *info, void *pointer)
{
	struct worker *worker = worker_current();
	struct green *green = green_self();
	ucontext_t *interrupted = pointer;
	int before = errno_of_thread();

	(void)signal;
	(void)info;
	if (worker != NULL)
		store_release(&worker->signalled, 0);
	if (green == NULL || !green->preemptible)
		return;
	if (load_relaxed(&green->preempt_off) != 0 || in_section()) {
		store_relaxed(&green->preempt_wanted, 1);
		return;
	}
	yield_in_handler(green);
	/* The return from a signal installs the signal stack that is noted here: this worker's, not
	 * the one of where we came from. */
	(void)sigaltstack(NULL, &interrupted->uc_stack);
	set_errno_of_thread(before);
}

/* ---- which signal ---- */

static pthread_mutex_t install_lock = PTHREAD_MUTEX_INITIALIZER;

/* One that nobody handles, or that we do already. */
static bool is_ours_to_take(int signal)
{
	struct sigaction action;

	if (sigaction(signal, NULL, &action) != 0)
		return false;
	if ((action.sa_flags & SA_SIGINFO) != 0)
		return action.sa_sigaction == on_signal;
	return action.sa_handler == SIG_DFL;
}

static enum filar_status choose(int32_t *signal)
{
	if (*signal != 0 && (*signal < SIGRTMIN || *signal > SIGRTMAX))
		return status_detail(FILAR_INVALID,
			"preemption takes a real-time signal, %d to %d, not %d", SIGRTMIN, SIGRTMAX,
			*signal);
	if (*signal != 0)
		return is_ours_to_take(*signal)
			       ? FILAR_OK
			       : status_detail(
					 FILAR_BUSY, "signal %d has a handler already", *signal);
	/* From near the top: programs number theirs from the bottom, and emulators lack the last
	 * ones. */
	for (*signal = SIGRTMAX - 4; *signal >= SIGRTMIN; --*signal) {
		if (is_ours_to_take(*signal))
			return FILAR_OK;
	}
	return status_detail(FILAR_BUSY, "every real-time signal has a handler already");
}

enum filar_status preempt_begin(int32_t *signal)
{
	/* Not blocked while it runs, and nothing else is: the mask that a green thread returns to
	 * is that of every worker. */
	struct sigaction action = { .sa_sigaction = on_signal,
		.sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER };
	enum filar_status status;

	if (!PREEMPT_SUPPORTED)
		return status_detail(FILAR_NOT_SUPPORTED, "no preemption under ThreadSanitizer");
	pthread_mutex_lock(&install_lock);
	status = choose(signal);
	sigemptyset(&action.sa_mask);
	if (status == FILAR_OK && sigaction(*signal, &action, NULL) != 0)
		status = status_from_errno(errno, "sigaction");
	pthread_mutex_unlock(&install_lock);
	if (status == FILAR_OK)
		fetch_add_relaxed(&preempt_runtimes, 1);
	return status;
}

/* The handler stays: a signal may still be on its way. */
void preempt_end(void)
{
	fetch_sub_relaxed(&preempt_runtimes, 1);
}
