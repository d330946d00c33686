/*
 * herd.h - many kernel threads that sleep: what a way needs to say "with k threads alive".
 */
#ifndef FILAR_LAB_HERD_H
#define FILAR_LAB_HERD_H

#include <pthread.h>

#include "base/atomic.h"
#include "lab/way.h"
#include "os/memory.h"

struct herd_member {
	pthread_t thread;
	struct stack stack;
};

struct herd {
	struct herd_member *members; /* W  owner of the herd */
	uint32_t count;              /* W  threads alive */
	_Atomic uint32_t gate;       /* A  0: sleep; 1: end (futex) */
	_Atomic uint32_t asleep;     /* A  threads that have reached the gate (futex) */
	double last_create_ns;       /* W  per create call, over the last tenth created */
};

/*
 * Every thread gets a new stack with a guard page, as pthread_create would map it: glibc's own
 * cache of stacks (40 MB) would make the second herd of a process look smaller than the first.
 *
 * Creates `count` threads with stacks of stack_bytes (0: default) and waits until all sleep.  When
 * one is refused, or the plan is cancelled, those created are ended again and the status says why.
 */
enum filar_status herd_create(
	struct herd *herd, uint32_t count, size_t stack_bytes, const struct way_run *run);
/* Wakes and joins all; an empty herd is fine. */
void herd_destroy(struct herd *herd);

#endif
