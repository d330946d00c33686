/*
 * million.c - a million parked green threads, each with a guard that works.  `make million`: 5 GB
 * and half a minute, so not among the tests of `make check`.
 *
 * Every one of the million guards is touched, and the library's own handler must name the green
 * thread it belongs to; then one drawn at random overflows for real.  The handler hands on to
 * whoever was there before it: us, who read what it has written and jump back.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "base/memory.h"
#include "base/random.h"
#include "block/event.h"
#include "check.h"
#include "green/runtime.h"
#include "greens.h"
#include "os/clock.h"
#include "os/textfile.h"

#define COUNT_FULL     1000000
#define BYTES_EACH     INT64_C(6000) /* resident, page tables included: 6 GB for a million */
#define BYTES_AT_LEAST (INT64_C(7) << 30)

static struct event gate;        /* all but the victim wait for it */
static struct event victim_gate; /* the victim waits for this one */
static int64_t victim;
static _Atomic int64_t parked_soon;
static uint64_t victim_number;

/* ---- what the library's handler says ---- */

static sigjmp_buf back;
static int said; /* a file in memory that takes the place of standard error */
static int real_stderr;
static bool victim_runs;
static volatile uint64_t named;

static void read_what_was_said(void)
{
	char text[512] = { 0 };
	unsigned long long number = 0;
	ssize_t bytes = pread(said, text, sizeof text - 1, 0);

	named = 0;
	if (bytes > 0 &&
		sscanf(text, "filar: green thread %llu has overflowed its stack of", &number) == 1)
		named = number;
}

/* Called by the library's handler, after it has said what there is to say. */
static void after_the_handler(int signal)
{
	(void)signal;
	read_what_was_said();
	if (victim_runs)
		_exit(named == victim_number ? 0 : 3);
	siglongjmp(back, 1);
}

static void listen(void)
{
	struct sigaction action = { .sa_handler = after_the_handler,
		.sa_flags = SA_NODEFER | SA_ONSTACK };

	said = memfd_create("said", 0);
	real_stderr = dup(STDERR_FILENO);
	CHECK(said >= 0 && real_stderr >= 0);
	CHECK_EQ(sigaction(SIGSEGV, &action, NULL), 0);
}

/* ---- a million ---- */

static void wait_at_the_gate(void *argument)
{
	fetch_add_relaxed(&parked_soon, 1);
	CHECK_EQ(event_wait_until(argument, DEADLINE_NEVER), FILAR_OK);
}

__attribute__((noinline)) static int eat_stack(int depth)
{
	volatile char meal[1024];

	meal[0] = (char)depth;
	return depth > 1000000 ? meal[0] : eat_stack(depth + 1) + meal[0];
}

static void wait_and_overflow(void *argument)
{
	wait_at_the_gate(argument);
	(void)eat_stack(0);
}

static void start(enum stack_guard guard)
{
	struct runtime_options options;

	runtime_options_init(&options);
	options.workers = 2;
	options.guard = guard;
	CHECK_EQ(runtime_create(&runtime, &options), FILAR_OK);
	event_init(&gate, false);
	event_init(&victim_gate, false);
	store_relaxed(&parked_soon, 0);
}

static void park_all(int64_t count)
{
	for (int64_t i = 0; i < count; i++) {
		struct green_ref ref;
		bool chosen = i == victim;

		CHECK_EQ(green_spawn(&ref, runtime, NULL,
				 chosen ? wait_and_overflow : wait_at_the_gate,
				 chosen ? &victim_gate : &gate),
			FILAR_OK);
		if (chosen)
			victim_number = ref.number;
		CHECK_EQ(green_detach(ref), FILAR_OK);
	}
	WAIT_UNTIL(load_relaxed(&parked_soon) == count);
}

static int64_t resident_bytes(void)
{
	char text[8192];
	int64_t resident = 0, tables = 0;

	CHECK_EQ(textfile_read_into(text, sizeof text, "/proc/self/status"), FILAR_OK);
	CHECK(text_number_after(text, "VmRSS:", &resident));
	CHECK(text_number_after(text, "VmPTE:", &tables));
	printf("  resident %.2f GB, page tables %.2f GB\n", (double)resident / 1e6,
		(double)tables / 1e6);
	return (resident + tables) * 1024;
}

struct round {
	uint64_t guards, wrong;
};

/* The highest and the lowest byte of the guard must fault, and the fault be named. */
static void touch_guard(struct stack_slot *slot, void *argument)
{
	struct round *round = argument;
	struct green *green = (struct green *)slot;
	volatile char *low = slot->low;
	volatile bool faulted;

	if (load_acquire(&green->number) == 0)
		return;
	for (int i = 0; i < 2; i++) {
		faulted = true;
		CHECK_EQ(ftruncate(said, 0), 0);
		CHECK_EQ(lseek(said, 0, SEEK_SET), 0);
		if (sigsetjmp(back, 0) == 0) {
			*(low - (i == 0 ? 1 : (ptrdiff_t)page_bytes())) = 1;
			faulted = false;
		}
		round->wrong += !faulted || named != load_relaxed(&green->number);
	}
	round->guards++;
}

static int64_t memory_available(void)
{
	char text[8192];
	int64_t kilobytes = 0;

	CHECK_EQ(textfile_read_into(text, sizeof text, "/proc/meminfo"), FILAR_OK);
	return text_number_after(text, "MemAvailable:", &kilobytes) ? kilobytes * 1024 : 0;
}

/* A million; 0 and the reason if memory is short.  Draws the victim. */
static int64_t how_many(void)
{
	struct random random;

	if (memory_available() < BYTES_AT_LEAST) {
		printf("  left out: %.1f GB of memory are available, %.1f are needed\n",
			(double)memory_available() / 1e9, (double)BYTES_AT_LEAST / 1e9);
		return 0;
	}
	random_init(&random, check_seed());
	victim = random_below(&random, COUNT_FULL);
	return COUNT_FULL;
}

TEST(a_million_are_parked_and_each_guard_is_caught_and_named)
{
	int64_t count = how_many(), begin_ns = clock_now_ns();
	struct round round = { 0, 0 };

	if (count == 0)
		return;
	alarm(1800);
	listen();
	start(STACK_GUARD_BEST);
	park_all(count);
	if (runtime->pool.guard == STACK_GUARD_MPROTECT) {
		puts("  left out: this kernel has no MADV_GUARD_INSTALL (Linux 6.13)");
		return;
	}
	CHECK_LE(resident_bytes(), count * BYTES_EACH);
	CHECK(dup2(said, STDERR_FILENO) >= 0);
	stack_pool_for_each(&runtime->pool, touch_guard, &round);
	CHECK(dup2(real_stderr, STDERR_FILENO) >= 0);
	printf("  %" PRIu64 " guards, %" PRIu64 " not caught or not named, %.1f s\n", round.guards,
		round.wrong, (double)(clock_now_ns() - begin_ns) / 1e9);
	CHECK_EQ(round.guards, count);
	CHECK_EQ(round.wrong, 0);
	/* All go on as if nothing had been: only the victim is left. */
	event_set(&gate);
	while (runtime_shutdown_until(runtime, clock_now_ns() + NS_PER_S) == FILAR_TIMED_OUT) {
		struct runtime_stats stats;

		runtime_read_stats(runtime, &stats);
		if (stats.live == 1)
			break;
	}
	victim_runs = true;
	CHECK_EQ(ftruncate(said, 0), 0);
	CHECK_EQ(lseek(said, 0, SEEK_SET), 0);
	CHECK(dup2(said, STDERR_FILENO) >= 0);
	printf("  green thread %" PRIu64 " overflows\n", victim_number);
	fflush(stdout);
	event_set(&victim_gate);
	for (;;)
		pause(); /* after_the_handler() ends the process: 0 if it was named */
}

/* One that overflows while all others are parked: the process ends, and what it says is right. */
TEST(one_of_a_million_overflows_and_is_named)
{
	if (how_many() == 0)
		return;
	alarm(600);
	listen();
	start(STACK_GUARD_BEST);
	park_all(runtime->pool.guard_bytes > 0 ? COUNT_FULL : 0);
	victim_runs = true;
	CHECK(dup2(said, STDERR_FILENO) >= 0);
	event_set(&victim_gate);
	for (;;)
		pause();
}

/* The end of a million is as clean as that of one. */
TEST(a_million_come_and_go_and_leave_nothing)
{
	int64_t maps_before = 0, maps_after = 0;

	if (how_many() == 0)
		return;
	alarm(600);
	victim = -1;
	CHECK_EQ(textfile_count_lines(&maps_before, "/proc/self/maps"), FILAR_OK);
	for (int round = 0; round < 2; round++) {
		start(STACK_GUARD_BEST);
		park_all(COUNT_FULL);
		event_set(&gate);
		stop();
	}
	CHECK_EQ(textfile_count_lines(&maps_after, "/proc/self/maps"), FILAR_OK);
	/* The arenas and stacks of the two workers, which the C library keeps. */
	CHECK_LE(maps_after, maps_before + 12);
}

TEST_MAIN()
