/*
 * turns.h - two parties that take turns: the medium by which one hands the turn to the other.
 *
 * Each medium is used as the textbooks use it, since its cost is what is measured:
 *   futex      one 32-bit word says whose turn it is; FUTEX_WAIT until it is mine, FUTEX_WAKE 1
 *              after setting it
 *   pipe       a pipe for each direction, one byte
 *   eventfd    an eventfd for each direction
 *   socket     a pair of unix stream sockets, one byte
 *   semaphore  a POSIX semaphore for each direction
 *   condvar    one mutex, one condition variable, one variable that says whose turn it is
 *
 * The waits have no deadline of their own (a timer would be measured with them): the watch of the
 * peer (peer.h) ends them with turns_hang_up().  After that a side gets at most one more turn, and
 * then FILAR_CANCELLED.
 */
#ifndef FILAR_LAB_TURNS_H
#define FILAR_LAB_TURNS_H

#include <pthread.h>
#include <semaphore.h>

#include "base/atomic.h"
#include "base/status.h"
#include "lab/peer.h"

enum medium {
	MEDIUM_FUTEX,
	MEDIUM_PIPE,
	MEDIUM_EVENTFD,
	MEDIUM_SOCKET,
	MEDIUM_SEMAPHORE,
	MEDIUM_CONDVAR
};
enum side { SIDE_DRIVER, SIDE_PEER };

struct turns {
	enum medium medium;   /* I */
	bool shared;          /* I  between processes: futexes of the shared kind */
	bool is_open;         /* W  driver: there is something to close */
	int32_t read_fds[2];  /* I  by side: where its turn arrives; -1: none */
	int32_t write_fds[2]; /* I  by side: where it gives the turn away; -1: none */
	sem_t semaphores[2];  /*    by side: posted when its turn comes */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum side turn;      /* L */
	_Atomic bool broken; /* A  see turns_hang_up() */
	FILAR_CACHELINE_BREAK
	_Atomic uint32_t word; /* A  futex: whose turn it is (enum side), or TURN_OF_NOBODY */
};

/* The caller's memory, zeroed and, between processes, shared; the first turn is the driver's.
 * turns_close() also after a failure. */
enum filar_status turns_open(struct turns *turns, enum medium medium, bool shared);
void turns_close(struct turns *turns);

/* Gives the turn to `side` and returns at once. */
enum filar_status turns_give(struct turns *turns, enum side side);
/* Waits until it is the turn of `side`. */
enum filar_status turns_take(struct turns *turns, enum side side);

/* Ends all waits, now and later, of both sides.  From any thread, any number of times. */
void turns_hang_up(struct turns *turns);

/* The turns and the peer that takes them, in memory both parties see, zeroed. */
struct partners {
	struct turns turns;
	struct peer *peer; /* W  driver */
};

/* options->fds are filled in here.  partners_close() also after a failure. */
enum filar_status partners_open(struct partners *partners, const struct way_run *run,
	enum medium medium, bool shared, const struct peer_options *options);
void partners_close(struct partners *partners);
/* The driver's part of an order has ended like this; the order's status.  If the driver failed, it
 * has hung up. */
enum filar_status partners_end(struct partners *partners, enum filar_status status);

#endif
