/*
 * server_green.h - the part of server_models.c that is made of green threads.
 */
#ifndef FILAR_LAB_SERVER_GREEN_H
#define FILAR_LAB_SERVER_GREEN_H

#include "base/status.h"

/* Serves the listening socket by green threads on so many workers, until the process is killed. */
enum filar_status server_start_green(int listener, uint32_t workers);

#endif
