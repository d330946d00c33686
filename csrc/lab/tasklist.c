/*
 * tasklist.c - reads the folder, sorts it.
 */
#include "lab/tasklist.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

#include "base/memory.h"

#define ROOM_FIRST 64

static int compare_tids(const void *left, const void *right)
{
	int32_t a = *(const int32_t *)left, b = *(const int32_t *)right;

	return (a > b) - (a < b);
}

static bool add(struct tasklist *list, int32_t tid)
{
	size_t room = list->room > 0 ? 2 * list->room : ROOM_FIRST;
	int32_t *grown;

	if (list->count == list->room) {
		grown = memory_resize(list->tids, room, sizeof *grown);
		if (grown == NULL)
			return false;
		list->tids = grown;
		list->room = room;
	}
	list->tids[list->count++] = tid;
	return true;
}

enum filar_status tasklist_read(struct tasklist *list)
{
	DIR *folder = opendir("/proc/self/task");
	const struct dirent *entry;
	bool fits = true;

	list->count = 0;
	if (folder == NULL)
		return status_from_errno(errno, "/proc/self/task");
	while (fits && (entry = readdir(folder)) != NULL) {
		int32_t tid = (int32_t)strtol(entry->d_name, NULL, 10);

		if (tid != 0) /* . and .. */
			fits = add(list, tid);
	}
	(void)closedir(folder);
	if (!fits)
		return status_detail(FILAR_NO_MEMORY, "no memory for a list of threads");
	if (list->count > 0)
		qsort(list->tids, list->count, sizeof *list->tids, compare_tids);
	return FILAR_OK;
}

void tasklist_free(struct tasklist *list)
{
	memory_release(list->tids);
	*list = (struct tasklist){ .tids = NULL };
}

bool tasklist_has(const struct tasklist *list, int32_t tid)
{
	return list->count > 0 &&
	       bsearch(&tid, list->tids, list->count, sizeof tid, compare_tids) != NULL;
}

size_t tasklist_kept(const struct tasklist *before, const struct tasklist *now)
{
	size_t kept = 0;

	for (size_t i = 0; i < before->count; i++)
		kept += tasklist_has(now, before->tids[i]);
	return kept;
}
