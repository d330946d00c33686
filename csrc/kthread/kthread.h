/*
 * kthread.h - a kernel thread: created whole or not at all, joined by anyone, any number of times.
 *
 * On top of pthreads, because code that runs in it (CPython, libc, users' libraries) expects one.
 * The options and the meaning of each call are those of filar.h; this is the same without the
 * checks of arguments.
 */
#ifndef FILAR_KTHREAD_KTHREAD_H
#define FILAR_KTHREAD_KTHREAD_H

#include <stdbool.h>

#include "base/status.h"

struct kthread;
typedef void kthread_body(void *argument);

/* Preconditions: options checked (kthread_check_options). */
enum filar_status kthread_create(struct kthread **thread, const filar_kthread_options *options,
	kthread_body *body, void *argument);
enum filar_status kthread_check_options(const filar_kthread_options *options);
void kthread_options_init(filar_kthread_options *options);
/* The smallest stack_bytes that kthread_check_options() lets through on this machine. */
size_t kthread_stack_bytes_min(void);

enum filar_status kthread_join_until(struct kthread *thread, int64_t deadline_ns);
void kthread_release(struct kthread *thread);

bool kthread_is_alive(struct kthread *thread);
/* Blocks until the thread has started (some microseconds after creation). */
int32_t kthread_tid(struct kthread *thread);
uint64_t kthread_ident(const struct kthread *thread);
int64_t kthread_cpu_ns(struct kthread *thread);
/* To this thread and no other that has its number later; false: it has ended, or the kernel
 * refuses. */
bool kthread_signal(struct kthread *thread, int signal);
enum filar_status kthread_set_cpus(struct kthread *thread, const int32_t *cpus, size_t count);
enum filar_status kthread_set_nice(struct kthread *thread, int32_t nice);
enum filar_status kthread_set_policy(struct kthread *thread, int32_t policy, int32_t priority);

/* NULL on a kernel thread that filar did not create. */
struct kthread *kthread_self(void);
/* True when the thread belongs to the parent of a fork. */
bool kthread_is_forked(const struct kthread *thread);
/* Changes in the child of a fork, so that what remembers it knows whose it is. */
uint32_t kthread_fork_generation(void);
void kthread_after_fork_in_child(void);

#endif
