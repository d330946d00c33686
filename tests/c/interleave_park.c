/*
 * interleave_park.c - wakes, deadlines, cancels and ends that meet a green thread at every step of
 * its wait: README.md of sched, "Park and unpark", "The end of a green thread", "Shutdown".  The
 * real runtime; workers are asleep when a scenario begins.
 */
#include "green/runtime.h"
#include "green/waiter.h"
#include "interleave.h"

static struct runtime *runtime;
static _Atomic(struct waiter *) box;
static struct cell stack_cell; /* the green thread's, whichever worker it stands on */
static struct cell gift;       /* the waker's until it wakes, then the waiter's */
static enum filar_status outcome;
static struct green_ref waiting;

static void begin(uint32_t workers)
{
	struct runtime_options options;

	runtime_options_init(&options);
	options.workers = workers;
	options.spares_max = 0;
	CHECK_EQ(runtime_create(&runtime, &options), FILAR_OK);
	atomic_init(&box, NULL);
	outcome = FILAR_BUSY;
	interleave_begin();
}

static void finish(void)
{
	interleave_end();
	CHECK_EQ(runtime_shutdown_until(runtime, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(runtime_destroy(runtime), FILAR_OK);
}

static void join(struct green_ref ref)
{
	CHECK_EQ(green_join_until(ref, DEADLINE_NEVER), FILAR_OK);
}

/* One wait in the box, with what waiter.h asks for when it ends without a wake. */
static void wait_in_box(int64_t deadline_ns)
{
	struct waiter waiter, *mine = &waiter;

	touch(&stack_cell);
	waiter_init(&waiter);
	store_release(&box, &waiter);
	touch(&stack_cell); /* it stands on its stack until G1 */
	outcome = waiter_wait_until(&waiter, deadline_ns, WAIT_EVENT, WAIT_CANCELLABLE);
	if (outcome != FILAR_OK && !cas_acq_rel(&box, &mine, NULL))
		outcome = waiter_wait_until(&waiter, DEADLINE_NEVER, WAIT_EVENT, WAIT_SHIELDED);
	touch(&stack_cell);
	if (outcome == FILAR_OK)
		touch(&gift);
}

static void wait_for_ever(void *unused)
{
	(void)unused;
	wait_in_box(DEADLINE_NEVER);
}

static void wait_until_100(void *unused)
{
	(void)unused;
	wait_in_box(100);
}

static bool somebody_waits(void *unused)
{
	(void)unused;
	return atomic_load(&box) != NULL || outcome != FILAR_BUSY;
}

/* As soon as somebody is in the box, and at any moment after. */
static void wake(void *unused)
{
	struct waiter *waiter;

	(void)unused;
	interleave_until(somebody_waits, NULL);
	waiter = exchange_acq_rel(&box, NULL);
	if (waiter == NULL)
		return;
	touch(&gift);
	waiter_wake(waiter);
}

static void spawn(struct green_ref *ref, green_body *body)
{
	CHECK_EQ(green_spawn(ref, runtime, NULL, body, NULL), FILAR_OK);
}

static void woken_by_a_kernel_thread(uint32_t workers)
{
	begin(workers);
	spawn(&waiting, wait_for_ever);
	wake(NULL);
	join(waiting);
	CHECK_EQ(outcome, FILAR_OK);
	finish();
}

static void woken_on_one_worker(void)
{
	woken_by_a_kernel_thread(1);
}

static void woken_on_two_workers(void)
{
	woken_by_a_kernel_thread(2);
}

static void wake_the_other(void *unused)
{
	(void)unused;
	spawn(&waiting, wait_for_ever);
	while (load_relaxed(&box) == NULL) {
		green_yield();
		interleave_pause();
	}
	wake(NULL);
	join(waiting);
}

/* The waker is a green thread itself, here or on the other worker, and joins it in the end. */
static void woken_by_a_green_thread(void)
{
	struct green_ref waker;

	begin(2);
	spawn(&waker, wake_the_other);
	join(waker);
	CHECK_EQ(outcome, FILAR_OK);
	finish();
}

/* The wait is ended by its deadline, by the wake, or by one after the other has claimed it. */
static void woken_or_timed_out(void)
{
	struct kthread *waker;

	begin(1);
	CHECK_EQ(kthread_create(&waker, NULL, wake, NULL), FILAR_OK);
	spawn(&waiting, wait_until_100);
	interleave_set_time(150);
	join(waiting);
	interleave_join(waker);
	CHECK(outcome == FILAR_OK || outcome == FILAR_TIMED_OUT);
	finish();
}

/* "Cancelling": before, while and after it parks. */
static void cancelled(void)
{
	begin(1);
	spawn(&waiting, wait_for_ever);
	CHECK_EQ(green_cancel(waiting), FILAR_OK);
	join(waiting);
	CHECK_EQ(outcome, FILAR_CANCELLED);
	finish();
}

static void cancel_the_other(void *unused)
{
	(void)unused;
	spawn(&waiting, wait_for_ever);
	CHECK_EQ(green_cancel(waiting), FILAR_OK);
	join(waiting);
}

/* The same by a green thread, which looks at the park word itself: here or on the other worker. */
static void cancelled_by_a_green_thread(void)
{
	struct green_ref canceller;

	begin(2);
	spawn(&canceller, cancel_the_other);
	join(canceller);
	CHECK_EQ(outcome, FILAR_CANCELLED);
	finish();
}

static void woken_or_cancelled(void)
{
	struct kthread *waker;

	begin(1);
	CHECK_EQ(kthread_create(&waker, NULL, wake, NULL), FILAR_OK);
	spawn(&waiting, wait_for_ever);
	CHECK_EQ(green_cancel(waiting), FILAR_OK);
	join(waiting);
	interleave_join(waker);
	CHECK(outcome == FILAR_OK || outcome == FILAR_CANCELLED);
	finish();
}

static void leave_a_gift(void *unused)
{
	(void)unused;
	touch(&gift);
}

/* The joiner's deadline passes while the green thread ends and has taken its joiner. */
static void joined_or_given_up(void *unused)
{
	struct green_ref ref;
	enum filar_status status;

	(void)unused;
	spawn(&ref, leave_a_gift);
	status = green_join_until(ref, 100);
	if (status == FILAR_TIMED_OUT)
		status = green_join_until(ref, DEADLINE_NEVER);
	CHECK_EQ(status, FILAR_OK);
	touch(&gift);
}

static void a_join_with_a_deadline(void)
{
	struct green_ref joiner;

	begin(2);
	spawn(&joiner, joined_or_given_up);
	interleave_set_time(150);
	join(joiner);
	finish();
}

static void a_join_from_outside(void)
{
	struct green_ref ref;

	begin(2);
	spawn(&ref, leave_a_gift);
	join(ref);
	touch(&gift);
	finish();
}

/* The last one ends while the owner shuts down, and takes everything away at once. */
static void shut_down(uint32_t workers)
{
	begin(workers);
	spawn(NULL, leave_a_gift);
	CHECK_EQ(runtime_shutdown_until(runtime, DEADLINE_NEVER), FILAR_OK);
	touch(&gift);
	CHECK_EQ(runtime_destroy(runtime), FILAR_OK);
	interleave_end();
}

static void shut_down_one_worker(void)
{
	shut_down(1);
}

static void shut_down_two_workers(void)
{
	shut_down(2);
}

/* "Submitting from outside": what the waker wakes is the last that keeps the runtime alive. */
static void shut_down_under_the_waker(void)
{
	struct kthread *waker;

	begin(1);
	CHECK_EQ(kthread_create(&waker, NULL, wake, NULL), FILAR_OK);
	spawn(NULL, wait_for_ever);
	CHECK_EQ(runtime_shutdown_until(runtime, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(runtime_destroy(runtime), FILAR_OK);
	interleave_join(waker);
	interleave_end();
}

#define EXPLORE(scenario) CHECK(explore(#scenario, scenario, interleave_seconds()).finished)

TEST(no_wake_is_lost_and_none_is_doubled)
{
	EXPLORE(woken_on_one_worker);
	EXPLORE(woken_on_two_workers);
	EXPLORE(woken_by_a_green_thread);
}

TEST(a_deadline_and_a_wake_end_a_wait_once)
{
	EXPLORE(woken_or_timed_out);
}

TEST(a_cancel_is_seen_whenever_it_comes)
{
	EXPLORE(cancelled);
	EXPLORE(woken_or_cancelled);
}

TEST(an_end_and_a_join_find_each_other)
{
	EXPLORE(a_join_from_outside);
	EXPLORE(a_join_with_a_deadline);
}

TEST(somebody_notices_the_end_and_nobody_touches_what_is_gone)
{
	EXPLORE(shut_down_one_worker);
	EXPLORE(shut_down_two_workers);
	EXPLORE(shut_down_under_the_waker);
}

TEST(a_look_or_an_order_that_is_missing_is_found)
{
	static const struct mutant mutants[] = {
		{ "change", WEAKEN_ORDER, "G1, G2", woken_on_two_workers },
		{ "cancel_here", WEAKEN_FENCE, "the canceller's fence",
			cancelled_by_a_green_thread },
		{ "settle_end", WEAKEN_ORDER, "J1", a_join_from_outside },
		{ "kernel_wait_until", WEAKEN_ORDER, "G5", a_join_from_outside },
		{ "kernel_wake", WEAKEN_ORDER, "G4", a_join_from_outside },
		{ "count_live", WEAKEN_ORDER, "R3", shut_down_two_workers },
	};

	check_mutants(mutants, FILAR_COUNT_OF(mutants));
}

TEST_MAIN()
