/*
 * ways_pool_kernels.c - each native kernel (csrc/kernels) by number of threads.
 *
 * One operation is one run of the kernel on data of its own; 0 threads is its serial twin, without
 * a pool.  After each sample the result is compared with that of the serial twin.
 *
 * Way "kernel-recorded": the driver runs the same forks and loops by itself and takes them down
 * (pool/recording.h).  Way "fork-costs": what a prediction from that needs to know of the machine.
 */
#include <string.h>

#include "base/check.h"
#include "base/memory.h"
#include "base/random.h"
#include "kernels/kernels.h"
#include "lab/crew.h"
#include "lab/forkcosts.h"
#include "lab/lab_pool.h"
#include "lab/registry.h"
#include "os/clock.h"
#include "pool/recording.h"

enum { PARAM_KERNEL, PARAM_THREADS, PARAM_SIZE, PARAM_PINNED };

struct kernel_state {
	const int64_t *params;    /* I */
	struct pool *pool;        /* W  driver; NULL: serial */
	struct loop_options loop; /* I */
	int64_t size;             /* I  what it means is the kernel's */
	double *x, *y, *z;        /* S  of whoever runs the kernel */
	uint8_t *from, *to;       /* S  likewise */
	uint64_t counts[256];     /* S  likewise */
	int64_t number;           /* S  a result that is one number */
	uint64_t expected;        /* I  after the first check */
	bool is_known;            /* W  driver: `expected` is set */
	double least_ns;          /* W  driver, recording: work of the best so far; 0: none */
};

struct kernel {
	const char *name;
	int64_t size; /* default: some milliseconds alone */
	int64_t size_max;
	enum filar_status (*acquire)(struct kernel_state *state);
	void (*prepare)(struct kernel_state *state); /* before each run, not timed; NULL: nothing */
	enum filar_status (*run)(struct kernel_state *state, struct pool *pool);
	uint64_t (*result)(struct kernel_state *state);
};

/* ---- memory ---- */

static enum filar_status acquire_doubles(struct kernel_state *state, int64_t count, int arrays)
{
	double **all[] = { &state->x, &state->y, &state->z };

	for (int a = 0; a < arrays; a++) {
		*all[a] = memory_acquire((size_t)count, sizeof(double));
		if (*all[a] == NULL)
			return status_detail(
				FILAR_NO_MEMORY, "no memory for %lld numbers", (long long)count);
		for (int64_t i = 0; i < count; i++)
			(*all[a])[i] = (double)(random_mix((uint64_t)i + 1) >> 50);
	}
	return FILAR_OK;
}

static enum filar_status acquire_bytes(struct kernel_state *state, int64_t from, int64_t to)
{
	state->from = memory_acquire((size_t)from, 1);
	state->to = memory_acquire((size_t)to, 1);
	if (state->from == NULL || state->to == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for %lld bytes",
			(long long)from + (long long)to);
	for (int64_t i = 0; i < from; i++)
		state->from[i] = (uint8_t)random_mix((uint64_t)i);
	return FILAR_OK;
}

/* Numbers here are whole and small enough that doubles add them up exactly in any order. */
static uint64_t sum_of(const double *values, int64_t count)
{
	double sum = 0;

	for (int64_t i = 0; i < count; i++)
		sum += values[i] * (double)(i % 7 + 1);
	return (uint64_t)sum;
}

static uint64_t bytes_of(const uint8_t *bytes, int64_t count)
{
	uint64_t sum = 0;

	for (int64_t i = 0; i < count; i++)
		sum += bytes[i] * ((uint64_t)i % 31 + 1);
	return sum;
}

static enum filar_status in_parallel(
	struct kernel_state *state, struct pool *pool, int64_t end, range_body *body, void *ctx)
{
	if (pool != NULL)
		return pool_parallel_for(pool, &state->loop, 0, end, body, ctx);
	body(0, end, ctx);
	return FILAR_OK;
}

static uint64_t number_of(struct kernel_state *state)
{
	return (uint64_t)state->number;
}

static enum filar_status acquire_nothing(struct kernel_state *state)
{
	(void)state;
	return FILAR_OK;
}

/* ---- arithmetic ---- */

static enum filar_status run_spin(struct kernel_state *state, struct pool *pool)
{
	uint64_t sink = 0;
	filar_spin spin = { .steps = 500, .sink = &sink };
	enum filar_status status = in_parallel(state, pool, state->size, kernel_spin, &spin);

	state->number = (int64_t)(sink >> 1);
	return status;
}

static enum filar_status acquire_matrices(struct kernel_state *state)
{
	return acquire_doubles(state, state->size * state->size, 3);
}

static enum filar_status run_matmul(struct kernel_state *state, struct pool *pool)
{
	filar_matmul matmul = { .a = state->x,
		.b = state->y,
		.c = state->z,
		.inner = state->size,
		.columns = state->size };

	return in_parallel(state, pool, state->size, kernel_matmul, &matmul);
}

static uint64_t result_of_matmul(struct kernel_state *state)
{
	return sum_of(state->z, state->size * state->size);
}

/* ---- pictures ---- */

static enum filar_status acquire_plane(struct kernel_state *state)
{
	return acquire_bytes(state, 1, 2 * state->size * state->size);
}

static enum filar_status run_mandelbrot(struct kernel_state *state, struct pool *pool)
{
	filar_mandelbrot plane = { .picture = (uint16_t *)(void *)state->to,
		.rows = state->size,
		.columns = state->size,
		.left = -2.0,
		.top = -1.2,
		.width = 2.6,
		.height = 2.4,
		.steps_max = 300 };

	return in_parallel(state, pool, state->size, kernel_mandelbrot, &plane);
}

static uint64_t result_of_plane(struct kernel_state *state)
{
	return bytes_of(state->to, 2 * state->size * state->size);
}

static enum filar_status acquire_picture(struct kernel_state *state)
{
	return acquire_bytes(state, state->size * state->size, state->size * state->size);
}

static enum filar_status run_blur(struct kernel_state *state, struct pool *pool)
{
	filar_blur blur = { .source = state->from,
		.target = state->to,
		.rows = state->size,
		.columns = state->size,
		.channels = 1,
		.radius = 3 };

	return in_parallel(state, pool, state->size, kernel_box_blur, &blur);
}

static uint64_t result_of_picture(struct kernel_state *state)
{
	return bytes_of(state->to, state->size * state->size);
}

/* ---- searching and sorting ---- */

static enum filar_status acquire_flags(struct kernel_state *state)
{
	return acquire_bytes(state, 1, state->size);
}

static enum filar_status run_sieve(struct kernel_state *state, struct pool *pool)
{
	return kernel_sieve(pool, &state->loop, state->to, state->size);
}

static uint64_t result_of_flags(struct kernel_state *state)
{
	return bytes_of(state->to, state->size);
}

static enum filar_status run_nqueens(struct kernel_state *state, struct pool *pool)
{
	return kernel_nqueens(pool, &state->loop, (int32_t)state->size, &state->number);
}

static enum filar_status run_fib(struct kernel_state *state, struct pool *pool)
{
	return kernel_fib(pool, (int32_t)state->size, &state->number);
}

static enum filar_status acquire_values(struct kernel_state *state)
{
	return acquire_doubles(state, state->size, 2);
}

static void shuffle_values(struct kernel_state *state)
{
	for (int64_t i = 0; i < state->size; i++)
		state->x[i] = (double)(random_mix((uint64_t)i) >> 40);
}

static enum filar_status run_sort(struct kernel_state *state, struct pool *pool)
{
	return kernel_merge_sort(pool, state->x, state->y, state->size);
}

static uint64_t result_of_sort(struct kernel_state *state)
{
	uint64_t wrong = 0;

	for (int64_t i = 1; i < state->size; i++)
		wrong += state->x[i - 1] > state->x[i];
	return wrong;
}

/* ---- memory-bound ---- */

static enum filar_status acquire_one_array(struct kernel_state *state)
{
	return acquire_doubles(state, state->size, 1);
}

static enum filar_status run_sum(struct kernel_state *state, struct pool *pool)
{
	double sum = 0;
	enum filar_status status = kernel_sum(pool, &state->loop, state->x, state->size, &sum);

	state->number = (int64_t)sum;
	return status;
}

static enum filar_status acquire_two_arrays(struct kernel_state *state)
{
	return acquire_doubles(state, state->size, 2);
}

static enum filar_status run_dot(struct kernel_state *state, struct pool *pool)
{
	double sum = 0;
	enum filar_status status =
		kernel_dot(pool, &state->loop, state->x, state->y, state->size, &sum);

	state->number = (int64_t)sum;
	return status;
}

/* y = y + 0 x reads and writes as any other, and leaves y as it was. */
static enum filar_status run_axpy(struct kernel_state *state, struct pool *pool)
{
	filar_axpy axpy = { .a = 0, .x = state->x, .y = state->y };

	return in_parallel(state, pool, state->size, kernel_axpy, &axpy);
}

static uint64_t result_of_axpy(struct kernel_state *state)
{
	return sum_of(state->y, state->size);
}

static enum filar_status acquire_data_bytes(struct kernel_state *state)
{
	return acquire_bytes(state, state->size, 1);
}

static void clear_counts(struct kernel_state *state)
{
	for (size_t i = 0; i < FILAR_COUNT_OF(state->counts); i++)
		state->counts[i] = 0;
}

static enum filar_status run_histogram(struct kernel_state *state, struct pool *pool)
{
	filar_histogram histogram = { .data = state->from, .counts = state->counts };

	return in_parallel(state, pool, state->size, kernel_histogram_private, &histogram);
}

static uint64_t result_of_histogram(struct kernel_state *state)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < FILAR_COUNT_OF(state->counts); i++)
		sum += state->counts[i] * (i + 1);
	return sum;
}

/* The order is that of the parameter "kernel"; the lab's Python repeats it. */
static const struct kernel kernels[] = {
	{ "spin", 4096, 1 << 24, acquire_nothing, NULL, run_spin, number_of },
	{ "matmul", 160, 2048, acquire_matrices, NULL, run_matmul, result_of_matmul },
	{ "mandelbrot", 128, 8192, acquire_plane, NULL, run_mandelbrot, result_of_plane },
	{ "blur", 384, 8192, acquire_picture, NULL, run_blur, result_of_picture },
	{ "sieve", 1 << 20, 1 << 28, acquire_flags, NULL, run_sieve, result_of_flags },
	{ "nqueens", 11, NQUEENS_MAX, acquire_nothing, NULL, run_nqueens, number_of },
	{ "fib", 25, FIB_MAX, acquire_nothing, NULL, run_fib, number_of },
	{ "merge sort", 1 << 15, 1 << 26, acquire_values, shuffle_values, run_sort,
		result_of_sort },
	{ "sum", 1 << 21, 1 << 27, acquire_one_array, NULL, run_sum, number_of },
	{ "dot", 1 << 20, 1 << 27, acquire_two_arrays, NULL, run_dot, number_of },
	{ "axpy", 1 << 20, 1 << 27, acquire_two_arrays, NULL, run_axpy, result_of_axpy },
	{ "histogram", 1 << 21, 1 << 28, acquire_data_bytes, clear_counts, run_histogram,
		result_of_histogram },
};

/* ---- the way ---- */

static const struct kernel *kernel_of(const struct way_run *run)
{
	return &kernels[run->params[PARAM_KERNEL]];
}

static void teardown_kernel(struct way_run *run)
{
	struct kernel_state *state = run->state;

	if (state == NULL)
		return;
	lab_pool_close(state->pool);
	memory_release(state->x);
	memory_release(state->y);
	memory_release(state->z);
	memory_release(state->from);
	memory_release(state->to);
	memory_release(state);
}

static enum filar_status setup_kernel(struct way_run *run)
{
	const int64_t *params = run->params;
	enum filar_status status = param_check(
		"kernel", params[PARAM_KERNEL], 0, (int64_t)FILAR_COUNT_OF(kernels) - 1);
	struct kernel_state *state;

	if (status == FILAR_OK)
		status = param_check("threads", params[PARAM_THREADS], 0, LAB_POOL_WORKERS_MAX);
	if (status == FILAR_OK)
		status = param_check("size", params[PARAM_SIZE], 0, kernel_of(run)->size_max);
	if (status != FILAR_OK)
		return status;
	run->state = state = memory_acquire(1, sizeof *state);
	if (state == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory");
	state->params = params;
	state->size = params[PARAM_SIZE] != 0 ? params[PARAM_SIZE] : kernel_of(run)->size;
	state->loop = (struct loop_options){ .threads = (uint32_t)params[PARAM_THREADS] };
	status = kernel_of(run)->acquire(state);
	if (status == FILAR_OK && params[PARAM_THREADS] > 0)
		status = lab_pool_open(
			run, params[PARAM_THREADS], params[PARAM_PINNED] != 0, &state->pool);
	return status;
}

/* Against the serial twin's result, which is computed when it is first needed. */
static enum filar_status check_kernel(const struct kernel *kernel, struct kernel_state *state)
{
	uint64_t found = kernel->result(state);
	enum filar_status status = FILAR_OK;

	if (!state->is_known) {
		if (kernel->prepare != NULL)
			kernel->prepare(state);
		status = kernel->run(state, NULL);
		state->expected = kernel->result(state);
		state->is_known = status == FILAR_OK;
	}
	if (status != FILAR_OK)
		return status;
	return found == state->expected
		       ? FILAR_OK
		       : status_detail(FILAR_SYSTEM, "%s: the result is not that of one thread",
				 kernel->name);
}

static enum filar_status sample_kernel(struct way_run *run)
{
	const struct kernel *kernel = kernel_of(run);
	struct kernel_state *state = run->state;
	enum filar_status status = FILAR_OK;
	int64_t spent = 0;

	if (run->params[PARAM_PINNED] == 0)
		lab_pool_let_loose();
	for (uint32_t i = 0; status == FILAR_OK && i < run->batch; i++) {
		int64_t start;

		if (way_cancelled(run))
			return FILAR_CANCELLED;
		if (kernel->prepare != NULL)
			kernel->prepare(state);
		start = clock_now_ns();
		status = kernel->run(state, state->pool);
		spent += clock_now_ns() - start;
	}
	if (status == FILAR_OK)
		status = check_kernel(kernel, state);
	run->values[0] = (double)spent / run->batch;
	return status;
}

/* ---- recorded ---- */

#define RECORDED_PARTS 1024u
enum { POINT_ABOUT, POINT_PART, POINT_STEPS };

/* The tree, as points: one that says how much there is, then two for each part. */
static enum filar_status emit_tree(struct way_run *run, const struct recording *recording,
	const filar_recording_totals *totals)
{
	size_t count = recording_copy(recording, NULL, 0);
	filar_recorded_part *parts = memory_acquire(count, sizeof *parts);

	if (parts == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for a recording's parts");
	(void)recording_copy(recording, parts, count);
	way_point(run, POINT_ABOUT, (int32_t)totals->calls, (double)count, totals->grain_ns);
	for (size_t i = 0; i < count; i++) {
		way_point(run, POINT_PART, parts[i].kind, parts[i].work_ns, (double)parts[i].forks);
		way_point(run, POINT_STEPS, (int32_t)parts[i].children, (double)parts[i].steps, 0);
	}
	memory_release(parts);
	return FILAR_OK;
}

static enum filar_status keep_recording(struct way_run *run, const struct recording *recording,
	const filar_recording_totals *totals)
{
	struct kernel_state *state = run->state;

	run->values[0] = totals->work_ns;
	run->values[1] = totals->wall_ns;
	run->values[2] = totals->probes_ns;
	run->values[3] = totals->subtracted_ns;
	run->values[4] = (double)totals->forks;
	/* While warming up points are dropped. */
	if (run->round == UINT32_MAX || (state->least_ns > 0 && totals->work_ns >= state->least_ns))
		return FILAR_OK;
	state->least_ns = totals->work_ns;
	return emit_tree(run, recording, totals);
}

static enum filar_status sample_recorded(struct way_run *run)
{
	const struct kernel *kernel = kernel_of(run);
	struct kernel_state *state = run->state;
	filar_recording_options options = { .parts_max = RECORDED_PARTS };
	filar_recording_totals totals;
	struct recording *recording;
	enum filar_status status, stopped;

	if (state->pool == NULL)
		return status_detail(FILAR_INVALID, "without a pool the kernel has no forks");
	if (kernel->prepare != NULL)
		kernel->prepare(state);
	status = recording_start(&recording, &options);
	if (status != FILAR_OK)
		return status;
	status = kernel->run(state, state->pool);
	stopped = recording_stop(recording, &totals);
	if (status == FILAR_OK)
		status = stopped != FILAR_OK ? stopped : check_kernel(kernel, state);
	if (status == FILAR_OK)
		status = keep_recording(run, recording, &totals);
	FILAR_CHECK_EQ(recording_destroy(recording), FILAR_OK);
	return status;
}

/* ---- what forks cost ---- */

static enum filar_status setup_costs(struct way_run *run)
{
	struct fork_costs_bench *bench = way_acquire_state(run, sizeof *bench);

	return bench != NULL ? fork_costs_open(bench, run->driver_cpu) : FILAR_NO_MEMORY;
}

static enum filar_status sample_costs(struct way_run *run)
{
	filar_fork_costs costs;
	enum filar_status status = fork_costs_sample(run->state, &costs);

	memcpy(run->values, &costs, sizeof costs);
	return status;
}

static void teardown_costs(struct way_run *run)
{
	if (run->state == NULL)
		return;
	fork_costs_close(run->state);
	memory_release(run->state);
}

_Static_assert(sizeof(filar_fork_costs) <= FILAR_METRICS_MAX * sizeof(double), "a metric each");

const struct way ways_pool_kernels[] = {
	{ .name = "kernel",
		.summary =
			"a kernel on 0 (no pool) or more threads: 0 spin, 1 matmul, 2 mandelbrot, 3 "
			"blur, 4 sieve, 5 nqueens, 6 fib, 7 merge sort, 8 sum, 9 dot, 10 axpy, 11 "
			"histogram; size 0: its own",
		.params = { { "kernel", 0 }, { "threads", 2 }, { "size", 0 }, { "pinned", 1 } },
		.metrics = { { "time", "ns" } },
		.batch_max = 64,
		.setup = setup_kernel,
		.sample = sample_kernel,
		.teardown = teardown_kernel },
	{ .name = "kernel-recorded",
		.summary =
			"the forks and loops of a kernel (as in kernel) taken down by one thread; "
			"points: when a recording had less work than all before, its tree",
		.params = { { "kernel", 0 }, { "threads", 2 }, { "size", 0 }, { "pinned", 1 } },
		.metrics = { { "work", "ns" }, { "wall", "ns" }, { "probes", "ns" },
			{ "subtracted", "ns" }, { "forks", "count" } },
		.batch_max = 1,
		.setup = setup_kernel,
		.sample = sample_recorded,
		.teardown = teardown_kernel },
	{ .name = "fork-costs",
		.summary = "a fork that nobody steals, that a searching worker and a sleeping one "
			   "takes, the way back, a loop, a call, speed beside another thread",
		.metrics = { { "fork", "ns" }, { "steal", "ns" }, { "wake", "ns" },
			{ "return", "ns" }, { "loop", "ns" }, { "call", "ns" },
			{ "pair speed", "ratio" } },
		.batch_max = 1,
		.setup = setup_costs,
		.sample = sample_costs,
		.teardown = teardown_costs },
	{ .name = NULL },
};
