/*
 * cgroup.c - from /proc/self/cgroup (which group) and mountinfo (where it is mounted) to limits.
 *
 * A group's path is relative to the root of the hierarchy, a mount may show only a part of it (its
 * own root, field 4 of mountinfo); what is left after taking that part away is below the mount
 * point.  Inside a container the path may lie outside what is mounted: then the mount point is the
 * best that can be seen.
 */
#include "os/cgroup.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "os/textfile.h"

#define PATH_BYTES 1024
/* cgroup v1 writes "none" as the largest multiple of a page. */
#define NO_LIMIT (INT64_C(1) << 62)

struct cgroup_texts {
	const char *root;  /* I  put in front of each path */
	char *self_cgroup; /* I  "" when it cannot be read */
	char *mountinfo;   /* I  likewise */
};

/* The directory of one controller. */
struct group {
	const char *root;      /* I  as above */
	char path[PATH_BYTES]; /* W  the group that is looked at, without `root` */
	size_t mount_length;   /* I  path is not shortened below this */
	int version;           /* I */
};

/* ---- finding the group ---- */

/* Is `word` one of the words of a list with commas (ended by a zero)? */
static bool list_has(const char *list, const char *word)
{
	size_t length = strlen(word);

	for (const char *at = list; at != NULL; at = strchr(at, ',')) {
		at += *at == ',';
		if (strncmp(at, word, length) == 0 && (at[length] == ',' || at[length] == '\0'))
			return true;
	}
	return false;
}

static const char *next_line(const char *at)
{
	at = strchr(at, '\n');
	return at != NULL ? at + 1 : NULL;
}

/* The path of the group for a controller ("" is version 2's line) from /proc/self/cgroup. */
static bool find_path(const char *text, const char *controller, char path[PATH_BYTES])
{
	for (const char *line = text; line != NULL && *line != '\0'; line = next_line(line)) {
		char controllers[PATH_BYTES] = "", found[PATH_BYTES] = "";

		/* "4:memory:/a/b"; version 2 is "0::/a/b", which the first pattern does not fit. */
		if (sscanf(line, "%*d:%1023[^:\n]:%1023[^\n]", controllers, found) != 2 &&
			(controller[0] != '\0' || sscanf(line, "0::%1023[^\n]", found) != 1))
			continue;
		if (controller[0] == '\0' ? controllers[0] == '\0'
					  : list_has(controllers, controller)) {
			memcpy(path, found, PATH_BYTES);
			return true;
		}
	}
	return false;
}

/* mountinfo writes a blank as \040 and so on. */
static void unescape(char *text)
{
	char *to = text;

	for (char *from = text; *from != '\0'; to++) {
		unsigned value;

		if (from[0] == '\\' && sscanf(from + 1, "%3o", &value) == 1) {
			*to = (char)value;
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

/* Mount point and root of the hierarchy that carries the controller ("": version 2). */
static bool find_mount(const char *text, const char *controller, char mount_root[PATH_BYTES],
	char mount_point[PATH_BYTES])
{
	for (const char *line = text; line != NULL && *line != '\0'; line = next_line(line)) {
		char type[32], options[PATH_BYTES];
		const char *tail;

		if (sscanf(line, "%*d %*d %*s %1023s %1023s", mount_root, mount_point) != 2)
			continue;
		tail = strstr(line, " - ");
		if (tail == NULL || sscanf(tail, " - %31s %*s %1023s", type, options) != 2)
			continue;
		if (controller[0] == '\0'
				? strcmp(type, "cgroup2") == 0
				: strcmp(type, "cgroup") == 0 && list_has(options, controller)) {
			unescape(mount_root);
			unescape(mount_point);
			return true;
		}
	}
	return false;
}

/* The part of `path` below `mount_root`; "" when it is outside what is mounted. */
static const char *below(const char *path, const char *mount_root)
{
	size_t length = strcmp(mount_root, "/") == 0 ? 0 : strlen(mount_root);

	if (strncmp(path, mount_root, length) != 0 ||
		(path[length] != '/' && path[length] != '\0') || strstr(path, "/..") != NULL)
		return "";
	return strcmp(path + length, "/") == 0 ? "" : path + length;
}

static bool find_group_as(
	const struct cgroup_texts *texts, const char *controller, int version, struct group *group)
{
	char path[PATH_BYTES], mount_root[PATH_BYTES], mount_point[PATH_BYTES];
	int length;

	if (!find_path(texts->self_cgroup, controller, path) ||
		!find_mount(texts->mountinfo, controller, mount_root, mount_point))
		return false;
	length = snprintf(
		group->path, sizeof group->path, "%s%s", mount_point, below(path, mount_root));
	if (length < 0 || (size_t)length >= sizeof group->path)
		return false;
	group->root = texts->root;
	group->mount_length = strlen(mount_point);
	group->version = version;
	return true;
}

static bool find_group(
	const struct cgroup_texts *texts, const char *controller, struct group *group)
{
	return find_group_as(texts, controller, 1, group) || find_group_as(texts, "", 2, group);
}

/* The parent becomes the group; false at the mount point. */
static bool go_up(struct group *group)
{
	char *slash = strrchr(group->path, '/');

	if (slash == NULL || (size_t)(slash - group->path) < group->mount_length)
		return false;
	*slash = '\0';
	return true;
}

/* ---- limits ---- */

/* A number in a file of the group; false for "max", "-1" and the like. */
static bool read_limit(const struct group *group, const char *file, int64_t *limit)
{
	return textfile_read_number(limit, "%s%s/%s", group->root, group->path, file) == FILAR_OK &&
	       *limit >= 0 && *limit < NO_LIMIT;
}

static void name_file(char to[CGROUP_FILE_BYTES], const struct group *group, const char *file)
{
	snprintf(to, CGROUP_FILE_BYTES, "%.*s/%s", CGROUP_FILE_BYTES - 64, group->path, file);
}

/* What may still be used; unknown use counts as none. */
static int64_t room_of(const struct cgroup_limit *limit)
{
	return limit->max - (limit->used > 0 ? limit->used : 0);
}

static void read_tightest(struct group group, const char *max_file, const char *used_file,
	struct cgroup_limit *tightest)
{
	do {
		struct cgroup_limit found = { .used = -1 };

		if (!read_limit(&group, max_file, &found.max))
			continue;
		if (!read_limit(&group, used_file, &found.used))
			found.used = -1;
		if (tightest->max >= 0 && room_of(tightest) <= room_of(&found))
			continue;
		name_file(found.file, &group, max_file);
		*tightest = found;
	} while (go_up(&group));
}

/* CPUs' worth of time, 0 without a limit. */
static double read_quota(const struct group *group)
{
	int64_t quota, period = 100000;
	char *text;

	if (group->version == 1) {
		if (!read_limit(group, "cpu.cfs_quota_us", &quota) ||
			!read_limit(group, "cpu.cfs_period_us", &period))
			return 0;
	} else {
		int fields;

		if (textfile_read(&text, "%s%s/cpu.max", group->root, group->path) != FILAR_OK)
			return 0;
		fields = sscanf(text, "%" SCNd64 " %" SCNd64, &quota, &period);
		memory_release(text);
		if (fields < 1)
			return 0;
	}
	return quota > 0 && period > 0 ? (double)quota / (double)period : 0;
}

static void read_tightest_quota(struct group group, struct cgroup_facts *facts)
{
	facts->version = group.version;
	do {
		double cpus = read_quota(&group);

		if (cpus <= 0 || (facts->quota_cpus > 0 && facts->quota_cpus <= cpus))
			continue;
		facts->quota_cpus = cpus;
		name_file(facts->quota_file, &group,
			group.version == 1 ? "cpu.cfs_quota_us" : "cpu.max");
	} while (go_up(&group));
}

static void read_cpuset(const struct group *group, struct cgroup_facts *facts)
{
	char *text;

	if (textfile_read(&text, "%s%s/%s", group->root, group->path,
		    group->version == 1 ? "cpuset.effective_cpus" : "cpuset.cpus.effective") !=
		FILAR_OK)
		return;
	snprintf(facts->cpuset, sizeof facts->cpuset, "%.*s", (int)strcspn(text, "\n"), text);
	memory_release(text);
}

static void read_facts(const struct cgroup_texts *texts, struct cgroup_facts *facts)
{
	struct group group;

	if (find_group(texts, "cpu", &group))
		read_tightest_quota(group, facts);
	if (find_group(texts, "cpuset", &group))
		read_cpuset(&group, facts);
	if (find_group(texts, "memory", &group)) {
		bool first = group.version == 1;

		read_tightest(group, first ? "memory.limit_in_bytes" : "memory.max",
			first ? "memory.usage_in_bytes" : "memory.current", &facts->memory);
	}
	if (find_group(texts, "pids", &group))
		read_tightest(group, "pids.max", "pids.current", &facts->pids);
}

enum filar_status cgroup_read(struct cgroup_facts *facts, const char *root)
{
	struct cgroup_texts texts = { .root = root };
	enum filar_status status;

	*facts = (struct cgroup_facts){ .memory = { .max = -1, .used = -1 },
		.pids = { .max = -1, .used = -1 } };
	status = textfile_read(&texts.self_cgroup, "%s/proc/self/cgroup", root);
	if (status != FILAR_OK)
		return status == FILAR_NO_MEMORY ? status : FILAR_OK;
	status = textfile_read(&texts.mountinfo, "%s/proc/self/mountinfo", root);
	if (status == FILAR_OK) {
		read_facts(&texts, facts);
		memory_release(texts.mountinfo);
	}
	memory_release(texts.self_cgroup);
	return status == FILAR_NO_MEMORY ? status : FILAR_OK;
}
