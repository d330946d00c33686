/*
 * kthread.c - creation with all options or none, and the end of a kernel thread.
 *
 * Life:    kthread_create() -> thread_main() -> body -> ENDED -> a joiner reaps it -> JOINED
 * Owners:  two references: the creator's handle and the thread's own; the last one frees.
 *
 * Start, when an option can only be applied to a running thread (nice, policy, pinning by self or
 * by parent), or checked there (that every CPU of several was accepted):  the thread applies what
 * is its own and says READY or FAILED; after READY the creator may pin it and says GO or ABORT; the
 * body runs only after GO.  A plain thread skips all that.
 *
 * End: thread_end() runs as a cleanup handler, since a body may leave by pthread_exit(): CPython
 * 3.11 to 3.13 does that to a thread that wants the GIL of an interpreter that has shut down.
 *
 * Fork: the child has none of these threads and cannot trust their locks, so every call asks
 * kthread_is_forked() before it touches anything else.
 *
 * Always: end_lock is held while anyone uses the tid and while the thread marks its end, so nobody
 * reaches a tid that the kernel has given to somebody else.
 */
#include "kthread/kthread.h"

#include <dlfcn.h>
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
#include "base/tid.h"
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

/* What only matters until the body runs; on the creator's stack.  The thread uses it before READY
 * or FAILED, the creator afterwards. */
struct kthread_plan {
	const filar_kthread_options *options; /* I */
	bool pin_self;                        /* I */
	bool pin_by_parent;                   /* I */
	bool handshake;                       /* I  start in steps, see above */
	struct cpu_mask cpus;                 /* I  if options->cpus */
	enum filar_status status;             /* S */
	char detail[240];                     /* S */
};

struct kthread {
	kthread_body *body;                  /* I */
	void *argument;                      /* I */
	pthread_t pthread;                   /* I  after creation */
	uint64_t number;                     /* I  1, 2, ... in order of creation */
	uint32_t fork_generation;            /* I */
	struct self *self;                   /* I  the thread's own record */
	struct kthread_plan *plan;           /* S  as the plan; NULL: no handshake */
	char name[FILAR_NAME_BYTES_MAX + 1]; /* I */
	int64_t final_cpu_ns;                /* S  the thread's until ENDED */
	_Atomic uint32_t references;         /* A */
	_Atomic uint32_t start;              /* A  enum kthread_start, futex */
	_Atomic uint32_t end;                /* A  enum kthread_end, futex */
	_Atomic uint32_t tid;                /* A  0 until the thread runs, futex */
	pthread_mutex_t end_lock;            /*    see the head of this file */
};

/* How long a join waits for what comes after the body, even if its deadline is past. */
#define REAP_NS_MIN (50 * NS_PER_MS)

static _Atomic uint64_t next_number = 1;
static _Atomic uint32_t fork_generation;
static _Atomic int32_t owner_pid; /* whose threads the newest generation's are */

/* ---- references ---- */

static void drop_references(struct kthread *thread, uint32_t count)
{
	if (fetch_sub_acq_rel(&thread->references, count) != count)
		return;
	/* In the child of a fork it may be held for ever. */
	if (!kthread_is_forked(thread))
		pthread_mutex_destroy(&thread->end_lock);
	memory_release(thread);
}

/* ---- options ---- */

static size_t page_bytes(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

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

/* What is left for the body at least. */
#define STACK_BODY_BYTES_MIN 8192u

/* glibc puts the static thread-locals of all loaded libraries on each stack.  How much that is only
 * __pthread_get_minstack tells (the JDK and Rust ask it too); 0 without it. */
static size_t stack_tls_bytes(size_t system_min)
{
	size_t (*minstack)(const pthread_attr_t *) =
		(size_t(*)(const pthread_attr_t *))dlsym(RTLD_DEFAULT, "__pthread_get_minstack");
	pthread_attr_t attributes;
	size_t bytes;

	if (minstack == NULL || pthread_attr_init(&attributes) != 0)
		return 0;
	bytes = minstack(&attributes); /* a page, the thread-locals, the system's minimum */
	pthread_attr_destroy(&attributes);
	return bytes > system_min + page_bytes() ? bytes - system_min - page_bytes() : 0;
}

size_t kthread_stack_bytes_min(void)
{
	/* The system's grows with the CPU's register file (AVX-512, AMX): ask, do not assume. */
	long asked = sysconf(_SC_THREAD_STACK_MIN);
	size_t system_min = asked > FILAR_STACK_BYTES_MIN ? (size_t)asked : FILAR_STACK_BYTES_MIN;
	size_t page = page_bytes();
	size_t needed = stack_tls_bytes(system_min) + STACK_BODY_BYTES_MIN;

	needed = (needed + page - 1) / page * page;
	return needed > system_min ? needed : system_min;
}

static enum filar_status check_stack(const filar_kthread_options *options)
{
	size_t min;

	if (options->stack_bytes == 0) {
		if (options->stack != NULL)
			return status_detail(
				FILAR_INVALID, "a stack of the caller's needs its size");
		return FILAR_OK;
	}
	min = kthread_stack_bytes_min();
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

/* The kernel drops CPUs that do not exist or are not allowed from a set and is content with the
 * rest; we are not. */
static enum filar_status check_cpus_taken(int32_t tid, const struct cpu_mask *wanted)
{
	struct cpu_mask taken;
	enum filar_status status = affinity_get(tid, &taken);

	if (status != FILAR_OK)
		return status;
	for (int cpu = cpu_mask_next(wanted, 0); cpu >= 0; cpu = cpu_mask_next(wanted, cpu + 1)) {
		if (!cpu_mask_has(&taken, cpu))
			return status_detail(FILAR_NO_CPU,
				"CPU %d is not online or this process may not use it", cpu);
	}
	return FILAR_OK;
}

static enum filar_status apply_cpus(int32_t tid, const struct cpu_mask *cpus)
{
	enum filar_status status = affinity_set(tid, cpus);

	if (status != FILAR_OK || cpu_mask_count(cpus) == 1)
		return status;
	return check_cpus_taken(tid, cpus);
}

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
	static const char *const names[] = { [FILAR_POLICY_OTHER] = "OTHER",
		[FILAR_POLICY_BATCH] = "BATCH",
		[FILAR_POLICY_IDLE] = "IDLE",
		[FILAR_POLICY_FIFO] = "FIFO",
		[FILAR_POLICY_RR] = "RR" };
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
			"the policy SCHED_%s with priority %d needs CAP_SYS_NICE or a higher %s",
			names[policy], priority,
			is_real_time(policy) ? "RLIMIT_RTPRIO" : "RLIMIT_NICE");
	return status_from_errno(errno, "sched_setscheduler");
}

/* ---- the new thread's side ---- */

static enum filar_status apply_own_options(const struct kthread_plan *plan)
{
	const filar_kthread_options *options = plan->options;
	enum filar_status status = FILAR_OK;

	if (plan->pin_self)
		status = apply_cpus(0, &plan->cpus);
	else if (options->cpus != NULL && !plan->pin_by_parent)
		status = check_cpus_taken(0, &plan->cpus);
	if (status == FILAR_OK && options->nice != FILAR_NICE_INHERIT)
		status = apply_nice(0, options->nice);
	if (status == FILAR_OK && options->policy != FILAR_POLICY_INHERIT)
		status = apply_policy(0, options->policy, options->priority);
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

/* Whether the body may run.  The plan is gone once the creator has seen FAILED or READY. */
static bool finish_start(struct kthread *thread)
{
	struct kthread_plan *plan = thread->plan;

	plan->status = apply_own_options(plan);
	if (plan->status != FILAR_OK) {
		snprintf(plan->detail, sizeof plan->detail, "%s", filar_status_detail());
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
	/* K3: release; pairs with K4 in join and release: they see final_cpu_ns. */
	store_release(&thread->end, END_ENDED);
	pthread_mutex_unlock(&thread->end_lock);
	futex_wake(&thread->end, INT32_MAX);
}

static void thread_end(void *pointer)
{
	struct kthread *thread = pointer;

	TRACE(TRACE_KTHREAD_EXIT, thread->number, 0, 0);
	self_release();
	/* In the child of a fork out of this very thread its handle says FORKED for good, and its
	 * lock may be one that was held in the parent. */
	if (!kthread_is_forked(thread))
		mark_ended(thread);
	drop_references(thread, 1);
}

static void *thread_main(void *pointer)
{
	struct kthread *thread = pointer;

	self_adopt(thread->self);
	thread->self->kthread = thread;
	call_prctl_set_name(thread->name);
	pthread_cleanup_push(thread_end, thread);
	set_and_wake(&thread->tid, (uint32_t)tid_self());
	TRACE(TRACE_KTHREAD_START, thread->number, 0, affinity_current_cpu());
	if (thread->plan == NULL || finish_start(thread))
		thread->body(thread->argument);
	pthread_cleanup_pop(1);
	return NULL;
}

/* ---- the creator's side ---- */

static enum filar_status init_attributes(
	pthread_attr_t *attributes, const struct kthread_plan *plan)
{
	const filar_kthread_options *options = plan->options;
	size_t page = page_bytes();
	size_t rounded = (options->stack_bytes + page - 1) / page * page;
	int error = pthread_attr_init(attributes);

	if (error != 0)
		return status_from_errno(error, "pthread_attr_init");
	if (options->stack != NULL)
		error = pthread_attr_setstack(attributes, options->stack, options->stack_bytes);
	else if (options->stack_bytes != 0)
		error = pthread_attr_setstacksize(attributes, rounded);
	if (error == 0 && options->cpus != NULL && options->pin_by == FILAR_PIN_BY_ATTRIBUTE)
		error = pthread_attr_setaffinity_np(attributes, plan->cpus.bytes, plan->cpus.bits);
	if (error == 0)
		return FILAR_OK;
	pthread_attr_destroy(attributes);
	return status_from_errno(error, "thread attributes");
}

static size_t default_stack_bytes(void)
{
	pthread_attr_t attributes;
	size_t bytes = 0;

	if (pthread_getattr_default_np(&attributes) != 0)
		return 0;
	pthread_attr_getstacksize(&attributes, &bytes);
	pthread_attr_destroy(&attributes);
	return bytes;
}

/* EAGAIN is all that pthread_create says, whatever ran out; a stack can be asked for again. */
static bool stack_can_be_had(size_t bytes)
{
	void *stack = call_mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

	if (stack == MAP_FAILED)
		return false;
	(void)munmap(stack, bytes);
	return true;
}

static enum filar_status creation_failed(int error, const filar_kthread_options *options)
{
	size_t stack_bytes = options->stack_bytes;

	if (error == EINVAL && options->cpus != NULL)
		return status_detail(FILAR_NO_CPU,
			"none of the CPUs asked for (first: %d) is online and allowed",
			options->cpus[0]);
	if (error != EAGAIN)
		return status_from_errno(error, "pthread_create");
	if (stack_bytes == 0)
		stack_bytes = default_stack_bytes();
	if (options->stack == NULL && stack_bytes != 0 && !stack_can_be_had(stack_bytes))
		return status_detail(FILAR_LIMIT,
			"the kernel gives no memory for a thread's stack of %zu bytes "
			"(address space, overcommit or RLIMIT_AS)",
			stack_bytes);
	return status_detail(FILAR_LIMIT, "the kernel refused a new thread (EAGAIN); "
					  "filar.why_not(threads=N) names the limit");
}

/* All signals but those that the thread's own instructions raise: the kernel kills a process that
 * blocks these at the moment one is due, before any handler (faulthandler, a sanitizer, a JIT). */
static void fill_blocked_signals(sigset_t *set)
{
	static const int own[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS };

	sigfillset(set);
	for (size_t i = 0; i < FILAR_COUNT_OF(own); i++)
		sigdelset(set, own[i]);
}

/* The new thread inherits the mask, the creator gets its own back. */
static enum filar_status create_pthread(struct kthread *thread, const struct kthread_plan *plan)
{
	pthread_attr_t attributes;
	sigset_t blocked, old;
	enum filar_status status = init_attributes(&attributes, plan);
	int error;

	if (status != FILAR_OK)
		return status;
	fill_blocked_signals(&blocked);
	error = call_sigmask(SIG_BLOCK, &blocked, &old);
	if (error != 0) {
		status = status_from_errno(error, "pthread_sigmask");
		goto destroy_attributes;
	}
	error = call_thread_create(&thread->pthread, &attributes, thread_main, thread);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (error != 0)
		status = creation_failed(error, plan->options);
destroy_attributes:
	pthread_attr_destroy(&attributes);
	return status;
}

static enum filar_status lead_start(struct kthread *thread, const struct kthread_plan *plan)
{
	enum filar_status status = FILAR_OK;

	if (wait_while(&thread->start, START_PENDING) == START_FAILED)
		return status_detail(plan->status, "%s", plan->detail);
	if (plan->pin_by_parent)
		status = apply_cpus((int32_t)load_relaxed(&thread->tid), &plan->cpus);
	set_and_wake(&thread->start, status == FILAR_OK ? START_GO : START_ABORT);
	return status;
}

static enum filar_status make_plan(struct kthread_plan *plan, const filar_kthread_options *options)
{
	bool pinned = options->cpus != NULL;

	plan->options = options;
	plan->pin_self = pinned && options->pin_by == FILAR_PIN_BY_SELF;
	plan->pin_by_parent = pinned && options->pin_by == FILAR_PIN_BY_PARENT;
	plan->handshake = plan->pin_self || plan->pin_by_parent ||
			  options->nice != FILAR_NICE_INHERIT ||
			  options->policy != FILAR_POLICY_INHERIT;
	if (!pinned)
		return FILAR_OK;
	/* The kernel itself refuses a single CPU that is not to be had. */
	plan->handshake |= options->cpu_count > 1;
	return cpu_mask_from_list(&plan->cpus, options->cpus, options->cpu_count);
}

static void init_kthread(struct kthread *thread, const char *name)
{
	thread->number = fetch_add_relaxed(&next_number, 1);
	thread->fork_generation = load_relaxed(&fork_generation);
	if (name != NULL)
		snprintf(thread->name, sizeof thread->name, "%s", name);
	else
		snprintf(thread->name, sizeof thread->name, "filar-%llu",
			(unsigned long long)thread->number);
	atomic_init(&thread->references, 2);
	pthread_mutex_init(&thread->end_lock, NULL);
}

/* When the library is loaded: a fork that begins before the handler is known does not run it. */
__attribute__((constructor)) static void register_fork_handler(void)
{
	store_relaxed(&owner_pid, getpid());
	(void)pthread_atfork(NULL, NULL, kthread_after_fork_in_child);
}

enum filar_status kthread_create(struct kthread **result, const filar_kthread_options *options,
	kthread_body *body, void *argument)
{
	struct kthread_plan plan;
	struct kthread *thread;
	enum filar_status status = make_plan(&plan, options);

	if (status != FILAR_OK)
		return status;
	thread = memory_acquire(1, sizeof *thread);
	if (thread == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for a thread's record");
	init_kthread(thread, options->name);
	thread->body = body;
	thread->argument = argument;
	thread->plan = plan.handshake ? &plan : NULL;
	thread->self = self_create();
	if (thread->self == NULL) {
		status = status_detail(FILAR_NO_MEMORY, "no memory for a thread's record");
		goto drop_thread;
	}
	status = create_pthread(thread, &plan);
	if (status != FILAR_OK)
		goto discard_self;
	TRACE(TRACE_KTHREAD_CREATE, thread->number, 0,
		options->cpus != NULL ? options->cpus[0] : -1);
	if (plan.handshake) {
		status = lead_start(thread, &plan);
		if (status != FILAR_OK)
			goto reap_thread;
	}
	*result = thread;
	return FILAR_OK;

reap_thread:
	pthread_join(thread->pthread, NULL);
	drop_references(thread, 1);
	return status;
discard_self:
	self_discard(thread->self);
drop_thread:
	drop_references(thread, 2);
	return status;
}

/* ---- the end ---- */

static struct timespec realtime_at(int64_t deadline_ns)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return clock_timespec(
		(int64_t)now.tv_sec * NS_PER_S + now.tv_nsec + (deadline_ns - clock_now_ns()));
}

/* REAPING -> JOINED, or back to ENDED when a thread-local destructor of somebody else's outlasts
 * the deadline.  pthread_timedjoin_np knows CLOCK_REALTIME only, so a step of that clock may end it
 * early; the caller looks at the deadline again. */
static void reap(struct kthread *thread, int64_t deadline_ns)
{
	struct timespec deadline;
	int error;

	if (deadline_ns == DEADLINE_NEVER) {
		error = pthread_join(thread->pthread, NULL);
	} else {
		deadline = realtime_at(deadline_ns);
		error = pthread_timedjoin_np(thread->pthread, NULL, &deadline);
	}
	FILAR_CHECK(error == 0 || error == ETIMEDOUT);
	set_and_wake(&thread->end, error == 0 ? END_JOINED : END_ENDED);
}

/* Something is left of a thread whose body has returned.  One joiner at a time is in pthread_join;
 * the others wait for it, and the next one goes on where it gave up. */
static enum filar_status reap_until(struct kthread *thread, int64_t deadline_ns)
{
	int64_t soon_ns = clock_now_ns() + REAP_NS_MIN;
	enum filar_status status;
	uint32_t found;

	if (deadline_ns < soon_ns)
		deadline_ns = soon_ns;
	for (;;) {
		found = END_ENDED;
		if (cas_acq_rel(&thread->end, &found, END_REAPING))
			reap(thread, deadline_ns);
		else if (found == END_JOINED)
			return FILAR_OK;
		else if ((status = futex_wait_until(&thread->end, END_REAPING, deadline_ns)) ==
			 FILAR_INTERRUPTED)
			return status;
		if (load_acquire(&thread->end) != END_JOINED && clock_now_ns() >= deadline_ns)
			return FILAR_TIMED_OUT;
	}
}

enum filar_status kthread_join_until(struct kthread *thread, int64_t deadline_ns)
{
	enum filar_status status;

	if (kthread_is_forked(thread))
		return status_detail(FILAR_FORKED, "the thread runs in the parent process");
	if (thread == kthread_self())
		return status_detail(FILAR_DEADLOCK, "a thread cannot join itself");
	/* K4: acquire; pairs with K3. */
	while (load_acquire(&thread->end) == END_RUNNING) {
		status = futex_wait_until(&thread->end, END_RUNNING, deadline_ns);
		if (status != FILAR_OK && load_acquire(&thread->end) == END_RUNNING)
			return status;
	}
	status = reap_until(thread, deadline_ns);
	if (status == FILAR_OK)
		TRACE(TRACE_KTHREAD_JOIN, thread->number, 0, 0);
	return status;
}

/* In the child of a fork the thread cannot give back its own reference any more, unless it is the
 * one that forked: then thread_end() still needs the record. */
static void release_forked(struct kthread *thread)
{
	struct self *self = self_get();
	bool lost = load_acquire(&thread->end) == END_RUNNING &&
		    !(self != NULL && self->kthread == thread);

	drop_references(thread, lost ? 2 : 1);
}

void kthread_release(struct kthread *thread)
{
	if (kthread_is_forked(thread)) {
		release_forked(thread);
		return;
	}
	/* K4.  Nobody else uses the handle, so nobody is reaping now. */
	if (load_acquire(&thread->end) != END_JOINED)
		pthread_detach(thread->pthread);
	drop_references(thread, 1);
}

bool kthread_is_alive(struct kthread *thread)
{
	return !kthread_is_forked(thread) && load_acquire(&thread->end) == END_RUNNING;
}

int32_t kthread_tid(struct kthread *thread)
{
	/* A thread that had not started when its process was forked never will, here. */
	if (kthread_is_forked(thread))
		return (int32_t)load_relaxed(&thread->tid);
	return (int32_t)wait_while(&thread->tid, 0);
}

uint64_t kthread_ident(const struct kthread *thread)
{
	return (uint64_t)thread->pthread;
}

/* ---- a running thread, from outside ---- */

/* FILAR_OK: the thread runs, and goes on to until unlock_running(). */
static enum filar_status lock_running(struct kthread *thread, int32_t *tid)
{
	if (kthread_is_forked(thread))
		return status_detail(FILAR_FORKED, "the thread runs in the parent process");
	*tid = kthread_tid(thread);
	pthread_mutex_lock(&thread->end_lock);
	if (load_relaxed(&thread->end) == END_RUNNING)
		return FILAR_OK;
	pthread_mutex_unlock(&thread->end_lock);
	return status_detail(FILAR_WRONG_STATE, "the thread has ended");
}

static void unlock_running(struct kthread *thread)
{
	pthread_mutex_unlock(&thread->end_lock);
}

int64_t kthread_cpu_ns(struct kthread *thread)
{
	struct timespec used = { 0, 0 };
	int32_t tid;

	if (kthread_is_forked(thread))
		return 0;
	if (lock_running(thread, &tid) != FILAR_OK)
		return thread->final_cpu_ns;
	/* The kernel's encoding of "CPU clock of thread tid" (what pthread_getcpuclockid computes).
	 */
	(void)clock_gettime((clockid_t)(~(uint32_t)tid << 3 | 6u), &used);
	unlock_running(thread);
	return (int64_t)used.tv_sec * NS_PER_S + used.tv_nsec;
}

bool kthread_signal(struct kthread *thread, int signal)
{
	int32_t tid;
	bool sent;

	if (lock_running(thread, &tid) != FILAR_OK)
		return false;
	sent = call_tgkill(tid, signal) == 0;
	unlock_running(thread);
	return sent;
}

/* All or nothing: a set that the kernel takes in part is undone. */
static enum filar_status change_cpus(int32_t tid, const struct cpu_mask *cpus)
{
	struct cpu_mask before;
	enum filar_status status = affinity_get(tid, &before);

	if (status != FILAR_OK)
		return status;
	status = apply_cpus(tid, cpus);
	if (status != FILAR_OK)
		(void)call_sched_setaffinity(tid, before.bytes, before.bits);
	return status;
}

enum filar_status kthread_set_cpus(struct kthread *thread, const int32_t *cpus, size_t count)
{
	struct cpu_mask mask;
	int32_t tid;
	enum filar_status status = cpu_mask_from_list(&mask, cpus, count);

	if (status == FILAR_OK)
		status = lock_running(thread, &tid);
	if (status != FILAR_OK)
		return status;
	status = change_cpus(tid, &mask);
	unlock_running(thread);
	return status;
}

enum filar_status kthread_set_nice(struct kthread *thread, int32_t nice)
{
	int32_t tid;
	enum filar_status status = check_nice(nice);

	if (status == FILAR_OK)
		status = lock_running(thread, &tid);
	if (status != FILAR_OK)
		return status;
	status = apply_nice(tid, nice);
	unlock_running(thread);
	return status;
}

enum filar_status kthread_set_policy(struct kthread *thread, int32_t policy, int32_t priority)
{
	int32_t tid;
	enum filar_status status = check_policy(policy, priority);

	if (status == FILAR_OK && policy == FILAR_POLICY_INHERIT)
		status = status_detail(
			FILAR_INVALID, "a running thread has nobody to inherit a policy from");
	if (status == FILAR_OK)
		status = lock_running(thread, &tid);
	if (status != FILAR_OK)
		return status;
	status = apply_policy(tid, policy, priority);
	unlock_running(thread);
	return status;
}

/* ---- who am I ---- */

struct kthread *kthread_self(void)
{
	struct self *self = self_get();

	if (self == NULL || self->kthread == NULL || kthread_is_forked(self->kthread))
		return NULL;
	return self->kthread;
}

uint32_t kthread_fork_generation(void)
{
	return load_relaxed(&fork_generation);
}

bool kthread_is_forked(const struct kthread *thread)
{
	return thread->fork_generation != load_relaxed(&fork_generation);
}

/* Called by fork(3) and perhaps once more by hand. */
void kthread_after_fork_in_child(void)
{
	struct self *self = self_get();

	if (load_relaxed(&owner_pid) == getpid())
		return;
	store_relaxed(&owner_pid, getpid());
	fetch_add_relaxed(&fork_generation, 1);
	/* Forked by a green thread, say: its worker, the others and the queues stayed behind. */
	if (self != NULL)
		self->worker = NULL;
}
