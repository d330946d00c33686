/*
 * test_preempt.c - native bodies that are made to yield by a signal, what survives that, and what
 * is out of its reach.  And signals of others that arrive at any moment, also in the middle of a
 * switch.
 */
#include <errno.h>
#include <fenv.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "filar.h"
#include "green/preempt.h"
#include "green/runtime.h"
#include "stress.h"

static filar_runtime *runtime;

static void start(uint32_t workers, int64_t preempt_ns)
{
	filar_runtime_options options;

	filar_runtime_options_init(&options);
	options.workers = workers;
	options.preempt_ns = preempt_ns;
	/* Else a spare would let the others run. */
	options.spare_workers_max = 0;
	CHECK_EQ(filar_runtime_create(&runtime, &options), FILAR_OK);
}

static void stop(void)
{
	CHECK_EQ(filar_runtime_shutdown_until(runtime, FILAR_FOREVER), FILAR_OK);
	CHECK_EQ(filar_runtime_destroy(runtime), FILAR_OK);
}

static filar_green spawn(filar_green_body body, void *argument, bool preemptible)
{
	filar_green_options options = { .preemptible = preemptible };
	filar_green green;

	CHECK_EQ(filar_green_spawn(&green, runtime, &options, body, argument), FILAR_OK);
	return green;
}

static void join(filar_green green)
{
	CHECK_EQ(filar_green_join_until(green, FILAR_FOREVER), FILAR_OK);
}

#if PREEMPT_SUPPORTED
static struct runtime *inner(void)
{
	return (struct runtime *)runtime;
}

static uint64_t preemptions(void)
{
	filar_runtime_stats stats;

	CHECK_EQ(filar_runtime_read_stats(runtime, &stats), FILAR_OK);
	return stats.preemptions;
}

static _Atomic uint64_t ran;

static void run(void *argument)
{
	(void)argument;
	fetch_add_acq_rel(&ran, 1);
}

/* ---- the next runs ---- */

static void spin_until_others_ran(void *argument)
{
	uint64_t *others = argument;

	while (load_acquire(&ran) < *others)
		;
}

TEST(one_that_spins_lets_others_run_if_it_is_preemptible)
{
	uint64_t others = 3;
	filar_green spinner;

	start(1, NS_PER_MS);
	spinner = spawn(spin_until_others_ran, &others, true);
	for (uint64_t i = 0; i < others; i++)
		join(spawn(run, NULL, false));
	join(spinner);
	CHECK_GE(preemptions(), 1);
	stop();
}

TEST(many_that_spin_take_turns)
{
	enum { SPINNERS = 4 };
	uint64_t others = 1;
	filar_green spinners[SPINNERS];

	for (uint32_t workers = 1; workers <= 2; workers++) {
		store_relaxed(&ran, 0);
		start(workers, NS_PER_MS / 2);
		for (int i = 0; i < SPINNERS; i++)
			spinners[i] = spawn(spin_until_others_ran, &others, true);
		join(spawn(run, NULL, false));
		for (int i = 0; i < SPINNERS; i++)
			join(spinners[i]);
		stop();
	}
}

/* Out of reach, with somebody behind it, for as long as many preemptions would take; then nobody
 * else has run. */
struct hog {
	uint64_t ran_meanwhile;
	bool disable, section;
	_Atomic bool out_of_reach, queued;
};

static void spin_alone(void *argument)
{
	struct hog *hog = argument;
	int64_t end_ns;

	if (hog->disable) {
		filar_preempt_disable();
		filar_preempt_disable();
		filar_preempt_enable();
	}
	if (hog->section)
		filar_blocking_begin();
	store_release(&hog->out_of_reach, true);
	while (!load_acquire(&hog->queued))
		;
	end_ns = filar_now_ns() + 30 * NS_PER_MS;
	while (filar_now_ns() < end_ns)
		;
	hog->ran_meanwhile = load_acquire(&ran);
	if (hog->section)
		filar_blocking_end();
	if (hog->disable)
		filar_preempt_enable();
}

/* Not before it is where nobody interrupts it: it may be on the way there. */
static void run_behind(struct hog *hog)
{
	filar_green behind;

	WAIT_UNTIL(load_acquire(&hog->out_of_reach));
	behind = spawn(run, NULL, false);
	store_release(&hog->queued, true);
	join(behind);
}

TEST(one_that_is_not_preemptible_is_not_interrupted)
{
	struct hog hog = { 0 };
	filar_green green;

	start(1, NS_PER_MS);
	green = spawn(spin_alone, &hog, false);
	run_behind(&hog);
	join(green);
	CHECK_EQ(hog.ran_meanwhile, 0);
	CHECK_EQ(preemptions(), 0);
	stop();
}

TEST(nothing_is_preempted_between_disable_and_enable_nor_in_a_section)
{
	for (int which = 0; which < 2; which++) {
		struct hog hog = { .disable = which == 0, .section = which == 1 };
		filar_green green;

		store_relaxed(&ran, 0);
		start(1, NS_PER_MS);
		green = spawn(spin_alone, &hog, true);
		run_behind(&hog);
		join(green);
		CHECK_EQ(hog.ran_meanwhile, 0);
		stop();
	}
}

/* Until a preemption is due that has somebody to let run. */
static void spin_disabled_then_enable(void *argument)
{
	struct hog *hog = argument;

	filar_preempt_disable();
	store_release(&hog->out_of_reach, true);
	while (!load_acquire(&hog->queued) || load_relaxed(&green_self()->preempt_wanted) == 0)
		;
	hog->ran_meanwhile = load_acquire(&ran);
	filar_preempt_enable();
	CHECK_EQ(load_acquire(&ran), 1);
	filar_preempt_enable(); /* one too many: nothing */
	CHECK_EQ(load_relaxed(&green_self()->preempt_off), 0);
}

TEST(a_preemption_that_was_due_comes_with_enable)
{
	struct hog hog = { 0 };
	filar_green green;

	start(1, NS_PER_MS);
	green = spawn(spin_disabled_then_enable, &hog, true);
	run_behind(&hog);
	join(green);
	CHECK_EQ(hog.ran_meanwhile, 0);
	stop();
}

/* ---- what survives ---- */

/* The same without and with interruptions: rounding upwards, values in registers only. */
static double sum_of_roots(int64_t steps)
{
	double sum = 1, factor = 1.0000001;

	for (int64_t i = 0; i < steps; i++) {
		sum = sum * factor + 1.0 / 3.0;
		if (sum > 1e6)
			sum /= 1e6;
	}
	return sum;
}

struct calculation {
	int64_t steps;
	double result;
	int rounding, raised;
};

static void calculate(void *argument)
{
	struct calculation *calculation = argument;
	volatile double zero = 0, one = 1, quotient;

	fesetround(calculation->rounding);
	feclearexcept(FE_ALL_EXCEPT);
	quotient = one / zero;
	(void)quotient;
	calculation->result = sum_of_roots(calculation->steps);
	calculation->raised = fetestexcept(FE_DIVBYZERO | FE_INVALID);
	CHECK_EQ(fegetround(), calculation->rounding);
	fesetround(FE_TONEAREST);
}

TEST(floating_point_state_survives)
{
	static const int roundings[] = { FE_UPWARD, FE_DOWNWARD, FE_TONEAREST, FE_TOWARDZERO };
	struct calculation alone[4], together[4];
	filar_green greens[4];

	start(2, RUNTIME_PREEMPT_NS_MIN);
	for (int i = 0; i < 4; i++) {
		alone[i] = (struct calculation){ .steps = 3000000, .rounding = roundings[i] };
		together[i] = alone[i];
		join(spawn(calculate, &alone[i], false));
	}
	/* On a busy machine the watcher may come late. */
	do {
		for (int i = 0; i < 4; i++)
			greens[i] = spawn(calculate, &together[i], true);
		for (int i = 0; i < 4; i++)
			join(greens[i]);
		for (int i = 0; i < 4; i++) {
			CHECK(together[i].result == alone[i].result);
			CHECK_EQ(together[i].raised, FE_DIVBYZERO);
		}
	} while (preemptions() == 0);
	stop();
}

FILAR_NOINLINE static int read_errno(void)
{
	FILAR_COMPILER_BARRIER();
	return errno;
}

FILAR_NOINLINE static void write_errno(int value)
{
	errno = value;
	FILAR_COMPILER_BARRIER();
}

/* Read and written where we cannot be moved; what lies between may move us. */
static void keep_errno(void *argument)
{
	int mine = *(int *)argument;

	for (int round = 0; round < 20 || preemptions() < 3; round++) {
		int64_t end_ns = filar_now_ns() + NS_PER_MS;

		write_errno(mine);
		while (filar_now_ns() < end_ns)
			;
		CHECK_EQ(read_errno(), mine);
	}
}

/* One worker: nobody moves, each has its own all the same. */
TEST(errno_survives)
{
	int values[3] = { 1001, 1002, 1003 };
	filar_green greens[3];

	start(1, RUNTIME_PREEMPT_NS_MIN);
	for (int i = 0; i < 3; i++)
		greens[i] = spawn(keep_errno, &values[i], true);
	for (int i = 0; i < 3; i++)
		join(greens[i]);
	stop();
}

static _Atomic uint32_t moved;

/* The signal stack and the mask belong to the kernel thread, wherever the handler returns. */
static void look_at_thread(void *argument)
{
	int64_t end_ns = filar_now_ns() + 20 * NS_PER_MS;
	struct worker *first = NULL;

	(void)argument;
	while (filar_now_ns() < end_ns) {
		struct green_local *local;
		sigset_t mask;
		stack_t now;

		filar_preempt_disable();
		first = first == NULL ? worker_here() : first;
		store_relaxed(&moved, load_relaxed(&moved) + (first != worker_here()));
		local = worker_here()->local;
		CHECK_EQ(sigaltstack(NULL, &now), 0);
		CHECK(now.ss_sp == local->signal_stack.memory);
		CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
		CHECK(sigismember(&mask, SIGALRM));
		CHECK(!sigismember(&mask, inner()->scheduler.preempt_signal));
		filar_preempt_enable();
		for (int i = 0; i < 10000; i++)
			FILAR_KEEP(i);
	}
}

TEST(the_kernel_threads_own_state_stays_its_own)
{
	filar_green greens[5];

	start(2, RUNTIME_PREEMPT_NS_MIN);
	for (int round = 0; (round < 10 && load_relaxed(&moved) == 0) || preemptions() == 0;
		round++) {
		for (int i = 0; i < 5; i++)
			greens[i] = spawn(look_at_thread, NULL, true);
		for (int i = 0; i < 5; i++)
			join(greens[i]);
	}
	stop();
}

/* ---- in filar's own code ---- */

static filar_mutex *mutex;
static filar_chan *chan;
static uint64_t guarded;
static _Atomic uint64_t sent, received;

static void use_everything(void *argument)
{
	struct random random;
	uint32_t what = 0; /* first what is counted: there may be time for no more */

	random_init(&random, random_mix(check_seed() + (uint64_t)(uintptr_t)argument));
	do {
		uint64_t item = 0;

		for (uint32_t i = random_below(&random, 3000); i > 0; i--)
			FILAR_KEEP(i);
		switch (what) {
		case 0:
			CHECK_EQ(filar_mutex_lock_until(mutex, FILAR_FOREVER), FILAR_OK);
			guarded++;
			for (uint32_t i = random_below(&random, 1000); i > 0; i--)
				FILAR_KEEP(i);
			CHECK_EQ(filar_mutex_unlock(mutex), FILAR_OK);
			break;
		case 1:
			if (filar_chan_try_send(chan, &item) == FILAR_OK)
				fetch_add_relaxed(&sent, 1);
			break;
		case 2:
			if (filar_chan_try_receive(chan, &item) == FILAR_OK)
				fetch_add_relaxed(&received, 1);
			break;
		case 3:
			(void)filar_green_sleep_until(filar_now_ns() + 1000);
			break;
		default: {
			filar_green green;

			CHECK_EQ(filar_green_spawn(&green, runtime, NULL, run, NULL), FILAR_OK);
			CHECK_EQ(filar_green_join_until(green, FILAR_FOREVER), FILAR_OK);
		}
		}
		what = random_below(&random, 5);
	} while (stress_goes_on());
}

/*
 * Hunts: a preemption in the middle of a queue's change, with a lock bit held, between two stacks,
 * in the stretch that begins to disable it; a switch that keeps what belongs to the old kernel
 * thread.
 */
TEST(filars_own_code_is_out_of_reach)
{
	enum { GREENS = 6 };
	filar_green greens[GREENS];

	CHECK_EQ(filar_mutex_create(&mutex, "guard"), FILAR_OK);
	for (uint32_t workers = 1; workers <= 3; workers++) {
		filar_green_options options = { .preemptible = true };

		CHECK_EQ(filar_chan_create(&chan, sizeof(uint64_t), 8, NULL), FILAR_OK);
		store_relaxed(&sent, 0);
		store_relaxed(&received, 0);
		start(workers, RUNTIME_PREEMPT_NS_MIN);
		alarm((unsigned)stress_seconds() + test_seconds_max());
		stress_end_ns = clock_now_ns() + (int64_t)(stress_seconds() * 3e8);
		for (int i = 0; i < GREENS; i++)
			CHECK_EQ(filar_green_spawn(
					 &greens[i], runtime, &options, use_everything, &greens[i]),
				FILAR_OK);
		for (int i = 0; i < GREENS; i++)
			join(greens[i]);
		CHECK_EQ(load_relaxed(&sent), load_relaxed(&received) + filar_chan_count(chan));
		stop();
		CHECK_EQ(filar_chan_destroy(chan), FILAR_OK);
	}
	CHECK_EQ(filar_mutex_destroy(mutex), FILAR_OK);
	CHECK_GE(guarded, 3 * GREENS);
}

/* With nobody to stand in, one that is not preemptible runs on, and those that are still are. */
TEST(a_stuck_one_without_spares_changes_nothing)
{
	struct hog hog = { 0 };
	uint64_t others = 1;
	filar_green greens[2];

	start(1, 12 * NS_PER_MS); /* stuck is noticed first */
	greens[0] = spawn(spin_alone, &hog, false);
	greens[1] = spawn(spin_until_others_ran, &others, true);
	run_behind(&hog);
	join(greens[0]);
	join(greens[1]);
	CHECK_EQ(hog.ran_meanwhile, 0);
	CHECK_EQ(load_relaxed(&inner()->scheduler.blocking.relieved), 0);
	stop();
}

/* ---- which signal ---- */

static void on_user_signal(int signal)
{
	(void)signal;
}

TEST(a_signal_with_a_handler_is_left_alone)
{
	filar_runtime_options options;
	filar_runtime *other;

	filar_runtime_options_init(&options);
	options.preempt_ns = NS_PER_MS;
	options.preempt_signal = SIGRTMIN + 1;
	CHECK(signal(SIGRTMIN + 1, on_user_signal) != SIG_ERR);
	CHECK_EQ(filar_runtime_create(&runtime, &options), FILAR_BUSY);
	options.preempt_signal = SIGUSR1;
	CHECK_EQ(filar_runtime_create(&runtime, &options), FILAR_INVALID);
	options.preempt_signal = SIGRTMIN + 2;
	CHECK_EQ(filar_runtime_create(&runtime, &options), FILAR_OK);
	CHECK_EQ(filar_runtime_create(&other, &options), FILAR_OK); /* two may share it */
	CHECK_EQ(filar_runtime_shutdown_until(other, FILAR_FOREVER), FILAR_OK);
	CHECK_EQ(filar_runtime_destroy(other), FILAR_OK);
	stop();
	options.preempt_ns = 1;
	CHECK_EQ(filar_runtime_create(&runtime, &options), FILAR_INVALID);
	CHECK_EQ(load_relaxed(&preempt_runtimes), 0);
}

#if FILAR_FAIL
TEST(a_signal_that_could_not_be_sent_is_sent_again)
{
	uint64_t others = 1;
	filar_green spinner;

	start(1, NS_PER_MS);
	failpoint_arm(FAILPOINT_TGKILL, 1);
	spinner = spawn(spin_until_others_ran, &others, true);
	join(spawn(run, NULL, false));
	join(spinner);
	CHECK(failpoint_fired());
	failpoint_arm(FAILPOINT_TGKILL, 0);
	stop();
}
#endif
#else
TEST(preemption_says_that_it_is_not_supported_here)
{
	filar_runtime_options options;

	filar_runtime_options_init(&options);
	options.preempt_ns = NS_PER_MS;
	CHECK_EQ(filar_runtime_create(&runtime, &options), FILAR_NOT_SUPPORTED);
}
#endif

/* ---- anybody's signal ---- */

#define SIGNAL_RING SIGUSR1 /* SIGALRM is the time limit of the test */
static _Atomic uint32_t rings;

static void on_ring(int signal)
{
	char on_stack[512];

	(void)signal;
	memset(on_stack, 0x5a, sizeof on_stack);
	FILAR_KEEP(on_stack);
	fetch_add_relaxed(&rings, 1);
}

static void mask_ring(int how)
{
	sigset_t ring_only;

	sigemptyset(&ring_only);
	sigaddset(&ring_only, SIGNAL_RING);
	CHECK_EQ(pthread_sigmask(how, &ring_only, NULL), 0);
}

static void let_rings_in(void *argument)
{
	(void)argument;
	mask_ring(SIG_UNBLOCK);
}

static void switch_until_rung(void *argument)
{
	(void)argument;
	while (load_relaxed(&rings) < 300)
		green_yield();
}

/* A handler of somebody else's, a thousand times a second, on whatever stack the worker stands. */
TEST(a_signal_in_the_middle_of_a_switch_does_no_harm)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGNAL_RING };
	struct itimerspec often = { { 0, NS_PER_MS }, { 0, NS_PER_MS } };
	filar_green greens[4];
	timer_t timer;

	start(1, 0);
	mask_ring(SIG_BLOCK); /* only the worker takes them */
	CHECK(signal(SIGNAL_RING, on_ring) != SIG_ERR);
	join(spawn(let_rings_in, NULL, false));
	CHECK_EQ(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	CHECK_EQ(timer_settime(timer, 0, &often, NULL), 0);
	for (int i = 0; i < 4; i++)
		greens[i] = spawn(switch_until_rung, NULL, false);
	for (int i = 0; i < 4; i++)
		join(greens[i]);
	timer_delete(timer);
	stop();
}

TEST_MAIN()
