/*
 * staff_textbook.h - two pools as books on concurrency print them, in plain pthreads: workers
 * around a queue, and a dispatcher in between.  For staff.c.
 */
#ifndef FILAR_LAB_STAFF_TEXTBOOK_H
#define FILAR_LAB_STAFF_TEXTBOOK_H

#include "lab/staff.h"
#include "os/affinity.h"

struct textbook;

/* Worker i may run on masks[i % mask_count]. */
enum filar_status textbook_open(struct textbook **book, const struct staff_options *options,
	const struct cpu_mask *masks, uint32_t mask_count);
enum filar_status textbook_submit(struct textbook *book, staff_body *body, void *argument);
void textbook_wait(struct textbook *book);
/* NULL is allowed. */
void textbook_close(struct textbook *book);

#endif
