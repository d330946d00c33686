/*
 * test_green.c - green threads as their users see them: spawn, join, yield, sleep, cancel, end; and
 * what a runtime says when something is wrong.
 */
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/memory.h"
#include "check.h"
#include "child_says.h"
#include "fail.h"
#include "green/runtime.h"
#include "green/waiter.h"
#include "greens.h"
#include "os/clock.h"

static void start(uint32_t workers)
{
	struct runtime_options options;

	runtime_options_init(&options);
	options.workers = workers;
	CHECK_EQ(runtime_create(&runtime, &options), FILAR_OK);
}

/* Runs a body on a green thread of a fresh runtime of one and of three workers. */
static void on_one_and_three_workers(green_body *body, void *argument)
{
	uint32_t workers[] = { 1, 3 };

	for (size_t i = 0; i < 2; i++) {
		start(workers[i]);
		join(spawn(body, argument));
		stop();
	}
}

/* qemu's user mode does not survive a fork with several threads. */
static bool under_qemu(void)
{
	return getenv("FILAR_UNDER_QEMU") != NULL;
}

static bool is_parked(struct green_ref ref)
{
	return load_acquire(&ref.green->state) == GREEN_PARKED;
}

/* On a green thread: lets others run until it is so. */
#define YIELD_UNTIL(condition)                                                                     \
	do {                                                                                       \
		while (!(condition))                                                               \
			green_yield();                                                             \
	} while (0)

/* ---- spawn, join, yield ---- */

static void add_one(void *argument)
{
	fetch_add_relaxed((_Atomic int *)argument, 1);
}

TEST(a_green_thread_runs_its_body_once_and_is_joined_from_a_kernel_thread)
{
	_Atomic int count = 0;

	for (uint32_t workers = 1; workers <= 3; workers++) {
		start(workers);
		join(spawn(add_one, &count));
		CHECK_EQ(load_relaxed(&count), (int)workers);
		stop();
	}
}

struct order {
	_Atomic int step;
	int child, spawner; /* the step at which each ran */
};

static void note_child(void *argument)
{
	struct order *order = argument;

	order->child = fetch_add_relaxed(&order->step, 1);
}

static void spawn_run_first(void *argument)
{
	static const struct green_options options = { .run_first = true };
	struct order *order = argument;
	struct green_ref ref;

	CHECK_EQ(green_spawn(&ref, runtime, &options, note_child, order), FILAR_OK);
	order->spawner = fetch_add_relaxed(&order->step, 1);
	join(ref);
}

TEST(a_child_that_is_to_run_first_has_ended_when_spawn_returns)
{
	struct order order = { 0 };

	start(1);
	join(spawn(spawn_run_first, &order));
	CHECK_EQ(order.child, 0);
	CHECK_EQ(order.spawner, 1);
	stop();
}

/* A tree whose every node is spawned to run first: spawners are stolen while they wait. */
struct tree {
	int depth, leaves;
};

static void grow(void *argument)
{
	static const struct green_options options = { .run_first = true };
	struct tree *tree = argument, branches[3];
	struct green_ref refs[3];

	tree->leaves = tree->depth == 0;
	for (int i = 0; i < 3 && tree->depth > 0; i++) {
		branches[i].depth = tree->depth - 1;
		CHECK_EQ(green_spawn(&refs[i], runtime, &options, grow, &branches[i]), FILAR_OK);
	}
	for (int i = 0; i < 3 && tree->depth > 0; i++) {
		join(refs[i]);
		tree->leaves += branches[i].leaves;
	}
}

TEST(a_tree_that_runs_children_first_has_all_its_leaves_on_any_number_of_workers)
{
	for (uint32_t workers = 1; workers <= 3; workers++) {
		struct tree tree = { .depth = 6 };

		start(workers);
		join(spawn(grow, &tree));
		CHECK_EQ(tree.leaves, 729);
		stop();
	}
}

struct patience {
	_Atomic int turns; /* of the one that yields */
};

static void count_own_turns(void *argument)
{
	struct patience *patience = argument;

	for (int i = 0; i < 5; i++) {
		fetch_add_relaxed(&patience->turns, 1);
		green_yield();
	}
}

static void end_at_once(void *argument)
{
	(void)argument;
}

static void fork_until_others_had_turns(void *argument)
{
	static const struct green_options options = { .run_first = true };
	struct patience *patience = argument;

	while (load_relaxed(&patience->turns) < 5) {
		struct green_ref ref;

		CHECK_EQ(green_spawn(&ref, runtime, &options, end_at_once, NULL), FILAR_OK);
		join(ref);
	}
}

/* Its spawner comes back after each child, before what is in the queue; but not for ever. */
TEST(one_that_forks_on_and_on_does_not_hold_up_the_queue)
{
	for (uint32_t workers = 1; workers <= 2; workers++) {
		struct patience patience = { 0 };
		struct green_ref forker, yielder;

		start(workers);
		forker = spawn(fork_until_others_had_turns, &patience);
		yielder = spawn(count_own_turns, &patience);
		join(forker);
		join(yielder);
		stop();
	}
}

/* Nobody is there to step back: it is a spawn like any other. */
TEST(a_kernel_thread_may_ask_for_run_first)
{
	static const struct green_options options = { .run_first = true };
	_Atomic int count = 0;
	struct green_ref ref;

	start(1);
	CHECK_EQ(green_spawn(&ref, runtime, &options, add_one, &count), FILAR_OK);
	join(ref);
	CHECK_EQ(load_relaxed(&count), 1);
	stop();
}

static void spawn_and_join_thousand(void *argument)
{
	static struct green_ref refs[1000];

	for (int i = 0; i < 1000; i++)
		refs[i] = spawn(add_one, argument);
	for (int i = 0; i < 1000; i++)
		join(refs[999 - i]);
}

TEST(a_thousand_are_spawned_and_joined_from_a_green_thread)
{
	_Atomic int count = 0;

	on_one_and_three_workers(spawn_and_join_thousand, &count);
	CHECK_EQ(load_relaxed(&count), 2000);
}

struct turns {
	int order[64];
	int used;
};

static void take_four_turns(void *argument)
{
	struct turns *turns = argument;
	int me = (int)(green_ref_of(green_self()).number & 63);

	for (int i = 0; i < 4; i++) {
		turns->order[turns->used++] = me;
		green_yield();
	}
}

static void spawn_three_that_take_turns(void *argument)
{
	struct green_ref refs[3];

	for (int i = 0; i < 3; i++)
		refs[i] = spawn(take_four_turns, argument);
	for (int i = 0; i < 3; i++)
		join(refs[i]);
}

TEST(with_one_worker_yield_goes_round_in_order)
{
	struct turns turns = { .used = 0 };

	start(1);
	join(spawn(spawn_three_that_take_turns, &turns));
	CHECK_EQ(turns.used, 12);
	if (!FILAR_HARD) { /* a queue of four spills, which changes the order */
		for (int i = 3; i < 12; i++)
			CHECK_EQ(turns.order[i], turns.order[i - 3]);
	}
	CHECK(turns.order[0] != turns.order[1] && turns.order[1] != turns.order[2]);
	stop();
}

enum { YIELDS = FILAR_TSAN ? 10 : 100 }; /* ThreadSanitizer takes microseconds for each */

static void yield_and_count(void *argument)
{
	for (int i = 0; i < YIELDS; i++) {
		fetch_add_relaxed((_Atomic int *)argument, 1);
		green_yield();
	}
}

TEST(more_green_threads_than_any_queue_holds_all_come_round)
{
	enum { COUNT = 3000 };
	static struct green_ref refs[COUNT];
	_Atomic int count = 0;

	start(2);
	for (int i = 0; i < COUNT; i++)
		refs[i] = spawn(yield_and_count, &count);
	for (int i = 0; i < COUNT; i++)
		join(refs[i]);
	CHECK_EQ(load_relaxed(&count), YIELDS * COUNT);
	stop();
}

TEST(yield_on_a_kernel_thread_gives_the_cpu_away_and_returns)
{
	green_yield();
	CHECK(green_self() == NULL);
}

/* ---- the stack ---- */

static void check_alignment(void *argument)
{
	_Alignas(32) volatile char local[32];

	local[0] = 0;
	*(uintptr_t *)argument =
		((uintptr_t)__builtin_frame_address(0) & 15) | ((uintptr_t)local & 31);
}

TEST(a_body_starts_on_an_aligned_stack_whatever_the_slot)
{
	start(1);
	for (int i = 0; i < 100; i++) {
		uintptr_t misalignment = 1;

		join(spawn(check_alignment, &misalignment));
		CHECK_EQ(misalignment, 0);
	}
	stop();
}

static void use_stack(void *argument)
{
	volatile char block[200 * 1024];

	for (size_t i = 0; i < sizeof block; i += 512)
		block[i] = (char)i;
	fetch_add_relaxed((_Atomic int *)argument, 1);
}

TEST(a_larger_stack_is_given_when_asked_for)
{
	struct green_options options = { .stack_bytes = (size_t)256 * 1024, .name = "deep" };
	struct green_ref ref;
	_Atomic int count = 0;

	start(1);
	CHECK_EQ(green_spawn(&ref, runtime, &options, use_stack, &count), FILAR_OK);
	join(ref);
	CHECK_EQ(load_relaxed(&count), 1);
	options.stack_bytes = STACK_BYTES_LARGEST + 1;
	CHECK_EQ(green_spawn(&ref, runtime, &options, use_stack, &count), FILAR_INVALID);
	CHECK_TEXT_HAS(filar_status_detail(), "at most");
	stop();
}

static int recurse(volatile int depth)
{
	volatile char block[256];

	block[0] = (char)depth;
	return depth == 0 ? 0 : recurse(depth + 1) + block[depth & 127];
}

static void overflow(void *argument)
{
	*(volatile int *)argument = recurse(1);
}

static void let_one_overflow(void)
{
	struct green_options options = { .name = "hungry", .stack_bytes = 32768 };
	struct green_ref ref;
	int sink = 0;

	start(2);
	for (int i = 0; i < 10; i++)
		join(spawn(check_alignment, &(uintptr_t){ 0 }));
	CHECK_EQ(green_spawn(&ref, runtime, &options, overflow, &sink), FILAR_OK);
	join(ref);
}

TEST(an_overflow_names_the_green_thread_its_size_and_the_remedy)
{
	static char text[65536];
	int status = child_says(let_one_overflow, text, sizeof text);
	CHECK(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
	CHECK_TEXT_HAS(text, "\"hungry\" has overflowed its stack of 32768 bytes");
	CHECK_TEXT_HAS(text, "larger stack_bytes");
}

/* ---- handles ---- */

static void join_itself(void *argument)
{
	*(int *)argument = green_join_until(green_ref_of(green_self()), DEADLINE_NEVER);
}

TEST(joining_itself_is_a_deadlock)
{
	int status = 0;

	start(1);
	join(spawn(join_itself, &status));
	CHECK_EQ(status, FILAR_DEADLOCK);
	stop();
}

TEST(joining_twice_and_after_detaching_is_said)
{
	_Atomic int count = 0;
	struct green_ref ref;

	start(2);
	ref = spawn(add_one, &count);
	join(ref);
	CHECK_EQ(green_join_until(ref, DEADLINE_NEVER), FILAR_WRONG_STATE);
	CHECK_TEXT_HAS(filar_status_detail(), "joined or detached before");
	/* The slot is another's now; the old handle still does not reach it. */
	join(spawn(add_one, &count));
	CHECK_EQ(green_join_until(ref, DEADLINE_NEVER), FILAR_WRONG_STATE);
	CHECK_EQ(green_cancel(ref), FILAR_WRONG_STATE);
	CHECK_EQ(green_detach(ref), FILAR_WRONG_STATE);
	stop();
}

struct gate {
	_Atomic bool open;
	_Atomic int passed;
};

static void pass_gate(void *argument)
{
	struct gate *gate = argument;

	YIELD_UNTIL(load_acquire(&gate->open));
	fetch_add_relaxed(&gate->passed, 1);
}

TEST(a_detached_one_ends_by_itself_and_shutdown_waits_for_it)
{
	struct gate gate = { false, 0 };
	struct green_options options = { .detached = true };
	struct runtime_stats stats;

	start(2);
	CHECK_EQ(green_spawn(NULL, runtime, NULL, pass_gate, &gate), FILAR_OK);
	CHECK_EQ(green_spawn(NULL, runtime, &options, pass_gate, &gate), FILAR_OK);
	CHECK_EQ(green_detach(spawn(pass_gate, &gate)), FILAR_OK);
	CHECK_EQ(runtime_shutdown_until(runtime, clock_now_ns()), FILAR_TIMED_OUT);
	store_release(&gate.open, true);
	CHECK_EQ(runtime_shutdown_until(runtime, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(load_relaxed(&gate.passed), 3);
	runtime_read_stats(runtime, &stats);
	CHECK_EQ(stats.live, 0);
	CHECK_EQ(stats.unjoined, 0);
	CHECK_EQ(runtime_destroy(runtime), FILAR_OK);
}

TEST(a_join_with_a_deadline_gives_up_and_may_be_tried_again)
{
	struct gate gate = { false, 0 };
	struct green_ref ref;

	start(1);
	ref = spawn(pass_gate, &gate);
	CHECK_EQ(green_join_until(ref, clock_now_ns() + NS_PER_MS), FILAR_TIMED_OUT);
	CHECK_EQ(green_join_until(ref, 0), FILAR_TIMED_OUT);
	store_release(&gate.open, true);
	join(ref);
	stop();
}

static void join_with_deadlines(void *argument)
{
	struct gate gate = { false, 0 };
	struct green_ref ref = spawn(pass_gate, &gate);
	(void)argument;

	CHECK_EQ(green_join_until(ref, 0), FILAR_TIMED_OUT);
	CHECK_EQ(green_join_until(ref, clock_now_ns() + NS_PER_MS), FILAR_TIMED_OUT);
	CHECK_EQ(green_join_until(ref, clock_now_ns() + NS_PER_MS), FILAR_TIMED_OUT);
	store_release(&gate.open, true);
	join(ref);
}

TEST(a_green_joiner_gives_up_at_its_deadline_and_may_try_again)
{
	on_one_and_three_workers(join_with_deadlines, NULL);
}

static void join_it(void *argument)
{
	join(*(struct green_ref *)argument);
}

TEST(a_second_joiner_is_told_that_there_is_one)
{
	struct gate gate = { false, 0 };
	struct green_ref ref, joiner;

	start(1);
	ref = spawn(pass_gate, &gate);
	joiner = spawn(join_it, &ref);
	WAIT_UNTIL(is_parked(joiner));
	CHECK_EQ(green_join_until(ref, DEADLINE_NEVER), FILAR_BUSY);
	CHECK_EQ(green_detach(ref), FILAR_BUSY);
	store_release(&gate.open, true);
	join(joiner);
	stop();
}

/* ---- sleep and cancel ---- */

static void sleep_in_disorder(void *argument)
{
	static _Atomic int ended;
	int64_t now_ns = clock_now_ns();
	int place = (int)(intptr_t)argument;

	CHECK_EQ(green_sleep_until(now_ns + (40 - place) * (NS_PER_MS / 4)), FILAR_OK);
	CHECK_GE(clock_now_ns(), now_ns + (40 - place) * (NS_PER_MS / 4));
	fetch_add_relaxed(&ended, 1);
}

TEST(sleepers_wake_not_before_their_time)
{
	struct green_ref refs[40];

	for (uint32_t workers = 1; workers <= 3; workers += 2) {
		start(workers);
		for (intptr_t i = 0; i < 40; i++)
			refs[i] = spawn(sleep_in_disorder, (void *)i);
		for (int i = 0; i < 40; i++)
			join(refs[i]);
		stop();
	}
	CHECK_EQ(green_sleep_until(clock_now_ns() + NS_PER_MS), FILAR_OK); /* a kernel thread */
	CHECK_EQ(green_sleep_until(0), FILAR_OK);
}

static void sleep_for_ever(void *argument)
{
	int status = green_sleep_until(DEADLINE_NEVER);

	CHECK_EQ(status, FILAR_CANCELLED);
	CHECK(green_is_cancelled(green_self()));
	/* And so is every further wait, at once. */
	CHECK_EQ(green_sleep_until(DEADLINE_NEVER), FILAR_CANCELLED);
	fetch_add_relaxed((_Atomic int *)argument, 1);
}

TEST(a_cancelled_one_leaves_its_wait_and_every_later_one)
{
	_Atomic int count = 0;
	struct green_ref ref;

	for (uint32_t workers = 1; workers <= 3; workers++) {
		start(workers);
		ref = spawn(sleep_for_ever, &count);
		WAIT_UNTIL(is_parked(ref));
		CHECK_EQ(green_cancel(ref), FILAR_OK);
		join(ref);
		ref = spawn(sleep_for_ever, &count); /* most likely before it has parked */
		CHECK_EQ(green_cancel(ref), FILAR_OK);
		join(ref);
		stop();
	}
	CHECK_EQ(load_relaxed(&count), 6);
}

static void join_what_never_ends(void *argument)
{
	struct green_ref *ref = argument;

	CHECK_EQ(green_join_until(*ref, DEADLINE_NEVER), FILAR_CANCELLED);
}

TEST(a_cancelled_joiner_leaves_the_other_joinable)
{
	struct gate gate = { false, 0 };
	struct green_ref ref, joiner;

	start(2);
	ref = spawn(pass_gate, &gate);
	joiner = spawn(join_what_never_ends, &ref);
	WAIT_UNTIL(is_parked(joiner));
	CHECK_EQ(green_cancel(joiner), FILAR_OK);
	join(joiner);
	store_release(&gate.open, true);
	join(ref);
	stop();
}

/* ---- waiters ---- */

struct meeting {
	struct waiter *_Atomic waiter;
	_Atomic int woken;
};

static void wait_for_wake(void *argument)
{
	struct meeting *meeting = argument;
	struct waiter waiter;

	waiter_init(&waiter);
	store_release(&meeting->waiter, &waiter);
	CHECK_EQ(
		waiter_wait_until(&waiter, DEADLINE_NEVER, WAIT_EVENT, WAIT_CANCELLABLE), FILAR_OK);
	fetch_add_relaxed(&meeting->woken, 1);
}

static void wake(void *argument)
{
	struct meeting *meeting = argument;
	struct waiter *waiter;

	YIELD_UNTIL((waiter = exchange_acq_rel(&meeting->waiter, NULL)) != NULL);
	waiter_wake(waiter);
}

static void *kernel_wait(void *argument)
{
	wait_for_wake(argument);
	return NULL;
}

TEST(green_and_kernel_threads_wake_each_other)
{
	struct meeting meeting = { NULL, 0 };
	struct green_ref waiting, waking;
	pthread_t thread;

	start(2);
	waiting = spawn(wait_for_wake, &meeting);
	wake(&meeting); /* kernel wakes green */
	join(waiting);
	CHECK_EQ(pthread_create(&thread, NULL, kernel_wait, &meeting), 0);
	waking = spawn(wake, &meeting); /* green wakes kernel */
	pthread_join(thread, NULL);
	join(waking);
	waiting = spawn(wait_for_wake, &meeting);
	waking = spawn(wake, &meeting);
	join(waiting);
	join(waking);
	CHECK_EQ(load_relaxed(&meeting.woken), 3);
	stop();
}

static void wake_before_wait(void *argument)
{
	struct waiter waiter;

	waiter_init(&waiter);
	waiter_wake(&waiter);
	CHECK_EQ(
		waiter_wait_until(&waiter, DEADLINE_NEVER, WAIT_EVENT, WAIT_CANCELLABLE), FILAR_OK);
	waiter_init(&waiter);
	CHECK_EQ(waiter_wait_until(&waiter, 0, WAIT_EVENT, WAIT_CANCELLABLE), FILAR_TIMED_OUT);
	waiter_wake(&waiter); /* had been claimed before the deadline */
	CHECK_EQ(waiter_wait_until(&waiter, DEADLINE_NEVER, WAIT_EVENT, WAIT_SHIELDED), FILAR_OK);
	(void)argument;
}

TEST(a_wake_before_the_wait_or_after_its_deadline_is_kept)
{
	on_one_and_three_workers(wake_before_wait, NULL);
	wake_before_wait(NULL);
}

/* ---- who runs where ---- */

static void spin_until_open(void *argument)
{
	struct gate *gate = argument;

	while (!load_acquire(&gate->open))
		;
	fetch_add_relaxed(&gate->passed, 1);
}

static void open_gate(void *argument)
{
	store_release(&((struct gate *)argument)->open, true);
}

/* What a body has made runnable is run by another worker although the body itself never lets go. */
static void wake_and_spin(void *argument)
{
	struct gate *gate = argument;

	CHECK_EQ(green_spawn(NULL, runtime, NULL, open_gate, gate), FILAR_OK);
	spin_until_open(gate);
}

TEST(with_two_workers_a_body_that_never_yields_does_not_stop_the_others)
{
	for (int i = 0; i < 20; i++) {
		struct gate gate = { false, 0 };

		start(2);
		join(spawn(wake_and_spin, &gate));
		stop();
	}
}

static void spin_with_one_in_the_next_slot(void *argument)
{
	struct meeting meeting = { NULL, 0 };
	struct green_ref waiting = spawn(wait_for_wake, &meeting);

	(void)argument;
	YIELD_UNTIL(load_relaxed(&meeting.waiter) != NULL && is_parked(waiting));
	waiter_wake(exchange_acq_rel(&meeting.waiter, NULL));
	while (load_acquire(&meeting.woken) == 0)
		; /* never lets go: another worker must take it out of the next slot */
	join(waiting);
}

TEST(the_next_slot_of_a_body_that_never_yields_is_taken_by_another_worker)
{
	for (int i = 0; i < 20; i++) {
		start(2);
		join(spawn(spin_with_one_in_the_next_slot, NULL));
		stop();
	}
}

static void sleep_a_little(void *argument)
{
	(void)argument;
	CHECK_EQ(green_sleep_until(clock_now_ns() + 2 * NS_PER_MS), FILAR_OK);
}

static void spin_while_another_sleeps(void *argument)
{
	struct green_ref sleeper = spawn(sleep_a_little, argument);

	/* On a busy machine its sleep may be over before it is seen asleep. */
	YIELD_UNTIL(is_parked(sleeper) || load_acquire(&sleeper.green->state) == GREEN_DEAD);
	while (load_acquire(&sleeper.green->state) != GREEN_DEAD)
		; /* never lets go: another worker must keep the time */
	join(sleeper);
}

TEST(a_deadline_is_kept_while_another_worker_is_busy)
{
	for (int i = 0; i < 5; i++) {
		start(2);
		join(spawn(spin_while_another_sleeps, NULL));
		stop();
	}
}

struct long_turns {
	_Atomic int turns; /* taken by those that compute */
	_Atomic bool over;
	int most; /* of them during one of the later sleeps */
};

static void take_long_turns(void *argument)
{
	struct long_turns *counts = argument;

	while (!load_relaxed(&counts->over)) {
		int64_t tick_ns = clock_coarse_ns();

		while (clock_coarse_ns() == tick_ns)
			;
		fetch_add_relaxed(&counts->turns, 1);
		green_yield();
	}
}

static void sleep_beside_long_turns(void *argument)
{
	struct long_turns *counts = argument;
	struct green_ref one = spawn(take_long_turns, counts), two = spawn(take_long_turns, counts);

	for (int i = 0; i < 10; i++) {
		int before = load_relaxed(&counts->turns), during;

		CHECK_EQ(green_sleep_until(clock_now_ns() + NS_PER_MS), FILAR_OK);
		during = load_relaxed(&counts->turns) - before;
		if (i >= 4 && during > counts->most)
			counts->most = during;
	}
	store_relaxed(&counts->over, true);
	join(one);
	join(two);
}

/* The first sleeps take as many turns as usual; then the worker knows that these are long. */
TEST(sleepers_do_not_wait_for_many_turns_where_these_are_long)
{
	struct long_turns counts = { 0 };

	start(1);
	join(spawn(sleep_beside_long_turns, &counts));
	stop();
	CHECK_LE(counts.most, 8);
}

static void hop(void *argument)
{
	struct runtime *other = argument;
	_Atomic int count = 0;
	struct green_ref ref;

	for (int i = 0; i < 50; i++) {
		CHECK_EQ(green_spawn(&ref, other, NULL, add_one, &count), FILAR_OK);
		CHECK_EQ(green_join_until(ref, DEADLINE_NEVER), FILAR_OK);
	}
	CHECK_EQ(load_relaxed(&count), 50);
}

TEST(two_runtimes_live_at_once_and_their_green_threads_join_each_other)
{
	struct runtime *first;
	struct green_ref one, two;

	start(1);
	first = runtime;
	start(2);
	CHECK_EQ(green_spawn(&one, first, NULL, hop, runtime), FILAR_OK);
	CHECK_EQ(green_spawn(&two, runtime, NULL, hop, first), FILAR_OK);
	join(one);
	join(two);
	stop();
	runtime = first;
	stop();
}

static void run_a_runtime(void *argument)
{
	struct runtime_options options;
	struct runtime *inner;
	struct green_ref ref;

	runtime_options_init(&options);
	options.workers = 1;
	CHECK_EQ(runtime_create(&inner, &options), FILAR_OK);
	CHECK_EQ(green_spawn(&ref, inner, NULL, add_one, argument), FILAR_OK);
	CHECK_EQ(green_join_until(ref, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(runtime_shutdown_until(inner, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(runtime_destroy(inner), FILAR_OK);
	CHECK_EQ(runtime_shutdown_until(runtime, DEADLINE_NEVER), FILAR_DEADLOCK);
}

TEST(a_runtime_lives_inside_a_green_thread_of_another)
{
	_Atomic int count = 0;

	on_one_and_three_workers(run_a_runtime, &count);
	CHECK_EQ(load_relaxed(&count), 2);
}

/* ---- the end of a runtime ---- */

TEST(spawning_after_shutdown_is_refused)
{
	_Atomic int count = 0;
	struct green_ref ref;

	start(1);
	CHECK_EQ(runtime_shutdown_until(runtime, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(green_spawn(&ref, runtime, NULL, add_one, &count), FILAR_WRONG_STATE);
	CHECK_EQ(runtime_destroy(runtime), FILAR_OK);
}

static void spawn_a_chain(void *argument)
{
	int left = (int)(intptr_t)argument;

	if (left > 0)
		CHECK_EQ(green_spawn(
				 NULL, runtime, NULL, spawn_a_chain, (void *)(intptr_t)(left - 1)),
			FILAR_OK);
}

TEST(what_runs_may_spawn_while_the_runtime_shuts_down)
{
	for (uint32_t workers = 1; workers <= 3; workers++) {
		start(workers);
		CHECK_EQ(green_spawn(NULL, runtime, NULL, spawn_a_chain, (void *)1000), FILAR_OK);
		stop();
	}
}

TEST(those_that_live_or_were_never_joined_are_named)
{
	struct gate gate = { false, 0 };
	struct green_options options = { .name = "straggler" };
	struct green_ref ref;

	start(2);
	CHECK_EQ(green_spawn(&ref, runtime, &options, pass_gate, &gate), FILAR_OK);
	CHECK_EQ(runtime_destroy(runtime), FILAR_BUSY);
	CHECK_TEXT_HAS(filar_status_detail(), "straggler");
	CHECK_EQ(runtime_shutdown_until(runtime, clock_now_ns() + NS_PER_MS), FILAR_TIMED_OUT);
	CHECK_TEXT_HAS(filar_status_detail(), "straggler");
	store_release(&gate.open, true);
	CHECK_EQ(runtime_shutdown_until(runtime, DEADLINE_NEVER), FILAR_OK);
	CHECK_TEXT_HAS(filar_status_detail(), "never joined");
	CHECK_TEXT_HAS(filar_status_detail(), "straggler");
	CHECK_EQ(runtime_destroy(runtime), FILAR_OK);
}

TEST(cancelling_all_lets_a_runtime_end_that_would_not)
{
	_Atomic int count = 0;

	start(2);
	for (int i = 0; i < 10; i++)
		CHECK_EQ(green_spawn(NULL, runtime, NULL, sleep_for_ever, &count), FILAR_OK);
	CHECK_EQ(runtime_shutdown_until(runtime, clock_now_ns()), FILAR_TIMED_OUT);
	runtime_cancel_all(runtime);
	stop();
	CHECK_EQ(load_relaxed(&count), 10);
}

TEST(bad_options_are_refused_with_a_reason)
{
	struct runtime_options options;

	runtime_options_init(&options);
	options.workers = WORKERS_MAX + 1;
	CHECK_EQ(runtime_create(&runtime, &options), FILAR_INVALID);
	runtime_options_init(&options);
	options.pin = WORKER_PIN_LIST;
	CHECK_EQ(runtime_create(&runtime, &options), FILAR_INVALID);
	options.cpus = (int32_t[]){ 8000 };
	options.cpu_count = 1;
	options.workers = 1;
	CHECK_EQ(runtime_create(&runtime, &options), FILAR_NO_CPU);
	CHECK_TEXT_HAS(filar_status_detail(), "8000");
}

TEST(workers_are_pinned_as_asked)
{
	enum worker_pin pins[] = { WORKER_PIN_COMPACT, WORKER_PIN_SCATTER, WORKER_PIN_LIST };
	struct runtime_options options;
	_Atomic int count = 0;
	cpu_set_t allowed;
	int32_t cpu = 0;

	CHECK_EQ(sched_getaffinity(0, sizeof allowed, &allowed), 0);
	while (!CPU_ISSET(cpu, &allowed))
		cpu++;
	for (int i = 0; i < 3; i++) {
		runtime_options_init(&options);
		options.pin = pins[i];
		options.cpus = &cpu;
		options.cpu_count = 1;
		options.workers = 2;
		CHECK_EQ(runtime_create(&runtime, &options), FILAR_OK);
		CHECK_GE(runtime->scheduler.workers[1].cpu, 0);
		join(spawn(add_one, &count));
		stop();
	}
}

/* ---- fork ---- */

static void fork_here(void *argument)
{
	struct green_ref ref = spawn(add_one, argument);
	int status;
	pid_t child = fork();

	if (child == 0) {
		filar_after_fork_in_child();
		status = green_join_until(ref, DEADLINE_NEVER) == FILAR_FORKED &&
					 green_spawn(&ref, runtime, NULL, add_one, argument) ==
						 FILAR_FORKED
				 ? 0
				 : 1;
		green_yield();
		_exit(status);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
	join(ref);
}

TEST(in_the_child_of_a_fork_calls_say_so_and_the_parent_goes_on)
{
	_Atomic int count = 0;
	int status;
	pid_t child;

	if (under_qemu())
		return;
	start(2);
	join(spawn(fork_here, &count));
	child = fork();
	if (child == 0) {
		filar_after_fork_in_child();
		CHECK_EQ(green_spawn(NULL, runtime, NULL, add_one, &count), FILAR_FORKED);
		CHECK_EQ(runtime_shutdown_until(runtime, DEADLINE_NEVER), FILAR_FORKED);
		CHECK_EQ(runtime_destroy(runtime), FILAR_OK);
		if (!FILAR_TSAN) { /* it refuses threads after a fork */
			start(2);  /* and the child may have a runtime of its own */
			join(spawn(add_one, &count));
			stop();
		}
		_exit(0);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
	join(spawn(add_one, &count));
	stop();
}

/* ---- looking ---- */

TEST(a_dump_shows_workers_and_green_threads_with_their_reason)
{
	struct green_options options = { .name = "dreamer" };
	static char text[8192];
	_Atomic int count = 0;
	struct green_ref ref;
	int fds[2];

	start(2);
	CHECK_EQ(green_spawn(&ref, runtime, &options, sleep_for_ever, &count), FILAR_OK);
	WAIT_UNTIL(is_parked(ref));
	CHECK_EQ(pipe(fds), 0);
	runtime_dump(runtime, fds[1]);
	CHECK_GE(read(fds[0], text, sizeof text - 1), 1);
	CHECK_TEXT_HAS(text, "2 workers");
	CHECK_TEXT_HAS(text, "worker 1:");
	CHECK_TEXT_HAS(text, "\"dreamer\": parked (sleep)");
	CHECK_EQ(green_cancel(ref), FILAR_OK);
	join(ref);
	stop();
}

/* ---- stacks at the beginning ---- */

struct later {
	struct green_late late;
	bool ran;
	enum filar_status status; /* of one that had no stack */
	char detail[120];
};

static enum filar_status nothing_begins(struct worker *worker)
{
	(void)worker;
	return FILAR_OK;
}

static void nothing_ends(struct worker *worker)
{
	(void)worker;
}

static _Atomic uint32_t laters_over;

static void later_runs(void *argument)
{
	struct later *later = FILAR_CONTAINER_OF(argument, struct later, late);

	CHECK(green_self() != NULL);
	green_yield();
	later->ran = true;
	fetch_add_acq_rel(&laters_over, 1);
}

static void later_fails(struct green_late *late, enum filar_status status)
{
	struct later *later = FILAR_CONTAINER_OF(late, struct later, late);

	CHECK(green_self() == NULL);
	later->status = status;
	snprintf(later->detail, sizeof later->detail, "%s", filar_status_detail());
	fetch_add_acq_rel(&laters_over, 1);
}

static const struct attendant later_attendant = { .begins = nothing_begins,
	.ends = nothing_ends,
	.late_body = later_runs,
	.late_failed = later_fails };

static void start_attended(uint32_t workers)
{
	struct runtime_options options;

	runtime_options_init(&options);
	options.workers = workers;
	options.attendant = &later_attendant;
	CHECK_EQ(runtime_create(&runtime, &options), FILAR_OK);
	store_relaxed(&laters_over, 0);
}

#define LATERS 500
static struct later laters[LATERS];

static uint64_t stacks_made(void)
{
	struct runtime_stats stats;

	runtime_read_stats(runtime, &stats);
	return stats.stacks;
}

static void spawn_laters(void *argument)
{
	uint64_t stacks = stacks_made();

	(void)argument;
	for (int i = 0; i < LATERS; i++) {
		laters[i] = (struct later){ .late.runtime = runtime };
		CHECK_EQ(green_spawn_late(&laters[i].late), FILAR_OK);
	}
	if (runtime->scheduler.worker_count == 1)
		CHECK_EQ(stacks_made(), stacks);
	YIELD_UNTIL(load_acquire(&laters_over) == LATERS);
}

TEST(those_that_have_not_begun_have_no_stack)
{
	for (uint32_t workers = 1; workers <= 3; workers += 2) {
		start_attended(workers);
		join(spawn(spawn_laters, NULL));
		for (int i = 0; i < LATERS; i++)
			CHECK(laters[i].ran);
		stop();
	}
}

TEST(a_runtime_does_not_end_before_those_that_have_not_begun)
{
	start_attended(2);
	for (int i = 0; i < LATERS; i++) {
		laters[i] = (struct later){ .late.runtime = runtime };
		CHECK_EQ(green_spawn_late(&laters[i].late), FILAR_OK);
	}
	stop();
	for (int i = 0; i < LATERS; i++)
		CHECK(laters[i].ran);
}

TEST(a_stack_that_is_too_large_is_refused_at_once)
{
	struct later huge = { .late.stack_bytes = SIZE_MAX / 2 };

	start_attended(1);
	huge.late.runtime = runtime;
	CHECK_EQ(green_spawn_late(&huge.late), FILAR_INVALID);
	CHECK_TEXT_HAS(filar_status_detail(), "too large");
	stop();
}

TEST(a_closed_runtime_refuses_those_that_would_begin_later)
{
	struct later late = { 0 };

	start_attended(1);
	late.late.runtime = runtime;
	CHECK_EQ(runtime_shutdown_until(runtime, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(green_spawn_late(&late.late), FILAR_WRONG_STATE);
	CHECK_EQ(runtime_destroy(runtime), FILAR_OK);
}

/* ---- pinned ones among others ---- */

static void leaves(struct green *green, struct work *next)
{
	(void)green;
	(void)next;
}

static void arrives(struct green *green)
{
	(void)green;
}

static const struct attendant silent = {
	.begins = nothing_begins, .ends = nothing_ends, .leave = leaves, .arrive = arrives
};

#define TAKERS 4 /* as many as the queue holds when all is small */
#define ROUNDS 6

static int turns[TAKERS], most_ahead;
static const bool pins[TAKERS] = { true, false, true, false };

static void take_turns(void *argument)
{
	int me = (int)((int *)argument - turns);

	if (pins[me])
		green_pin(green_self(), &turns[me]);
	while (turns[me] < ROUNDS) {
		turns[me]++;
		for (int i = 0; i < TAKERS; i++)
			most_ahead = turns[me] - turns[i] > most_ahead ? turns[me] - turns[i]
								       : most_ahead;
		green_yield();
	}
	if (pins[me])
		green_unpin(green_self());
}

static void spawn_takers(void *argument)
{
	struct green_ref refs[TAKERS];

	for (int i = 0; i < TAKERS; i++)
		refs[i] = spawn(take_turns, &turns[i]);
	for (int i = 0; i < TAKERS; i++)
		join(refs[i]);
	(void)argument;
}

TEST(pinned_ones_and_others_have_one_turn_in_each_round)
{
	struct runtime_options options;

	runtime_options_init(&options);
	options.workers = 1;
	options.attendant = &silent;
	CHECK_EQ(runtime_create(&runtime, &options), FILAR_OK);
	join(spawn(spawn_takers, NULL));
	stop();
	/* One may be asked while its neighbours are on their way to the end of their queue. */
	CHECK_LE(most_ahead, 2);
}

/* ---- failures ---- */

#if FILAR_FAIL
/* Whoever gets no stack is told; whatever else fails, all of them come to an end. */
static int attempt_laters(void)
{
	struct runtime_options options;
	enum filar_status status;

	runtime_options_init(&options);
	options.workers = 2;
	options.attendant = &later_attendant;
	status = runtime_create(&runtime, &options);
	if (status != FILAR_OK)
		return status;
	store_relaxed(&laters_over, 0);
	for (int i = 0; i < 20; i++) {
		laters[i] = (struct later){ .late.runtime = runtime };
		CHECK_EQ(green_spawn_late(&laters[i].late), FILAR_OK);
	}
	while (runtime_shutdown_until(runtime, DEADLINE_NEVER) == FILAR_INTERRUPTED)
		;
	CHECK_EQ(load_relaxed(&laters_over), 20);
	for (int i = 0; i < 20; i++) {
		CHECK(laters[i].ran != (laters[i].status != FILAR_OK));
		if (!laters[i].ran)
			CHECK(laters[i].detail[0] != '\0');
		if (!laters[i].ran)
			status = laters[i].status;
	}
	CHECK_EQ(runtime_destroy(runtime), FILAR_OK);
	return status;
}

TEST(each_call_may_fail_and_those_that_have_not_begun_come_to_an_end)
{
	CHECK_GE(fail_each(attempt_laters), 10);
}

static int attempt_runtime(void)
{
	struct runtime_options options;
	struct green_ref refs[40];
	_Atomic int count = 0;
	enum filar_status status;
	int spawned = 0;

	runtime_options_init(&options);
	options.workers = 2;
	options.pin = WORKER_PIN_COMPACT;
	status = runtime_create(&runtime, &options);
	if (status != FILAR_OK)
		return status;
	while (spawned < 40 && status == FILAR_OK) {
		status = green_spawn(&refs[spawned], runtime, NULL, add_one, &count);
		spawned += status == FILAR_OK;
	}
	for (int i = 0; i < spawned; i++) {
		int joined;

		while ((joined = green_join_until(refs[i], DEADLINE_NEVER)) == FILAR_INTERRUPTED)
			;
		CHECK_EQ(joined, FILAR_OK);
	}
	CHECK_EQ(load_relaxed(&count), spawned);
	while (runtime_shutdown_until(runtime, DEADLINE_NEVER) == FILAR_INTERRUPTED)
		;
	CHECK_EQ(runtime_destroy(runtime), FILAR_OK);
	return status;
}

TEST(each_call_may_fail_and_the_runtime_still_ends)
{
	CHECK_GE(fail_each(attempt_runtime), 10);
}
#endif

TEST_MAIN()
