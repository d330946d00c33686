/*
 * stress_fork.c - forks at any moment of a busy runtime, from kernel and from green threads.
 *
 * The child does what its user may do: ask, destroy, make a runtime of its own.  The last not under
 * ThreadSanitizer, which refuses threads after a fork; neither of the last two under
 * AddressSanitizer, whose allocator (unlike libc's) is locked for ever in a child if another thread
 * was inside it.
 */
#include <errno.h>

#include "crowd.h"

static void end_soon(void *unused)
{
	(void)unused;
	green_yield();
}

static void sleep_shortly(void *unused)
{
	(void)unused;
	(void)green_sleep_until(clock_now_ns() + 50 * NS_PER_US);
}

/* Never returns.  Only what this thread owns is there. */
static void be_the_child(bool on_green)
{
	struct runtime *old = crowd_runtime;

	alarm(30);
	CHECK_EQ(green_spawn(NULL, old, NULL, end_soon, NULL), FILAR_FORKED);
	CHECK_EQ(runtime_shutdown_until(old, DEADLINE_NEVER), FILAR_FORKED);
	if (!on_green && !FILAR_ASAN) /* a green thread stands on a stack of it */
		CHECK_EQ(runtime_destroy(old), FILAR_OK);
	if (!FILAR_TSAN && !FILAR_ASAN) {
		crowd_start(2);
		crowd_join(crowd_spawn(end_soon, NULL));
		crowd_stop();
	}
	_exit(0);
}

static void fork_now(bool on_green)
{
	int status;
	pid_t child = fork();

	if (child == 0)
		be_the_child(on_green);
	CHECK(child > 0);
	while (waitpid(child, &status, 0) != child)
		CHECK_EQ(errno, EINTR);
	CHECK_EQ(status, 0);
}

static void fork_often(struct crowd_thread *self)
{
	if (FILAR_ASAN) /* else the child would allocate it */
		(void)self_get_or_create();
	while (stress_goes_on()) {
		fork_now(!self->kernel);
		crowd_jitter(self);
	}
}

/* Keeps every lock and queue of the runtime in use. */
static void keep_busy(struct crowd_thread *self)
{
	while (stress_goes_on()) {
		struct green_ref ref = crowd_spawn(
			random_below(&self->random, 2) == 0 ? end_soon : sleep_shortly, NULL);

		crowd_jitter(self);
		crowd_join(ref);
	}
}

/* Hunts: a lock that some other thread held at the moment of the fork and that the child waits for;
 * a wait of the parent that the child takes part in. */
TEST(a_fork_at_any_moment_leaves_a_child_that_answers_and_a_parent_that_goes_on)
{
	static void (*const bodies[])(struct crowd_thread *) = { keep_busy, fork_often };

	crowd_run(CROWD_MIXED, bodies, 2, 6, NULL, 0.5);
	crowd_run(CROWD_GREEN_TWO, bodies, 2, 4, NULL, 0.5);
}

TEST_MAIN()
