/*
 * tasklist.h - the kernel's list of the threads of this process, /proc/self/task.
 *
 * A thread that has been joined may still stand in it for a moment: pthread_join() returns when the
 * kernel has cleared the thread's id, and the thread leaves the list some steps later.  So what was
 * there before is counted by those that are still there afterwards (tasklist_kept()).
 */
#ifndef FILAR_LAB_TASKLIST_H
#define FILAR_LAB_TASKLIST_H

#include <stdbool.h>

#include "base/status.h"

struct tasklist {
	int32_t *tids; /* W  sorted */
	size_t count, room;
};

/* Reads it into *list, zeroed or read before; tasklist_free() also after a failure. */
enum filar_status tasklist_read(struct tasklist *list);
void tasklist_free(struct tasklist *list);
bool tasklist_has(const struct tasklist *list, int32_t tid);
/* How many of those that were in `before` are in `now`, too. */
size_t tasklist_kept(const struct tasklist *before, const struct tasklist *now);

#endif
