/*
 * procfile.h - single numbers out of /proc.
 */
#ifndef FILAR_LAB_PROCFILE_H
#define FILAR_LAB_PROCFILE_H

#include "base/status.h"

/* The number behind "field:" in a file like /proc/meminfo or /proc/self/status, times 1,024 where
 * the line ends in "kB".  FILAR_NOT_FOUND when file or field are missing. */
enum filar_status procfile_read_field(const char *path, const char *field, double *value);

#endif
