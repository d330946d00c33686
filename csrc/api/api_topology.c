/*
 * api_topology.c - the public view of the machine: check the arguments, call down.
 */
#include "base/status.h"
#include "filar.h"
#include "os/topology.h"

int filar_topology_read(const filar_topology **topology, const char *root)
{
	if (topology == NULL)
		return status_detail(FILAR_INVALID, "a place for the topology is needed");
	return topology_read(topology, root != NULL ? root : "");
}

void filar_topology_release(const filar_topology *topology)
{
	topology_release(topology);
}

int filar_topology_place(
	const filar_topology *topology, int32_t placement, int32_t *cpus, size_t max, size_t *count)
{
	if (topology == NULL || count == NULL || (cpus == NULL && max > 0))
		return status_detail(FILAR_INVALID, "a topology and room for CPUs are needed");
	if (placement < FILAR_PLACE_COMPACT || placement > FILAR_PLACE_CORES)
		return status_detail(FILAR_INVALID, "unknown placement %d", placement);
	return topology_place(topology, (enum filar_placement)placement, cpus, max, count);
}
