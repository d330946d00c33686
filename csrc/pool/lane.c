/*
 * lane.c - blocks of calls, first to last.  Everything here runs under the lane's lock, except
 * where blocks are created and freed.
 */
#include "pool/lane.h"

#include "base/memory.h"

void lane_init(struct lane *lane, _Atomic uint64_t *moves)
{
	lane->moves = moves;
	spinlock_init_ranked(&lane->lock, RANK_LANE);
	atomic_init(&lane->count, 0);
	atomic_init(&lane->pushed, 0);
}

void lane_deinit(struct lane *lane)
{
	struct lane_block *block = lane->first, *next;

	for (; block != NULL; block = next) {
		next = block->next;
		memory_release(block);
	}
	memory_release(lane->spare);
	lane->first = lane->last = lane->spare = NULL;
}

struct lane_block *lane_block_create(void)
{
	return memory_acquire(1, sizeof(struct lane_block));
}

bool lane_give_block(struct lane *lane, struct lane_block *block)
{
	if (lane->spare != NULL)
		return false;
	lane->spare = block;
	return true;
}

/* The spare becomes the last block. */
static bool append_block(struct lane *lane)
{
	struct lane_block *block = lane->spare;

	if (block == NULL)
		return false;
	lane->spare = NULL;
	block->next = NULL;
	block->before = lane->last;
	if (lane->last != NULL)
		lane->last->next = block;
	else
		lane->first = block;
	lane->last = block;
	lane->tail = 0;
	return true;
}

static bool has_room(struct lane *lane)
{
	return (lane->last != NULL && lane->tail < LANE_BLOCK_CALLS) || append_block(lane);
}

bool lane_push_locked(struct lane *lane, const struct call *call)
{
	if (FILAR_UNLIKELY(!has_room(lane)))
		return false;
	lane->last->calls[lane->tail++] = *call;
	store_relaxed(&lane->count, load_relaxed(&lane->count) + 1);
	return true;
}

/* The first block has been emptied: it is kept as the spare one, or freed by the caller once it has
 * let go of the lock. */
static struct lane_block *drop_first(struct lane *lane)
{
	struct lane_block *block = lane->first;

	lane->head = 0;
	if (block->next == NULL) {
		lane->tail = 0;
		return NULL;
	}
	lane->first = block->next;
	lane->first->before = NULL;
	if (lane->spare != NULL)
		return block;
	lane->spare = block;
	return NULL;
}

/* Steps over one slot at the head.  A block that is to be freed goes to *trash. */
static void step_head(struct lane *lane, struct lane_block **trash)
{
	struct lane_block *dropped;

	lane->head++;
	if (lane->head < LANE_BLOCK_CALLS && (lane->first != lane->last || lane->head < lane->tail))
		return;
	dropped = drop_first(lane);
	if (dropped != NULL) {
		dropped->next = *trash;
		*trash = dropped;
	}
}

static bool pop(struct lane *lane, struct call *call, struct lane_block **trash)
{
	uint64_t count = load_relaxed(&lane->count);

	if (count == 0)
		return false;
	/* Holes that lane_take_wish() has left are stepped over. */
	do {
		*call = lane->first->calls[lane->head];
		step_head(lane, trash);
	} while (call->body == NULL);
	store_relaxed(&lane->count, count - 1);
	return true;
}

static void empty_trash(struct lane_block *trash)
{
	while (trash != NULL) {
		struct lane_block *next = trash->next;

		memory_release(trash);
		trash = next;
	}
}

bool lane_pop_locked(struct lane *lane, struct call *call)
{
	struct lane_block *trash = NULL;
	bool found = pop(lane, call, &trash);

	empty_trash(trash);
	return found;
}

uint32_t lane_take(struct lane *lane, struct call *first, struct lane *own, uint64_t more)
{
	struct lane_block *trash = NULL;
	uint32_t taken = 0;

	if (lane_count(lane) == 0)
		return 0;
	spinlock_lock(&lane->lock);
	taken = pop(lane, first, &trash);
	/* Both locks, so that a call is never out of sight; only tried, since two that take from
	 * each other would otherwise wait for each other. */
	if (taken > 0 && more > 0 && own != NULL && lane_count(lane) > 0 &&
		spinlock_trylock(&own->lock)) {
		struct call call;

		fetch_add_relaxed(lane->moves, 1);
		while (taken <= more && has_room(own) && pop(lane, &call, &trash)) {
			(void)lane_push_locked(own, &call);
			taken++;
		}
		spinlock_unlock(&own->lock);
	}
	spinlock_unlock(&lane->lock);
	empty_trash(trash);
	return taken;
}

/* ---- out of the middle ---- */

static bool fits(const struct call *call, const struct lane_wish *wish)
{
	if (call->body == NULL)
		return false;
	if (wish->group != NULL)
		return call->group == wish->group;
	return call->body == wish->body && call->argument == wish->argument;
}

/* Holes at the tail are given back, so that a stack-like use does not grow. */
static void strip_tail(struct lane *lane)
{
	while (lane->tail > (lane->first == lane->last ? lane->head : 0) &&
		lane->last->calls[lane->tail - 1].body == NULL)
		lane->tail--;
}

/* The queue is empty but for holes: begins anew in one block. */
static struct lane_block *restart(struct lane *lane)
{
	struct lane_block *trash = lane->first->next;

	lane->first->next = NULL;
	lane->last = lane->first;
	lane->head = lane->tail = 0;
	return trash;
}

bool lane_take_wish(struct lane *lane, const struct lane_wish *wish, struct call *call)
{
	struct lane_block *block, *trash = NULL;
	bool found = false;
	uint32_t end;

	if (lane_count(lane) == 0)
		return false;
	spinlock_lock(&lane->lock);
	block = lane_count(lane) > 0 ? lane->last : NULL;
	end = lane->tail;
	for (; block != NULL && !found; block = block->before, end = LANE_BLOCK_CALLS) {
		uint32_t begin = block == lane->first ? lane->head : 0;

		for (uint32_t i = end; i > begin && !found; i--) {
			if (!fits(&block->calls[i - 1], wish))
				continue;
			*call = block->calls[i - 1];
			block->calls[i - 1].body = NULL;
			found = true;
		}
	}
	if (found) {
		store_relaxed(&lane->count, lane_count(lane) - 1);
		if (lane_count(lane) == 0)
			trash = restart(lane);
		else
			strip_tail(lane);
	}
	spinlock_unlock(&lane->lock);
	empty_trash(trash);
	return found;
}
