/*
 * atomic.h - the only door to <stdatomic.h>; the order stands in the name, so grep finds it.
 *
 * Being the only door keeps two ways open: FILAR_HARD builds yield at seeded random places here,
 * and in FILAR_INTERLEAVE builds the operations are calls of a checker.  Fences are avoided:
 * ThreadSanitizer does not understand them.  Where an algorithm wants one, give the access itself
 * the order.
 */
#ifndef FILAR_BASE_ATOMIC_H
#define FILAR_BASE_ATOMIC_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/compiler.h"

#if FILAR_INTERLEAVE
#include "base/interleave.h"
#else

#if FILAR_HARD
void hard_point(void);
#define ATOMIC_POINT() hard_point()
#else
#define ATOMIC_POINT() ((void)0)
#endif

#define load_relaxed(p)     (ATOMIC_POINT(), atomic_load_explicit(p, memory_order_relaxed))
#define load_acquire(p)     (ATOMIC_POINT(), atomic_load_explicit(p, memory_order_acquire))
#define load_seq_cst(p)     (ATOMIC_POINT(), atomic_load_explicit(p, memory_order_seq_cst))
#define store_relaxed(p, v) (ATOMIC_POINT(), atomic_store_explicit(p, v, memory_order_relaxed))
#define store_release(p, v) (ATOMIC_POINT(), atomic_store_explicit(p, v, memory_order_release))
#if FILAR_QEMU
/* qemu 7.2 on x86-64 lets `ldar` go before `stlr`: of two threads that store and then load what the
 * other stores, both read the old value in 2 of 100 tries.  A fence it does keep. */
#define store_seq_cst(p, v)                                                                        \
	(ATOMIC_POINT(), atomic_store_explicit(p, v, memory_order_seq_cst),                        \
		atomic_thread_fence(memory_order_seq_cst))
#else
#define store_seq_cst(p, v) (ATOMIC_POINT(), atomic_store_explicit(p, v, memory_order_seq_cst))
#endif

#define exchange_acquire(p, v)                                                                     \
	(ATOMIC_POINT(), atomic_exchange_explicit(p, v, memory_order_acquire))
#define exchange_release(p, v)                                                                     \
	(ATOMIC_POINT(), atomic_exchange_explicit(p, v, memory_order_release))
#define exchange_acq_rel(p, v)                                                                     \
	(ATOMIC_POINT(), atomic_exchange_explicit(p, v, memory_order_acq_rel))
#define exchange_seq_cst(p, v)                                                                     \
	(ATOMIC_POINT(), atomic_exchange_explicit(p, v, memory_order_seq_cst))

#define fetch_add_relaxed(p, v)                                                                    \
	(ATOMIC_POINT(), atomic_fetch_add_explicit(p, v, memory_order_relaxed))
#define fetch_add_acq_rel(p, v)                                                                    \
	(ATOMIC_POINT(), atomic_fetch_add_explicit(p, v, memory_order_acq_rel))
#define fetch_add_seq_cst(p, v)                                                                    \
	(ATOMIC_POINT(), atomic_fetch_add_explicit(p, v, memory_order_seq_cst))
#define fetch_sub_relaxed(p, v)                                                                    \
	(ATOMIC_POINT(), atomic_fetch_sub_explicit(p, v, memory_order_relaxed))
#define fetch_sub_acq_rel(p, v)                                                                    \
	(ATOMIC_POINT(), atomic_fetch_sub_explicit(p, v, memory_order_acq_rel))
#define fetch_sub_seq_cst(p, v)                                                                    \
	(ATOMIC_POINT(), atomic_fetch_sub_explicit(p, v, memory_order_seq_cst))
#define fetch_or_acq_rel(p, v)                                                                     \
	(ATOMIC_POINT(), atomic_fetch_or_explicit(p, v, memory_order_acq_rel))
#define fetch_and_acq_rel(p, v)                                                                    \
	(ATOMIC_POINT(), atomic_fetch_and_explicit(p, v, memory_order_acq_rel))

/* On failure the value found is in *expected; the failure order is never stronger than the success
 * order. */
#define cas_relaxed(p, expected, desired)                                                          \
	(ATOMIC_POINT(), atomic_compare_exchange_strong_explicit(p, expected, desired,             \
				 memory_order_relaxed, memory_order_relaxed))
#define cas_acquire(p, expected, desired)                                                          \
	(ATOMIC_POINT(), atomic_compare_exchange_strong_explicit(p, expected, desired,             \
				 memory_order_acquire, memory_order_relaxed))
#define cas_release(p, expected, desired)                                                          \
	(ATOMIC_POINT(), atomic_compare_exchange_strong_explicit(p, expected, desired,             \
				 memory_order_release, memory_order_relaxed))
#define cas_acq_rel(p, expected, desired)                                                          \
	(ATOMIC_POINT(), atomic_compare_exchange_strong_explicit(p, expected, desired,             \
				 memory_order_acq_rel, memory_order_acquire))
#define cas_seq_cst(p, expected, desired)                                                          \
	(ATOMIC_POINT(), atomic_compare_exchange_strong_explicit(p, expected, desired,             \
				 memory_order_seq_cst, memory_order_seq_cst))

#endif

#endif
