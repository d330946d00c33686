/*
 * memory.c - calloc with a failure point in front and a count behind.
 */
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "base/failpoint.h"

#if FILAR_FAIL
static _Atomic int64_t live_blocks;
#define COUNT_LIVE(change) fetch_add_relaxed(&live_blocks, change)

int64_t memory_live(void)
{
	return load_relaxed(&live_blocks);
}
#else
#define COUNT_LIVE(change) ((void)0)

int64_t memory_live(void)
{
	return 0;
}
#endif

void *memory_acquire(size_t count, size_t size)
{
	void *memory;

	if (failpoint_hit(FAILPOINT_MEMORY))
		return NULL;
	memory = calloc(count, size);
	if (memory != NULL)
		COUNT_LIVE(1);
	return memory;
}

void *memory_acquire_aligned(size_t count, size_t size)
{
	size_t bytes;
	void *memory;

	if (__builtin_mul_overflow(count, size, &bytes) ||
		bytes > SIZE_MAX - FILAR_FALSE_SHARING_BYTES)
		return NULL;
	if (failpoint_hit(FAILPOINT_MEMORY))
		return NULL;
	bytes = (bytes + FILAR_FALSE_SHARING_BYTES - 1) & ~(size_t)(FILAR_FALSE_SHARING_BYTES - 1);
	memory = aligned_alloc(FILAR_FALSE_SHARING_BYTES, bytes);
	if (memory == NULL)
		return NULL;
	COUNT_LIVE(1);
	return memset(memory, 0, bytes);
}

void *memory_resize(void *memory, size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes) || failpoint_hit(FAILPOINT_MEMORY))
		return NULL;
	if (memory == NULL)
		COUNT_LIVE(1);
	return realloc(memory, bytes > 0 ? bytes : 1);
}

void memory_release(void *memory)
{
	if (memory != NULL)
		COUNT_LIVE(-1);
	free(memory);
}
