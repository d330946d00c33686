/*
 * cpugroup.c - finds the CPU controller in /proc/self/mountinfo and /proc/self/cgroup and makes a
 * directory there.
 */
#include "lab/cpugroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "os/calls.h"
#include "os/clock.h"

#define LINE_BYTES 2048

/* Whether `word` is one of the comma-separated words of `list`. */
static bool list_has(const char *list, const char *word)
{
	size_t length = strlen(word);

	while (list != NULL && *list != '\0') {
		size_t end = strcspn(list, ",\n");

		if (end == length && strncmp(list, word, length) == 0)
			return true;
		list = list[end] == ',' ? list + end + 1 : NULL;
	}
	return false;
}

/*
 * One line of mountinfo: "36 35 98:0 /root /mount/point rw,... - type source options".  True when
 * it is the controller's; root and point (CPUGROUP_PATH_BYTES each) are filled.
 */
static bool is_cpu_mount(const char *line, int version, char *root, char *point)
{
	const char *tail = strstr(line, " - ");
	char type[32], options[512];

	if (tail == NULL || sscanf(tail, " - %31s %*s %511s", type, options) != 2 ||
		sscanf(line, "%*s %*s %*s %511s %511s", root, point) != 2)
		return false;
	if (version == 1)
		return strcmp(type, "cgroup") == 0 && list_has(options, "cpu");
	return strcmp(type, "cgroup2") == 0;
}

static bool find_mount(int version, char *root, char *point)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	char line[LINE_BYTES];
	bool found = false;

	while (file != NULL && !found && fgets(line, sizeof line, file) != NULL)
		found = is_cpu_mount(line, version, root, point);
	if (file != NULL)
		fclose(file);
	return found;
}

/* This process's group: a line "4:cpu,cpuacct:/path" (version 1) or "0::/path" (version 2). */
static bool find_own(int version, char *path)
{
	FILE *file = fopen("/proc/self/cgroup", "re");
	char line[LINE_BYTES];
	bool found = false;

	while (file != NULL && !found && fgets(line, sizeof line, file) != NULL) {
		char *controllers = strchr(line, ':'), *own;

		own = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
		if (own == NULL)
			continue;
		*own++ = '\0';
		own[strcspn(own, "\n")] = '\0';
		found = version == 1 ? list_has(controllers + 1, "cpu") : controllers[1] == '\0';
		if (found && strlen(own) < CPUGROUP_PATH_BYTES)
			strcpy(path, own);
	}
	if (file != NULL)
		fclose(file);
	return found;
}

/* "<mount point><own path without the mount's root>/<name>"; false when it does not fit. */
static bool make_path(struct cpugroup *group, int version, const char *name)
{
	char root[CPUGROUP_PATH_BYTES], point[CPUGROUP_PATH_BYTES], own[CPUGROUP_PATH_BYTES] = "";
	const char *below = own;
	size_t length;
	int printed;

	if (!find_mount(version, root, point) || !find_own(version, own))
		return false;
	length = strcmp(root, "/") == 0 ? 0 : strlen(root);
	if (length > 0 && strncmp(own, root, length) == 0)
		below = own + length;
	printed = snprintf(group->path, sizeof group->path, "%s%s/%s", point,
		strcmp(below, "/") == 0 ? "" : below, name);
	return printed > 0 && (size_t)printed < sizeof group->path;
}

static bool has_file(const struct cpugroup *group, const char *name)
{
	char path[CPUGROUP_PATH_BYTES + 64];

	snprintf(path, sizeof path, "%s/%s", group->path, name);
	return access(path, F_OK) == 0;
}

enum filar_status cpugroup_create(struct cpugroup *group, const char *name)
{
	enum filar_status status = FILAR_NOT_SUPPORTED;

	for (int version = 1; version <= 2; version++) {
		if (!make_path(group, version, name))
			continue;
		if (mkdir(group->path, 0755) != 0) {
			status = errno == ENOENT ? FILAR_NOT_SUPPORTED : FILAR_NO_PERMISSION;
			continue;
		}
		/* A group without this file is not scheduled apart (controller not enabled). */
		if (has_file(group, version == 1 ? "cpu.shares" : "cpu.weight"))
			return FILAR_OK;
		cpugroup_remove(group);
	}
	group->path[0] = '\0';
	return status_detail(
		status, status == FILAR_NO_PERMISSION
				? "this process may not make control groups of the CPU controller"
				: "no CPU controller can be used for control groups here");
}

enum filar_status cpugroup_add(const struct cpugroup *group, pid_t pid)
{
	char path[CPUGROUP_PATH_BYTES + 64], text[16];
	int length = snprintf(text, sizeof text, "%d", (int)pid), fd;
	ssize_t written;
	int error;

	snprintf(path, sizeof path, "%s/cgroup.procs", group->path);
	fd = call_open(path, O_WRONLY);
	if (fd < 0)
		return status_from_errno(errno, "cgroup.procs");
	written = call_write(fd, text, (size_t)length);
	error = errno;
	close(fd);
	return written == length ? FILAR_OK : status_from_errno(error, "cgroup.procs");
}

void cpugroup_remove(struct cpugroup *group)
{
	/* The kernel may need a moment to let go of a process that has been reaped. */
	for (int tries = 0; group->path[0] != '\0' && tries < 100; tries++) {
		if (rmdir(group->path) == 0 || errno != EBUSY)
			break;
		(void)clock_nanosleep(
			CLOCK_MONOTONIC, 0, &(struct timespec){ .tv_nsec = NS_PER_MS }, NULL);
	}
	group->path[0] = '\0';
}
