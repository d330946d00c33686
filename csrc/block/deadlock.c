/*
 * deadlock.c - the edges, in a table by who waits, and the walk along them.
 */
#include "block/deadlock.h"

#include <pthread.h>
#include <stdio.h>

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
		spinlock_init_ranked(&shards[i].lock, RANK_DEADLOCK);
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
};

/* The same for people; only where there is a cycle, as it takes room on the stack. */
struct step_text {
	char thread[OWNER_TEXT_BYTES];
	char mutex[OBJECT_TEXT_BYTES];
};

/* The edge's shard is locked, or it is the caller's: its mutex and its green thread are there. */
static void describe(const struct deadlock_edge *edge, struct step *step, struct step_text *text)
{
	step->serial = edge->serial;
	step->next = mutex_owner(edge->mutex);
	if (text == NULL)
		return;
	object_describe("mutex", edge->mutex->name, edge->mutex, text->mutex, sizeof text->mutex);
	if (edge->green != NULL)
		green_describe(edge->green, text->thread, sizeof text->thread);
	else
		owner_describe(edge->owner, text->thread, sizeof text->thread);
}

/* The step of the one that holds the mutex of the step before; false if it does not wait for ever.
 */
static bool follow(struct owner owner, struct step *step, struct step_text *text)
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
		describe(edge, step, text);
		found = true;
	}
	spinlock_unlock(&shard->lock);
	return found;
}

/* Length of the cycle through `edge`, 0 without one.  texts may be NULL. */
static uint32_t walk(const struct deadlock_edge *edge, struct step *steps, struct step_text *texts)
{
	describe(edge, &steps[0], texts);
	for (uint32_t count = 1; count <= DEADLOCK_THREADS_MAX; count++) {
		struct owner next = steps[count - 1].next;

		if (next.token == edge->owner.token)
			return count;
		if (count == DEADLOCK_THREADS_MAX || next.token == 0 ||
			!follow(next, &steps[count], texts != NULL ? &texts[count] : NULL))
			return 0;
	}
	return 0;
}

static enum filar_status name_cycle(const struct step_text *texts, uint32_t count)
{
	char text[240] = "";
	size_t used = 0;

	for (uint32_t i = 0; i < count && used < sizeof text; i++)
		used += (size_t)snprintf(text + used, sizeof text - used,
			"%s%s waits for %s, held by %s", i > 0 ? "; " : "", texts[i].thread,
			texts[i].mutex, texts[(i + 1) % count].thread);
	return status_detail(FILAR_DEADLOCK, "%s", text);
}

/* A second walk.  The same waits as in the first: they all lasted from the end of the first to the
 * beginning of the second, so all edges were there at once. */
static FILAR_NOINLINE enum filar_status confirm(
	const struct deadlock_edge *edge, const struct step *before, uint32_t count)
{
	struct step_text texts[DEADLOCK_THREADS_MAX];
	struct step steps[DEADLOCK_THREADS_MAX];

	if (walk(edge, steps, texts) != count)
		return FILAR_OK;
	for (uint32_t i = 0; i < count; i++)
		if (before[i].serial != steps[i].serial)
			return FILAR_OK;
	return name_cycle(texts, count);
}

enum filar_status deadlock_check(const struct deadlock_edge *edge)
{
	struct step steps[DEADLOCK_THREADS_MAX];
	uint32_t count = walk(edge, steps, NULL);

	/* Once more if there was none: an owner's number is written just after its token, and may
	 * have been read too early.  The first walk's locks have made it visible. */
	if (count == 0)
		count = walk(edge, steps, NULL);
	return count == 0 ? FILAR_OK : confirm(edge, steps, count);
}
