/*
 * held.h - which green threads hold a lock of the threading module.
 *
 * Whoever holds a threading.Lock and is made to yield would leave the next green thread of its
 * worker to block the worker on it, for ever; and that one would pass an RLock, which belongs to
 * the kernel thread.  So preemption asks here.  Locks do not tell who holds them: while any runtime
 * preempts, the methods of the two types are replaced by ones that take notes for green threads.
 */
#ifndef FILAR_PY_HELD_H
#define FILAR_PY_HELD_H

#include <Python.h>

#include <stdbool.h>

struct shell;

/* All under the GIL.  -1 with an exception: the types are not as they should be. */
int held_watch(void);
void held_unwatch(void);
bool held_by(const struct shell *shell);
/* Its green thread has ended; what it still holds is nobody's. */
void held_forget_shell(const struct shell *shell);

#endif
