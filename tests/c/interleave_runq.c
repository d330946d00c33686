/*
 * interleave_runq.c - one owner and thieves in every interleaving: README.md of sched, "Run queue".
 */
#include "interleave.h"
#include "sched/deque.h"
#include "sched/runq.h"

enum { PIECES = 5 };

struct piece {
	struct work work;
	struct cell cell; /* its holder's */
	int taken;
};

static struct runq queue;
static struct piece pieces[PIECES];
static int pushed;

static void push_next_piece(void)
{
	struct piece *piece = &pieces[pushed];

	touch(&piece->cell);
	CHECK(runq_push(&queue, &piece->work));
	pushed++;
}

static void take(struct work *work)
{
	struct piece *piece = FILAR_CONTAINER_OF(work, struct piece, work);

	CHECK(work != NULL);
	touch(&piece->cell);
	CHECK_EQ(piece->taken++, 0);
}

static bool pop(void)
{
	struct work *work = runq_pop(&queue);

	if (work != NULL)
		take(work);
	return work != NULL;
}

static void steal(void *times)
{
	struct work *taken[RUNQ_STEAL_MAX];

	for (intptr_t i = 0; i < (intptr_t)times; i++) {
		uint32_t count = runq_steal(&queue, taken);

		for (uint32_t k = 0; k < count; k++)
			take(taken[k]);
	}
}

static void begin(void)
{
	CHECK_EQ(runq_init(&queue, true), FILAR_OK);
	memset(pieces, 0, sizeof pieces);
	pushed = 0;
}

static void finish(void)
{
	interleave_end();
	while (pop())
		;
	for (int i = 0; i < PIECES; i++)
		CHECK_EQ(pieces[i].taken, i < pushed);
	runq_deinit(&queue);
}

/* The ring of two goes round and is full now and then; a thief takes as well. */
static void owner_and_thief(void)
{
	struct kthread *thief;

	begin();
	CHECK_EQ(kthread_create(&thief, NULL, steal, (void *)2), FILAR_OK);
	interleave_begin();
	push_next_piece();
	push_next_piece();
	pop();
	push_next_piece();
	pop();
	push_next_piece();
	interleave_join(thief);
	finish();
}

/* The last piece is wanted by three. */
static void owner_and_two_thieves(void)
{
	struct kthread *thieves[2];

	begin();
	for (int i = 0; i < 2; i++)
		CHECK_EQ(kthread_create(&thieves[i], NULL, steal, (void *)1), FILAR_OK);
	interleave_begin();
	push_next_piece();
	push_next_piece();
	pop();
	pop();
	for (int i = 0; i < 2; i++)
		interleave_join(thieves[i]);
	finish();
}

/* The third push copies the ring while thieves read the old one. */
static void growing_under_thieves(void)
{
	struct kthread *thieves[2];

	begin();
	for (int i = 0; i < 2; i++)
		CHECK_EQ(kthread_create(&thieves[i], NULL, steal, (void *)1), FILAR_OK);
	interleave_begin();
	for (int i = 0; i < 4; i++)
		push_next_piece();
	pop();
	push_next_piece();
	for (int i = 0; i < 2; i++)
		interleave_join(thieves[i]);
	finish();
}

/* A full queue spills half of itself while a thief takes the other. */
static void spilling_under_a_thief(void)
{
	struct kthread *thief;
	struct work_chain chain = { 0 };
	struct work *work;

	begin();
	CHECK_EQ(kthread_create(&thief, NULL, steal, (void *)2), FILAR_OK);
	interleave_begin();
	for (int i = 0; i < 3; i++)
		push_next_piece();
	runq_take_half(&queue, &chain);
	while ((work = work_chain_pop(&chain)) != NULL)
		take(work);
	pop();
	interleave_join(thief);
	finish();
}

/* ---- the deque of spawners ---- */

static struct deque deque;

static void push_next_spawner(void)
{
	struct piece *piece = &pieces[pushed];

	touch(&piece->cell);
	CHECK(deque_push(&deque, &piece->work));
	pushed++;
}

static bool pop_spawner(void)
{
	struct work *work = deque_pop(&deque);

	if (work != NULL)
		take(work);
	return work != NULL;
}

static void steal_spawners(void *times)
{
	for (intptr_t i = 0; i < (intptr_t)times; i++) {
		struct work *work = deque_steal(&deque);

		if (work != NULL)
			take(work);
	}
}

/* The owner takes back what thieves want, down to the last, and pushes others in its place. */
static void spawners(uint32_t thieves, intptr_t times)
{
	struct kthread *kthreads[2];

	CHECK_EQ(deque_init(&deque, true), FILAR_OK);
	memset(pieces, 0, sizeof pieces);
	pushed = 0;
	for (uint32_t i = 0; i < thieves; i++)
		CHECK_EQ(kthread_create(&kthreads[i], NULL, steal_spawners, (void *)times),
			FILAR_OK);
	interleave_begin();
	push_next_spawner();
	push_next_spawner();
	pop_spawner();
	pop_spawner();
	push_next_spawner();
	pop_spawner();
	for (uint32_t i = 0; i < thieves; i++)
		interleave_join(kthreads[i]);
	interleave_end();
	while (pop_spawner())
		;
	for (int i = 0; i < PIECES; i++)
		CHECK_EQ(pieces[i].taken, i < pushed);
	deque_deinit(&deque);
}

static void spawners_and_thief(void)
{
	spawners(1, 2);
}

static void spawners_and_two_thieves(void)
{
	spawners(2, 1);
}

/* Three in a ring of two: it grows. */
static void spawners_grow(void)
{
	struct kthread *thief;

	CHECK_EQ(deque_init(&deque, true), FILAR_OK);
	memset(pieces, 0, sizeof pieces);
	pushed = 0;
	CHECK_EQ(kthread_create(&thief, NULL, steal_spawners, (void *)2), FILAR_OK);
	interleave_begin();
	for (int i = 0; i < 3; i++)
		push_next_spawner();
	pop_spawner();
	interleave_join(thief);
	interleave_end();
	while (pop_spawner())
		;
	for (int i = 0; i < PIECES; i++)
		CHECK_EQ(pieces[i].taken, i < pushed);
	deque_deinit(&deque);
}

TEST(each_piece_is_taken_once_by_owner_or_thief)
{
	CHECK(explore("owner and thief", owner_and_thief, interleave_seconds()).finished);
}

TEST(the_last_piece_is_taken_once_by_one_of_three)
{
	CHECK(explore("owner and two thieves", owner_and_two_thieves, interleave_seconds())
			.finished);
}

TEST(nothing_is_lost_or_doubled_while_the_ring_grows)
{
	CHECK(explore("growing", growing_under_thieves, interleave_seconds()).finished);
}

TEST(a_spill_and_a_thief_share_what_is_there)
{
	CHECK(explore("spilling", spilling_under_a_thief, interleave_seconds()).finished);
}

TEST(each_spawner_is_taken_once_by_owner_or_thief)
{
	CHECK(explore("spawners and thief", spawners_and_thief, interleave_seconds()).finished);
	CHECK(explore("spawners and two thieves", spawners_and_two_thieves, interleave_seconds())
			.finished);
	CHECK(explore("spawners grow", spawners_grow, interleave_seconds()).finished);
}

TEST(an_order_that_is_missing_is_found)
{
	static const struct mutant mutants[] = {
		{ "runq_push_ordered", WEAKEN_ORDER, "Q1", owner_and_thief },
		{ "runq_steal", WEAKEN_ORDER, "Q2", owner_and_thief },
		{ "runq_push_slow", WEAKEN_ORDER, "Q5", growing_under_thieves },
		{ "take", WEAKEN_ORDER, "Q6", growing_under_thieves },
		{ "deque_push", WEAKEN_ORDER, "V1", spawners_and_thief },
		{ "deque_steal", WEAKEN_ORDER, "V2, V8", spawners_and_thief },
		{ "deque_pop_shared", WEAKEN_ORDER, "V7", spawners_and_two_thieves },
		{ "deque_push_slow", WEAKEN_ORDER, "V5", spawners_grow },
	};

	check_mutants(mutants, FILAR_COUNT_OF(mutants));
}

TEST_MAIN()
