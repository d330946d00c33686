/*
 * registry.h - the tables of ways, one a file.
 */
#ifndef FILAR_LAB_REGISTRY_H
#define FILAR_LAB_REGISTRY_H

#include "lab/way.h"

extern const struct way ways_floor[];  /* system calls, clock, page fault, an empty turn */
extern const struct way ways_create[]; /* creation and join of kernel threads */
extern const struct way ways_switch[]; /* handing the CPU to another thread or process */
extern const struct way ways_cache[];  /* what a cache holds: controls, moving, core to core */
extern const struct way ways_share[];  /* handing data to another party */

#endif
