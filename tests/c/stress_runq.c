/*
 * stress_runq.c - one owner, many thieves: each piece of work is taken exactly once.
 */
#include "base/memory.h"
#include "sched/deque.h"
#include "sched/runq.h"
#include "stress.h"

/* All fit: the owner never has to refuse one. */
#define PIECES (RUNQ_SLOTS_MAX < 64 ? (int)RUNQ_SLOTS_MAX : 64)

struct piece {
	struct work work;
	_Atomic uint32_t holders; /* how many believe that they own it: 0 in the queue, else 1 */
	uint64_t visits;          /* plain: only Q1 to Q4 order its writes */
};

struct farm {
	struct runq queue;
	struct piece pieces[PIECES];
	_Atomic(struct piece *) returned[STRESS_THREADS_MAX]; /* from thieves back to the owner */
	_Atomic uint32_t thieves;
	_Atomic uint64_t stolen;
	uint64_t popped; /* owner */
};

static void hold(struct work *work)
{
	struct piece *piece = FILAR_CONTAINER_OF(work, struct piece, work);

	CHECK_EQ(fetch_add_relaxed(&piece->holders, 1), 0);
	piece->visits++;
}

static void give(struct farm *farm, struct piece *piece)
{
	CHECK_EQ(fetch_sub_relaxed(&piece->holders, 1), 1);
	CHECK(runq_push(&farm->queue, &piece->work));
}

/* Puts back what thieves have returned, and now and then pops one and pushes it again. */
static void own(struct farm *farm, struct stress_thread *self)
{
	for (int i = 0; i < PIECES; i++)
		give(farm, &farm->pieces[i]);
	do {
		struct work *work;
		int slot = (int)random_below(&self->random, STRESS_THREADS_MAX);
		struct piece *back = exchange_acq_rel(&farm->returned[slot], NULL);

		if (back != NULL)
			give(farm, back);
		work = runq_pop(&farm->queue);
		if (work != NULL) {
			hold(work);
			farm->popped++;
			stress_jitter(&self->random);
			give(farm, FILAR_CONTAINER_OF(work, struct piece, work));
		}
	} while (load_acquire(&farm->thieves) > 0);
}

static void give_back(struct farm *farm, struct stress_thread *self, struct work *work)
{
	struct piece *nobody = NULL, *piece = FILAR_CONTAINER_OF(work, struct piece, work);

	while (!cas_acq_rel(&farm->returned[self->index], &nobody, piece)) {
		nobody = NULL;
		sched_yield();
	}
}

static void rob(struct farm *farm, struct stress_thread *self)
{
	struct work *taken[RUNQ_STEAL_MAX];

	while (stress_goes_on()) {
		uint32_t count = runq_steal(&farm->queue, taken);

		for (uint32_t i = 0; i < count; i++)
			hold(taken[i]);
		fetch_add_relaxed(&farm->stolen, count);
		for (uint32_t i = 0; i < count; i++)
			give_back(farm, self, taken[i]);
		stress_jitter(&self->random);
	}
	fetch_sub_acq_rel(&farm->thieves, 1);
}

static void farm_body(struct stress_thread *self)
{
	if (self->index == 0)
		own(self->shared, self);
	else
		rob(self->shared, self);
}

/*
 * Hunts: owner and thief take the last one together; a thief reads a slot that the owner overwrites
 * before the thief's compare-and-swap; two thieves take overlapping halves; a thief sees the new
 * tail and the old slot.  In a queue of four (make hard) the ring goes round all the time.
 */
TEST(each_piece_is_taken_exactly_once)
{
	static struct farm farm;
	int count = stress_thread_count();
	uint64_t visits = 0;

	CHECK_EQ(runq_init(&farm.queue, true), FILAR_OK);
	for (int i = 0; i < PIECES; i++)
		atomic_init(&farm.pieces[i].holders, 1);
	atomic_init(&farm.thieves, (uint32_t)count - 1);
	stress_run(farm_body, count, &farm, 0.5);
	for (int i = 0; i < PIECES; i++)
		visits += farm.pieces[i].visits;
	CHECK_EQ(visits, farm.popped + load_relaxed(&farm.stolen));
	CHECK_GE(visits, 1);
	runq_deinit(&farm.queue);
}

/* ---- the deque of spawners: owner and thieves meet at the last one all the time ---- */

struct pile {
	struct deque deque;
	struct piece pieces[4];
	_Atomic uint32_t thieves;
	uint64_t taken[STRESS_THREADS_MAX];
};

/* Whoever takes a piece has it alone; the owner gets it back and pushes it anew. */
static void pile_own(struct pile *pile, struct stress_thread *self)
{
	bool mine[FILAR_COUNT_OF(pile->pieces)];

	for (size_t i = 0; i < FILAR_COUNT_OF(mine); i++)
		mine[i] = true;
	/* Once at least: the thieves' time may be over before it begins. */
	while (load_acquire(&pile->thieves) > 0 || pile->taken[0] == 0) {
		uint32_t pushes = random_below(&self->random, FILAR_COUNT_OF(mine) + 1);
		struct work *work;

		for (size_t i = 0; i < FILAR_COUNT_OF(mine) && pushes > 0; i++) {
			/* One that a thief has had is there again as soon as it lets go. */
			if (!mine[i] && load_acquire(&pile->pieces[i].holders) != 2)
				continue;
			mine[i] = false;
			store_relaxed(&pile->pieces[i].holders, 0);
			CHECK(deque_push(&pile->deque, &pile->pieces[i].work));
			pushes--;
		}
		while (random_below(&self->random, 4) != 0 &&
			(work = deque_pop(&pile->deque)) != NULL) {
			hold(work);
			pile->taken[0]++;
			mine[FILAR_CONTAINER_OF(work, struct piece, work) - pile->pieces] = true;
		}
	}
}

static void pile_rob(struct pile *pile, struct stress_thread *self)
{
	while (stress_goes_on()) {
		struct work *work = deque_steal(&pile->deque);

		if (work == NULL)
			continue;
		hold(work);
		pile->taken[self->index]++;
		store_release(&FILAR_CONTAINER_OF(work, struct piece, work)->holders, 2);
	}
	fetch_sub_acq_rel(&pile->thieves, 1);
}

static void pile_body(struct stress_thread *self)
{
	if (self->index == 0)
		pile_own(self->shared, self);
	else
		pile_rob(self->shared, self);
}

/* Hunts: owner and thief both take the last piece; the owner takes one without compare-and-swap
 * that a thief is about to take ("Run queue", each is taken once); a thief gets a slot of before.
 */
TEST(each_spawner_is_taken_exactly_once)
{
	static struct pile pile;
	int count = stress_thread_count();
	uint64_t visits = 0, taken = 0;

	CHECK_EQ(deque_init(&pile.deque, true), FILAR_OK);
	atomic_init(&pile.thieves, (uint32_t)count - 1);
	stress_run(pile_body, count, &pile, 0.5);
	for (size_t i = 0; i < FILAR_COUNT_OF(pile.pieces); i++)
		visits += pile.pieces[i].visits;
	for (int i = 0; i < count; i++)
		taken += pile.taken[i];
	CHECK_EQ(visits, taken);
	CHECK_GE(pile.taken[0], 1);
	deque_deinit(&pile.deque);
}

/* ---- a ring that is full most of the time, and grows under the thieves ---- */

struct stream {
	struct runq queue;
	struct work *works;
	uint64_t length;
	_Atomic uint64_t taken;
	_Atomic uint8_t *seen;
	_Atomic bool ended;
};

static void take_one(struct stream *stream, struct work *work)
{
	uint64_t index = (uint64_t)(work - stream->works);

	CHECK_EQ(fetch_add_relaxed(&stream->seen[index], 1), 0);
	fetch_add_relaxed(&stream->taken, 1);
}

static void stream_own(struct stream *stream, struct stress_thread *self)
{
	for (uint64_t i = 0; i < stream->length; i++) {
		struct work *work;

		while (!runq_push(&stream->queue, &stream->works[i])) {
			work = runq_pop(&stream->queue);
			if (work != NULL)
				take_one(stream, work);
		}
		if (random_below(&self->random, 4) == 0 &&
			(work = runq_pop(&stream->queue)) != NULL)
			take_one(stream, work);
		if (random_below(&self->random, 64) == 0)
			sched_yield();
	}
	store_release(&stream->ended, true);
}

static void stream_rob(struct stream *stream, struct stress_thread *self)
{
	struct work *taken[RUNQ_STEAL_MAX];

	while (!load_acquire(&stream->ended) || runq_length(&stream->queue) > 0) {
		uint32_t count = runq_steal(&stream->queue, taken);

		for (uint32_t i = 0; i < count; i++)
			take_one(stream, taken[i]);
		if (count == 0)
			sched_yield();
		stress_jitter(&self->random);
	}
}

static void stream_body(struct stress_thread *self)
{
	if (self->index == 0)
		stream_own(self->shared, self);
	else
		stream_rob(self->shared, self);
}

/* Hunts: a thief that has read the old ring's pointer while the owner copies to the new one and
 * goes on; slots read from the wrong ring; a full ring whose oldest slot is overwritten too early.
 */
TEST(each_piece_comes_out_once_while_the_ring_fills_and_grows)
{
	int64_t end_ns = clock_now_ns() + (int64_t)(stress_seconds() * 0.5e9);

	do {
		struct stream stream = { .length = 20000 };

		CHECK_EQ(runq_init(&stream.queue, true), FILAR_OK);
		stream.works = memory_acquire(stream.length, sizeof *stream.works);
		stream.seen = memory_acquire(stream.length, sizeof *stream.seen);
		CHECK(stream.works != NULL && stream.seen != NULL);
		stress_run(stream_body, 4, &stream, 0);
		CHECK_EQ(load_relaxed(&stream.taken), stream.length);
		runq_deinit(&stream.queue);
		memory_release(stream.works);
		memory_release((void *)stream.seen);
	} while (clock_now_ns() < end_ns);
}

TEST_MAIN()
