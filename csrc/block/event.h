/*
 * event.h - a flag that stays set until it is reset; waiting for it while it is set takes nothing.
 *
 * A set wakes all who wait at that moment, even if a reset follows at once.
 */
#ifndef FILAR_BLOCK_EVENT_H
#define FILAR_BLOCK_EVENT_H

#include "base/status.h"
#include "block/waitq.h"

struct event {
	struct waitq queue; /* value: 1 while set */
};

void event_init(struct event *event, bool set);
enum filar_status event_wait_until(struct event *event, int64_t deadline_ns);
/* Without end, whatever happens to the caller. */
void event_wait_shielded(struct event *event);
/* FILAR_OK also when it was set before: what happened before each set is visible after a wait. */
void event_set(struct event *event);
void event_reset(struct event *event);
bool event_is_set(struct event *event);

#endif
