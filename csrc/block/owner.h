/*
 * owner.h - who holds something: a number that fits in a word beside a few flags, and its text.
 *
 * A green thread is known by the address of its descriptor together with its number in the runtime
 * (descriptors are used again); a kernel thread by the kernel's number.  Holding an owner gives no
 * right to look at the descriptor: its runtime may have ended.  The text needs none.
 *
 * The child of a fork keeps the identity of the thread that forked, and so the locks it holds.
 */
#ifndef FILAR_BLOCK_OWNER_H
#define FILAR_BLOCK_OWNER_H

#include <stdbool.h>

#include "base/compiler.h"

/* The lowest bits of a token belong to whoever keeps it in a word (waitq.h). */
#define OWNER_FLAG_BITS 6
#define OWNER_KERNEL    UINT64_C(32) /* the highest of them: a kernel thread's token */
#define OWNER_TOKEN     (~UINT64_C(31))

struct owner {
	uint64_t token;  /* unique among the threads alive; never 0 */
	uint64_t number; /* green: in its runtime; kernel: the kernel's */
};

/* The caller. */
struct owner owner_self(void);
/* "green thread 7", "kernel thread 4711"; an owner without token is "nobody". */
void owner_describe(struct owner owner, char *text, size_t bytes);
/* The caller, with its name if it is a green thread. */
void owner_describe_self(char *text, size_t bytes);
/* `mutex "name"`, or `mutex at 0x...` without a name. */
void object_describe(
	const char *kind, const char *name, const void *object, char *text, size_t bytes);

#define OWNER_TEXT_BYTES  80
#define OBJECT_TEXT_BYTES 64

#endif
