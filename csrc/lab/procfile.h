/*
 * procfile.h - single amounts of memory out of /proc.
 */
#ifndef FILAR_LAB_PROCFILE_H
#define FILAR_LAB_PROCFILE_H

#include "base/status.h"

/* The bytes behind "field:  123 kB" in a file like /proc/meminfo or /proc/self/status, in any line
 * but the first.  FILAR_NOT_FOUND without the field.  Allocates nothing: a forked child may call
 * it. */
enum filar_status procfile_read_bytes(const char *path, const char *field, double *bytes);

#endif
