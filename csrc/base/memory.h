/*
 * memory.h - the heap, as the core uses it: zeroed, counted in FAIL builds, able to fail there.
 */
#ifndef FILAR_BASE_MEMORY_H
#define FILAR_BASE_MEMORY_H

#include "base/compiler.h"

/* Zeroed memory for `count` items of `size` bytes, or NULL (also when the product overflows). */
FILAR_MUST_USE void *memory_acquire(size_t count, size_t size);
/* As above, aligned to FILAR_FALSE_SHARING_BYTES. */
FILAR_MUST_USE void *memory_acquire_aligned(size_t count, size_t size);
/* Grows or shrinks what memory_acquire gave; on NULL the old block stays.  New bytes are undefined.
 */
FILAR_MUST_USE void *memory_resize(void *memory, size_t count, size_t size);
/* NULL is allowed. */
void memory_release(void *memory);

/* Blocks acquired and not released; counted in FAIL builds only, else 0.  For tests. */
int64_t memory_live(void);

#endif
