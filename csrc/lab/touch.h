/*
 * touch.h - the work of a turn: one word written in each `step_bytes` of a buffer.
 *
 * A step of a cache line (64) asks for the whole buffer in cache; a step of a page and a line
 * (TOUCH_PAGES) asks for one address translation each, spread over the sets of the caches.
 */
#ifndef FILAR_LAB_TOUCH_H
#define FILAR_LAB_TOUCH_H

#include "base/compiler.h"

#define TOUCH_LINES FILAR_CACHELINE_BYTES
#define TOUCH_PAGES (4096 + FILAR_CACHELINE_BYTES)

/* Volatile: every word is read and written in every turn, whatever the compiler thinks of it. */
static inline void touch(char *memory, size_t bytes, size_t step_bytes)
{
	for (size_t at = 0; at + sizeof(uint64_t) <= bytes; at += step_bytes)
		*(volatile uint64_t *)(void *)(memory + at) += 1;
}

#endif
