/*
 * procfile.c - reads a whole small file, looks for one line.
 */
#include "lab/procfile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "os/calls.h"

#define FILE_BYTES_MAX 8192

static enum filar_status read_file(const char *path, char *text, size_t room)
{
	size_t length = 0;
	ssize_t got = 0;
	int fd = call_open(path, 0);

	if (fd < 0)
		return status_detail(FILAR_NOT_FOUND, "%s cannot be read (errno %d)", path, errno);
	while (length < room - 1 && (got = call_read(fd, text + length, room - 1 - length)) > 0)
		length += (size_t)got;
	close(fd);
	text[length] = '\0';
	return got < 0 ? status_detail(FILAR_NOT_FOUND, "%s cannot be read", path) : FILAR_OK;
}

enum filar_status procfile_read_field(const char *path, const char *field, double *value)
{
	char text[FILE_BYTES_MAX], key[64];
	const char *line;
	char *end;
	enum filar_status status = read_file(path, text, sizeof text);

	if (status != FILAR_OK)
		return status;
	snprintf(key, sizeof key, "\n%s:", field);
	line = strstr(text, key);
	if (line == NULL)
		return status_detail(FILAR_NOT_FOUND, "%s has no field %s", path, field);
	*value = strtod(line + strlen(key), &end);
	if (strncmp(end, " kB", 3) == 0)
		*value *= 1024;
	return FILAR_OK;
}
