/*
 * plan.c - the driver: set up, calibrate, warm up, then rounds until the count or the time is
 * reached.
 *
 * Life:  CREATED -(start)-> RUNNING -(driver ends)-> ENDED.  Ways are added while CREATED; samples
 * and points are the driver's while RUNNING and may be read after ENDED.  Cancelling only sets a
 * flag.
 *
 * A round runs every way once, in an order drawn anew (Fisher-Yates).  The clock probe, a chain of
 * dependent steps whose length in cycles is fixed, stands before and after each sample: where
 * it differs between samples, the clock of the host changed and not the thing measured.
 */
#include "lab/plan.h"

#include <string.h>
#include <sys/resource.h>

#include "base/atomic.h"
#include "base/check.h"
#include "base/memory.h"
#include "kthread/kthread.h"
#include "os/affinity.h"
#include "os/clock.h"

#define WAYS_MAX          256
#define POINTS_MAX        2000000u
#define BATCH_CEILING     (UINT32_C(1) << 31)
#define SAMPLE_TARGET_NS  (200 * NS_PER_US)
#define CALIBRATION_TRIES 3
#define PROBE_STEPS       1000

struct planned_way {
	const struct way *way;            /* I */
	int64_t params[FILAR_PARAMS_MAX]; /* I */
	uint32_t batch;                   /* W  0: to be calibrated */
	bool is_set_up;                   /* W */
	enum filar_status status;         /* S  the driver's until ENDED */
	char detail[240];                 /* S  likewise */
	struct way_run run;               /* W */
};

enum plan_state { PLAN_CREATED, PLAN_RUNNING };

struct plan {
	filar_plan_options options;         /* I */
	struct planned_way *ways[WAYS_MAX]; /* I  after start */
	uint32_t way_count;                 /* I  after start */
	enum plan_state state;              /* W  the user's side */
	struct kthread *driver;             /* I  after start */
	enum filar_status status;           /* S  the driver's until it ends */
	struct random random;               /* W  driver */
	struct cpu_mask driver_mask;        /* W  driver: where it may run between ways */
	filar_sample *samples;              /* S  the driver's until it ends */
	size_t sample_count, sample_room;   /* S */
	filar_point *points;                /* S */
	size_t point_count, point_room;     /* S */
	uint64_t points_lost;               /* S */
	bool recording;                     /* W  driver: rounds that count have begun */
	int64_t started_ns;                 /* W  driver */
	_Atomic bool cancelled;             /* A  relaxed: a flag and nothing else */
	_Atomic int32_t phase;              /* A  relaxed, for progress; so are the next four */
	_Atomic int32_t rounds_done;
	_Atomic int32_t rounds_planned;
	_Atomic int32_t current_way;
	_Atomic int64_t elapsed_ns;
};

enum { PHASE_NOT_STARTED, PHASE_SETUP, PHASE_WARMUP, PHASE_MEASURE, PHASE_ENDED };

/* ---- making a plan ---- */

void plan_options_init(filar_plan_options *options)
{
	*options = (filar_plan_options){ .seed = 1,
		.rounds_min = 6,
		.rounds_max = 60,
		.time_max_ns = 2 * NS_PER_S,
		.sample_target_ns = SAMPLE_TARGET_NS,
		.driver_cpu = -1,
		.warmup_rounds = 1 };
}

enum filar_status plan_check_options(const filar_plan_options *options)
{
	if (options->rounds_min < 1 || options->rounds_max < options->rounds_min)
		return status_detail(FILAR_INVALID,
			"rounds go from at least 1 to at least that, not %d to %d",
			options->rounds_min, options->rounds_max);
	if (options->time_max_ns < 0 || options->sample_target_ns < 0 || options->warmup_rounds < 0)
		return status_detail(FILAR_INVALID, "times and warm-up rounds cannot be negative");
	if (options->driver_cpu >= CPUS_MAX)
		return status_detail(FILAR_NO_CPU, "there is no CPU %d", options->driver_cpu);
	return FILAR_OK;
}

enum filar_status plan_create(struct plan **result, const filar_plan_options *options)
{
	struct plan *plan = memory_acquire(1, sizeof *plan);

	if (plan == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for a plan");
	plan->options = *options;
	if (plan->options.sample_target_ns == 0)
		plan->options.sample_target_ns = SAMPLE_TARGET_NS;
	random_init(&plan->random, options->seed != 0 ? options->seed : 1);
	atomic_init(&plan->current_way, -1);
	atomic_init(&plan->rounds_planned, options->rounds_max);
	*result = plan;
	return FILAR_OK;
}

static size_t param_count_of(const struct way *way)
{
	size_t count = 0;

	while (count < FILAR_PARAMS_MAX && way->params[count].name != NULL)
		count++;
	return count;
}

enum filar_status plan_add(struct plan *plan, const struct way *way, const int64_t *params,
	size_t param_count, uint32_t batch, int32_t *index)
{
	size_t known = param_count_of(way);
	struct planned_way *planned;

	if (plan->state != PLAN_CREATED)
		return status_detail(FILAR_WRONG_STATE, "the plan has started");
	if (plan->way_count == WAYS_MAX)
		return status_detail(FILAR_LIMIT, "a plan holds at most %d ways", WAYS_MAX);
	if (param_count > known)
		return status_detail(FILAR_INVALID, "the way \"%s\" takes %zu parameters, not %zu",
			way->name, known, param_count);
	planned = memory_acquire(1, sizeof *planned);
	if (planned == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for another way");
	planned->way = way;
	planned->batch = way->batch_max == 1 ? 1 : batch;
	for (size_t i = 0; i < known; i++)
		planned->params[i] = i < param_count ? params[i] : way->params[i].fallback;
	planned->run = (struct way_run){ .params = planned->params,
		.batch = 1,
		.way_index = plan->way_count,
		.round = UINT32_MAX,
		.driver_cpu = plan->options.driver_cpu,
		.random = &plan->random,
		.plan = plan };
	*index = (int32_t)plan->way_count;
	plan->ways[plan->way_count++] = planned;
	return FILAR_OK;
}

/* ---- what a way may ask ---- */

void *way_acquire_state(struct way_run *run, size_t bytes)
{
	run->state = memory_acquire_aligned(1, bytes);
	if (run->state == NULL)
		(void)status_detail(FILAR_NO_MEMORY, "no memory for the record of a way");
	return run->state;
}

bool way_cancelled(const struct way_run *run)
{
	return load_relaxed(&run->plan->cancelled);
}

/* Room for one more item of `size` bytes; grows by half.  False when memory is short or `max`
 * reached. */
static bool make_room(void **items, size_t count, size_t *room, size_t size, size_t max)
{
	size_t wanted = *room + *room / 2 + 256;
	void *grown;

	if (count >= max)
		return false;
	if (count < *room)
		return true;
	grown = memory_resize(*items, wanted, size);
	if (grown == NULL)
		return false;
	*items = grown;
	*room = wanted;
	return true;
}

void way_point(struct way_run *run, int32_t kind, int32_t subject, double x, double y)
{
	struct plan *plan = run->plan;

	if (!plan->recording)
		return;
	if (!make_room((void **)&plan->points, plan->point_count, &plan->point_room,
		    sizeof *plan->points, POINTS_MAX)) {
		plan->points_lost++;
		return;
	}
	plan->points[plan->point_count++] = (filar_point){ .way = run->way_index,
		.round = run->round,
		.kind = kind,
		.subject = subject,
		.x = x,
		.y = y };
}

/* ---- the driver ---- */

/*
 * ns for 1,000 multiply-and-adds, each of which needs the one before: 4 cycles each on most CPUs.
 * The chain stays in a register (through memory, store forwarding alone varies by 5 %), and is four
 * times as long as reported, so that a clock reading more or less is under half a percent.
 */
static double clock_probe(void)
{
	uint64_t chain = 1;
	int64_t start = clock_now_ns();

	for (int i = 0; i < 4 * PROBE_STEPS; i++) {
		chain = chain * UINT64_C(6364136223846793005) + 1;
		FILAR_KEEP_IN_REGISTER(chain);
	}
	return (double)(clock_now_ns() - start) / 4;
}

static void fail_way(struct planned_way *planned, enum filar_status status)
{
	planned->status = status;
	strncpy(planned->detail, filar_status_detail(), sizeof planned->detail - 1);
}

static void tear_down(struct planned_way *planned)
{
	if (planned->is_set_up && planned->way->teardown != NULL)
		planned->way->teardown(&planned->run);
	planned->is_set_up = false;
	planned->run.state = NULL;
}

static enum filar_status set_up(struct planned_way *planned)
{
	enum filar_status status = FILAR_OK;

	filar_status_detail_clear();
	planned->is_set_up = true; /* also after a failure: teardown copes with a half-made state */
	if (planned->way->setup != NULL)
		status = planned->way->setup(&planned->run);
	if (status != FILAR_OK)
		tear_down(planned);
	return status;
}

static int64_t switches(const struct rusage *before, const struct rusage *after, bool voluntary)
{
	return voluntary ? after->ru_nvcsw - before->ru_nvcsw
			 : after->ru_nivcsw - before->ru_nivcsw;
}

/* Runs one sample of one way into *sample. */
static enum filar_status take_sample(
	struct plan *plan, struct planned_way *planned, filar_sample *sample)
{
	struct way_run *run = &planned->run;
	struct rusage before, after;
	enum filar_status status;

	/* A way may have moved the driver; each starts from the same place. */
	(void)affinity_set(0, &plan->driver_mask);
	if (planned->way->setup_each_round) {
		status = set_up(planned);
		if (status != FILAR_OK)
			return status;
	}
	for (int i = 0; i < FILAR_METRICS_MAX; i++)
		run->values[i] = NAN;
	filar_status_detail_clear();
	sample->clock_before_ns = clock_probe();
	sample->cpu_before = affinity_current_cpu();
	getrusage(RUSAGE_SELF, &before);
	sample->start_ns = clock_now_ns();
	status = planned->way->sample(run);
	sample->wall_ns = clock_now_ns() - sample->start_ns;
	getrusage(RUSAGE_SELF, &after);
	sample->cpu_after = affinity_current_cpu();
	sample->clock_after_ns = clock_probe();
	sample->way = run->way_index;
	sample->round = run->round;
	sample->batch = run->batch;
	sample->switches_voluntary = (uint32_t)switches(&before, &after, true);
	sample->switches_involuntary = (uint32_t)switches(&before, &after, false);
	memcpy(sample->values, run->values, sizeof sample->values);
	if (planned->way->setup_each_round)
		tear_down(planned);
	return status;
}

/* The wall time of one sample at the present batch. */
static enum filar_status time_batch(
	struct plan *plan, struct planned_way *planned, int64_t *wall_ns)
{
	filar_sample sample = { 0 };
	enum filar_status status = take_sample(plan, planned, &sample);

	*wall_ns = sample.wall_ns > 0 ? sample.wall_ns : 1;
	if (status == FILAR_OK && load_relaxed(&plan->cancelled))
		return FILAR_CANCELLED;
	return status;
}

/*
 * The shortest of up to three samples at the present batch: a first run is cold (caches, page
 * faults, lazy binding), and any may be interrupted.  One that is short enough to go on with ends
 * it.
 */
static enum filar_status shortest_batch(
	struct plan *plan, struct planned_way *planned, int64_t enough_ns, int64_t *wall_ns)
{
	*wall_ns = INT64_MAX;
	for (int attempt = 0; attempt < CALIBRATION_TRIES && *wall_ns >= enough_ns; attempt++) {
		int64_t this_ns;
		enum filar_status status = time_batch(plan, planned, &this_ns);

		if (status != FILAR_OK)
			return status;
		if (this_ns < *wall_ns)
			*wall_ns = this_ns;
		if (this_ns >= 50 * enough_ns)
			break; /* slow by nature: another try would only cost time */
	}
	return FILAR_OK;
}

/* Doubles the batch until a sample lasts half the target, then scales to it. */
static enum filar_status calibrate(struct plan *plan, struct planned_way *planned)
{
	uint32_t max = planned->way->batch_max != 0 ? planned->way->batch_max : BATCH_CEILING;
	int64_t target = plan->options.sample_target_ns, wall_ns;
	enum filar_status status;
	double scaled;

	planned->run.batch = planned->batch != 0 ? planned->batch : 1;
	if (planned->batch != 0)
		return FILAR_OK;
	for (;; planned->run.batch *= 2) {
		status = shortest_batch(plan, planned, target / 2, &wall_ns);
		if (status != FILAR_OK)
			return status;
		if (wall_ns >= target / 2 || planned->run.batch > max / 2)
			break;
	}
	scaled = (double)planned->run.batch * (double)target / (double)wall_ns;
	if (scaled > max)
		scaled = max;
	planned->run.batch = scaled < 1 ? 1 : (uint32_t)scaled;
	return FILAR_OK;
}

static void shuffle(struct plan *plan, uint32_t *order, uint32_t count)
{
	for (uint32_t i = count; i > 1; i--) {
		uint32_t other = random_below(&plan->random, i);
		uint32_t kept = order[i - 1];

		order[i - 1] = order[other];
		order[other] = kept;
	}
}

static enum filar_status record_sample(struct plan *plan, const filar_sample *sample)
{
	if (!make_room((void **)&plan->samples, plan->sample_count, &plan->sample_room,
		    sizeof *plan->samples, SIZE_MAX / sizeof *plan->samples))
		return status_detail(FILAR_NO_MEMORY, "no memory for another sample");
	plan->samples[plan->sample_count++] = *sample;
	return FILAR_OK;
}

/* Every way that still works, once, in a new order. */
static enum filar_status run_round(struct plan *plan, uint32_t round)
{
	uint32_t order[WAYS_MAX];
	enum filar_status status;

	for (uint32_t i = 0; i < plan->way_count; i++)
		order[i] = i;
	shuffle(plan, order, plan->way_count);
	for (uint32_t position = 0; position < plan->way_count; position++) {
		struct planned_way *planned = plan->ways[order[position]];
		filar_sample sample = { .position = position };

		if (load_relaxed(&plan->cancelled))
			return FILAR_CANCELLED;
		if (planned->status != FILAR_OK)
			continue;
		store_relaxed(&plan->current_way, (int32_t)order[position]);
		planned->run.round = round;
		status = take_sample(plan, planned, &sample);
		if (load_relaxed(&plan->cancelled))
			return FILAR_CANCELLED; /* not the way's fault, and half a sample */
		if (status != FILAR_OK) {
			fail_way(planned, status);
			continue;
		}
		if (plan->recording && (status = record_sample(plan, &sample)) != FILAR_OK)
			return status;
	}
	return FILAR_OK;
}

/* How many rounds there will be in all, seen from here: for the progress bar. */
static void update_progress(struct plan *plan, int32_t done, int64_t measuring_since_ns)
{
	int64_t now = clock_now_ns(), spent = now - measuring_since_ns;
	int64_t planned = plan->options.rounds_max;

	if (plan->options.time_max_ns > 0 && done > 0 && spent > 0) {
		int64_t fit = (int64_t)((double)done * (double)plan->options.time_max_ns /
					(double)spent) +
			      1;

		if (fit < plan->options.rounds_min)
			fit = plan->options.rounds_min;
		if (fit < planned)
			planned = fit;
	}
	store_relaxed(&plan->rounds_done, done);
	store_relaxed(&plan->rounds_planned, (int32_t)planned);
	store_relaxed(&plan->elapsed_ns, now - plan->started_ns);
}

static bool any_way_works(const struct plan *plan)
{
	for (uint32_t i = 0; i < plan->way_count; i++) {
		if (plan->ways[i]->status == FILAR_OK)
			return true;
	}
	return false;
}

static void prepare_ways(struct plan *plan)
{
	for (uint32_t i = 0; i < plan->way_count && !load_relaxed(&plan->cancelled); i++) {
		struct planned_way *planned = plan->ways[i];
		enum filar_status status = FILAR_OK;

		store_relaxed(&plan->current_way, (int32_t)i);
		/* What a set-up creates inherits the driver's CPUs, not those of the way before. */
		(void)affinity_set(0, &plan->driver_mask);
		if (!planned->way->setup_each_round)
			status = set_up(planned);
		if (status == FILAR_OK)
			status = calibrate(plan, planned);
		if (status != FILAR_OK && status != FILAR_CANCELLED)
			fail_way(planned, status);
	}
}

static enum filar_status measure(struct plan *plan)
{
	const filar_plan_options *options = &plan->options;
	enum filar_status status = FILAR_OK;
	int64_t since;

	store_relaxed(&plan->phase, PHASE_WARMUP);
	for (int32_t i = 0; i < options->warmup_rounds && status == FILAR_OK; i++)
		status = run_round(plan, UINT32_MAX);
	store_relaxed(&plan->phase, PHASE_MEASURE);
	plan->recording = true;
	since = clock_now_ns();
	for (int32_t round = 0; round < options->rounds_max && status == FILAR_OK; round++) {
		bool late =
			options->time_max_ns > 0 && clock_now_ns() - since >= options->time_max_ns;

		if ((late && round >= options->rounds_min) || !any_way_works(plan))
			break;
		status = run_round(plan, (uint32_t)round);
		update_progress(plan, round + 1, since);
	}
	return status;
}

static void driver_main(void *pointer)
{
	struct plan *plan = pointer;

	plan->started_ns = clock_now_ns();
	store_relaxed(&plan->phase, PHASE_SETUP);
	plan->status = affinity_get(0, &plan->driver_mask);
	if (plan->status == FILAR_OK) {
		prepare_ways(plan);
		plan->status = load_relaxed(&plan->cancelled) ? FILAR_CANCELLED : measure(plan);
	}
	for (uint32_t i = 0; i < plan->way_count; i++)
		tear_down(plan->ways[i]);
	store_relaxed(&plan->current_way, -1);
	store_relaxed(&plan->elapsed_ns, clock_now_ns() - plan->started_ns);
	store_relaxed(&plan->phase, PHASE_ENDED);
}

/* ---- the user's side ---- */

enum filar_status plan_start(struct plan *plan)
{
	filar_kthread_options options;
	int32_t cpu = plan->options.driver_cpu;
	enum filar_status status;

	if (plan->state != PLAN_CREATED)
		return status_detail(FILAR_WRONG_STATE, "the plan has already been started");
	if (plan->way_count == 0)
		return status_detail(FILAR_WRONG_STATE, "the plan has no ways to measure");
	kthread_options_init(&options);
	options.name = "filar-lab";
	if (cpu >= 0) {
		options.cpus = &cpu;
		options.cpu_count = 1;
	}
	status = kthread_create(&plan->driver, &options, driver_main, plan);
	if (status == FILAR_OK)
		plan->state = PLAN_RUNNING;
	return status;
}

enum filar_status plan_wait_until(struct plan *plan, int64_t deadline_ns)
{
	enum filar_status status;

	if (plan->state == PLAN_CREATED)
		return status_detail(FILAR_WRONG_STATE, "the plan has not been started");
	status = kthread_join_until(plan->driver, deadline_ns);
	return status == FILAR_OK ? plan->status : status;
}

void plan_cancel(struct plan *plan)
{
	store_relaxed(&plan->cancelled, true);
}

void plan_read_progress(struct plan *plan, filar_plan_progress *progress)
{
	*progress = (filar_plan_progress){ .phase = load_relaxed(&plan->phase),
		.rounds_done = load_relaxed(&plan->rounds_done),
		.rounds_planned = load_relaxed(&plan->rounds_planned),
		.current_way = load_relaxed(&plan->current_way),
		.elapsed_ns = load_relaxed(&plan->elapsed_ns) };
}

static bool has_ended(struct plan *plan)
{
	return plan->state == PLAN_RUNNING && !kthread_is_alive(plan->driver);
}

enum filar_status plan_way_status(struct plan *plan, int32_t index, const char **detail)
{
	if (index < 0 || (uint32_t)index >= plan->way_count)
		return status_detail(FILAR_NOT_FOUND, "the plan has no way %d", index);
	if (!has_ended(plan))
		return status_detail(FILAR_BUSY, "the plan has not ended");
	if (detail != NULL)
		*detail = plan->ways[index]->detail;
	return plan->ways[index]->status;
}

size_t plan_sample_count(struct plan *plan)
{
	return has_ended(plan) ? plan->sample_count : 0;
}

size_t plan_point_count(struct plan *plan)
{
	return has_ended(plan) ? plan->point_count : 0;
}

uint64_t plan_points_lost(struct plan *plan)
{
	return has_ended(plan) ? plan->points_lost : 0;
}

size_t plan_copy_samples(struct plan *plan, filar_sample *samples, size_t max)
{
	size_t count = plan_sample_count(plan);

	if (count > max)
		count = max;
	if (count > 0)
		memcpy(samples, plan->samples, count * sizeof *samples);
	return count;
}

size_t plan_copy_points(struct plan *plan, filar_point *points, size_t max)
{
	size_t count = plan_point_count(plan);

	if (count > max)
		count = max;
	if (count > 0)
		memcpy(points, plan->points, count * sizeof *points);
	return count;
}

void plan_destroy(struct plan *plan)
{
	if (plan->state == PLAN_RUNNING) {
		plan_cancel(plan);
		while (kthread_join_until(plan->driver, DEADLINE_NEVER) == FILAR_INTERRUPTED)
			;
		kthread_release(plan->driver);
	}
	for (uint32_t i = 0; i < plan->way_count; i++)
		memory_release(plan->ways[i]);
	memory_release(plan->samples);
	memory_release(plan->points);
	memory_release(plan);
}
