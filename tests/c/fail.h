/*
 * fail.h - makes the n-th allocation or system call fail, for n = 1, 2, 3, ... until none is left.
 *
 * FAIL builds only (make fail).  `attempt` does the whole operation and undoes it; it returns a
 * status. Each round with a failure must end in a status (any, also FILAR_OK where the failure is
 * harmless by design) and leave no allocation behind; the first round in which nothing fired must
 * be FILAR_OK.  The time limit of the test is that of a round: there may be hundreds.
 */
#ifndef FILAR_TESTS_FAIL_H
#define FILAR_TESTS_FAIL_H

#include "base/failpoint.h"
#include "base/memory.h"
#include "base/self.h"
#include "check.h"
#include "filar.h"

#if FILAR_FAIL
static uint64_t fail_each(int (*attempt)(void))
{
	uint64_t nth = 0;
	bool fired;

	CHECK(self_get_or_create() != NULL); /* the thread's own record is not the operation's */
	do {
		int64_t live = memory_live();
		int status;

		alarm(test_seconds_max());
		CHECK_LE(++nth, 10000);
		failpoint_arm(FAILPOINT_ANY, nth);
		status = attempt();
		fired = failpoint_fired();
		if (!fired)
			CHECK_EQ(status, FILAR_OK);
		else if (status != FILAR_OK)
			CHECK(filar_status_sentence(status)[0] != '\0');
		if (memory_live() != live)
			fprintf(stderr, "failure %" PRIu64 " was that of %s\n", nth,
				failpoint_fired_name());
		failpoint_arm(FAILPOINT_ANY, 0);
		CHECK_EQ(memory_live(), live);
	} while (fired);
	return nth - 1;
}
#endif

#endif
