/*
 * procfile.c - one line of a small file, in bytes.
 */
#include "lab/procfile.h"

#include <stdio.h>

#include "os/textfile.h"

#define FILE_BYTES_MAX 8192

enum filar_status procfile_read_bytes(const char *path, const char *field, double *bytes)
{
	char text[FILE_BYTES_MAX], key[64];
	enum filar_status status = textfile_read_into(text, sizeof text, path);
	int64_t kib;

	if (status != FILAR_OK)
		return status;
	/* From the start of a line: SReclaimable is not KReclaimable. */
	snprintf(key, sizeof key, "\n%s:", field);
	if (!text_number_after(text, key, &kib))
		return status_detail(FILAR_NOT_FOUND, "%s has no field %s", path, field);
	*bytes = (double)kib * 1024;
	return FILAR_OK;
}
