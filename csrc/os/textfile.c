/*
 * textfile.c - open, read, close, and what little parsing the kernel's files need.
 *
 * Files in /proc and /sys say nothing about their size and may give less than asked for, so a
 * reader goes on until the end.
 */
#include "os/textfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "os/calls.h"

#define FIRST_BYTES 4096

/* Like read(2), but a signal does not end it. */
static ssize_t read_some(int fd, char *buffer, size_t bytes)
{
	ssize_t got;

	do
		got = call_read(fd, buffer, bytes);
	while (got < 0 && errno == EINTR);
	return got;
}

/* Appends the rest of fd to *text; on failure *text is still the caller's. */
static enum filar_status read_all(int fd, char **text, const char *path)
{
	size_t room = FIRST_BYTES, used = 0;
	char *grown;
	ssize_t got;

	for (;;) {
		got = read_some(fd, *text + used, room - used - 1);
		if (got < 0)
			return status_from_errno(errno, path);
		if (got == 0)
			break;
		used += (size_t)got;
		if (room - used > 1)
			continue;
		if (room >= TEXTFILE_BYTES_MAX)
			return status_detail(FILAR_LIMIT, "%s is too large", path);
		grown = memory_resize(*text, room *= 2, 1);
		if (grown == NULL)
			return status_detail(FILAR_NO_MEMORY, "no memory to read %s", path);
		*text = grown;
	}
	(*text)[used] = '\0';
	return FILAR_OK;
}

static enum filar_status read_path(char **text, const char *path)
{
	enum filar_status status;
	int fd = call_open(path, O_RDONLY);

	if (fd < 0)
		return status_from_errno(errno, path);
	*text = memory_acquire(FIRST_BYTES, 1);
	if (*text == NULL) {
		status = status_detail(FILAR_NO_MEMORY, "no memory to read %s", path);
		goto close_file;
	}
	status = read_all(fd, text, path);
	if (status != FILAR_OK)
		memory_release(*text);
close_file:
	(void)close(fd);
	return status;
}

enum filar_status textfile_read_into(char *text, size_t room, const char *path)
{
	int fd = call_open(path, O_RDONLY);
	enum filar_status status = FILAR_OK;
	size_t used = 0;
	ssize_t got = 1;

	if (fd < 0)
		return status_from_errno(errno, path);
	while (used < room - 1 && got > 0) {
		got = read_some(fd, text + used, room - 1 - used);
		used += got > 0 ? (size_t)got : 0;
	}
	if (got < 0)
		status = status_from_errno(errno, path);
	(void)close(fd);
	text[used] = '\0';
	return status;
}

static enum filar_status read_formatted(char **text, const char *format, va_list arguments)
{
	char path[TEXTFILE_PATH_MAX];
	int length = vsnprintf(path, sizeof path, format, arguments);

	if (length < 0 || (size_t)length >= sizeof path)
		return status_detail(FILAR_INVALID, "the path \"%.60s...\" is too long", path);
	return read_path(text, path);
}

enum filar_status textfile_read(char **text, const char *format, ...)
{
	enum filar_status status;
	va_list arguments;

	va_start(arguments, format);
	status = read_formatted(text, format, arguments);
	va_end(arguments);
	return status;
}

enum filar_status textfile_read_number(int64_t *number, const char *format, ...)
{
	enum filar_status status;
	va_list arguments;
	char *text, *end;
	int64_t value;

	va_start(arguments, format);
	status = read_formatted(&text, format, arguments);
	va_end(arguments);
	if (status != FILAR_OK)
		return status;
	errno = 0;
	value = strtoll(text, &end, 10);
	if (end == text || errno != 0)
		status = FILAR_NOT_FOUND;
	else
		*number = value;
	memory_release(text);
	return status;
}

enum filar_status textfile_read_cpus(struct cpu_mask *mask, const char *format, ...)
{
	enum filar_status status;
	va_list arguments;
	char *text;

	cpu_mask_clear(mask);
	va_start(arguments, format);
	status = read_formatted(&text, format, arguments);
	va_end(arguments);
	if (status != FILAR_OK)
		return status;
	if (!cpulist_parse(mask, text))
		status = FILAR_NOT_FOUND;
	memory_release(text);
	return status;
}

enum filar_status textfile_count_lines(int64_t *lines, const char *path)
{
	int fd = call_open(path, O_RDONLY);
	enum filar_status status = FILAR_OK;
	char buffer[16384];
	ssize_t got;

	if (fd < 0)
		return status_from_errno(errno, path);
	*lines = 0;
	while ((got = read_some(fd, buffer, sizeof buffer)) > 0) {
		for (ssize_t i = 0; i < got; i++)
			*lines += buffer[i] == '\n';
	}
	if (got < 0)
		status = status_from_errno(errno, path);
	(void)close(fd);
	return status;
}

/* A CPU number at *at, which moves behind it; -1 when there is none or it is too large. */
static int parse_cpu(const char **at)
{
	char *end;
	long value;

	if (**at < '0' || **at > '9')
		return -1;
	value = strtol(*at, &end, 10);
	*at = end;
	return value < CPUS_MAX ? (int)value : -1;
}

static bool parse_ranges(struct cpu_mask *mask, const char *at)
{
	while (*at != '\0' && *at != '\n') {
		int first = parse_cpu(&at), last = first;

		if (*at == '-') {
			at++;
			last = parse_cpu(&at);
		}
		if (first < 0 || last < first)
			return false;
		for (int cpu = first; cpu <= last; cpu++)
			cpu_mask_add(mask, cpu);
		if (*at == ',')
			at++;
		else if (*at != '\0' && *at != '\n')
			return false;
	}
	return true;
}

bool cpulist_parse(struct cpu_mask *mask, const char *text)
{
	cpu_mask_clear(mask);
	if (parse_ranges(mask, text))
		return true;
	cpu_mask_clear(mask);
	return false;
}

bool text_number_after(const char *text, const char *name, int64_t *number)
{
	const char *found = strstr(text, name);
	char *end;

	if (found == NULL)
		return false;
	found += strlen(name);
	*number = strtoll(found, &end, 10);
	return end != found;
}
