/*
 * tasks.h - the threads of this process, as the kernel lists them.
 *
 * One that was joined may stand there for a moment longer: WAIT_UNTIL().
 */
#ifndef FILAR_TESTS_TASKS_H
#define FILAR_TESTS_TASKS_H

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "base/tid.h"
#include "check.h"

static bool task_is_there(int32_t tid)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/self/task/%d", tid);
	return access(path, F_OK) == 0;
}

static void *task_say_tid(void *tid)
{
	*(int32_t *)tid = tid_self();
	return NULL;
}

static void task_comes_and_goes(void)
{
	pthread_t thread;
	int32_t tid;

	CHECK_EQ(pthread_create(&thread, NULL, task_say_tid, &tid), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	WAIT_UNTIL(!task_is_there(tid));
}

__attribute__((unused)) static int task_count(void)
{
	static bool counted_before;
	DIR *folder;
	int count = 0;

	/* TSan starts a thread of its own beside the first one. */
	if (FILAR_TSAN && !counted_before)
		task_comes_and_goes();
	counted_before = true;
	folder = opendir("/proc/self/task");
	CHECK(folder != NULL);
	for (struct dirent *entry; (entry = readdir(folder)) != NULL;)
		count += entry->d_name[0] != '.';
	closedir(folder);
	return count;
}

#endif
