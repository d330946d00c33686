/*
 * api_kthread.c - the public kernel threads: check the arguments, call down.
 */
#include "base/status.h"
#include "filar.h"
#include "green/preempt.h"
#include "kthread/kthread.h"

static struct kthread *inner(filar_kthread *thread)
{
	return (struct kthread *)thread;
}

void filar_kthread_options_init(filar_kthread_options *options)
{
	if (options != NULL)
		kthread_options_init(options);
}

size_t filar_kthread_stack_bytes_min(void)
{
	return kthread_stack_bytes_min();
}

int filar_kthread_create(filar_kthread **thread, const filar_kthread_options *options,
	filar_kthread_body body, void *argument)
{
	PREEMPT_GUARD();
	filar_kthread_options plain;
	enum filar_status status;

	if (thread == NULL || body == NULL)
		return status_detail(
			FILAR_INVALID, "a thread needs a place for its handle and a body");
	if (options == NULL) {
		kthread_options_init(&plain);
		options = &plain;
	}
	status = kthread_check_options(options);
	return status == FILAR_OK
		       ? kthread_create((struct kthread **)thread, options, body, argument)
		       : status;
}

int filar_kthread_join_until(filar_kthread *thread, int64_t deadline_ns)
{
	PREEMPT_GUARD();

	if (thread == NULL)
		return status_detail(FILAR_INVALID, "no thread to join");
	return kthread_join_until(inner(thread), deadline_ns);
}

void filar_kthread_release(filar_kthread *thread)
{
	PREEMPT_GUARD();

	if (thread != NULL)
		kthread_release(inner(thread));
}

int filar_kthread_is_alive(filar_kthread *thread)
{
	PREEMPT_GUARD();

	return thread != NULL && kthread_is_alive(inner(thread));
}

int32_t filar_kthread_tid(filar_kthread *thread)
{
	PREEMPT_GUARD();

	return thread != NULL ? kthread_tid(inner(thread)) : 0;
}

uint64_t filar_kthread_ident(filar_kthread *thread)
{
	PREEMPT_GUARD();

	return thread != NULL ? kthread_ident(inner(thread)) : 0;
}

int64_t filar_kthread_cpu_ns(filar_kthread *thread)
{
	PREEMPT_GUARD();

	return thread != NULL ? kthread_cpu_ns(inner(thread)) : 0;
}

int filar_kthread_set_cpus(filar_kthread *thread, const int32_t *cpus, size_t cpu_count)
{
	PREEMPT_GUARD();

	if (thread == NULL || cpus == NULL)
		return status_detail(FILAR_INVALID, "a thread and a list of CPUs are needed");
	return kthread_set_cpus(inner(thread), cpus, cpu_count);
}

int filar_kthread_set_nice(filar_kthread *thread, int32_t nice)
{
	PREEMPT_GUARD();

	if (thread == NULL)
		return status_detail(FILAR_INVALID, "no thread to set");
	return kthread_set_nice(inner(thread), nice);
}

int filar_kthread_set_policy(filar_kthread *thread, int32_t policy, int32_t priority)
{
	PREEMPT_GUARD();

	if (thread == NULL)
		return status_detail(FILAR_INVALID, "no thread to set");
	return kthread_set_policy(inner(thread), policy, priority);
}

filar_kthread *filar_kthread_self(void)
{
	PREEMPT_GUARD();

	return (filar_kthread *)kthread_self();
}

/* No guard: nobody is preempted in the child. */
void filar_after_fork_in_child(void)
{
	kthread_after_fork_in_child();
}
