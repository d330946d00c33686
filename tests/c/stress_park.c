/*
 * stress_park.c - wakes, deadlines and cancels that meet a green thread at every step of its wait.
 */
#include "green/runtime.h"
#include "green/waiter.h"
#include "greens.h"
#include "stress.h"

static int64_t end_ns;

static void start(uint32_t workers)
{
	struct runtime_options options;

	runtime_options_init(&options);
	options.workers = workers;
	CHECK_EQ(runtime_create(&runtime, &options), FILAR_OK);
	alarm((unsigned)stress_seconds() + test_seconds_max());
}

static bool goes_on(void)
{
	return clock_now_ns() < end_ns;
}

/* A mailbox for one waiter: whoever exchanges it out has claimed it. */
struct box {
	_Atomic(struct waiter *) waiter;
	_Atomic uint64_t wakes;
	uint64_t oks, timeouts, cancels; /* the waiting one's */
	_Atomic bool over;
	uint64_t seed;
};

/* Waits with all kinds of deadlines, and takes the waiter back when a wait ends without a wake. */
static void wait_in_box(struct box *box, int64_t deadline_ns)
{
	struct waiter waiter, *mine = &waiter;
	enum filar_status status;

	waiter_init(&waiter);
	store_release(&box->waiter, &waiter);
	status = waiter_wait_until(&waiter, deadline_ns, WAIT_EVENT, WAIT_CANCELLABLE);
	if (status != FILAR_OK && !cas_acq_rel(&box->waiter, &mine, NULL))
		status = waiter_wait_until(&waiter, DEADLINE_NEVER, WAIT_EVENT, WAIT_SHIELDED);
	box->oks += status == FILAR_OK;
	box->timeouts += status == FILAR_TIMED_OUT;
	box->cancels += status == FILAR_CANCELLED;
}

static void wait_often(void *argument)
{
	struct box *box = argument;
	struct random random;

	random_init(&random, box->seed);
	while (goes_on()) {
		uint32_t draw = random_below(&random, 4);

		wait_in_box(
			box, clock_now_ns() + (draw == 0          ? 0
						      : draw == 1 ? random_below(&random, 2000)
								  : random_below(&random, 100000)));
	}
	store_release(&box->over, true);
}

static void wake_often(void *argument)
{
	struct box *box = argument;
	struct random random;

	random_init(&random, ~box->seed);
	while (!load_acquire(&box->over)) {
		struct waiter *waiter = exchange_acq_rel(&box->waiter, NULL);

		if (waiter != NULL) {
			stress_jitter(&random);
			waiter_wake(waiter);
			fetch_add_relaxed(&box->wakes, 1);
		}
		green_yield();
	}
}

static void *wake_from_outside(void *argument)
{
	wake_often(argument);
	return NULL;
}

static void *wait_outside(void *argument)
{
	wait_often(argument);
	return NULL;
}

/*
 * Hunts: the wake comes between "published" and "registers saved" and resumes half-saved registers;
 * the deadline and the wake both make it runnable, so that it runs on two workers; the wake is
 * given to a wait that its deadline has ended, and lost; a late deadline ends the next wait.
 */
TEST(each_wake_that_was_claimed_ends_exactly_one_wait)
{
	enum { PAIRS = 4 };
	static struct box boxes[PAIRS];

	for (uint32_t workers = 1; workers <= 3; workers++) {
		struct green_ref refs[2 * PAIRS];
		pthread_t outside[2];

		memset(boxes, 0, sizeof boxes);
		end_ns = clock_now_ns() + (int64_t)(stress_seconds() * 0.2e9);
		start(workers);
		for (int i = 0; i < PAIRS; i++)
			boxes[i].seed = random_mix(check_seed() + (uint64_t)i);
		/* 0 and 1: green both; 2: woken from outside; 3: a kernel thread waits. */
		for (int i = 0; i < 3; i++)
			CHECK_EQ(green_spawn(&refs[i], runtime, NULL, wait_often, &boxes[i]), 0);
		CHECK_EQ(green_spawn(&refs[3], runtime, NULL, wake_often, &boxes[0]), 0);
		CHECK_EQ(green_spawn(&refs[4], runtime, NULL, wake_often, &boxes[1]), 0);
		CHECK_EQ(green_spawn(&refs[5], runtime, NULL, wake_often, &boxes[3]), 0);
		CHECK_EQ(pthread_create(&outside[0], NULL, wake_from_outside, &boxes[2]), 0);
		CHECK_EQ(pthread_create(&outside[1], NULL, wait_outside, &boxes[3]), 0);
		for (int i = 0; i < 6; i++)
			CHECK_EQ(green_join_until(refs[i], DEADLINE_NEVER), FILAR_OK);
		for (int i = 0; i < 2; i++)
			pthread_join(outside[i], NULL);
		for (int i = 0; i < PAIRS; i++) {
			CHECK_EQ(boxes[i].oks, load_relaxed(&boxes[i].wakes));
			CHECK_EQ(boxes[i].cancels, 0);
		}
		stop();
	}
}

/* ---- yields of few on many workers ---- */

struct runner {
	_Atomic int running; /* how many kernel threads are in the body: 1 */
	uint64_t turns;      /* plain: handed from worker to worker by the switch */
};

static void run_and_yield(void *argument)
{
	struct runner *runner = argument;
	uint64_t turns = 0;

	while (goes_on()) {
		CHECK_EQ(fetch_add_relaxed(&runner->running, 1), 0);
		CHECK_EQ(runner->turns, turns);
		runner->turns = ++turns;
		CHECK_EQ(fetch_sub_relaxed(&runner->running, 1), 1);
		green_yield();
	}
}

/* Hunts: one that yields is published before its registers are saved; an idle worker, of which
 * there is always one, steals it and continues it as it was saved the time before. */
TEST(one_that_yields_is_continued_from_where_it_yielded)
{
	enum { RUNNERS = 4 };
	static struct runner runners[RUNNERS];

	for (uint32_t workers = 2; workers <= 4; workers++) {
		struct green_ref refs[RUNNERS];

		memset(runners, 0, sizeof runners);
		end_ns = clock_now_ns() + (int64_t)(stress_seconds() * 0.1e9);
		start(workers);
		for (int i = 0; i < RUNNERS; i++)
			CHECK_EQ(green_spawn(&refs[i], runtime, NULL, run_and_yield, &runners[i]),
				0);
		for (int i = 0; i < RUNNERS; i++)
			CHECK_EQ(green_join_until(refs[i], DEADLINE_NEVER), FILAR_OK);
		stop();
	}
}

/* ---- cancelling at any moment ---- */

static void wait_until_cancelled(void *argument)
{
	struct box *box = argument;

	while (box->cancels == 0)
		wait_in_box(box, DEADLINE_NEVER);
}

static void cancel_one_by_one(void *argument)
{
	struct random random;

	random_init(&random, check_seed());
	do {
		struct box box = { .seed = 0 };
		struct green_ref ref;
		struct waiter *waiter;

		CHECK_EQ(green_spawn(&ref, runtime, NULL, wait_until_cancelled, &box), FILAR_OK);
		if (random_below(&random, 2) == 0)
			green_yield();
		waiter = random_below(&random, 2) == 0 ? exchange_acq_rel(&box.waiter, NULL) : NULL;
		stress_jitter(&random);
		CHECK_EQ(green_cancel(ref), FILAR_OK);
		if (waiter != NULL)
			waiter_wake(waiter);
		CHECK_EQ(green_join_until(ref, DEADLINE_NEVER), FILAR_OK);
		CHECK_EQ(box.cancels, 1);
		*(uint64_t *)argument += 1;
	} while (goes_on());
}

/* Hunts: the canceller sees RUNNING or WAITING and does nothing more; the waiting one has looked at
 * the flag before, and parks for ever ("Cancelling"). */
TEST(a_cancel_at_any_moment_ends_the_wait)
{
	uint64_t cancels = 0;

	for (uint32_t workers = 1; workers <= 3; workers++) {
		struct green_ref ref;

		end_ns = clock_now_ns() + (int64_t)(stress_seconds() * 0.1e9);
		start(workers);
		CHECK_EQ(green_spawn(&ref, runtime, NULL, cancel_one_by_one, &cancels), FILAR_OK);
		CHECK_EQ(green_join_until(ref, DEADLINE_NEVER), FILAR_OK);
		stop();
	}
	CHECK_GE(cancels, 1);
}

static void *cancel_from_outside(void *argument)
{
	cancel_one_by_one(argument);
	return NULL;
}

/* Hunts: what a kernel thread posts finds the green thread between its look at the flag and its
 * park; a cancel that relies on one posted before, which has already looked at the number. */
TEST(a_cancel_from_outside_at_any_moment_ends_the_wait)
{
	uint64_t cancels[2] = { 0 };

	for (uint32_t workers = 1; workers <= 3; workers++) {
		pthread_t outside[2];

		end_ns = clock_now_ns() + (int64_t)(stress_seconds() * 0.1e9);
		start(workers);
		for (int i = 0; i < 2; i++)
			CHECK_EQ(
				pthread_create(&outside[i], NULL, cancel_from_outside, &cancels[i]),
				0);
		for (int i = 0; i < 2; i++)
			pthread_join(outside[i], NULL);
		stop();
	}
	CHECK_GE(cancels[0], 1);
	CHECK_GE(cancels[1], 1);
}

/* Cancels it again and again, as others do, while it ends and its slot goes to the next. */
static void *cancel_all_often(void *argument)
{
	while (!load_acquire((_Atomic bool *)argument))
		runtime_cancel_all(runtime);
	return NULL;
}

/* Hunts: two posts of one descriptor on their way at once. */
TEST(cancels_of_one_green_thread_by_many_are_posted_once)
{
	_Atomic bool over = false;
	pthread_t outside[2];
	struct green_ref ref;
	uint64_t cancels = 0;

	end_ns = clock_now_ns() + (int64_t)(stress_seconds() * 0.2e9);
	start(1);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(pthread_create(&outside[i], NULL, cancel_all_often, &over), 0);
	do {
		struct box box = { .seed = 0 };

		CHECK_EQ(green_spawn(&ref, runtime, NULL, wait_until_cancelled, &box), FILAR_OK);
		CHECK_EQ(green_join_until(ref, DEADLINE_NEVER), FILAR_OK);
		CHECK_EQ(box.cancels, 1);
		cancels++;
	} while (goes_on());
	store_release(&over, true);
	for (int i = 0; i < 2; i++)
		pthread_join(outside[i], NULL);
	stop();
	CHECK_GE(cancels, 1);
}

/* ---- join against the end ---- */

static void end_soon(void *argument)
{
	uint64_t turns = (uint64_t)(uintptr_t)argument & 3;

	while (turns-- > 0)
		green_yield();
}

static void join_in_all_ways(void *argument)
{
	struct random random;

	random_init(&random, (uint64_t)(uintptr_t)argument + check_seed());
	while (goes_on()) {
		uint32_t draw = random_below(&random, 16);
		enum filar_status status;
		struct green_ref ref;

		CHECK_EQ(green_spawn(&ref, runtime, NULL, end_soon, (void *)(uintptr_t)draw), 0);
		if (draw < 2) {
			CHECK_EQ(green_detach(ref), FILAR_OK);
			continue;
		}
		do {
			status =
				green_join_until(ref, clock_now_ns() + random_below(&random, 3000));
		} while (status == FILAR_TIMED_OUT);
		CHECK_EQ(status, FILAR_OK);
	}
}

static void *join_outside(void *argument)
{
	join_in_all_ways(argument);
	return NULL;
}

/* Hunts: the joiner's deadline passes while the green thread ends and has taken the joiner; a slot
 * given back twice; a stack reused while somebody stands on it. */
TEST(join_and_end_meet_in_any_order)
{
	for (uint32_t workers = 1; workers <= 3; workers++) {
		struct green_ref refs[3];
		pthread_t outside;

		end_ns = clock_now_ns() + (int64_t)(stress_seconds() * 0.1e9);
		start(workers);
		for (uintptr_t i = 0; i < 3; i++)
			CHECK_EQ(green_spawn(&refs[i], runtime, NULL, join_in_all_ways, (void *)i),
				0);
		CHECK_EQ(pthread_create(&outside, NULL, join_outside, (void *)7), 0);
		for (int i = 0; i < 3; i++)
			CHECK_EQ(green_join_until(refs[i], DEADLINE_NEVER), FILAR_OK);
		pthread_join(outside, NULL);
		stop();
	}
}

/* ---- shutdown against the last end ---- */

/* Hunts: the last green thread ends just when `closing` is set, and nobody checks ("Shutdown"). */
TEST(shutdown_notices_the_last_end_at_any_moment)
{
	int64_t stop_ns = clock_now_ns() + (int64_t)(stress_seconds() * 0.2e9);
	uint32_t workers = 1;

	do {
		start(workers);
		for (uintptr_t i = 0; i < 4; i++)
			CHECK_EQ(green_spawn(NULL, runtime, NULL, end_soon, (void *)i), FILAR_OK);
		stop();
		workers = workers % 3 + 1;
	} while (clock_now_ns() < stop_ns);
}

TEST_MAIN()
