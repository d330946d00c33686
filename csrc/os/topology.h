/*
 * topology.h - which CPUs there are, what they share, and which of them this process may use.
 *
 * The facts are the public struct filar_topology (filar.h).  topology.c reads them, placement.c
 * orders the CPUs for pinning.
 */
#ifndef FILAR_OS_TOPOLOGY_H
#define FILAR_OS_TOPOLOGY_H

#include "base/status.h"

/* `root` is put in front of every path; "" is the real machine.  FILAR_NO_MEMORY, or FILAR_SYSTEM
 * when not even the affinity can be read. */
enum filar_status topology_read(const filar_topology **topology, const char *root);
void topology_release(const filar_topology *topology);

/* FILAR_NO_CPU, naming it, if one of the list is not online.  Whether this process may use it, only
 * pinning shows: a cpuset is not the caller's affinity. */
enum filar_status topology_check_list(const int32_t *cpus, size_t count);

/* CPUs online and allowed, in the order of enum filar_placement. */
enum filar_status topology_place(const filar_topology *topology, enum filar_placement placement,
	int32_t *cpus, size_t max, size_t *count);

#endif
