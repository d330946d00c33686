/*
 * futex.c - FUTEX_WAIT_BITSET takes absolute monotonic deadlines, so that a retried wait does not
 * lengthen itself; plain FUTEX_WAIT takes relative ones.  The bits let one of many that sleep on a
 * word be woken and no other.
 */
#include "os/futex.h"

#include <errno.h>
#include <linux/futex.h>

#include "os/calls.h"
#include "os/clock.h"

static enum filar_status wait_until(
	_Atomic uint32_t *word, uint32_t expected, int64_t deadline_ns, int flag, uint32_t mask)
{
	struct timespec deadline = clock_timespec(deadline_ns);

	if (call_futex(word, FUTEX_WAIT_BITSET | flag, expected,
		    deadline_ns == DEADLINE_NEVER ? NULL : &deadline, mask) == 0)
		return FILAR_OK;
	switch (errno) {
	case EAGAIN:
		return FILAR_OK;
	case ETIMEDOUT:
		return FILAR_TIMED_OUT;
	case EINTR:
		return FILAR_INTERRUPTED;
	default:
		return status_from_errno(errno, "futex wait");
	}
}

static int wake(_Atomic uint32_t *word, int count, int flag, uint32_t mask)
{
	long woken;

	/* EINTR here comes only from a failure point; losing a wake-up is never acceptable. */
	do
		woken = call_futex(word, FUTEX_WAKE_BITSET | flag, (uint32_t)count, NULL, mask);
	while (woken < 0 && errno == EINTR);
	return woken < 0 ? 0 : (int)woken;
}

enum filar_status futex_wait_until(_Atomic uint32_t *word, uint32_t expected, int64_t deadline_ns)
{
	return wait_until(word, expected, deadline_ns, FUTEX_PRIVATE_FLAG, FUTEX_BITSET_MATCH_ANY);
}

enum filar_status futex_wait_masked_until(
	_Atomic uint32_t *word, uint32_t expected, int64_t deadline_ns, uint32_t mask)
{
	return wait_until(word, expected, deadline_ns, FUTEX_PRIVATE_FLAG, mask);
}

int futex_wake_masked(_Atomic uint32_t *word, int count, uint32_t mask)
{
	return wake(word, count, FUTEX_PRIVATE_FLAG, mask);
}

int futex_wake(_Atomic uint32_t *word, int count)
{
	return wake(word, count, FUTEX_PRIVATE_FLAG, FUTEX_BITSET_MATCH_ANY);
}

enum filar_status futex_wait_shared_until(
	_Atomic uint32_t *word, uint32_t expected, int64_t deadline_ns)
{
	return wait_until(word, expected, deadline_ns, 0, FUTEX_BITSET_MATCH_ANY);
}

int futex_wake_shared(_Atomic uint32_t *word, int count)
{
	return wake(word, count, 0, FUTEX_BITSET_MATCH_ANY);
}
