/*
 * failpoint.c - counts hits and says which one fails (FAIL builds), and names the points.
 */
#include "base/failpoint.h"

#include "base/atomic.h"
#include "base/check.h"

static const char *const failpoint_names[] = {
#define X(name, text) text,
	FAILPOINT_NAMES(X)
#undef X
};

_Static_assert(FILAR_COUNT_OF(failpoint_names) == FAILPOINT_COUNT, "a name for each point");

const char *failpoint_name(enum failpoint point)
{
	return point < FAILPOINT_COUNT ? failpoint_names[point] : "any";
}

#if FILAR_FAIL
static _Atomic int armed_point = FAILPOINT_ANY;
static _Atomic int64_t hits_left; /* 0: disarmed */
static _Atomic int fired_point = -1;
static _Atomic int armed_errno; /* 0: the usual one */

bool failpoint_hit(enum failpoint point)
{
	int armed = atomic_load(&armed_point);

	FILAR_ASSERT(point < FAILPOINT_COUNT);
	if (atomic_load(&hits_left) <= 0 || (armed != FAILPOINT_ANY && armed != (int)point))
		return false;
	if (atomic_fetch_sub(&hits_left, 1) != 1)
		return false;
	atomic_store(&fired_point, (int)point);
	return true;
}

void failpoint_arm(enum failpoint point, uint64_t nth)
{
	failpoint_arm_errno(point, nth, 0);
}

int failpoint_errno(int usual)
{
	int error = atomic_load(&armed_errno);

	return error != 0 ? error : usual;
}

void failpoint_arm_errno(enum failpoint point, uint64_t nth, int error)
{
	atomic_store(&hits_left, 0);
	atomic_store(&armed_errno, error);
	atomic_store(&fired_point, -1);
	atomic_store(&armed_point, (int)point);
	atomic_store(&hits_left, (int64_t)nth);
}

bool failpoint_fired(void)
{
	return atomic_load(&fired_point) >= 0;
}

const char *failpoint_fired_name(void)
{
	int point = atomic_load(&fired_point);

	return point >= 0 ? failpoint_names[point] : "none";
}
#endif
