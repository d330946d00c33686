/*
 * test_trace.c - sessions, rings that are read while they are written, and what each kind of thread
 * leaves in them.
 */
#include <pthread.h>
#include <stdlib.h>

#include "base/tracepoint.h"
#include "check.h"
#include "fail.h"
#include "filar.h"
#include "runtimes.h"
#include "stress.h"

#define RECORDS_MAX 20000

/* ---- helpers ---- */

static filar_trace_record records[RECORDS_MAX];
static size_t record_count;
static filar_trace_totals totals;

static void start(uint32_t records_per_thread, uint64_t bytes_max)
{
	filar_trace_options options = { records_per_thread, bytes_max };

	CHECK_EQ(filar_trace_start(&options), FILAR_OK);
}

static void collect(void)
{
	record_count = filar_trace_collect(records, RECORDS_MAX, &totals);
	CHECK_LE(record_count, RECORDS_MAX);
}

static void stop(void)
{
	CHECK_EQ(filar_trace_stop(), FILAR_OK);
	collect();
}

/* The n-th record of that event and subject (0: any), n = 0, 1, ...; NULL: there is none. */
static const filar_trace_record *find(enum trace_event event, uint64_t subject, int n)
{
	for (size_t i = 0; i < record_count; i++) {
		if (records[i].event == event && (subject == 0 || records[i].subject == subject) &&
			n-- == 0)
			return &records[i];
	}
	return NULL;
}

static int count(enum trace_event event, uint64_t subject)
{
	int n = 0;

	while (find(event, subject, n) != NULL)
		n++;
	return n;
}

static const filar_trace_record *first(enum trace_event event, uint64_t subject)
{
	const filar_trace_record *found = find(event, subject, 0);

	if (found == NULL)
		fprintf(stderr, "no %s of %#llx\n", tracepoint_event_name(event),
			(unsigned long long)subject);
	CHECK(found != NULL);
	return found;
}

static filar_green spawn(filar_runtime *runtime, const char *name, filar_green_body body, void *arg)
{
	filar_green_options options = { .name = name };
	filar_green green;

	CHECK_EQ(filar_green_spawn(&green, runtime, &options, body, arg), FILAR_OK);
	return green;
}

/* The subject of the green thread of that name; 0: nobody is called so. */
static uint64_t find_named(const char *name)
{
	uint64_t word = 0;

	memcpy(&word, name, strlen(name) < 8 ? strlen(name) : 8);
	for (size_t i = 0; i < record_count; i++) {
		if (records[i].event == TRACE_GREEN_NAME && records[i].argument == 0 &&
			records[i].object == word)
			return records[i].subject;
	}
	return 0;
}

static uint64_t named(const char *name)
{
	uint64_t subject = find_named(name);

	if (subject == 0)
		fprintf(stderr, "nobody is called %s\n", name);
	CHECK(subject != 0);
	return subject;
}

/* Whether there is such a record of the green thread of that name by now. */
static bool has_come(enum trace_event event, const char *name)
{
	uint64_t subject;

	collect();
	subject = find_named(name);
	return subject != 0 && count(event, subject) > 0;
}

static void mark_some(int n)
{
	for (int i = 0; i < n; i++)
		filar_trace_mark((uint64_t)i + 1, i);
}

/* ---- sessions ---- */

TEST(nothing_is_recorded_without_a_session)
{
	filar_trace_mark(1, 1);
	collect();
	CHECK_EQ(record_count, 0);
	CHECK_EQ(totals.started_ns, 0);
	start(0, 0);
	stop();
	filar_trace_mark(1, 1);
	collect();
	CHECK_EQ(record_count, 0);
	CHECK_EQ(totals.rings, 0);
	CHECK(totals.started_ns > 0 && totals.stopped_ns >= totals.started_ns);
}

TEST(one_session_at_a_time_and_bad_options_are_refused_with_a_sentence)
{
	filar_trace_options options = { 8, 0 };

	CHECK_EQ(filar_trace_stop(), FILAR_WRONG_STATE);
	CHECK_EQ(filar_trace_start(&options), FILAR_INVALID);
	CHECK_TEXT_HAS(filar_status_detail(), "not 8");
	options = (filar_trace_options){ (1u << 24) + 1, 0 };
	CHECK_EQ(filar_trace_start(&options), FILAR_INVALID);
	options = (filar_trace_options){ 1000, 1000 };
	CHECK_EQ(filar_trace_start(&options), FILAR_INVALID);
	CHECK_TEXT_HAS(filar_status_detail(), "all together may take 1000");
	CHECK_EQ(filar_trace_start(NULL), FILAR_OK);
	CHECK_EQ(filar_trace_start(NULL), FILAR_BUSY);
	CHECK_EQ(filar_trace_clear(), FILAR_BUSY);
	CHECK_EQ(filar_trace_stop(), FILAR_OK);
	CHECK_EQ(filar_trace_stop(), FILAR_WRONG_STATE);
	CHECK_EQ(filar_trace_clear(), FILAR_OK);
}

TEST(a_session_does_not_see_the_records_of_the_one_before)
{
	start(64, 0);
	mark_some(10);
	stop();
	CHECK_EQ(count(TRACE_MARK, 0), 10);
	start(64, 0);
	filar_trace_mark(77, 0);
	stop();
	CHECK_EQ(count(TRACE_MARK, 0), 1);
	CHECK_EQ(first(TRACE_MARK, 0)->subject, 77);
	/* Another size: another ring. */
	start(128, 0);
	filar_trace_mark(78, 0);
	stop();
	CHECK_EQ(count(TRACE_MARK, 0), 1);
	CHECK_EQ(filar_trace_clear(), FILAR_OK);
	collect();
	CHECK_EQ(record_count, 0);
}

TEST(every_event_and_every_wait_has_a_name)
{
	for (uint32_t i = 0; i < TRACE_EVENT_COUNT; i++)
		CHECK(filar_trace_event_name(i)[0] != '\0');
	CHECK(filar_trace_event_name(TRACE_EVENT_COUNT) == NULL);
	CHECK_EQ(strcmp(filar_trace_event_name(TRACE_GREEN_PARK), "green-park"), 0);
	CHECK_EQ(strcmp(filar_trace_wait_name(0), "nothing"), 0);
	CHECK(filar_trace_wait_name(1000) == NULL);
}

TEST(a_record_says_when_where_and_by_whom)
{
	int64_t before = filar_now_ns();
	const filar_trace_record *mark;

	start(64, 0);
	filar_trace_mark(5, -7);
	stop();
	mark = first(TRACE_MARK, 5);
	CHECK_EQ(mark->argument, -7);
	CHECK_EQ(mark->thread, gettid());
	CHECK_GE(mark->cpu, 0);
	CHECK(mark->time_ns >= before && mark->time_ns <= filar_now_ns());
	CHECK_EQ(first(TRACE_THREAD_NAME, (uint64_t)gettid())->argument, 0);
}

/* ---- rings ---- */

TEST(a_full_ring_keeps_the_newest_and_counts_the_others)
{
	int at = 0;

	start(50, 0); /* 64 */
	mark_some(1000);
	stop();
	CHECK_EQ(record_count, 64);
	CHECK_EQ(totals.written, totals.overwritten + 64);
	CHECK_GE(totals.written, 1000);
	for (size_t i = 0; i < record_count; i++)
		CHECK_EQ(records[i].argument, 1000 - 64 + at++);
	/* Room for ten: the newest ten. */
	CHECK_EQ(filar_trace_collect(records, 10, NULL), 10);
	CHECK_EQ(records[0].argument, 990);
	CHECK_EQ(filar_trace_collect(NULL, 0, &totals), 0);
	CHECK_EQ(totals.written, totals.overwritten + 64);
}

static void *mark_and_end(void *unused)
{
	(void)unused;
	TRACE(TRACE_MARK, 9, 9, 9);
	return NULL;
}

static void run_thread(void)
{
	pthread_t thread;

	CHECK_EQ(pthread_create(&thread, NULL, mark_and_end, NULL), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

TEST(threads_that_follow_each_other_share_a_ring)
{
	start(1024, 0);
	for (int i = 0; i < 200; i++)
		run_thread();
	stop();
	CHECK_EQ(totals.rings, 1);
	CHECK_EQ(count(TRACE_MARK, 9), 200);
	CHECK_EQ(filar_trace_clear(), FILAR_OK);
	CHECK_EQ(filar_trace_collect(NULL, 0, &totals), 0);
	CHECK_EQ(totals.bytes, 0);
}

struct gate {
	pthread_barrier_t barrier;
};

static void *mark_and_wait(void *pointer)
{
	struct gate *gate = pointer;

	mark_some(3);
	pthread_barrier_wait(&gate->barrier);
	return NULL;
}

TEST(memory_is_bounded_and_records_without_a_ring_are_counted)
{
	uint64_t bytes_max = 5 * 64 * 48 + 5 * 1024;
	struct gate gate;
	pthread_t threads[20];

	CHECK_EQ(pthread_barrier_init(&gate.barrier, NULL, 21), 0);
	start(64, bytes_max);
	for (int i = 0; i < 20; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, mark_and_wait, &gate), 0);
	pthread_barrier_wait(&gate.barrier);
	for (int i = 0; i < 20; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	stop();
	CHECK_LE(totals.bytes, bytes_max);
	CHECK_GE(totals.rings, 1);
	CHECK_EQ(count(TRACE_MARK, 0) + (int)totals.left_out, 60);
	CHECK_EQ(totals.written, record_count + totals.left_out);
}

#define WRITERS 3

struct scribble {
	_Atomic bool stop;
	_Atomic uint64_t written;
};

/* All fields of record n say n. */
static void *scribble(void *pointer)
{
	struct scribble *shared = pointer;
	uint64_t n = 0;

	while (!load_relaxed(&shared->stop)) {
		TRACE(TRACE_MARK, n, n, n);
		n++;
	}
	fetch_add_relaxed(&shared->written, n);
	return NULL;
}

/* Whole, and in order within each thread. */
static void check_scribbles(void)
{
	for (size_t i = 0; i < record_count; i++) {
		const filar_trace_record *record = &records[i];
		const filar_trace_record *before = i > 0 ? &records[i - 1] : record;

		if (record->event != TRACE_MARK)
			continue;
		CHECK_EQ(record->object, record->subject);
		CHECK_EQ(record->argument, (int32_t)record->subject);
		if (before == record || before->thread != record->thread ||
			before->event != TRACE_MARK)
			continue;
		CHECK(record->subject > before->subject);
		CHECK(record->time_ns >= before->time_ns);
		CHECK_EQ((uint32_t)(record->sequence - before->sequence),
			(uint32_t)(record->subject - before->subject));
	}
}

/* Hunts a record put together of two, and one that is in the wrong place: small rings, which the
 * reader meets again and again where they are being written. */
TEST(a_reader_of_rings_that_are_being_written_sees_whole_records_in_order)
{
	struct scribble shared = { .stop = false };
	int64_t deadline_ns = clock_now_ns() + (int64_t)(stress_seconds() * 0.3e9);
	pthread_t writers[WRITERS];
	int rounds = 0;

	start(16, 0);
	for (int i = 0; i < WRITERS; i++)
		CHECK_EQ(pthread_create(&writers[i], NULL, scribble, &shared), 0);
	while (clock_now_ns() < deadline_ns || rounds == 0) {
		collect();
		CHECK_LE(record_count, 16 * WRITERS);
		check_scribbles();
		rounds++;
	}
	store_relaxed(&shared.stop, true);
	for (int i = 0; i < WRITERS; i++)
		CHECK_EQ(pthread_join(writers[i], NULL), 0);
	stop();
	check_scribbles();
	/* One more than the marks for each thread's name. */
	CHECK_GE(totals.written, load_relaxed(&shared.written));
	CHECK_EQ(totals.written, totals.overwritten + record_count);
}

/* Hunts a ring that two threads write to, or that is freed under its writer: sessions come and go,
 * of two sizes, while threads begin, write and end. */
TEST(sessions_come_and_go_while_threads_write)
{
	struct scribble shared = { .stop = false };
	int64_t deadline_ns = clock_now_ns() + (int64_t)(stress_seconds() * 0.3e9);
	pthread_t writers[WRITERS];
	int rounds = 0;

	for (int i = 0; i < WRITERS; i++)
		CHECK_EQ(pthread_create(&writers[i], NULL, scribble, &shared), 0);
	while (clock_now_ns() < deadline_ns || rounds == 0) {
		start(rounds % 2 == 0 ? 16 : 32, rounds % 3 == 0 ? 4000 : 0);
		run_thread();
		collect();
		check_scribbles();
		CHECK_EQ(filar_trace_stop(), FILAR_OK);
		if (rounds % 5 == 0)
			CHECK_EQ(filar_trace_clear(), FILAR_OK);
		rounds++;
	}
	store_relaxed(&shared.stop, true);
	for (int i = 0; i < WRITERS; i++)
		CHECK_EQ(pthread_join(writers[i], NULL), 0);
}

TEST(the_child_of_a_fork_is_not_traced_and_may_trace_itself)
{
	pid_t child;
	int status;

	start(64, 0);
	mark_some(3);
	child = fork();
	if (child == 0) {
		alarm(30);
		filar_trace_mark(1, 1);
		collect();
		if (record_count != 0 || totals.started_ns != 0)
			_exit(1);
		if (filar_trace_start(NULL) != FILAR_OK)
			_exit(2);
		filar_trace_mark(1, 1);
		_exit(filar_trace_stop() == FILAR_OK && filar_trace_collect(records, 99, NULL) >= 1
				? 0
				: 3);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
	stop();
	CHECK_EQ(count(TRACE_MARK, 0), 3);
}

#if FILAR_FAIL
static int trace_something(void)
{
	int status = filar_trace_start(NULL);

	if (status != FILAR_OK)
		return status;
	filar_trace_mark(1, 1);
	status = filar_trace_stop();
	(void)filar_trace_collect(NULL, 0, &totals);
	CHECK_EQ(totals.rings + totals.left_out, 1);
	(void)filar_trace_clear();
	/* What a thread's end does; the ring is kept for the next session otherwise. */
	tracepoint_ring_retire(self_get()->trace_ring);
	self_get()->trace_ring = NULL;
	return status;
}

TEST(a_ring_that_cannot_be_had_leaves_its_thread_out)
{
	CHECK_GE(fail_each(trace_something), 1);
}
#endif

/* ---- green threads ---- */

struct pair {
	filar_runtime *runtime;
	filar_event *event;
};

static void wait_for_event(void *pointer)
{
	struct pair *pair = pointer;

	CHECK_EQ(filar_event_wait_until(pair->event, FILAR_FOREVER), FILAR_OK);
}

static void spawn_and_set(void *pointer)
{
	struct pair *pair = pointer;
	filar_green waiting = spawn(pair->runtime, "waiting", wait_for_event, pair);

	filar_green_yield(); /* it parks */
	CHECK_EQ(filar_event_set(pair->event), FILAR_OK);
	CHECK_EQ(filar_green_join_until(waiting, FILAR_FOREVER), FILAR_OK);
}

TEST(a_green_threads_life_is_told_in_order_with_who_spawned_and_who_woke_it)
{
	static const enum trace_event life[] = { TRACE_GREEN_SPAWN, TRACE_GREEN_NAME,
		TRACE_GREEN_RUN, TRACE_GREEN_PARK, TRACE_GREEN_WAKE, TRACE_GREEN_RUN,
		TRACE_GREEN_END };
	struct pair pair = { .runtime = start_runtime(1) };
	size_t at = 0;
	uint64_t waiting, setter;
	filar_green green;

	CHECK_EQ(filar_event_create(&pair.event, false), FILAR_OK);
	start(0, 0);
	green = spawn(pair.runtime, "setter", spawn_and_set, &pair);
	CHECK_EQ(filar_green_join_until(green, FILAR_FOREVER), FILAR_OK);
	stop();
	waiting = named("waiting");
	setter = named("setter");
	for (size_t i = 0; i < record_count && at < FILAR_COUNT_OF(life); i++) {
		if (records[i].subject == waiting && records[i].event == life[at])
			at++;
	}
	CHECK_EQ(at, FILAR_COUNT_OF(life));
	CHECK_EQ(first(TRACE_GREEN_SPAWN, waiting)->object, setter);
	CHECK_EQ(first(TRACE_GREEN_SPAWN, setter)->object, 0);
	CHECK_EQ(strcmp(filar_trace_wait_name((uint32_t)first(TRACE_GREEN_PARK, waiting)->argument),
			 "event"),
		0);
	CHECK_EQ(first(TRACE_GREEN_WAKE, waiting)->object, setter);
	CHECK_EQ(first(TRACE_GREEN_WAKE, waiting)->argument, TRACE_WAKE_WOKEN);
	CHECK_EQ(first(TRACE_GREEN_RUN, waiting)->argument,
		first(TRACE_GREEN_END, waiting)->argument);
	CHECK_GE(count(TRACE_GREEN_YIELD, setter), 1);
	stop_runtime(pair.runtime);
	CHECK_EQ(filar_event_destroy(pair.event), FILAR_OK);
}

/* Until one of its sleeps was one: there is none if the deadline has passed on the way there. */
static void sleep_until_told(void *pointer)
{
	_Atomic bool *told = pointer;

	for (int64_t ns = 100000; !load_relaxed(told); ns *= 2)
		CHECK_EQ(filar_green_sleep_until(filar_now_ns() + ns), FILAR_OK);
}

static void sleep_until_cancelled(void *unused)
{
	(void)unused;
	CHECK_EQ(filar_green_sleep_until(FILAR_FOREVER), FILAR_CANCELLED);
}

TEST(a_wake_says_whether_time_passed_or_somebody_cancelled)
{
	filar_runtime *runtime = start_runtime(1);
	_Atomic bool told = false;
	filar_green sleeper, cancelled;

	start(0, 0);
	sleeper = spawn(runtime, "sleeper", sleep_until_told, &told);
	cancelled = spawn(runtime, "cancel", sleep_until_cancelled, NULL);
	WAIT_UNTIL(has_come(TRACE_GREEN_WAKE, "sleeper"));
	store_relaxed(&told, true);
	CHECK_EQ(filar_green_join_until(sleeper, FILAR_FOREVER), FILAR_OK);
	WAIT_UNTIL(has_come(TRACE_GREEN_PARK, "cancel") && count(TRACE_WORKER_SLEEP, 0) > 0);
	CHECK_EQ(filar_green_cancel(cancelled), FILAR_OK);
	CHECK_EQ(filar_green_join_until(cancelled, FILAR_FOREVER), FILAR_OK);
	stop();
	CHECK_EQ(first(TRACE_GREEN_WAKE, named("sleeper"))->argument, TRACE_WAKE_TIMED_OUT);
	CHECK_EQ(first(TRACE_GREEN_WAKE, named("cancel"))->argument, TRACE_WAKE_CANCELLED);
	stop_runtime(runtime);
}

/* By the calling thread. */
static bool has(enum trace_event event, uint64_t subject, int argument)
{
	const filar_trace_record *found;

	for (int n = 0; (found = find(event, subject, n)) != NULL; n++) {
		if (found->thread == gettid() && found->argument == argument)
			return true;
	}
	return false;
}

static uint32_t wait_number(const char *name)
{
	uint32_t number = 0;

	while (strcmp(filar_trace_wait_name(number), name) != 0)
		number++;
	return number;
}

TEST(a_wake_from_outside_and_a_kernel_threads_wait_are_recorded)
{
	struct pair pair = { .runtime = start_runtime(1) };
	filar_green green;
	uint64_t waiting;

	CHECK_EQ(filar_event_create(&pair.event, false), FILAR_OK);
	start(0, 0);
	green = spawn(pair.runtime, "waiting", wait_for_event, &pair);
	do {
		collect();
		usleep(100);
	} while (count(TRACE_GREEN_PARK, 0) == 0);
	CHECK_EQ(filar_event_set(pair.event), FILAR_OK);
	CHECK_EQ(filar_green_join_until(green, FILAR_FOREVER), FILAR_OK);
	/* A wait that is sure to sleep: until its deadline. */
	CHECK_EQ(filar_event_reset(pair.event), FILAR_OK);
	CHECK_EQ(filar_event_wait_until(pair.event, filar_now_ns() + 100000), FILAR_TIMED_OUT);
	stop();
	waiting = named("waiting");
	CHECK(has(TRACE_GREEN_WAKE, waiting, TRACE_WAKE_POSTED));
	CHECK(has(TRACE_PARK, 0, (int)wait_number("event")));
	CHECK(has(TRACE_PARK_END, 0, FILAR_TIMED_OUT));
	stop_runtime(pair.runtime);
	CHECK_EQ(filar_event_destroy(pair.event), FILAR_OK);
}

static void compute_until_told(void *pointer)
{
	_Atomic bool *told = pointer;

	while (!load_relaxed(told))
		;
}

static void tell(void *pointer)
{
	store_relaxed((_Atomic bool *)pointer, true);
}

TEST(a_preemption_stands_before_the_yield_that_it_causes)
{
	filar_runtime_options options;
	filar_green_options preemptible = { .name = "hog", .preemptible = true };
	_Atomic bool told = false;
	filar_runtime *runtime;
	const filar_trace_record *preempted;
	filar_green hog, other;
	uint64_t subject;

	filar_runtime_options_init(&options);
	options.workers = 1;
	options.preempt_ns = 1000000;
	if (filar_runtime_create(&runtime, &options) != FILAR_OK)
		return; /* under TSan */
	start(0, 0);
	CHECK_EQ(filar_green_spawn(&hog, runtime, &preemptible, compute_until_told, &told),
		FILAR_OK);
	other = spawn(runtime, "other", tell, &told);
	CHECK_EQ(filar_green_join_until(hog, FILAR_FOREVER), FILAR_OK);
	CHECK_EQ(filar_green_join_until(other, FILAR_FOREVER), FILAR_OK);
	stop();
	subject = named("hog");
	if (count(TRACE_GREEN_PREEMPT, subject) > 0) { /* the other may have come first */
		preempted = first(TRACE_GREEN_PREEMPT, subject);
		CHECK_GE(count(TRACE_GREEN_YIELD, subject), 1);
		CHECK(find(TRACE_GREEN_YIELD, subject, count(TRACE_GREEN_YIELD, subject) - 1)
				->time_ns >= preempted->time_ns);
	}
	stop_runtime(runtime);
}

/* ---- pools ---- */

struct tree {
	int depth;
	_Atomic int *leaves;
};

static void grow(void *pointer)
{
	struct tree *tree = pointer, child = { tree->depth - 1, tree->leaves };

	if (tree->depth == 0) {
		fetch_add_relaxed(tree->leaves, 1);
		return;
	}
	CHECK_EQ(filar_join(grow, &child, grow, &child), FILAR_OK);
}

static void do_steps(int64_t begin, int64_t end, void *ctx)
{
	(void)fetch_add_relaxed((_Atomic int *)ctx, (int)(end - begin));
}

TEST(a_pools_calls_are_recorded_from_submission_to_end)
{
	filar_pool_options options;
	filar_loop_options loop;
	filar_pool *pool;
	_Atomic int leaves = 0, steps = 0;
	struct tree tree = { 6, &leaves };
	const filar_trace_record *run;
	filar_task task;

	filar_pool_options_init(&options);
	options.workers = 2;
	filar_loop_options_init(&loop);
	loop.schedule = FILAR_SCHEDULE_DYNAMIC;
	loop.grain = 1;
	CHECK_EQ(filar_pool_create(&pool, &options), FILAR_OK);
	start(0, 0);
	filar_task_init(&task, grow, &tree);
	CHECK_EQ(filar_pool_submit_task(pool, NULL, &task), FILAR_OK);
	CHECK_EQ(filar_task_wait_until(&task, FILAR_FOREVER), FILAR_OK);
	CHECK_EQ(filar_parallel_for(pool, &loop, 0, 100, do_steps, &steps), FILAR_OK);
	CHECK_EQ(filar_pool_shutdown_until(pool, false, FILAR_FOREVER), FILAR_OK);
	stop();
	CHECK_EQ(load_relaxed(&leaves), 64);
	CHECK_EQ(load_relaxed(&steps), 100);
	run = first(TRACE_CALL_RUN, (uint64_t)(uintptr_t)&task);
	CHECK(run->argument != 0);
	CHECK_EQ(first(TRACE_CALL_SUBMIT, run->subject)->object, run->object);
	CHECK(first(TRACE_CALL_END, run->subject)->time_ns >= run->time_ns);
	CHECK_EQ(count(TRACE_FORK_RUN, 0), count(TRACE_FORK_END, 0));
	CHECK_GE(count(TRACE_LOOP_RUN, 0), 1);
	CHECK_EQ(count(TRACE_LOOP_RUN, 0), count(TRACE_LOOP_END, 0));
	CHECK_EQ(filar_pool_destroy(pool), FILAR_OK);
}

TEST_MAIN()
