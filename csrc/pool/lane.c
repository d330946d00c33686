/*
 * lane.c - blocks of calls, first to last.  Everything here runs under the lane's lock, except
 * where blocks are created and freed.
 */
#include "pool/lane.h"

#include "base/check.h"
#include "base/memory.h"

void lane_init(struct lane *lane, _Atomic uint64_t *moves)
{
	lane->moves = moves;
	spinlock_init_ranked(&lane->lock, RANK_LANE);
	atomic_init(&lane->count, 0);
	atomic_init(&lane->pushed, 0);
}

static void free_list(struct lane_block *block)
{
	while (block != NULL) {
		struct lane_block *next = block->next;

		memory_release(block);
		block = next;
	}
}

void lane_deinit(struct lane *lane)
{
	free_list(lane->first);
	free_list(lane->spare);
	lane->first = lane->last = lane->spare = NULL;
}

struct lane_block *lane_block_create(void)
{
	return memory_acquire(1, sizeof(struct lane_block));
}

bool lane_give_block(struct lane *lane, struct lane_block *block)
{
	if (lane->spares >= LANE_SPARES_MAX)
		return false;
	block->next = lane->spare;
	lane->spare = block;
	lane->spares++;
	return true;
}

static struct lane_block *take_spare(struct lane *lane)
{
	struct lane_block *block = lane->spare;

	if (block != NULL) {
		lane->spare = block->next;
		lane->spares--;
	}
	return block;
}

/* `block` becomes the last one. */
static void link_block(struct lane *lane, struct lane_block *block)
{
	block->next = NULL;
	block->before = lane->last;
	if (lane->last != NULL)
		lane->last->next = block;
	else
		lane->first = block;
	lane->last = block;
}

/* A spare one becomes the last block. */
static bool append_block(struct lane *lane)
{
	struct lane_block *block = take_spare(lane);

	if (block == NULL)
		return false;
	link_block(lane, block);
	lane->tail = 0;
	return true;
}

bool lane_has_room_locked(struct lane *lane)
{
	return (lane->last != NULL && lane->tail < LANE_BLOCK_CALLS) || append_block(lane);
}

/* ---- counting ---- */

static struct lane_advance take_advance(struct lane *lane)
{
	struct lane_advance advance = { lane->group, lane->advance };

	lane->advance = 0;
	return advance;
}

/* The group of the calls to come is another: its calls are still in the lane, so this is not the
 * last count of it. */
static void change_group(struct lane *lane, struct waitgroup *group)
{
	if (lane->advance > 0)
		FILAR_CHECK_EQ(latch_count_down(&lane->group->latch, lane->advance), FILAR_OK);
	lane->advance = 0;
	lane->group = group;
}

enum filar_status lane_count_locked(struct lane *lane, struct waitgroup *group)
{
	if (lane->group != group) {
		change_group(lane, group);
		return waitgroup_add(group, 1);
	}
	if (lane->advance == 0) {
		if (waitgroup_add(group, LANE_ADVANCE) != FILAR_OK)
			return waitgroup_add(group, 1);
		lane->advance = LANE_ADVANCE;
	}
	lane->advance--;
	return FILAR_OK;
}

/* ---- appending ---- */

size_t lane_push_run_locked(struct lane *lane, const filar_call *list, size_t count,
	struct waitgroup *group, struct token *token)
{
	struct call *slot;
	size_t room;

	if (FILAR_UNLIKELY(!lane_has_room_locked(lane)))
		return 0;
	slot = &lane->last->calls[lane->tail];
	room = LANE_BLOCK_CALLS - lane->tail;
	if (count > room)
		count = room;
	for (size_t i = 0; i < count; i++) {
		/* Lines that were last read on another CPU: fetched before the next ones that push
		 * wait for them with the lock held. */
		__builtin_prefetch(&slot[i + LANE_AHEAD], 1);
		slot[i] = (struct call){ list[i].body, list[i].argument, group, token };
	}
	lane->tail += (uint32_t)count;
	store_relaxed(&lane->count, load_relaxed(&lane->count) + count);
	return count;
}

bool lane_push_locked(struct lane *lane, const struct call *call)
{
	const filar_call one = { call->body, call->argument };

	return lane_push_run_locked(lane, &one, 1, call->group, call->token) == 1;
}

/* ---- taking the oldest ---- */

/* The first block has been emptied: it is kept, or freed by the caller once it has let go of the
 * lock. */
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
	return lane_give_block(lane, block) ? NULL : block;
}

/* Steps over one slot at the head.  A block that is to be freed goes to *trash. */
static void step_head(struct lane *lane, struct lane_block **trash)
{
	struct lane_block *dropped;

	lane->head++;
	if (FILAR_LIKELY(lane->head < LANE_BLOCK_CALLS &&
			 (lane->first != lane->last || lane->head < lane->tail)))
		return;
	dropped = drop_first(lane);
	if (dropped != NULL) {
		dropped->next = *trash;
		*trash = dropped;
	}
}

static FILAR_ALWAYS_INLINE bool pop(struct lane *lane, struct call *call, struct lane_block **trash)
{
	uint64_t count = load_relaxed(&lane->count);

	if (count == 0)
		return false;
	for (;;) {
		const struct call *slot = &lane->first->calls[lane->head];

		__builtin_prefetch(slot + LANE_AHEAD);
		*call = *slot;
		step_head(lane, trash);
		if (FILAR_LIKELY(call->body != NULL))
			break;
		/* What lane_take_wish() has left. */
		lane->holes--;
	}
	store_relaxed(&lane->count, count - 1);
	return true;
}

bool lane_pop_locked(struct lane *lane, struct call *call)
{
	struct lane_block *trash = NULL;
	bool found = pop(lane, call, &trash);

	free_list(trash);
	return found;
}

bool lane_take_own(struct lane *lane, struct call *call)
{
	struct lane_block *trash = NULL;
	bool found;

	if (lane_count(lane) == 0)
		return false;
	spinlock_lock(&lane->lock);
	found = pop(lane, call, &trash);
	spinlock_unlock(&lane->lock);
	if (FILAR_UNLIKELY(trash != NULL))
		free_list(trash);
	return found;
}

/* ---- from lane to lane, both locked ---- */

/* The first block as it is, if `own` is empty and it holds no more than `more`: then the calls are
 * not touched.  How many it holds. */
static uint32_t move_block(
	struct lane *lane, struct lane *own, uint64_t more, struct lane_block **trash)
{
	struct lane_block *block = lane->first, *empty;
	uint32_t end = block == lane->last ? lane->tail : LANE_BLOCK_CALLS;
	uint32_t count = end - lane->head;

	if (lane->holes > 0 || lane_count(own) > 0 || count > more)
		return 0;
	/* An empty lane has one block, or none. */
	empty = own->first;
	own->first = own->last = NULL;
	lane->first = block->next;
	if (lane->first != NULL)
		lane->first->before = NULL;
	else
		lane->last = NULL;
	link_block(own, block);
	own->head = lane->head;
	own->tail = end;
	lane->head = 0;
	/* A block comes back for the one that goes. */
	if (empty == NULL)
		empty = take_spare(own);
	if (lane->last == NULL && empty != NULL) {
		link_block(lane, empty);
		lane->tail = 0;
	} else if (empty != NULL && !lane_give_block(lane, empty) && !lane_give_block(own, empty)) {
		empty->next = *trash;
		*trash = empty;
	}
	store_relaxed(&lane->count, lane_count(lane) - count);
	store_relaxed(&own->count, count);
	return count;
}

static uint32_t copy_calls(
	struct lane *lane, struct lane *own, uint64_t more, struct lane_block **trash)
{
	uint32_t most = more < LANE_COPY_MAX ? (uint32_t)more : LANE_COPY_MAX, copied = 0;
	struct call call;

	while (copied < most && lane_has_room_locked(own) && pop(lane, &call, trash)) {
		(void)lane_push_locked(own, &call);
		copied++;
	}
	return copied;
}

uint32_t lane_take(struct lane *lane, struct call *first, struct lane *own, uint64_t more,
	struct lane_advance *advance)
{
	struct lane_block *trash = NULL;
	uint32_t taken = 0;

	if (lane_count(lane) == 0)
		return 0;
	spinlock_lock(&lane->lock);
	taken = pop(lane, first, &trash);
	if (taken > 0)
		*advance = take_advance(lane);
	/* Both locks, so that a call is never out of sight; only tried, since two that take from
	 * each other would otherwise wait for each other. */
	if (taken > 0 && more > 0 && lane_count(lane) > 0 && spinlock_trylock(&own->lock)) {
		uint32_t moved = move_block(lane, own, more, &trash);

		fetch_add_relaxed(lane->moves, 1);
		taken += moved > 0 ? moved : copy_calls(lane, own, more, &trash);
		spinlock_unlock(&own->lock);
	}
	spinlock_unlock(&lane->lock);
	free_list(trash);
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
		lane->last->calls[lane->tail - 1].body == NULL) {
		lane->tail--;
		lane->holes--;
	}
}

/* The queue is empty but for holes: begins anew in one block. */
static struct lane_block *restart(struct lane *lane)
{
	struct lane_block *trash = lane->first->next;

	lane->first->next = NULL;
	lane->last = lane->first;
	lane->head = lane->tail = lane->holes = 0;
	return trash;
}

bool lane_take_wish(struct lane *lane, const struct lane_wish *wish, struct call *call,
	struct lane_advance *advance)
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
			lane->holes++;
			found = true;
		}
	}
	if (found) {
		*advance = take_advance(lane);
		store_relaxed(&lane->count, lane_count(lane) - 1);
		if (lane_count(lane) == 0)
			trash = restart(lane);
		else
			strip_tail(lane);
	}
	spinlock_unlock(&lane->lock);
	free_list(trash);
	return found;
}
