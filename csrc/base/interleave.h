/*
 * interleave.h - the operations of atomic.h as calls: FILAR_INTERLEAVE builds only.
 *
 * The checker (tests/c/interleave.h) defines the functions.  Each may run other threads first, and
 * a load may return any value that the C11 memory model allows.  `function` is the caller's name:
 * in traces, and for tests that weaken one place on purpose.
 */
#ifndef FILAR_BASE_INTERLEAVE_H
#define FILAR_BASE_INTERLEAVE_H

#include "base/atomic.h"

enum interleave_change {
	INTERLEAVE_EXCHANGE,
	INTERLEAVE_ADD,
	INTERLEAVE_SUB,
	INTERLEAVE_OR,
	INTERLEAVE_AND
};

uint64_t interleave_load(
	const volatile void *place, size_t bytes, memory_order order, const char *function);
void interleave_store(volatile void *place, size_t bytes, uint64_t value, memory_order order,
	const char *function);
uint64_t interleave_change(volatile void *place, size_t bytes, enum interleave_change change,
	uint64_t operand, memory_order order, const char *function);
bool interleave_cas(volatile void *place, size_t bytes, void *expected, uint64_t desired,
	memory_order order, const char *function);
/* In a spin loop: nothing changes until another thread writes. */
void interleave_pause(void);
/* Others may run here. */
void interleave_point(const char *function);

#if FILAR_INTERLEAVE
#define ATOMIC_POINT() interleave_point(__func__)

/* What `*p` holds, without its qualifiers. */
#define INTERLEAVE_TYPE(p) __typeof__((void)0, *(p))
#define INTERLEAVE_LOAD(p, order)                                                                  \
	((INTERLEAVE_TYPE(p))(uintptr_t)interleave_load(                                           \
		p, sizeof *(p), memory_order_##order, __func__))
#define INTERLEAVE_STORE(p, v, order)                                                              \
	interleave_store(p, sizeof *(p), (uint64_t)(uintptr_t)(v), memory_order_##order, __func__)
#define INTERLEAVE_CHANGE(p, change, v, order)                                                     \
	((INTERLEAVE_TYPE(p))(uintptr_t)interleave_change(p, sizeof *(p), INTERLEAVE_##change,     \
		(uint64_t)(uintptr_t)(v), memory_order_##order, __func__))
#define INTERLEAVE_CAS(p, expected, desired, order)                                                \
	interleave_cas(p, sizeof *(p), expected, (uint64_t)(uintptr_t)(desired),                   \
		memory_order_##order, __func__)

#define load_relaxed(p)     INTERLEAVE_LOAD(p, relaxed)
#define load_acquire(p)     INTERLEAVE_LOAD(p, acquire)
#define load_seq_cst(p)     INTERLEAVE_LOAD(p, seq_cst)
#define store_relaxed(p, v) INTERLEAVE_STORE(p, v, relaxed)
#define store_release(p, v) INTERLEAVE_STORE(p, v, release)
#define store_seq_cst(p, v) INTERLEAVE_STORE(p, v, seq_cst)

#define exchange_acquire(p, v)  INTERLEAVE_CHANGE(p, EXCHANGE, v, acquire)
#define exchange_release(p, v)  INTERLEAVE_CHANGE(p, EXCHANGE, v, release)
#define exchange_acq_rel(p, v)  INTERLEAVE_CHANGE(p, EXCHANGE, v, acq_rel)
#define exchange_seq_cst(p, v)  INTERLEAVE_CHANGE(p, EXCHANGE, v, seq_cst)
#define fetch_add_relaxed(p, v) INTERLEAVE_CHANGE(p, ADD, v, relaxed)
#define fetch_add_acq_rel(p, v) INTERLEAVE_CHANGE(p, ADD, v, acq_rel)
#define fetch_add_seq_cst(p, v) INTERLEAVE_CHANGE(p, ADD, v, seq_cst)
#define fetch_sub_relaxed(p, v) INTERLEAVE_CHANGE(p, SUB, v, relaxed)
#define fetch_sub_acq_rel(p, v) INTERLEAVE_CHANGE(p, SUB, v, acq_rel)
#define fetch_sub_seq_cst(p, v) INTERLEAVE_CHANGE(p, SUB, v, seq_cst)
#define fetch_or_acq_rel(p, v)  INTERLEAVE_CHANGE(p, OR, v, acq_rel)
#define fetch_and_acq_rel(p, v) INTERLEAVE_CHANGE(p, AND, v, acq_rel)

#define cas_relaxed(p, expected, desired) INTERLEAVE_CAS(p, expected, desired, relaxed)
#define cas_acquire(p, expected, desired) INTERLEAVE_CAS(p, expected, desired, acquire)
#define cas_release(p, expected, desired) INTERLEAVE_CAS(p, expected, desired, release)
#define cas_acq_rel(p, expected, desired) INTERLEAVE_CAS(p, expected, desired, acq_rel)
#define cas_seq_cst(p, expected, desired) INTERLEAVE_CAS(p, expected, desired, seq_cst)

#endif
#endif
