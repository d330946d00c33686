/*
 * faketree.h - a pretended / for tests: a temporary folder with a few files of /sys and /proc.
 *
 * tree_make() gives its path; the files are removed when the test process ends (also by exit, not
 * by abort: a failed test leaves its tree for a look).
 */
#ifndef FILAR_TESTS_FAKETREE_H
#define FILAR_TESTS_FAKETREE_H

#include <ftw.h>
#include <stdarg.h>
#include <sys/stat.h>

#include "check.h"

static char tree_root[64];

static int tree_remove_one(const char *path, const struct stat *stat, int kind, struct FTW *place)
{
	(void)stat, (void)kind, (void)place;
	return remove(path);
}

static void tree_remove(void)
{
	(void)nftw(tree_root, tree_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static const char *tree_make(void)
{
	strcpy(tree_root, "/tmp/filar-tree-XXXXXX");
	CHECK(mkdtemp(tree_root) != NULL);
	CHECK_EQ(atexit(tree_remove), 0);
	return tree_root;
}

/* Writes `text` into the file whose path (below the tree) is printed from the format. */
__attribute__((format(printf, 2, 3))) static void tree_file(
	const char *text, const char *format, ...)
{
	char path[512];
	size_t length = (size_t)snprintf(path, sizeof path, "%s/", tree_root);
	va_list arguments;
	FILE *file;

	va_start(arguments, format);
	vsnprintf(path + length, sizeof path - length, format, arguments);
	va_end(arguments);
	for (char *slash = strchr(path + length, '/'); slash != NULL;
		slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		(void)mkdir(path, 0700);
		*slash = '/';
	}
	file = fopen(path, "w");
	CHECK(file != NULL);
	CHECK(fputs(text, file) >= 0);
	CHECK_EQ(fclose(file), 0);
}

/* A cache of a CPU in the tree. */
__attribute__((unused)) static void tree_cache(int cpu, int index, const char *level,
	const char *kind, const char *size, const char *shared)
{
	tree_file(level, "sys/devices/system/cpu/cpu%d/cache/index%d/level", cpu, index);
	tree_file(kind, "sys/devices/system/cpu/cpu%d/cache/index%d/type", cpu, index);
	tree_file(size, "sys/devices/system/cpu/cpu%d/cache/index%d/size", cpu, index);
	tree_file("64\n", "sys/devices/system/cpu/cpu%d/cache/index%d/coherency_line_size", cpu,
		index);
	tree_file(shared, "sys/devices/system/cpu/cpu%d/cache/index%d/shared_cpu_list", cpu, index);
}

__attribute__((unused)) static void tree_cpu(int cpu, int package, const char *siblings)
{
	char text[32];

	snprintf(text, sizeof text, "%d\n", package);
	tree_file(text, "sys/devices/system/cpu/cpu%d/topology/physical_package_id", cpu);
	tree_file(siblings, "sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
}

#endif
