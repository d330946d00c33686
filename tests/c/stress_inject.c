/*
 * stress_inject.c - the inject queue alone: chains pushed and popped by many kernel threads.
 */
#include "sched/inject.h"
#include "stress.h"

#define PUSHERS   3
#define CHAIN_MAX 5
#define PER_ROUND 400 /* pieces of one pusher: they are used again in the next round */

struct parcel {
	struct work work;
	int pusher;
	int64_t sequence;
	_Atomic int64_t popped; /* the round in which it was popped last */
};

static struct {
	struct inject inject;
	struct parcel parcels[PUSHERS][PER_ROUND];
	_Atomic int64_t left; /* to pop in this round */
	int64_t round;
} depot;

static void push_all(struct stress_thread *self)
{
	struct parcel *parcels = depot.parcels[self->index];
	int next = 0;

	while (next < PER_ROUND) {
		struct work_chain chain = { 0 };
		int length = 1 + (int)random_below(&self->random, CHAIN_MAX);

		for (; length > 0 && next < PER_ROUND; length--, next++)
			work_chain_push(&chain, &parcels[next].work);
		inject_lock(&depot.inject);
		inject_push_locked(&depot.inject, &chain);
		inject_unlock(&depot.inject);
		CHECK_EQ(chain.count, 0);
		stress_jitter(&self->random);
	}
}

static void pop_all(struct stress_thread *self)
{
	int64_t last[PUSHERS] = { -1, -1, -1 };

	while (load_relaxed(&depot.left) > 0) {
		struct work_chain chain = { 0 };
		struct work *work;

		inject_pop(&depot.inject, &chain, 1 + random_below(&self->random, 7));
		while ((work = work_chain_pop(&chain)) != NULL) {
			struct parcel *parcel = FILAR_CONTAINER_OF(work, struct parcel, work);

			CHECK_EQ(exchange_acq_rel(&parcel->popped, depot.round), depot.round - 1);
			CHECK(parcel->sequence > last[parcel->pusher]);
			last[parcel->pusher] = parcel->sequence;
			fetch_sub_relaxed(&depot.left, 1);
		}
		stress_jitter(&self->random);
	}
}

/* Hunts: a chain that is cut or joined wrongly at the queue's end; `count` that says 0 for ever
 * while something is there (then nobody takes the lock); one piece popped by two. */
TEST(each_parcel_is_popped_once_and_in_its_pushers_order)
{
	static void (*const bodies[])(
		struct stress_thread *) = { push_all, push_all, push_all, pop_all, pop_all };
	int64_t end_ns = clock_now_ns() + (int64_t)(stress_seconds() * 1e9);

	inject_init(&depot.inject);
	for (int p = 0; p < PUSHERS; p++) {
		for (int i = 0; i < PER_ROUND; i++) {
			depot.parcels[p][i].pusher = p;
			depot.parcels[p][i].sequence = i;
		}
	}
	do {
		depot.round++;
		store_relaxed(&depot.left, PUSHERS * PER_ROUND);
		stress_run_kinds(bodies, 5, 5, NULL, 0);
		CHECK_EQ(inject_count(&depot.inject), 0);
	} while (clock_now_ns() < end_ns);
}

TEST_MAIN()
