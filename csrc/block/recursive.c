/*
 * recursive.c - a count beside a mutex.
 */
#include "block/recursive.h"

void recursive_init(struct recursive *recursive, const char *name)
{
	mutex_init(&recursive->mutex, name);
	recursive->depth = 0;
}

bool recursive_is_mine(struct recursive *recursive)
{
	return mutex_is_mine(&recursive->mutex);
}

static enum filar_status deeper(struct recursive *recursive)
{
	if (recursive->depth == UINT32_MAX)
		return status_detail(
			FILAR_LIMIT, "a recursive mutex is locked %u times at most", UINT32_MAX);
	recursive->depth++;
	return FILAR_OK;
}

static enum filar_status first(struct recursive *recursive, enum filar_status status)
{
	if (status == FILAR_OK)
		recursive->depth = 1;
	return status;
}

enum filar_status recursive_lock_until(struct recursive *recursive, int64_t deadline_ns)
{
	if (recursive_is_mine(recursive))
		return deeper(recursive);
	return first(recursive, mutex_lock_until(&recursive->mutex, deadline_ns));
}

enum filar_status recursive_trylock(struct recursive *recursive)
{
	if (recursive_is_mine(recursive))
		return deeper(recursive);
	return first(recursive, mutex_trylock(&recursive->mutex));
}

enum filar_status recursive_unlock(struct recursive *recursive)
{
	if (recursive_is_mine(recursive) && --recursive->depth > 0)
		return FILAR_OK;
	return mutex_unlock(&recursive->mutex);
}

enum filar_status recursive_cond_wait_until(
	struct recursive *recursive, struct cond *cond, int64_t deadline_ns)
{
	bool mine = recursive_is_mine(recursive);
	uint32_t depth = mine ? recursive->depth : 0;
	enum filar_status status = cond_wait_until(cond, &recursive->mutex, deadline_ns);

	if (mine)
		recursive->depth = depth;
	return status;
}
