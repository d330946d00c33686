/*
 * registry.h - the tables of ways, one a file.
 */
#ifndef FILAR_LAB_REGISTRY_H
#define FILAR_LAB_REGISTRY_H

#include "lab/way.h"

extern const struct way ways_floor[];   /* system calls, clock, page fault, an empty turn */
extern const struct way ways_create[];  /* creation and join of kernel threads */
extern const struct way ways_handoff[]; /* an existing thread instead of a new one */
extern const struct way ways_memory[];  /* memory of sleepers, and limits */
extern const struct way ways_process[]; /* processes beside threads */
extern const struct way ways_switch[];  /* handing the CPU to another thread or process */
extern const struct way ways_cache[];   /* moving to another core; a line from core to core */
extern const struct way ways_data[];    /* handing data to another thread or process */
extern const struct way ways_sched[];   /* time slices, parallelism, order, what the kernel knows */
extern const struct way ways_crawl[];   /* one piece of work, and waiting, with ever more threads */
extern const struct way ways_share[];   /* shares of a core between two processes */
extern const struct way ways_timer[];   /* lateness of sleeps and of an interactive loop */
extern const struct way ways_locks[];   /* locks, counters, shared lines, hand-overs */
extern const struct way ways_race[];    /* lost updates, torn pairs, and cures */
extern const struct way ways_deadlock[];     /* two locks, and a child that stops for ever */
extern const struct way ways_green[];        /* green threads: switch, spawn, hand-over, scaling */
extern const struct way ways_green_memory[]; /* memory of parked green threads; what /proc lists */
extern const struct way ways_green_wait[];   /* one that blocks or never yields; many that sleep */
extern const struct way ways_pass[];       /* items from thread to thread; an order that is kept */
extern const struct way ways_start[];      /* from nothing to a first thread, and back */
extern const struct way ways_trace[];      /* green threads again, while they are watched */
extern const struct way ways_pool_tasks[]; /* what a call costs by who serves it */
extern const struct way ways_pool_serve[]; /* a pool as a server, in closed and open loop */
extern const struct way ways_pool_loops[]; /* parallel loops, and frames of a film */
extern const struct way ways_pool_kernels[]; /* each native kernel by number of threads */
extern const struct way ways_pool_process[]; /* half of the work done by a thread or a process */
extern const struct way ways_server[];       /* a web server under load */

#endif
