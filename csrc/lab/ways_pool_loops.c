/*
 * ways_pool_loops.c - a loop whose steps are divided among threads (loop), and frames of a film
 * that are filtered in parallel although a part of each cannot be (frames).
 *
 * What is computed is the same for every number of threads and every schedule, and is checked
 * against the result of one thread after each sample.
 */
#include <pthread.h>

#include "base/memory.h"
#include "base/random.h"
#include "kernels/kernels.h"
#include "lab/crew.h"
#include "lab/lab_pool.h"
#include "lab/registry.h"
#include "os/clock.h"
#include "pool/loop.h"
#include "pool/task.h"

/* ---- what a step does ---- */

enum work_kind { WORK_SPIN, WORK_SUM, WORK_KINDS };
enum shape { SHAPE_EVEN, SHAPE_RISING, SHAPE_HEAVY, SHAPES };

#define LENGTH_MAX   (INT64_C(1) << 27)
#define HEAVY_STEPS  16 /* of SHAPE_HEAVY: one in so many holds half of the work */
#define RESULT_SLOTS 64u

/* Partial results of threads that end a piece: spread out, since pieces may be short. */
struct result_slot {
	FILAR_CACHELINE_BREAK _Atomic uint64_t sum; /* A  relaxed */
};

struct loop_state {
	const int64_t *params;    /* I */
	struct pool *pool;        /* W  driver; NULL: alone */
	range_body *body;         /* I */
	double *from;             /* I  SUM: the numbers */
	uint64_t expected;        /* I */
	struct result_slot *sums; /* A  RESULT_SLOTS of them */
	/* The hog: a thread that keeps one CPU busy during a sample. */
	pthread_t hog;             /* W  driver */
	struct cpu_mask hog_cpus;  /* I */
	struct tally hog_runs;     /* A */
	_Atomic bool hog_stop;     /* A  relaxed */
	const struct way_run *run; /* I */
};

enum {
	LOOP_WORK,
	LOOP_SHAPE,
	LOOP_LENGTH,
	LOOP_STEPS,
	LOOP_THREADS,
	LOOP_SCHEDULE_PARAM,
	LOOP_GRAIN,
	LOOP_PINNED,
	LOOP_HOG_CPU
};
/* Values of the parameter "schedule". */
enum { BY_ONE = -1, BY_ADAPTIVE, BY_STATIC, BY_DYNAMIC, BY_FORKING };

static void add_result(struct loop_state *state, int64_t begin, uint64_t value)
{
	fetch_add_relaxed(&state->sums[(uint64_t)begin % RESULT_SLOTS].sum, value);
}

static uint64_t take_result(struct loop_state *state)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < RESULT_SLOTS; i++) {
		sum += load_relaxed(&state->sums[i].sum);
		store_relaxed(&state->sums[i].sum, 0);
	}
	return sum;
}

/* How many steps of work step i of the loop does; all of them together make up LOOP_STEPS. */
static int64_t weight(const int64_t *params, int64_t i)
{
	int64_t length = params[LOOP_LENGTH], steps = params[LOOP_STEPS];
	int64_t heavy = (length + HEAVY_STEPS - 1) / HEAVY_STEPS;

	switch ((enum shape)params[LOOP_SHAPE]) {
	case SHAPE_RISING:
		return (int64_t)(2.0 * (double)steps * ((double)i + 0.5) /
				 ((double)length * (double)length));
	case SHAPE_HEAVY:
		return i < heavy ? steps / 2 / heavy : steps / 2 / (length - heavy);
	default:
		return steps / length;
	}
}

static void spin_range(int64_t begin, int64_t end, void *ctx)
{
	struct loop_state *state = ctx;

	for (int64_t i = begin; i < end; i++)
		spin_steps((uint64_t)weight(state->params, i));
	add_result(state, begin, (uint64_t)(end - begin));
}

/* Whole numbers below 2^53 in doubles: the sum is exact in any order. */
static void sum_range(int64_t begin, int64_t end, void *ctx)
{
	struct loop_state *state = ctx;
	double sums[4] = { 0 };
	int64_t i = begin;

	for (; i + 4 <= end; i += 4) {
		for (int k = 0; k < 4; k++)
			sums[k] += state->from[i + k];
	}
	for (; i < end; i++)
		sums[0] += state->from[i];
	add_result(state, begin, (uint64_t)(sums[0] + sums[1] + sums[2] + sums[3]));
}

static range_body *const bodies[WORK_KINDS] = { spin_range, sum_range };

/* ---- dividing it ---- */

struct fork_range {
	struct loop_state *state; /* I */
	int64_t begin, end;       /* I */
	enum filar_status status; /* S  the half's until joined */
};

/* Halves the range until it is as short as the grain; halves that nobody takes run here. */
static void fork_range(void *pointer)
{
	struct fork_range *range = pointer;
	int64_t grain = range->state->params[LOOP_GRAIN], half;
	struct fork_range first, second;

	if (range->end - range->begin <= (grain > 0 ? grain : 1)) {
		range->state->body(range->begin, range->end, range->state);
		return;
	}
	half = range->begin + (range->end - range->begin) / 2;
	first = (struct fork_range){ .state = range->state, .begin = range->begin, .end = half };
	second = (struct fork_range){ .state = range->state, .begin = half, .end = range->end };
	range->status =
		forks_join(&pool_worker_current()->forks, fork_range, &first, fork_range, &second);
	if (range->status == FILAR_OK)
		range->status = first.status == FILAR_OK ? second.status : first.status;
}

static enum filar_status run_loop(struct loop_state *state)
{
	const int64_t *params = state->params;
	struct loop_options options = { .grain = params[LOOP_GRAIN],
		.threads = (uint32_t)params[LOOP_THREADS] };
	struct fork_range all = { .state = state, .end = params[LOOP_LENGTH] };
	enum filar_status status;

	switch (params[LOOP_SCHEDULE_PARAM]) {
	case BY_ONE:
		state->body(0, params[LOOP_LENGTH], state);
		return FILAR_OK;
	case BY_FORKING:
		status = pool_call(state->pool, fork_range, &all);
		return status == FILAR_OK ? all.status : status;
	case BY_STATIC:
		options.schedule = LOOP_STATIC;
		break;
	case BY_DYNAMIC:
		options.schedule = LOOP_DYNAMIC;
		break;
	default:
		options.schedule = LOOP_ADAPTIVE;
	}
	return pool_parallel_for(state->pool, &options, 0, params[LOOP_LENGTH], state->body, state);
}

/* ---- the hog ---- */

static void *hog_main(void *pointer)
{
	struct loop_state *state = pointer;

	tally_add(&state->hog_runs);
	while (!load_relaxed(&state->hog_stop) && !way_cancelled(state->run))
		spin_steps(100);
	return NULL;
}

/* Returns when it runs. */
static enum filar_status start_hog(struct loop_state *state)
{
	pthread_attr_t attributes;
	int error = pthread_attr_init(&attributes);

	store_relaxed(&state->hog_stop, false);
	store_relaxed(&state->hog_runs.count, 0);
	if (error == 0) {
		error = pthread_attr_setaffinity_np(
			&attributes, state->hog_cpus.bytes, state->hog_cpus.bits);
		if (error == 0)
			error = pthread_create(&state->hog, &attributes, hog_main, state);
		pthread_attr_destroy(&attributes);
	}
	if (error != 0)
		return status_from_errno(error, "pthread_create");
	tally_wait(&state->hog_runs);
	return FILAR_OK;
}

static void stop_hog(struct loop_state *state)
{
	store_relaxed(&state->hog_stop, true);
	pthread_join(state->hog, NULL);
}

/* ---- the way ---- */

static enum filar_status check_loop(const int64_t *params)
{
	enum filar_status status = param_check("work", params[LOOP_WORK], 0, WORK_KINDS - 1);

	if (status == FILAR_OK)
		status = param_check("shape", params[LOOP_SHAPE], 0, SHAPES - 1);
	if (status == FILAR_OK)
		status = param_check("length", params[LOOP_LENGTH], 2, LENGTH_MAX);
	if (status == FILAR_OK)
		status = param_check("steps", params[LOOP_STEPS], 0, INT64_C(1) << 40);
	if (status == FILAR_OK)
		status = param_check("threads", params[LOOP_THREADS], 1, LAB_POOL_WORKERS_MAX);
	if (status == FILAR_OK)
		status = param_check("schedule", params[LOOP_SCHEDULE_PARAM], BY_ONE, BY_FORKING);
	return status == FILAR_OK ? param_check("grain", params[LOOP_GRAIN], 0, LENGTH_MAX)
				  : status;
}

static enum filar_status acquire_data(struct loop_state *state, const int64_t *params)
{
	size_t length = (size_t)params[LOOP_LENGTH];

	if (params[LOOP_WORK] != WORK_SUM)
		return FILAR_OK;
	state->from = memory_acquire(length, sizeof(double));
	if (state->from == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for %zu numbers", length);
	for (size_t i = 0; i < length; i++)
		state->from[i] = (double)(i & 1023);
	return FILAR_OK;
}

static void teardown_loop(struct way_run *run)
{
	struct loop_state *state = run->state;

	if (state == NULL)
		return;
	lab_pool_close(state->pool);
	memory_release(state->from);
	memory_release(state->sums);
	memory_release(state);
}

static enum filar_status setup_loop(struct way_run *run)
{
	const int64_t *params = run->params;
	enum filar_status status = check_loop(params);
	struct loop_state *state;

	if (status != FILAR_OK)
		return status;
	state = way_acquire_state(run, sizeof *state);
	if (state == NULL)
		return FILAR_NO_MEMORY;
	state->run = run;
	state->params = params;
	state->body = bodies[params[LOOP_WORK]];
	state->hog_runs.total = 1;
	state->sums = memory_acquire_aligned(RESULT_SLOTS, sizeof *state->sums);
	if (state->sums == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory");
	if (params[LOOP_HOG_CPU] >= 0)
		status = crew_mask(&state->hog_cpus, params[LOOP_HOG_CPU]);
	if (status == FILAR_OK)
		status = acquire_data(state, params);
	if (status == FILAR_OK && params[LOOP_SCHEDULE_PARAM] != BY_ONE)
		status = lab_pool_open(
			run, params[LOOP_THREADS], params[LOOP_PINNED] != 0, &state->pool);
	return status;
}

/* What the loop left, against what one thread leaves, which is computed when it is first needed. */
static enum filar_status check_result(struct loop_state *state)
{
	uint64_t found = take_result(state);

	if (state->expected == 0) {
		state->body(0, state->params[LOOP_LENGTH], state);
		state->expected = take_result(state);
	}
	return found == state->expected
		       ? FILAR_OK
		       : status_detail(FILAR_SYSTEM, "the result is not that of one thread");
}

static enum filar_status sample_loop(struct way_run *run)
{
	struct loop_state *state = run->state;
	bool hog = run->params[LOOP_HOG_CPU] >= 0;
	enum filar_status status = FILAR_OK;
	int64_t spent = 0;

	if (run->params[LOOP_PINNED] == 0)
		lab_pool_let_loose();
	if (hog)
		status = start_hog(state);
	hog = hog && status == FILAR_OK;
	for (uint32_t i = 0; status == FILAR_OK && i < run->batch; i++) {
		int64_t start = clock_now_ns();

		status = run_loop(state);
		spent += clock_now_ns() - start;
		if (status == FILAR_OK)
			status = way_cancelled(run) ? FILAR_CANCELLED : check_result(state);
	}
	if (hog)
		stop_hog(state);
	run->values[0] = (double)spent / run->batch;
	return status;
}

/* ---- frames ---- */

enum {
	FRAMES_THREADS,
	FRAMES_SERIAL_PERMILLE,
	FRAMES_LOCKED,
	FRAMES_COUNT,
	FRAMES_WIDTH,
	FRAMES_HEIGHT
};

#define FRAMES_MAX  256
#define PIXELS_MAX  4096
#define BLUR_RADIUS 3
#define BLUR_TRIES  5
#define SPIN_TRIAL  (UINT64_C(1) << 17)

struct film {
	const int64_t *params; /* I */
	struct pool *pool;     /* W  driver; NULL: alone */
	uint8_t *from;         /* I  one frame; all frames look alike */
	uint8_t *to;           /* S  FRAMES_COUNT of them; each row of whoever blurs it */
	uint64_t serial_steps; /* I  of a frame */
	pthread_mutex_t lock;  /*    around the serial part, if locked */
};

/* What blurs one frame. */
static filar_blur blur_of(const struct film *film, int64_t frame)
{
	const int64_t *params = film->params;

	return (filar_blur){ .source = film->from,
		.target = film->to + frame * params[FRAMES_WIDTH] * params[FRAMES_HEIGHT],
		.rows = params[FRAMES_HEIGHT],
		.columns = params[FRAMES_WIDTH],
		.channels = 1,
		.radius = BLUR_RADIUS };
}

/* One frame after the other: its serial part by the driver alone, its rows by all. */
static enum filar_status film_by_phases(struct film *film)
{
	struct loop_options options = { .threads = (uint32_t)film->params[FRAMES_THREADS] };
	enum filar_status status = FILAR_OK;

	for (int64_t frame = 0; status == FILAR_OK && frame < film->params[FRAMES_COUNT]; frame++) {
		filar_blur blur = blur_of(film, frame);

		spin_steps(film->serial_steps);
		if (film->pool == NULL)
			kernel_box_blur(0, blur.rows, &blur);
		else
			status = pool_parallel_for(
				film->pool, &options, 0, blur.rows, kernel_box_blur, &blur);
	}
	return status;
}

static void whole_frames(int64_t begin, int64_t end, void *ctx)
{
	struct film *film = ctx;

	for (int64_t frame = begin; frame < end; frame++) {
		filar_blur blur = blur_of(film, frame);

		pthread_mutex_lock(&film->lock);
		spin_steps(film->serial_steps);
		pthread_mutex_unlock(&film->lock);
		kernel_box_blur(0, blur.rows, &blur);
	}
}

/* Frames side by side; the serial part of each is under a lock. */
static enum filar_status film_by_frames(struct film *film)
{
	struct loop_options options = { .threads = (uint32_t)film->params[FRAMES_THREADS],
		.schedule = LOOP_DYNAMIC,
		.grain = 1 };

	if (film->pool == NULL) {
		whole_frames(0, film->params[FRAMES_COUNT], film);
		return FILAR_OK;
	}
	return pool_parallel_for(
		film->pool, &options, 0, film->params[FRAMES_COUNT], whole_frames, film);
}

/* So many steps that they take the given share of a frame: by the best of some trials of both. */
static uint64_t serial_steps_for(struct film *film, int64_t permille)
{
	int64_t blur_ns = INT64_MAX, spin_ns = INT64_MAX;
	filar_blur blur = blur_of(film, 0);

	for (int i = 0; i < BLUR_TRIES; i++) {
		int64_t start = clock_now_ns(), middle;

		kernel_box_blur(0, blur.rows, &blur);
		middle = clock_now_ns();
		spin_steps(SPIN_TRIAL);
		if (middle - start < blur_ns)
			blur_ns = middle - start;
		if (clock_now_ns() - middle < spin_ns)
			spin_ns = clock_now_ns() - middle;
	}
	return (uint64_t)((double)blur_ns * (double)permille / (double)(1000 - permille) *
			  (double)SPIN_TRIAL / (double)(spin_ns > 0 ? spin_ns : 1));
}

static enum filar_status check_frames(const int64_t *params)
{
	enum filar_status status =
		param_check("threads", params[FRAMES_THREADS], 0, LAB_POOL_WORKERS_MAX);

	if (status == FILAR_OK)
		status = param_check("serial_permille", params[FRAMES_SERIAL_PERMILLE], 0, 990);
	if (status == FILAR_OK)
		status = param_check("frames", params[FRAMES_COUNT], 1, FRAMES_MAX);
	if (status == FILAR_OK)
		status = param_check("width", params[FRAMES_WIDTH], 1, PIXELS_MAX);
	return status == FILAR_OK ? param_check("height", params[FRAMES_HEIGHT], 1, PIXELS_MAX)
				  : status;
}

static void teardown_frames(struct way_run *run)
{
	struct film *film = run->state;

	if (film == NULL)
		return;
	lab_pool_close(film->pool);
	pthread_mutex_destroy(&film->lock);
	memory_release(film->from);
	memory_release(film->to);
	memory_release(film);
}

static enum filar_status setup_frames(struct way_run *run)
{
	const int64_t *params = run->params;
	enum filar_status status = check_frames(params);
	struct film *film;
	size_t pixels;

	if (status != FILAR_OK)
		return status;
	pixels = (size_t)(params[FRAMES_WIDTH] * params[FRAMES_HEIGHT]);
	run->state = film = memory_acquire(1, sizeof *film);
	if (film == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory");
	pthread_mutex_init(&film->lock, NULL);
	film->params = params;
	film->from = memory_acquire(pixels, 1);
	film->to = memory_acquire(pixels, (size_t)params[FRAMES_COUNT]);
	if (film->from == NULL || film->to == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for frames");
	for (size_t i = 0; i < pixels; i++)
		film->from[i] = (uint8_t)random_mix(i);
	film->serial_steps = serial_steps_for(film, params[FRAMES_SERIAL_PERMILLE]);
	if (params[FRAMES_THREADS] > 0)
		status = lab_pool_open(run, params[FRAMES_THREADS], true, &film->pool);
	return status;
}

/* All frames are alike, so the last one's pixels must be those of the first. */
static enum filar_status check_film(const struct film *film)
{
	size_t pixels = (size_t)(film->params[FRAMES_WIDTH] * film->params[FRAMES_HEIGHT]);
	const uint8_t *last = film->to + pixels * (size_t)(film->params[FRAMES_COUNT] - 1);

	for (size_t i = 0; i < pixels; i += 31) {
		if (film->to[i] != last[i])
			return status_detail(FILAR_SYSTEM, "frames differ at pixel %zu", i);
	}
	return FILAR_OK;
}

static enum filar_status sample_frames(struct way_run *run)
{
	struct film *film = run->state;
	enum filar_status status = FILAR_OK;
	int64_t spent = 0;

	for (uint32_t i = 0; status == FILAR_OK && i < run->batch; i++) {
		int64_t start;

		if (way_cancelled(run))
			return FILAR_CANCELLED;
		start = clock_now_ns();
		status = film->params[FRAMES_LOCKED] != 0 ? film_by_frames(film)
							  : film_by_phases(film);
		spent += clock_now_ns() - start;
		if (status == FILAR_OK)
			status = check_film(film);
	}
	run->values[0] = (double)spent / run->batch / (double)film->params[FRAMES_COUNT];
	return status;
}

const struct way ways_pool_loops[] = {
	{ .name = "loop",
		.summary =
			"a loop; work 0 spin, 1 sum; shape of spin 0 even, 1 rising, 2 heavy; schedule "
			"-1 alone, 0 adaptive, 1 static, 2 dynamic, 3 forks",
		.params = { { "work", WORK_SPIN }, { "shape", SHAPE_EVEN }, { "length", 1024 },
			{ "steps", 1000000 }, { "threads", 2 }, { "schedule", BY_ADAPTIVE },
			{ "grain", 0 }, { "pinned", 1 }, { "hog_cpu", -1 } },
		.metrics = { { "time", "ns" } },
		.batch_max = 64,
		.setup = setup_loop,
		.sample = sample_loop,
		.teardown = teardown_loop },
	{ .name = "frames",
		.summary =
			"a frame of a film, part of which is serial (a phase, or under a lock); 0 "
			"threads: no pool",
		.params = { { "threads", 2 }, { "serial_permille", 0 }, { "locked", 0 },
			{ "frames", 4 }, { "width", 160 }, { "height", 96 } },
		.metrics = { { "frame", "ns" } },
		.batch_max = 64,
		.setup = setup_frames,
		.sample = sample_frames,
		.teardown = teardown_frames },
	{ .name = NULL },
};
