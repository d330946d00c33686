/*
 * textfile.h - the kernel's small files (/proc, /sys) as text.
 *
 * A missing or garbled file is an ordinary thing here: containers hide parts of /sys, kernels
 * differ.  So each reader says whether it found something and its callers have a fallback.
 */
#ifndef FILAR_OS_TEXTFILE_H
#define FILAR_OS_TEXTFILE_H

#include <stdbool.h>

#include "base/status.h"
#include "os/affinity.h"

#define TEXTFILE_BYTES_MAX ((size_t)4 << 20)
#define TEXTFILE_PATH_MAX  4096

/* The whole file, ended by a zero; give it back with memory_release().  The path is printed from
 * the format.  FILAR_LIMIT for a file larger than TEXTFILE_BYTES_MAX. */
enum filar_status textfile_read(char **text, const char *format, ...) FILAR_PRINTF(2, 3);

/* As much of the file as fits into `text` with a zero behind it.  Allocates nothing: a forked child
 * may call it, and what is measured by it does not grow by it. */
enum filar_status textfile_read_into(char *text, size_t room, const char *path);

/* The decimal number a file starts with.  FILAR_NOT_FOUND also when there is none. */
enum filar_status textfile_read_number(int64_t *number, const char *format, ...) FILAR_PRINTF(2, 3);

/* A list such as "0-3,8" (sysfs) in a file.  FILAR_NOT_FOUND also when it is no such list. */
enum filar_status textfile_read_cpus(struct cpu_mask *mask, const char *format, ...)
	FILAR_PRINTF(2, 3);

/* Counts the lines of a file of any size. */
enum filar_status textfile_count_lines(int64_t *lines, const char *path);

/* "0-3,8" up to the end of the line.  False (and an empty mask) when it is anything else. */
bool cpulist_parse(struct cpu_mask *mask, const char *text);

/* In a text of lines `Name:  123 kB`, the number after `name` (with its colon).  False without it.
 */
bool text_number_after(const char *text, const char *name, int64_t *number);

#endif
