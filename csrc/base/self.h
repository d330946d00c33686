/*
 * self.h - the one thread-local pointer of the library, and what hangs on it.
 *
 * STYLE.md 3.1: a compiler may keep the address of a thread-local across a call that moves the code
 * to another kernel thread.  So there is one pointer, with the initial-exec model, read through one
 * noinline function; nobody may hold its result across a park.
 */
#ifndef FILAR_BASE_SELF_H
#define FILAR_BASE_SELF_H

#include "base/compiler.h"

struct kthread;
struct recording;
struct trace_ring;
struct wait_around;
struct worker;

struct self {
	struct kthread *kthread;       /* W  NULL on a thread that filar did not create */
	struct worker *worker;         /* W  NULL on a thread that is no worker */
	struct trace_ring *trace_ring; /* W  NULL until the first record while tracing */
	uint32_t number;               /* I  in order of creation, for spreading over queues */
	uint32_t trace_session;        /* W  the one that trace_ring, or its lack, belongs to */
	int32_t tid;                   /* W  the kernel's number, 0 until block/owner.c asked */
	struct wait_around *around;    /* W  NULL, or what goes on around waits: green/waiter.h */
	struct recording *recording;   /* W  NULL, or what its forks are taken down in */
	int32_t status_errno;          /* W  see filar_status_errno() */
	char status_detail[240];       /* W  see status.h */
};

/* NULL until self_get_or_create() was called on this kernel thread. */
struct self *self_get(void);
/* NULL only when memory is short.  Freed when the kernel thread ends. */
struct self *self_get_or_create(void);
/* Gives back the caller's record now: for threads that end without pthread's destructors. */
void self_release(void);

/* A record for a kernel thread that is still to be created: so that it is the creator who hears of
 * short memory.  The new thread calls self_adopt() first and self_release() last; if there is no
 * such thread after all, self_discard(). */
struct self *self_create(void);
void self_adopt(struct self *self);
void self_discard(struct self *self);

#endif
