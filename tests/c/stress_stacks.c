/*
 * stress_stacks.c - stacks of all classes that come and go, deep and shallow, from all workers.
 */
#include "crowd.h"

/* What a user of a stack writes all over it, and finds again after others have run. */
static void fill(volatile uint64_t *words, size_t count, uint64_t seed)
{
	for (size_t i = 0; i < count; i++)
		words[i] = seed + i;
}

static void check_filled(volatile uint64_t *words, size_t count, uint64_t seed)
{
	for (size_t i = 0; i < count; i++)
		CHECK_EQ(words[i], seed + i);
}

struct use {
	size_t bytes; /* of its stack that it fills */
	uint64_t seed;
};

static void use_stack(void *argument)
{
	const struct use *use = argument;
	size_t count = use->bytes / sizeof(uint64_t);
	volatile uint64_t *words = __builtin_alloca(use->bytes);
	uint64_t seed = use->seed; /* `use` may be gone once we have yielded and it was joined */

	fill(words, count, seed);
	for (uint64_t i = 0; i < seed % 4; i++) {
		green_yield();
		check_filled(words, count, seed);
	}
}

#define AT_ONCE 40 /* more than a cache holds in make hard, so that batches move */

/* Spawns a crowd of them, then joins; the pool gets slots from whoever ends or joins. */
static void spawn_all_kinds(struct crowd_thread *self)
{
	struct use uses[AT_ONCE];
	struct green_ref refs[AT_ONCE];

	while (stress_goes_on()) {
		uint32_t count = 1 + random_below(&self->random, AT_ONCE);

		for (uint32_t i = 0; i < count; i++) {
			size_t stack = STACK_BYTES_SMALLEST << random_below(&self->random, 4);
			struct green_options options = { .stack_bytes = stack };
			/* Half of them shallow; deep ones up to what surely fits. */
			uses[i].bytes = random_below(&self->random, 2) == 0
						? 64
						: 64 + random_below(&self->random,
							       (uint32_t)stack - 12 * 1024);
			uses[i].seed = random_next(&self->random);
			CHECK_EQ(
				green_spawn(&refs[i], crowd_runtime, &options, use_stack, &uses[i]),
				FILAR_OK);
		}
		for (uint32_t i = 0; i < count; i++)
			crowd_join(refs[i]);
		crowd_jitter(self);
	}
}

/*
 * Hunts: one slot given to two; pages given back under somebody who has just taken the slot; a
 * batch written over a stack in use; a guard missing where a slab was carved by two (a write into
 * the neighbour then shows as its broken pattern).
 */
TEST(each_stack_has_one_user_whose_bytes_stay)
{
	void (*const bodies[])(struct crowd_thread *) = { spawn_all_kinds };

	/* Spawned from workers, and from kernel threads, whose cache is under a lock. */
	crowd_run(CROWD_GREEN_TWO, bodies, 1, 4, NULL, 0.5);
	crowd_run(CROWD_MIXED, bodies, 1, 4, NULL, 0.5);
}

TEST_MAIN()
