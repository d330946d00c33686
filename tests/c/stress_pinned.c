/*
 * stress_pinned.c - green threads that stay on their worker, among others that do not.
 */
#include "green/runtime.h"
#include "green/waiter.h"
#include "stress.h"

#define PINNED  12
#define ROAMING 6

/* One pinned green thread: where it lives, and a mailbox for its wait (stress_park.c). */
struct member {
	_Atomic(struct waiter *) waiter;
	_Atomic uint64_t wakes;
	uint64_t oks, seed;
	pthread_t thread; /* the kernel thread it was pinned on */
	bool inside;      /* between arrive and leave */
	uint64_t arrivals;
	_Atomic bool over;
};

static struct runtime *runtime;
static struct member members[PINNED];
static int64_t end_ns;
static _Atomic int begun, ended;

static enum filar_status note_begin(struct worker *worker)
{
	worker->carrier = &begun;
	fetch_add_relaxed(&begun, 1);
	return FILAR_OK;
}

static void note_end(struct worker *worker)
{
	CHECK(worker->carrier == &begun);
	fetch_add_relaxed(&ended, 1);
}

static void note_leave(struct green *green, struct work *next)
{
	struct member *member = green->attended;

	CHECK(member->inside && pthread_equal(pthread_self(), member->thread));
	CHECK(next != &green->work);
	member->inside = false;
}

static void note_arrive(struct green *green)
{
	struct member *member = green->attended;

	CHECK(!member->inside && pthread_equal(pthread_self(), member->thread));
	member->inside = true;
	member->arrivals++;
}

static const struct attendant attendant = {
	.begins = note_begin, .ends = note_end, .leave = note_leave, .arrive = note_arrive
};

static bool goes_on(void)
{
	return clock_now_ns() < end_ns;
}

static void wait_in_box(struct member *member, int64_t deadline_ns)
{
	struct waiter waiter, *mine = &waiter;
	enum filar_status status;

	waiter_init(&waiter);
	store_release(&member->waiter, &waiter);
	status = waiter_wait_until(&waiter, deadline_ns, WAIT_EVENT, WAIT_CANCELLABLE);
	if (status != FILAR_OK && !cas_acq_rel(&member->waiter, &mine, NULL))
		status = waiter_wait_until(&waiter, DEADLINE_NEVER, WAIT_EVENT, WAIT_SHIELDED);
	member->oks += status == FILAR_OK;
}

static void one_step(struct member *member, struct random *random)
{
	switch (random_below(random, 8)) {
	case 0:
		CHECK_EQ(green_sleep_until(clock_now_ns() + random_below(random, 50000)), 0);
		return;
	case 1:
	case 2:
		green_yield();
		return;
	case 3:
		/* Nothing but a wake ends it: a wake that is lost hangs the test. */
		if (goes_on()) {
			wait_in_box(member, DEADLINE_NEVER);
			return;
		}
		/* fall through */
	default:
		wait_in_box(member, clock_now_ns() + random_below(random, 100000));
	}
}

static void live_pinned(void *argument)
{
	struct member *member = argument;
	struct random random;

	random_init(&random, member->seed);
	do {
		green_yield(); /* not pinned: may go elsewhere */
		member->thread = pthread_self();
		member->inside = true;
		green_pin(green_self(), member);
		/* Once in any case, however late it was started. */
		while (member->arrivals == 0)
			CHECK_EQ(green_sleep_until(clock_now_ns() + NS_PER_MS), 0);
		for (uint32_t i = random_below(&random, 200); i > 0 && goes_on(); i--) {
			one_step(member, &random);
			CHECK(member->inside && pthread_equal(pthread_self(), member->thread));
			CHECK(green_self()->work.home == worker_here());
		}
		green_unpin(green_self());
	} while (goes_on());
	store_release(&member->over, true);
}

static bool wake_all_once(struct random *random)
{
	bool over = true;

	for (int i = 0; i < PINNED; i++) {
		struct waiter *waiter = exchange_acq_rel(&members[i].waiter, NULL);

		over = over && load_acquire(&members[i].over);
		if (waiter == NULL)
			continue;
		stress_jitter(random);
		waiter_wake(waiter);
		fetch_add_relaxed(&members[i].wakes, 1);
	}
	return over;
}

static void wake_roaming(void *argument)
{
	struct random random;

	random_init(&random, check_seed() + (uint64_t)(uintptr_t)argument);
	while (!wake_all_once(&random)) {
		if (random_below(&random, 4) == 0)
			(void)green_sleep_until(clock_now_ns() + random_below(&random, 100000));
		green_yield();
	}
}

static void *wake_from_outside(void *argument)
{
	struct random random;

	(void)argument;
	random_init(&random, ~check_seed());
	while (!wake_all_once(&random))
		sched_yield();
	return NULL;
}

static void live_through(uint32_t workers, int roaming, double seconds)
{
	struct runtime_options options;
	struct green_ref refs[PINNED + ROAMING];
	pthread_t outside;
	int count = 0;

	runtime_options_init(&options);
	options.workers = workers;
	options.attendant = &attendant;
	store_relaxed(&begun, 0);
	store_relaxed(&ended, 0);
	memset(members, 0, sizeof members);
	alarm((unsigned)stress_seconds() + test_seconds_max());
	end_ns = clock_now_ns() + (int64_t)(seconds * 1e9);
	CHECK_EQ(runtime_create(&runtime, &options), FILAR_OK);
	for (int i = 0; i < PINNED; i++) {
		members[i].seed = random_mix(check_seed() + (uint64_t)i);
		CHECK_EQ(green_spawn(&refs[count++], runtime, NULL, live_pinned, &members[i]), 0);
	}
	for (int i = 0; i < roaming; i++)
		CHECK_EQ(green_spawn(&refs[count++], runtime, NULL, wake_roaming, &refs[i]), 0);
	CHECK_EQ(pthread_create(&outside, NULL, wake_from_outside, NULL), 0);
	for (int i = 0; i < count; i++)
		CHECK_EQ(green_join_until(refs[i], DEADLINE_NEVER), FILAR_OK);
	pthread_join(outside, NULL);
	for (int i = 0; i < PINNED; i++) {
		CHECK_EQ(members[i].oks, load_relaxed(&members[i].wakes));
		CHECK(members[i].arrivals > 0);
	}
	CHECK_EQ(runtime_shutdown_until(runtime, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(runtime_destroy(runtime), FILAR_OK);
	/* On a busy machine a spare may have stood in. */
	CHECK_GE(load_relaxed(&begun), workers);
	CHECK_EQ(load_relaxed(&ended), load_relaxed(&begun));
}

/*
 * Hunts: a thief, the joiner's short cut or a deadline's wake runs pinned work on another worker;
 * pinned work sent between its worker's last look and its sleep stays in the inbox; a wake for that
 * worker goes to another; pinned and other work keep each other waiting.
 */
TEST(a_pinned_green_thread_never_leaves_its_kernel_thread)
{
	for (uint32_t workers = 1; workers <= 4; workers++)
		live_through(workers, ROAMING, stress_seconds() * 0.15);
}

/* Hunts the same with workers that sleep most of the time: only a kernel thread wakes. */
TEST(what_is_sent_to_a_sleeping_worker_wakes_it)
{
	for (uint32_t workers = 1; workers <= 3; workers++)
		live_through(workers, 0, stress_seconds() * 0.13);
}

TEST_MAIN()
