/*
 * stress_blocking.c - workers that block and come back just when somebody decides that they should
 * be relieved; spares that retire just when they are wanted.  What is lost shows as a hang.
 */
#include <unistd.h>

#include "green/runtime.h"
#include "greens.h"
#include "stress.h"

static _Atomic uint64_t bodies_run;

/* Around the length at which the watcher acts, and far from it. */
static void block_for_a_while(struct random *random)
{
	static const useconds_t lengths[] = { 0, 1, 20, 50, 100, 300 };

	usleep(lengths[random_below(random, FILAR_COUNT_OF(lengths))]);
}

/* What follows a section runs on the same kernel thread, whoever has been counted meanwhile. */
static void block_in_section(struct random *random)
{
	pthread_t before = pthread_self();

	blocking_begin();
	block_for_a_while(random);
	blocking_end();
	CHECK(pthread_equal(before, pthread_self()));
}

struct job {
	uint64_t seed;
	uint32_t children;
};

static void work_at_it(void *argument)
{
	struct job *job = argument;
	struct random random;
	struct green_ref refs[4];
	struct job children[4];
	uint32_t count = job->children;

	random_init(&random, job->seed);
	for (uint32_t i = 0; i < count; i++) {
		children[i] = (struct job){ random_next(&random), count - 1 };
		CHECK_EQ(green_spawn(&refs[i], runtime, NULL, work_at_it, &children[i]), FILAR_OK);
	}
	switch (random_below(&random, 4)) {
	case 0:
		block_in_section(&random);
		break;
	case 1:
		block_for_a_while(&random); /* not marked: noticed, or not */
		break;
	case 2:
		for (uint32_t i = random_below(&random, 8); i > 0; i--)
			green_yield();
		break;
	default:
		(void)green_sleep_until(clock_now_ns() + random_below(&random, 200000));
	}
	for (uint32_t i = 0; i < count; i++)
		CHECK_EQ(green_join_until(refs[i], DEADLINE_NEVER), FILAR_OK);
	fetch_add_relaxed(&bodies_run, 1);
}

static void spawn_and_join(struct stress_thread *self)
{
	do {
		struct job job = { random_next(&self->random), 3 };
		struct green_ref ref;

		CHECK_EQ(green_spawn(&ref, runtime, NULL, work_at_it, &job), FILAR_OK);
		CHECK_EQ(green_join_until(ref, DEADLINE_NEVER), FILAR_OK);
		stress_jitter(&self->random);
	} while (stress_goes_on());
}

/*
 * Hunts: the worker comes back between the watcher's look and its decision; the spare retires with
 * work in its queue, or just when it is recalled; one queue is looked at by nobody; the last grant
 * goes to a spare that retires (README.md, "Blocking").
 */
TEST(nothing_is_lost_while_workers_block_come_back_and_retire)
{
	for (int round = 0; round < 9; round++) {
		start_watched(
			(uint32_t)round % 3 + 1, round / 3 + 1, round % 2 == 0 ? NS_PER_MS / 5 : 0);
		stress_run(spawn_and_join, 2, NULL, 0.1);
		stop();
	}
	CHECK_GE(load_relaxed(&bodies_run), 9);
}

/* A chain: each link blocks its kernel thread until the next one, queued behind it, has run. */
struct link {
	_Atomic bool reached;
	struct link *next;
};

static void wait_for_next(void *argument)
{
	struct link *link = argument;

	if (link->next != NULL) {
		CHECK_EQ(green_spawn(NULL, runtime, NULL, wait_for_next, link->next), FILAR_OK);
		blocking_begin();
		while (!load_acquire(&link->next->reached))
			usleep(10);
		blocking_end();
	}
	store_release(&link->reached, true);
}

static void chain(struct stress_thread *self)
{
	enum { LINKS = 4 };

	while (stress_goes_on()) {
		struct link links[LINKS] = { 0 };
		struct green_ref ref;

		for (int i = 0; i + 1 < LINKS; i++)
			links[i].next = &links[i + 1];
		CHECK_EQ(green_spawn(&ref, runtime, NULL, wait_for_next, &links[0]), FILAR_OK);
		CHECK_EQ(green_join_until(ref, DEADLINE_NEVER), FILAR_OK);
		stress_jitter(&self->random);
	}
}

/*
 * Hunts: a worker that is blocked for good, because what would let it go waits behind it and nobody
 * comes: no kick, no relief, no spare, no steal (K1 to K5).
 */
TEST(whoever_blocks_for_what_is_behind_it_is_relieved_every_time)
{
	for (uint32_t workers = 1; workers <= 3; workers++) {
		start_watched(workers, 8, 0);
		stress_run(chain, 2, NULL, 0.15);
		stop();
	}
}

/* Hunts: the watcher goes to sleep for good just when the first worker begins to run (K3, K4), and
 * an end while others stand in or retire: of the watcher, of spares just made. */
TEST(runtimes_end_whatever_their_spares_are_doing)
{
	struct random random;

	random_init(&random, random_mix(check_seed()));
	stress_end_ns = clock_now_ns() + (int64_t)(stress_seconds() * 3e8);
	alarm((unsigned)stress_seconds() + test_seconds_max());
	do {
		struct link links[3] = { { .next = &links[1] }, { .next = &links[2] }, { 0 } };
		struct green_ref ref;

		start_watched(random_below(&random, 3) + 1, 3, 0);
		for (uint32_t i = random_below(&random, 3); i > 0; i--) {
			links[0].reached = links[1].reached = links[2].reached = false;
			CHECK_EQ(green_spawn(&ref, runtime, NULL, wait_for_next, &links[0]),
				FILAR_OK);
			CHECK_EQ(green_join_until(ref, DEADLINE_NEVER), FILAR_OK);
			if (random_below(&random, 2) == 0)
				usleep(random_below(&random, 300));
		}
		stop();
	} while (stress_goes_on());
}

/* ---- a scheduler that grows while its spares come and go ---- */

static struct scheduler scheduler;
static _Atomic uint64_t begin_seed;

static void quiet(struct scheduler *unused)
{
	(void)unused;
}

/* Sooner or later, and now and then not at all. */
static enum filar_status begin_perhaps(struct worker *worker)
{
	uint64_t draw = random_mix(fetch_add_relaxed(&begin_seed, 1));

	(void)worker;
	if (draw % 4 == 0)
		usleep((useconds_t)(draw >> 8) % 100);
	return draw >> 32 & 1 ? FILAR_OK : FILAR_NO_MEMORY;
}

struct step {
	struct work work;
	_Atomic bool reached;
	struct step *next;
};

static void wait_for_next_step(struct worker *worker, struct work *work)
{
	struct step *step = FILAR_CONTAINER_OF(work, struct step, work);

	if (step->next != NULL) {
		scheduler_ready(worker, &step->next->work);
		blocking_begin();
		while (!load_acquire(&step->next->reached))
			usleep(10);
		blocking_end();
	}
	store_release(&step->reached, true);
}

static const struct work_class step_class = { .name = "step", .run = wait_for_next_step };

static void *grow(void *unused)
{
	enum filar_status status;

	(void)unused;
	for (uint32_t working = 2; working <= 3; working++) {
		do
			status = scheduler_set_working(&scheduler, working);
		while (status == FILAR_NO_MEMORY);
		CHECK_EQ(status, FILAR_OK);
	}
	return NULL;
}

/* Each step but the last blocks a worker: all that there may be are needed. */
static void climb(void)
{
	enum { STEPS = 6 };
	struct step steps[STEPS] = { 0 };

	for (int i = 0; i < STEPS; i++) {
		steps[i].work.class = &step_class;
		steps[i].next = i + 1 < STEPS ? &steps[i + 1] : NULL;
	}
	scheduler_submit(&scheduler, &steps[0].work);
	while (!load_acquire(&steps[0].reached))
		usleep(10);
}

/* Hunts: a worker that cannot begin is taken for another that can, and counts for ever; the watcher
 * looks at one whose starter has not said yet which kernel thread it is (B1, K8 to K11). */
TEST(workers_and_spares_are_started_at_once_and_each_may_fail)
{
	struct scheduler_options options = { .workers = 3,
		.working = 1,
		.spares_max = 3,
		.watch_ns = NS_PER_MS / 5,
		.quiet = quiet,
		.worker_begins = begin_perhaps };
	pthread_t grower;

	store_relaxed(&begin_seed, random_mix(check_seed()));
	stress_end_ns = clock_now_ns() + (int64_t)(stress_seconds() * 3e8);
	alarm((unsigned)stress_seconds() + test_seconds_max());
	do {
		while (scheduler_init(&scheduler, &options, NULL) == FILAR_NO_MEMORY)
			;
		CHECK_EQ(pthread_create(&grower, NULL, grow, NULL), 0);
		climb();
		CHECK_EQ(pthread_join(grower, NULL), 0);
		climb();
		scheduler_deinit(&scheduler);
	} while (stress_goes_on());
}

TEST_MAIN()
