/*
 * kthread.c - creation with all options or none, and the end of a kernel thread.
 *
 * Life:    kthread_create() -> thread_main() -> body -> ENDED -> a joiner reaps it -> JOINED
 * Owners:  two references: the creator's handle and the thread's own; the last one frees.
 *
 * Start, when an option can only be applied to a running thread (nice, policy, pinning by self or
 * by parent):  the thread applies what is its own and says READY or FAILED; after READY the creator
 * may pin it and says GO or ABORT; the body runs only after GO.  A plain thread skips all that.
 *
 * Always: end_lock is held while a setter uses the tid and while the thread marks its end, so a
 * setter never reaches a tid that the kernel has given to somebody else.
 */
#include "kthread/kthread.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/check.h"
#include "base/memory.h"
#include "base/self.h"
#include "base/tracepoint.h"
#include "os/affinity.h"
#include "os/calls.h"
#include "os/clock.h"
#include "os/futex.h"

enum kthread_start {
	START_PENDING, /* the thread owns the next step */
	START_READY,   /* own options applied; the creator owns the next step */
	START_FAILED,  /* an own option failed; the thread ends without the body */
	START_GO,      /* the body may run */
	START_ABORT    /* the creator failed to pin; the thread ends without the body */
};

enum kthread_end {
	END_RUNNING, /* the body has not returned */
	END_ENDED,   /* it has; nobody has reaped the pthread yet */
	END_REAPING, /* one joiner is in pthread_join */
	END_JOINED   /* stack and pthread are gone */
};

struct kthread {
	kthread_body *body;                  /* I */
	void *argument;                      /* I */
	pthread_t pthread;                   /* I  after creation */
	uint64_t number;                     /* I  1, 2, ... in order of creation */
	uint32_t fork_generation;            /* I */
	int32_t nice;                        /* I  option */
	int32_t policy;                      /* I  option */
	int32_t priority;                    /* I  option */
	bool handshake;                      /* I  start in steps, see above */
	bool pin_self;                       /* I */
	char name[FILAR_NAME_BYTES_MAX + 1]; /* I */
	struct cpu_mask cpus;                /* I  empty: the creator's */
	enum filar_status
		start_status;        /* S  the thread's until READY or FAILED, then the creator's */
	char start_detail[240];      /* S  likewise */
	int64_t final_cpu_ns;        /* S  the thread's until ENDED */
	_Atomic uint32_t references; /* A */
	_Atomic uint32_t start;      /* A  enum kthread_start, futex */
	_Atomic uint32_t end;        /* A  enum kthread_end, futex */
	_Atomic uint32_t tid;        /* A  0 until the thread runs, futex */
	_Atomic bool detached;       /* A  the handle was released before the end */
	pthread_mutex_t end_lock;    /*    see the head of this file */
};

static _Atomic uint64_t next_number = 1;
static _Atomic uint32_t fork_generation;

/* ---- references ---- */

static void drop_reference(struct kthread *thread)
{
	if (fetch_sub_acq_rel(&thread->references, 1) != 1)
		return;
	pthread_mutex_destroy(&thread->end_lock);
	memory_release(thread);
}

/* ---- options ---- */

void kthread_options_init(filar_kthread_options *options)
{
	*options = (filar_kthread_options){ .nice = FILAR_NICE_INHERIT };
}

static bool is_real_time(int32_t policy)
{
	return policy == FILAR_POLICY_FIFO || policy == FILAR_POLICY_RR;
}

static enum filar_status check_policy(int32_t policy, int32_t priority)
{
	if (policy < FILAR_POLICY_INHERIT || policy > FILAR_POLICY_RR)
		return status_detail(FILAR_INVALID, "unknown scheduling policy %d", policy);
	if (is_real_time(policy) && (priority < 1 || priority > 99))
		return status_detail(
			FILAR_INVALID, "a real-time priority is 1 to 99, not %d", priority);
	if (!is_real_time(policy) && priority != 0)
		return status_detail(
			FILAR_INVALID, "priority %d needs the FIFO or RR policy", priority);
	return FILAR_OK;
}

static enum filar_status check_nice(int32_t nice)
{
	if (nice < -20 || nice > 19)
		return status_detail(FILAR_INVALID, "nice is -20 to 19, not %d", nice);
	return FILAR_OK;
}

static enum filar_status check_stack(const filar_kthread_options *options)
{
	/* glibc grows the minimum with the CPU's register file (AVX-512, AMX): ask, do not assume.
	 */
	long system_min = sysconf(_SC_THREAD_STACK_MIN);
	size_t min =
		system_min > FILAR_STACK_BYTES_MIN ? (size_t)system_min : FILAR_STACK_BYTES_MIN;

	if (options->stack_bytes == 0) {
		if (options->stack != NULL)
			return status_detail(
				FILAR_INVALID, "a stack of the caller's needs its size");
		return FILAR_OK;
	}
	if (options->stack_bytes < min)
		return status_detail(FILAR_INVALID,
			"a stack of %zu bytes is too small: this machine needs at least %zu",
			options->stack_bytes, min);
	if (options->stack_bytes > SIZE_MAX / 2)
		return status_detail(FILAR_INVALID,
			"a stack of %zu bytes is larger than the address space",
			options->stack_bytes);
	return FILAR_OK;
}

enum filar_status kthread_check_options(const filar_kthread_options *options)
{
	struct cpu_mask mask;
	enum filar_status status;

	if (options->name != NULL && strlen(options->name) > FILAR_NAME_BYTES_MAX)
		return status_detail(FILAR_INVALID,
			"the name \"%.64s\" is %zu bytes long; Linux keeps %d", options->name,
			strlen(options->name), FILAR_NAME_BYTES_MAX);
	if (options->pin_by < FILAR_PIN_BY_ATTRIBUTE || options->pin_by > FILAR_PIN_BY_SELF)
		return status_detail(FILAR_INVALID, "unknown way to pin: %d", options->pin_by);
	if (options->cpus != NULL) {
		status = cpu_mask_from_list(&mask, options->cpus, options->cpu_count);
		if (status != FILAR_OK)
			return status;
	}
	if (options->nice != FILAR_NICE_INHERIT) {
		status = check_nice(options->nice);
		if (status != FILAR_OK)
			return status;
	}
	status = check_policy(options->policy, options->priority);
	return status == FILAR_OK ? check_stack(options) : status;
}

/* ---- applying settings to a running kernel thread ---- */

static enum filar_status apply_nice(pid_t tid, int32_t nice)
{
	if (call_setpriority(PRIO_PROCESS, (id_t)tid, nice) == 0)
		return FILAR_OK;
	if (errno == EACCES || errno == EPERM)
		return status_detail(FILAR_NO_PERMISSION,
			"nice %d needs CAP_SYS_NICE or a higher RLIMIT_NICE", nice);
	return status_from_errno(errno, "setpriority");
}

static enum filar_status apply_policy(pid_t tid, int32_t policy, int32_t priority)
{
	static const int system_policy[] = { [FILAR_POLICY_OTHER] = SCHED_OTHER,
		[FILAR_POLICY_BATCH] = SCHED_BATCH,
		[FILAR_POLICY_IDLE] = SCHED_IDLE,
		[FILAR_POLICY_FIFO] = SCHED_FIFO,
		[FILAR_POLICY_RR] = SCHED_RR };
	struct sched_param parameters = { .sched_priority = priority };

	if (call_sched_setscheduler(tid, system_policy[policy], &parameters) == 0)
		return FILAR_OK;
	if (errno == EPERM)
		return status_detail(FILAR_NO_PERMISSION,
			"this scheduling policy needs CAP_SYS_NICE or a higher RLIMIT_RTPRIO");
	return status_from_errno(errno, "sched_setscheduler");
}

/* ---- the new thread's side ---- */

static enum filar_status apply_own_options(struct kthread *thread)
{
	enum filar_status status = FILAR_OK;

	if (thread->pin_self)
		status = affinity_set(0, &thread->cpus);
	if (status == FILAR_OK && thread->nice != FILAR_NICE_INHERIT)
		status = apply_nice(0, thread->nice);
	if (status == FILAR_OK && thread->policy != FILAR_POLICY_INHERIT)
		status = apply_policy(0, thread->policy, thread->priority);
	return status;
}

static void set_and_wake(_Atomic uint32_t *word, uint32_t value)
{
	/* K1: release; pairs with K2 in wait_while(). */
	store_release(word, value);
	futex_wake(word, INT32_MAX);
}

/* The first value other than `value`; signals do not end this wait. */
static uint32_t wait_while(_Atomic uint32_t *word, uint32_t value)
{
	uint32_t now;

	/* K2: acquire; pairs with K1. */
	while ((now = load_acquire(word)) == value)
		(void)futex_wait_until(word, value, DEADLINE_NEVER);
	return now;
}

/* Whether the body may run. */
static bool finish_start(struct kthread *thread)
{
	thread->start_status = apply_own_options(thread);
	if (thread->start_status != FILAR_OK) {
		memcpy(thread->start_detail, filar_status_detail(),
			strlen(filar_status_detail()) + 1);
		set_and_wake(&thread->start, START_FAILED);
		return false;
	}
	set_and_wake(&thread->start, START_READY);
	return wait_while(&thread->start, START_READY) == START_GO;
}

static void mark_ended(struct kthread *thread)
{
	thread->final_cpu_ns = clock_thread_cpu_ns();
	pthread_mutex_lock(&thread->end_lock);
	store_release(&thread->end, END_ENDED);
	pthread_mutex_unlock(&thread->end_lock);
	futex_wake(&thread->end, INT32_MAX);
}

static void *thread_main(void *pointer)
{
	struct kthread *thread = pointer;
	struct self *self = self_get_or_create();

	if (self != NULL)
		self->kthread = thread;
	call_prctl_set_name(thread->name);
	set_and_wake(&thread->tid, (uint32_t)gettid());
	tracepoint_emit(TRACE_KTHREAD_START, thread->number, affinity_current_cpu());
	if (!thread->handshake || finish_start(thread))
		thread->body(thread->argument);
	tracepoint_emit(TRACE_KTHREAD_EXIT, thread->number, 0);
	if (self != NULL)
		self->kthread = NULL;
	mark_ended(thread);
	drop_reference(thread);
	return NULL;
}

/* ---- the creator's side ---- */

static enum filar_status init_attributes(pthread_attr_t *attributes,
	const filar_kthread_options *options, const struct kthread *thread)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t rounded = (options->stack_bytes + page - 1) / page * page;
	int error = pthread_attr_init(attributes);

	if (error != 0)
		return status_from_errno(error, "pthread_attr_init");
	if (options->stack != NULL)
		error = pthread_attr_setstack(attributes, options->stack, options->stack_bytes);
	else if (options->stack_bytes != 0)
		error = pthread_attr_setstacksize(attributes, rounded);
	if (error == 0 && options->cpus != NULL && options->pin_by == FILAR_PIN_BY_ATTRIBUTE)
		error = pthread_attr_setaffinity_np(
			attributes, thread->cpus.bytes, thread->cpus.bits);
	if (error == 0)
		return FILAR_OK;
	pthread_attr_destroy(attributes);
	return status_from_errno(error, "thread attributes");
}

static enum filar_status creation_failed(int error, const filar_kthread_options *options)
{
	if (error == EINVAL && options->cpus != NULL)
		return status_detail(FILAR_NO_CPU,
			"none of the CPUs asked for (first: %d) is online and allowed",
			options->cpus[0]);
	if (error == EAGAIN && options->stack_bytes > (size_t)1 << 32)
		return status_detail(FILAR_LIMIT,
			"no thread, most likely because a stack of %zu bytes cannot be reserved",
			options->stack_bytes);
	if (error == EAGAIN)
		return status_detail(FILAR_LIMIT, "the kernel refused a new thread (EAGAIN); "
						  "filar.why_not(threads=N) names the limit");
	return status_from_errno(error, "pthread_create");
}

/* Signals stay blocked in the new thread: it inherits the mask, the creator gets its own back. */
static enum filar_status create_pthread(
	struct kthread *thread, const filar_kthread_options *options)
{
	pthread_attr_t attributes;
	sigset_t all, old;
	enum filar_status status = init_attributes(&attributes, options, thread);
	int error;

	if (status != FILAR_OK)
		return status;
	sigfillset(&all);
	error = call_sigmask(SIG_SETMASK, &all, &old);
	if (error != 0) {
		status = status_from_errno(error, "pthread_sigmask");
		goto destroy_attributes;
	}
	error = call_thread_create(&thread->pthread, &attributes, thread_main, thread);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (error != 0)
		status = creation_failed(error, options);
destroy_attributes:
	pthread_attr_destroy(&attributes);
	return status;
}

static enum filar_status lead_start(struct kthread *thread, bool pin_by_parent)
{
	enum filar_status status = FILAR_OK;

	if (wait_while(&thread->start, START_PENDING) == START_FAILED)
		return status_detail(thread->start_status, "%s", thread->start_detail);
	if (pin_by_parent)
		status = affinity_set((int32_t)load_relaxed(&thread->tid), &thread->cpus);
	set_and_wake(&thread->start, status == FILAR_OK ? START_GO : START_ABORT);
	return status;
}

enum filar_status kthread_create(struct kthread **result, const filar_kthread_options *options,
	kthread_body *body, void *argument)
{
	bool pin_by_parent = options->cpus != NULL && options->pin_by == FILAR_PIN_BY_PARENT;
	struct kthread *thread = memory_acquire(1, sizeof *thread);
	enum filar_status status;

	if (thread == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for a thread's record");
	thread->body = body;
	thread->argument = argument;
	thread->number = fetch_add_relaxed(&next_number, 1);
	thread->fork_generation = load_relaxed(&fork_generation);
	thread->nice = options->nice;
	thread->policy = options->policy;
	thread->priority = options->priority;
	thread->pin_self = options->cpus != NULL && options->pin_by == FILAR_PIN_BY_SELF;
	thread->handshake = thread->pin_self || pin_by_parent ||
			    options->nice != FILAR_NICE_INHERIT ||
			    options->policy != FILAR_POLICY_INHERIT;
	if (options->name != NULL)
		snprintf(thread->name, sizeof thread->name, "%s", options->name);
	else
		snprintf(thread->name, sizeof thread->name, "filar-%llu",
			(unsigned long long)thread->number);
	if (options->cpus != NULL) {
		status = cpu_mask_from_list(&thread->cpus, options->cpus, options->cpu_count);
		if (status != FILAR_OK)
			goto release_thread;
	}
	atomic_init(&thread->references, 2);
	pthread_mutex_init(&thread->end_lock, NULL);
	status = create_pthread(thread, options);
	if (status != FILAR_OK)
		goto release_thread;
	tracepoint_emit(TRACE_KTHREAD_CREATE, thread->number,
		options->cpus != NULL ? options->cpus[0] : -1);
	if (thread->handshake) {
		status = lead_start(thread, pin_by_parent);
		if (status != FILAR_OK)
			goto reap_thread;
	}
	*result = thread;
	return FILAR_OK;

reap_thread:
	pthread_join(thread->pthread, NULL);
	drop_reference(thread);
	return status;
release_thread:
	memory_release(thread);
	return status;
}

/* ---- the end ---- */

/* ENDED -> REAPING -> JOINED by one joiner; the others wait for it. */
static void reap(struct kthread *thread)
{
	uint32_t found = END_ENDED;

	if (cas_acq_rel(&thread->end, &found, END_REAPING)) {
		pthread_join(thread->pthread, NULL);
		set_and_wake(&thread->end, END_JOINED);
		return;
	}
	(void)wait_while(&thread->end, END_REAPING);
}

enum filar_status kthread_join_until(struct kthread *thread, int64_t deadline_ns)
{
	enum filar_status status;

	if (kthread_is_forked(thread))
		return status_detail(FILAR_FORKED, "the thread runs in the parent process");
	if (thread == kthread_self())
		return status_detail(FILAR_DEADLOCK, "a thread cannot join itself");
	while (load_acquire(&thread->end) == END_RUNNING) {
		status = futex_wait_until(&thread->end, END_RUNNING, deadline_ns);
		if (status != FILAR_OK && load_acquire(&thread->end) == END_RUNNING)
			return status;
	}
	reap(thread);
	tracepoint_emit(TRACE_KTHREAD_JOIN, thread->number, 0);
	return FILAR_OK;
}

void kthread_release(struct kthread *thread)
{
	/* Nobody else has the handle, so nobody is reaping now. */
	if (!kthread_is_forked(thread) && load_acquire(&thread->end) != END_JOINED)
		pthread_detach(thread->pthread);
	drop_reference(thread);
}

bool kthread_is_alive(struct kthread *thread)
{
	return !kthread_is_forked(thread) && load_acquire(&thread->end) == END_RUNNING;
}

int32_t kthread_tid(struct kthread *thread)
{
	return (int32_t)wait_while(&thread->tid, 0);
}

int64_t kthread_cpu_ns(struct kthread *thread)
{
	struct timespec used;
	/* The kernel's encoding of "CPU clock of thread tid" (what pthread_getcpuclockid computes).
	 */
	clockid_t clock = (clockid_t)(~(uint32_t)kthread_tid(thread) << 3 | 6u);

	if (kthread_is_alive(thread) && clock_gettime(clock, &used) == 0)
		return (int64_t)used.tv_sec * NS_PER_S + used.tv_nsec;
	return load_acquire(&thread->end) == END_RUNNING ? 0 : thread->final_cpu_ns;
}

/* ---- settings of a running thread ---- */

static enum filar_status lock_running(struct kthread *thread)
{
	if (kthread_is_forked(thread))
		return status_detail(FILAR_FORKED, "the thread runs in the parent process");
	pthread_mutex_lock(&thread->end_lock);
	if (load_acquire(&thread->end) == END_RUNNING)
		return FILAR_OK;
	pthread_mutex_unlock(&thread->end_lock);
	return status_detail(FILAR_WRONG_STATE, "the thread has ended");
}

enum filar_status kthread_set_cpus(struct kthread *thread, const int32_t *cpus, size_t count)
{
	struct cpu_mask mask;
	int32_t tid = kthread_tid(thread);
	enum filar_status status = cpu_mask_from_list(&mask, cpus, count);

	if (status == FILAR_OK)
		status = lock_running(thread);
	if (status != FILAR_OK)
		return status;
	status = affinity_set(tid, &mask);
	pthread_mutex_unlock(&thread->end_lock);
	return status;
}

enum filar_status kthread_set_nice(struct kthread *thread, int32_t nice)
{
	int32_t tid = kthread_tid(thread);
	enum filar_status status = check_nice(nice);

	if (status == FILAR_OK)
		status = lock_running(thread);
	if (status != FILAR_OK)
		return status;
	status = apply_nice(tid, nice);
	pthread_mutex_unlock(&thread->end_lock);
	return status;
}

enum filar_status kthread_set_policy(struct kthread *thread, int32_t policy, int32_t priority)
{
	int32_t tid = kthread_tid(thread);
	enum filar_status status = check_policy(policy, priority);

	if (status == FILAR_OK && policy == FILAR_POLICY_INHERIT)
		status = status_detail(
			FILAR_INVALID, "a running thread has nobody to inherit a policy from");
	if (status == FILAR_OK)
		status = lock_running(thread);
	if (status != FILAR_OK)
		return status;
	status = apply_policy(tid, policy, priority);
	pthread_mutex_unlock(&thread->end_lock);
	return status;
}

/* ---- who am I ---- */

struct kthread *kthread_self(void)
{
	struct self *self = self_get();

	return self != NULL ? self->kthread : NULL;
}

bool kthread_is_forked(const struct kthread *thread)
{
	return thread->fork_generation != load_relaxed(&fork_generation);
}

void kthread_after_fork_in_child(void)
{
	struct self *self = self_get();

	fetch_add_relaxed(&fork_generation, 1);
	/* Forked by a green thread, say: its worker, the others and the queues stayed behind. */
	if (self != NULL)
		self->worker = NULL;
}
