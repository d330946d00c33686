/*
 * deadlock.c - the edges, in a table by who waits, and the walk along them.
 */
#include "block/deadlock.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/random.h"
#include "block/mutex.h"
#include "sync/spinlock.h"

#define SHARDS 64u

struct shard {
	struct spinlock lock;
	struct deadlock_edge *first; /* L */
};

static struct shard shards[SHARDS];
static _Atomic uint64_t last_serial;

/* In the child nobody waits, and nobody will let go a lock that was held. */
static void forget_edges(void)
{
	for (uint32_t i = 0; i < SHARDS; i++) {
		spinlock_init(&shards[i].lock);
		shards[i].first = NULL;
	}
}

__attribute__((constructor)) static void forget_edges_in_children(void)
{
	(void)pthread_atfork(NULL, NULL, forget_edges);
}

static struct shard *shard_of(uint64_t token)
{
	return &shards[random_mix(token) % SHARDS];
}

void deadlock_add(struct deadlock_edge *edge, struct mutex *mutex, struct owner owner)
{
	struct shard *shard = shard_of(owner.token);

	edge->owner = owner;
	edge->green = green_self();
	edge->mutex = mutex;
	edge->serial = fetch_add_relaxed(&last_serial, 1);
	spinlock_lock(&shard->lock);
	edge->next = shard->first;
	edge->at = &shard->first;
	if (edge->next != NULL)
		edge->next->at = &edge->next;
	shard->first = edge;
	spinlock_unlock(&shard->lock);
}

void deadlock_remove(struct deadlock_edge *edge)
{
	struct shard *shard = shard_of(edge->owner.token);

	spinlock_lock(&shard->lock);
	*edge->at = edge->next;
	if (edge->next != NULL)
		edge->next->at = edge->at;
	spinlock_unlock(&shard->lock);
}

/* A thread of the path, and the mutex it waits for. */
struct step {
	uint64_t serial;
	struct owner next; /* who holds that mutex */
	char thread[OWNER_TEXT_BYTES];
	char mutex[OBJECT_TEXT_BYTES];
};

/* The edge's shard is locked, or it is the caller's: its mutex and its green thread are there. */
static void describe(const struct deadlock_edge *edge, struct step *step)
{
	step->serial = edge->serial;
	step->next = mutex_owner(edge->mutex);
	object_describe("mutex", edge->mutex->name, edge->mutex, step->mutex, sizeof step->mutex);
	if (edge->green != NULL)
		green_describe(edge->green, step->thread, sizeof step->thread);
	else
		owner_describe(edge->owner, step->thread, sizeof step->thread);
}

/* The step of the one that holds the mutex of the step before; false if it does not wait for ever.
 */
static bool follow(struct owner owner, struct step *step)
{
	struct shard *shard = shard_of(owner.token);
	struct deadlock_edge *edge;
	bool found = false;

	spinlock_lock(&shard->lock);
	for (edge = shard->first; edge != NULL && edge->owner.token != owner.token;)
		edge = edge->next;
	/* The number: a green thread that ended with its mutex held is not its successor.  One that
	 * is cancelled does not wait for ever. */
	if (edge != NULL && edge->owner.number == owner.number &&
		(edge->green == NULL || !green_is_cancelled(edge->green))) {
		describe(edge, step);
		found = true;
	}
	spinlock_unlock(&shard->lock);
	return found;
}

/* Length of the cycle through `edge`, 0 without one. */
static uint32_t walk(const struct deadlock_edge *edge, struct step *steps)
{
	describe(edge, &steps[0]);
	for (uint32_t count = 1; count <= DEADLOCK_THREADS_MAX; count++) {
		struct owner next = steps[count - 1].next;

		if (next.token == edge->owner.token)
			return count;
		if (count == DEADLOCK_THREADS_MAX || next.token == 0 ||
			!follow(next, &steps[count]))
			return 0;
	}
	return 0;
}

static enum filar_status name_cycle(const struct step *steps, uint32_t count)
{
	char text[240] = "";
	size_t used = 0;

	for (uint32_t i = 0; i < count && used < sizeof text; i++)
		used += (size_t)snprintf(text + used, sizeof text - used,
			"%s%s waits for %s, held by %s", i > 0 ? "; " : "", steps[i].thread,
			steps[i].mutex, steps[(i + 1) % count].thread);
	return status_detail(FILAR_DEADLOCK, "%s", text);
}

enum filar_status deadlock_check(const struct deadlock_edge *edge)
{
	struct step steps[DEADLOCK_THREADS_MAX];
	uint64_t serials[DEADLOCK_THREADS_MAX];
	uint32_t count = walk(edge, steps);

	/* Once more if there was none: an owner's number is written just after its token, and may
	 * have been read too early.  The first walk's locks have made it visible. */
	if (count == 0)
		count = walk(edge, steps);
	if (count == 0)
		return FILAR_OK;
	/* The same waits in a second walk: they all lasted from the end of the first to the
	 * beginning of the second, so all edges were there at once. */
	for (uint32_t i = 0; i < count; i++)
		serials[i] = steps[i].serial;
	if (walk(edge, steps) != count)
		return FILAR_OK;
	for (uint32_t i = 0; i < count; i++)
		if (serials[i] != steps[i].serial)
			return FILAR_OK;
	return name_cycle(steps, count);
}
