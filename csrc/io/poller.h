/*
 * poller.h - the epoll of a runtime: a record for each file descriptor, who waits for it, and the
 * idle worker's place to sleep.
 *
 * fd.c waits through it, for green threads; the scheduler polls it (sched/idle_source.h).
 * Protocol and proof: README.md, "Record", "Arming", "Forgetting, closing", "The idle worker".
 */
#ifndef FILAR_IO_POLLER_H
#define FILAR_IO_POLLER_H

#include <sys/epoll.h>

#include "block/waitq.h"
#include "green/runtime.h"

/* Events handed out at a time. */
#define POLLER_BATCH 64

#define POLLER_CHUNK_RECORDS 512
#define POLLER_CHUNKS        4096
#define POLLER_FDS_MAX       (POLLER_CHUNK_RECORDS * POLLER_CHUNKS)

enum fd_mode {
	FD_MODE_UNKNOWN,
	FD_MODE_NONBLOCKING,
	FD_MODE_BLOCKING /* also a regular file */
};

/* Always: armed is a part of target's events. */
struct fd_record {
	_Alignas(FILAR_CACHELINE_BYTES) struct waitq queue; /* value: what has happened, a count */
	_Atomic uint64_t target; /* A  written under the queue's lock: generation, look, events */
	_Atomic uint32_t armed;  /* A  likewise: events that epoll tells of */
	_Atomic uint32_t closes; /* A  likewise: times it was forgotten */
	_Atomic uint32_t mode;   /* A  enum fd_mode, a hint */
	uint64_t looks;          /* L  waits for a level so far; the last one's number */
};

struct poller_chunk {
	struct fd_record records[POLLER_CHUNK_RECORDS];
};

struct poller_batch {
	FILAR_CACHELINE_BREAK struct epoll_event events[POLLER_BATCH];
	int count;
	uint32_t looks; /* W  since it was last told of something */
};

struct poller {
	struct idle_source source;
	struct runtime *runtime;      /* I */
	int epoll;                    /* I */
	int interrupts;               /* I  eventfd */
	struct list link;             /* L  of the list of pollers */
	uint32_t users;               /* L  who goes through that list stands here */
	uint32_t forks;               /* I  of the process that made it */
	bool has_pwait2;              /* S  of the one that waits: the kernel has epoll_pwait2 */
	struct poller_batch slept;    /* S  what the one that waited was told */
	struct poller_batch *batches; /* I  one for each worker, spares too */
	_Atomic(struct poller_chunk *) chunks[POLLER_CHUNKS]; /* A  F4 publishes one */
};

/* What stood in a record before a call that said EAGAIN. */
struct fd_ticket {
	uint64_t count;
	uint32_t closes;
};

/* How the wait of a green thread for an fd ended: enum filar_status, or "look again". */
#define FD_LOOK_AGAIN FILAR_BUSY

/*
 * The poller of the runtime that this green thread is of, made if there is none.  NULL with
 * FILAR_OK: the runtime is the parent's of a fork.  FILAR_LIMIT, FILAR_NO_MEMORY.
 */
enum filar_status poller_of(struct poller **poller, struct green *self);
/* FILAR_LIMIT: a number beyond POLLER_FDS_MAX. FILAR_NO_MEMORY. */
enum filar_status poller_record(struct fd_record **record, struct poller *poller, int fd);

/* Before a call that may say EAGAIN. */
struct fd_ticket poller_ticket(struct fd_record *record);
/*
 * For green thread `self`, on its runtime's poller.  Until one of `events` (EPOLL*) is there;
 * *ready is what epoll told.  ticket NULL: whether it is there now.  FILAR_OK; FD_LOOK_AGAIN;
 * FILAR_CLOSED, FILAR_TIMED_OUT, FILAR_CANCELLED.  FILAR_SYSTEM and others, with *error: epoll_ctl
 * failed (EPERM: it cannot be waited for).
 */
enum filar_status poller_wait_until(struct poller *poller, struct fd_record *record, int fd,
	uint32_t events, const struct fd_ticket *ticket, int64_t deadline_ns, uint32_t *ready,
	int *error);

/* The number was given out just now, with O_NONBLOCK: whatever stands in the record is not about
 * it.
 */
void poller_is_new(struct fd_record *record);

/* All pollers of this process forget the fd: the two halves of "Forgetting, closing". */
void pollers_close(int fd);
void pollers_look_again(int fd);
/* Somebody has the number for a file that may be new: none relies on what it knew of it. */
void pollers_begin_anew(int fd);

/* How many forks lie between the first process and this one. */
uint32_t poller_forks(void);

#endif
