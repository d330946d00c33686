/*
 * futex.h - wait on an address: sleep only if it still holds the value expected.
 */
#ifndef FILAR_OS_FUTEX_H
#define FILAR_OS_FUTEX_H

#include "base/atomic.h"
#include "base/status.h"

/*
 * Sleeps while *word == expected, at most until deadline_ns (CLOCK_MONOTONIC, DEADLINE_NEVER).
 * FILAR_OK: woken, or the value was different, or for no reason: look again.  FILAR_TIMED_OUT.
 * FILAR_INTERRUPTED: a signal handler ran.
 */
enum filar_status futex_wait_until(_Atomic uint32_t *word, uint32_t expected, int64_t deadline_ns);
/* The same, for a sleeper that futex_wake() wakes and futex_wake_masked() only if `mask` and that
 * one's have a bit in common; mask is not 0. */
enum filar_status futex_wait_masked_until(
	_Atomic uint32_t *word, uint32_t expected, int64_t deadline_ns, uint32_t mask);
int futex_wake_masked(_Atomic uint32_t *word, int count, uint32_t mask);
/* Wakes up to `count` sleepers; returns how many. */
int futex_wake(_Atomic uint32_t *word, int count);
/* The same for words in memory shared between processes. */
enum filar_status futex_wait_shared_until(
	_Atomic uint32_t *word, uint32_t expected, int64_t deadline_ns);
int futex_wake_shared(_Atomic uint32_t *word, int count);

#endif
