/*
 * loop.c - the three schedules.  README.md, "Loops", says why they are as they are.
 *
 * A loop lives on its caller's stack.  It is in the pool's list while it has places for helpers;
 * who enters counts itself in `inside` under the list's lock, and leaves as its last touch, so the
 * caller waits for `inside` after it has taken the loop off the list.
 *
 * Always: each step is in exactly one part, or has been taken out of it by the one that runs it.
 */
#include "pool/loop.h"

#include <string.h>

#include "base/check.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/tracepoint.h"
#include "os/clock.h"
#include "pool/recording.h"
#include "sched/aside.h"

/* Parts on the caller's stack; loops of more threads than this allocate them. */
#define PARTS_FEW 16u
/* The adaptive schedule, in time: pieces last at most PIECE_MAX and at least PIECE_MIN; a loop
 * whose rest is shorter than SERIAL stays where it is (waking a worker takes that long); a
 * measurement shorter than TRUSTED says little. */
#define PIECE_MAX_NS 20000.0
#define PIECE_MIN_NS 1000.0
#define SERIAL_NS    10000.0
#define TRUSTED_NS   300.0
/* A loop whose rest is shorter gains less than it costs to rouse another CPU. */
#define ASIDE_NS     80000.0
#define PROBE_GROWTH 32u
/* The second piece: a first step that is next to nothing says little of the others, which may be
 * long enough for four of them to tell. */
#define PROBE_SECOND 4u
/* A loop of fewer steps per thread is not probed: its first step may be half of the work. */
#define PROBE_STEPS_MIN 32u
/* Between two questions whether the caller was interrupted. */
#define ASK_NS (40.0 * NS_PER_MS)

/* Steps are counted in units, so that a part fits into one word: begin << 32 | end. */
struct part {
	FILAR_CACHELINE_BREAK _Atomic uint64_t range; /* A  only begin <= end means work */
};
#define PART_BEGIN(word)      ((uint32_t)((word) >> 32))
#define PART_END(word)        ((uint32_t)(word))
#define PART_WORD(begin, end) ((uint64_t)(begin) << 32 | (end))

struct loop {
	struct pool *pool;           /* I */
	range_body *body;            /* I */
	void *ctx;                   /* I */
	struct token *token;         /* I */
	bool (*interrupted)(void *); /* I */
	void *interrupted_argument;  /* I */
	int64_t asked_ticks;         /* W  by the caller: when it was last asked */
	double measured_ns;          /* W  by the caller: of a unit, on average; 0: not known */
	int64_t begin, end;          /* I */
	uint64_t unit;               /* I  steps in a unit; the last one may have fewer */
	uint32_t units;              /* I */
	uint32_t grain;              /* I  units in a piece at most */
	uint32_t places;             /* I  threads, the caller included */
	enum loop_schedule schedule; /* I */
	double ns_each;              /* I  of a unit, as the caller has measured; 0: not known */
	struct part *parts;          /* I  adaptive: one for each place */
	_Atomic uint32_t cursor;     /* A  static: next part; dynamic: next unit */
	_Atomic int32_t stopped;     /* A  why the token ended it, or FILAR_OK */
	struct list link;            /* L  loops_lock */
	bool listed;                 /* L  loops_lock */
	uint32_t entered;            /* L  loops_lock: helpers so far */
	struct waitgroup inside;     /* helpers */
};

/* ---- doing ---- */

static void run_units(struct loop *loop, uint32_t begin, uint32_t end)
{
	int64_t first = (int64_t)((uint64_t)loop->begin + begin * loop->unit);
	int64_t last = end == loop->units ? loop->end
					  : (int64_t)((uint64_t)loop->begin + end * loop->unit);

	loop->body(first, last, loop->ctx);
}

/* By the caller, place 0. */
static bool is_interrupted(struct loop *loop)
{
	bool interrupted;

	if (loop->interrupted == NULL ||
		clock_ticks_to_ns(clock_ticks() - loop->asked_ticks) < ASK_NS)
		return false;
	interrupted = loop->interrupted(loop->interrupted_argument);
	loop->asked_ticks = clock_ticks();
	return interrupted;
}

static bool is_stopped(struct loop *loop, uint32_t place)
{
	enum filar_status status;

	if (FILAR_LIKELY(loop->token == NULL && loop->interrupted == NULL))
		return false;
	if (load_relaxed(&loop->stopped) != FILAR_OK)
		return true;
	status = token_check(loop->token);
	if (status == FILAR_OK && place == 0 && is_interrupted(loop))
		status = FILAR_INTERRUPTED;
	if (status != FILAR_OK)
		store_relaxed(&loop->stopped, status);
	return status != FILAR_OK;
}

/* In pieces of the grain.  False: stopped. */
static bool run_range(struct loop *loop, uint32_t place, uint32_t begin, uint32_t end)
{
	while (begin < end) {
		uint32_t count = end - begin < loop->grain ? end - begin : loop->grain;

		if (is_stopped(loop, place))
			return false;
		run_units(loop, begin, begin + count);
		begin += count;
	}
	return true;
}

/* ---- static and dynamic ---- */

static void work_static(struct loop *loop, uint32_t place)
{
	uint32_t part;

	while ((part = fetch_add_relaxed(&loop->cursor, 1)) < loop->places) {
		uint64_t begin = (uint64_t)loop->units * part / loop->places;
		uint64_t end = (uint64_t)loop->units * (part + 1) / loop->places;

		if (!run_range(loop, place, (uint32_t)begin, (uint32_t)end))
			return;
	}
}

static void work_dynamic(struct loop *loop, uint32_t place)
{
	uint32_t begin = load_relaxed(&loop->cursor);

	while (begin < loop->units) {
		uint32_t left = loop->units - begin;
		uint32_t count = left < loop->grain ? left : loop->grain;

		if (!cas_relaxed(&loop->cursor, &begin, begin + count))
			continue;
		if (!run_range(loop, place, begin, begin + count))
			return;
		begin = load_relaxed(&loop->cursor);
	}
}

/* ---- adaptive ---- */

/* How many units to do next of the `left` that are in the part: a quarter, so that there is
 * something to take for others, within the bounds of time and grain. */
static uint32_t piece_units(const struct loop *loop, uint32_t left, double ns_each)
{
	double least = ns_each > 0 ? PIECE_MIN_NS / ns_each : 1;
	double most = ns_each > 0 ? PIECE_MAX_NS / ns_each : 1;
	double count = left / 4.0;

	count = count > most ? most : count;
	count = count < least ? least : count;
	count = count > loop->grain ? loop->grain : count;
	return count < 1 ? 1 : count > left ? left : (uint32_t)count;
}

/* From the front of the own part. */
static bool take_piece(
	struct loop *loop, struct part *part, double ns_each, uint32_t *begin, uint32_t *end)
{
	uint64_t word = load_relaxed(&part->range);

	do {
		*begin = PART_BEGIN(word);
		if (*begin >= PART_END(word))
			return false;
		*end = *begin + piece_units(loop, PART_END(word) - *begin, ns_each);
		/* Relaxed: a part says which steps are whose, and nothing of what they did. */
	} while (!cas_relaxed(&part->range, &word, PART_WORD(*end, PART_END(word))));
	return true;
}

static uint32_t units_left(struct part *part)
{
	uint64_t word = load_relaxed(&part->range);

	return PART_END(word) > PART_BEGIN(word) ? PART_END(word) - PART_BEGIN(word) : 0;
}

/* The back half of the largest part becomes the own one.  False: none is worth it. */
static bool steal_half(struct loop *loop, struct part *own, double ns_each)
{
	for (;;) {
		struct part *largest = NULL;
		uint32_t most = 0;
		uint64_t word;
		uint32_t begin, end, middle;

		for (uint32_t i = 0; i < loop->places; i++) {
			uint32_t left = units_left(&loop->parts[i]);

			if (left > most) {
				most = left;
				largest = &loop->parts[i];
			}
		}
		if (largest == NULL || most * ns_each < PIECE_MIN_NS / 2)
			return false;
		word = load_relaxed(&largest->range);
		begin = PART_BEGIN(word);
		end = PART_END(word);
		if (begin >= end)
			continue;
		middle = begin + (end - begin) / 2;
		if (!cas_relaxed(&largest->range, &word, PART_WORD(begin, middle)))
			continue;
		/* The own part is empty, so nobody else changes it. */
		store_relaxed(&own->range, PART_WORD(middle, end));
		return true;
	}
}

static void work_adaptive(struct loop *loop, uint32_t place)
{
	struct part *own = &loop->parts[place];
	double ns_each = loop->ns_each, ns_all = 0;
	uint64_t units_all = 0;
	uint32_t begin, end;

	while (!is_stopped(loop, place)) {
		int64_t started;
		double ns;

		if (!take_piece(loop, own, ns_each, &begin, &end)) {
			/* With nothing known of the time everything is worth it. */
			if (!steal_half(loop, own, ns_each > 0 ? ns_each : PIECE_MIN_NS))
				break;
			continue;
		}
		started = clock_ticks();
		run_units(loop, begin, end);
		ns = clock_ticks_to_ns(clock_ticks() - started);
		ns_each = ns / (end - begin);
		ns_all += ns;
		units_all += end - begin;
	}
	if (place == 0 && units_all > 0)
		loop->measured_ns = ns_all / (double)units_all;
}

static void work(struct loop *loop, uint32_t place)
{
	switch (loop->schedule) {
	case LOOP_STATIC:
		work_static(loop, place);
		break;
	case LOOP_DYNAMIC:
		work_dynamic(loop, place);
		break;
	default:
		work_adaptive(loop, place);
	}
}

static void work_traced(struct loop *loop, uint32_t place)
{
	TRACE(TRACE_LOOP_RUN, TRACE_ADDRESS(loop), TRACE_ADDRESS(loop->body), trace_place());
	work(loop, place);
	TRACE(TRACE_LOOP_END, TRACE_ADDRESS(loop), TRACE_ADDRESS(loop->body), trace_place());
}

/* ---- helpers ---- */

static void unlist_locked(struct loop *loop)
{
	if (!loop->listed)
		return;
	loop->listed = false;
	list_remove(&loop->link);
	store_relaxed(&loop->pool->loops_open, load_relaxed(&loop->pool->loops_open) - 1);
}

static void unlist(struct loop *loop)
{
	spinlock_lock(&loop->pool->loops_lock);
	unlist_locked(loop);
	spinlock_unlock(&loop->pool->loops_lock);
}

/* One that is not known to be over soon. */
static bool is_long(const struct loop *loop, uint32_t done)
{
	return loop->ns_each == 0 || loop->ns_each * (loop->units - done) > ASIDE_NS;
}

static void list(struct loop *loop, uint32_t done)
{
	struct pool *pool = loop->pool;

	spinlock_lock(&pool->loops_lock);
	list_push_back(&pool->loops, &loop->link);
	loop->listed = true;
	store_relaxed(&pool->loops_open, load_relaxed(&pool->loops_open) + 1);
	spinlock_unlock(&pool->loops_lock);
	fetch_add_relaxed(&pool->loops_run, 1);
	/* The next helper is woken by the one that finds places left: README.md, "Loops". */
	if (is_long(loop, done))
		aside_wake_one(&pool->scheduler);
	else
		idle_wake_one(&pool->scheduler.idle);
}

bool loops_enter(struct pool *pool, struct loop **result, uint32_t *place)
{
	struct loop *loop = NULL;

	spinlock_lock(&pool->loops_lock);
	if (!list_is_empty(&pool->loops)) {
		loop = FILAR_CONTAINER_OF(pool->loops.next, struct loop, link);
		/* To the end, so that helpers spread over the loops. */
		list_remove(&loop->link);
		list_push_back(&pool->loops, &loop->link);
		*place = ++loop->entered;
		(void)waitgroup_add(&loop->inside, 1);
		if (loop->entered + 1 >= loop->places)
			unlist_locked(loop);
	}
	spinlock_unlock(&pool->loops_lock);
	*result = loop;
	return loop != NULL;
}

void loop_help(struct pool_worker *self, struct loop *loop, uint32_t place)
{
	const struct token *token = self->forks.token;

	self->forks.token = loop->token;
	work_traced(loop, place);
	self->forks.token = token;
	/* Nothing is left to be given away. */
	unlist(loop);
	/* L1: release, what the steps did; pairs with L2.  The last touch of the loop. */
	(void)waitgroup_done(&loop->inside);
}

/* ---- what is known of short loops ---- */

/* Loops of few steps are not probed, but remembered: by body and context, the time of a step. */
static _Atomic uint64_t *memory_of(const struct loop *loop, uint64_t *tag)
{
	uintptr_t body;
	uint64_t key;

	memcpy(&body, &loop->body, sizeof body);
	key = random_mix(random_mix(body) ^ (uintptr_t)loop->ctx);
	*tag = key & ~(uint64_t)UINT32_MAX;
	return &loop->pool->short_loops[key % POOL_SHORT_LOOPS];
}

/* In the units of this table. */
#define REMEMBERED_PER_NS 16.0

static void remember(const struct loop *loop)
{
	double time = loop->measured_ns * REMEMBERED_PER_NS + 1;
	uint64_t tag;
	_Atomic uint64_t *word = memory_of(loop, &tag);

	store_relaxed(word, tag | (time < UINT32_MAX ? (uint32_t)time : UINT32_MAX));
}

/* Whether the last loop of its kind would have been over before a helper had come. */
static bool was_short(const struct loop *loop)
{
	uint64_t tag, word = load_relaxed(memory_of(loop, &tag));
	double time = (double)(uint32_t)word / REMEMBERED_PER_NS;

	return (uint32_t)word != 0 && (word & ~(uint64_t)UINT32_MAX) == tag &&
	       time * loop->units <= SERIAL_NS;
}

/* ---- the caller ---- */

static void wait_for_helpers(struct loop *loop)
{
	enum filar_status status = FILAR_OK;

	/* L2: acquire, by the waitgroup; pairs with L1. */
	if (pool_spin_for(loop->pool, &loop->inside.latch))
		return;
	/* They are in their last pieces, which may be long.  A cancelled green thread cannot leave
	 * its stack to them either. */
	while (loop->interrupted != NULL && status != FILAR_CANCELLED && !is_stopped(loop, 0)) {
		status = latch_wait_until(&loop->inside.latch, clock_now_ns() + (int64_t)ASK_NS);
		if (status == FILAR_OK)
			return;
	}
	latch_wait_shielded(&loop->inside.latch);
}

static void run_together(struct loop *loop, struct part *parts, uint32_t done)
{
	loop->parts = parts;
	waitgroup_init(&loop->inside, NULL);
	list(loop, done);
	work_traced(loop, 0);
	unlist(loop);
	wait_for_helpers(loop);
}

/* The rest from `done` on with helpers; the caller's part is all of it, to begin with. */
static FILAR_NOINLINE void run_few(struct loop *loop, uint32_t done)
{
	struct part parts[PARTS_FEW];

	if (loop->places > PARTS_FEW)
		loop->places = PARTS_FEW;
	for (uint32_t i = 0; i < loop->places; i++)
		atomic_init(&parts[i].range, 0);
	atomic_init(&parts[0].range, PART_WORD(done, loop->units));
	run_together(loop, parts, done);
}

static FILAR_NOINLINE void run_many(struct loop *loop, uint32_t done)
{
	struct part *parts = memory_acquire_aligned(loop->places, sizeof *parts);

	if (parts == NULL) {
		run_few(loop, done);
		return;
	}
	store_relaxed(&parts[0].range, PART_WORD(done, loop->units));
	run_together(loop, parts, done);
	memory_release(parts);
}

/* 1, 4, 32, 1024, ... */
static uint32_t longer_piece(uint32_t piece)
{
	if (piece < PROBE_SECOND)
		return PROBE_SECOND;
	if (piece < PROBE_GROWTH)
		return PROBE_GROWTH;
	return piece > UINT32_MAX / PROBE_GROWTH ? UINT32_MAX : piece * PROBE_GROWTH;
}

/* Begins the loop alone, in growing pieces, and measures.  How many units are done when it is known
 * that the rest is worth company; all of them if it never is. */
static uint32_t probe(struct loop *loop)
{
	uint32_t done = 0, piece = 1;
	int64_t before = clock_ticks();

	while (done < loop->units && !is_stopped(loop, 0)) {
		int64_t after;
		double ns;

		run_units(loop, done, done + piece);
		done += piece;
		if (done == loop->units)
			break;
		after = clock_ticks();
		ns = clock_ticks_to_ns(after - before);
		loop->ns_each = ns / piece;
		if (ns >= TRUSTED_NS && loop->ns_each * (loop->units - done) > SERIAL_NS)
			break;
		before = after;
		piece = longer_piece(piece);
		if (piece > loop->grain)
			piece = loop->grain;
		if (piece > loop->units - done)
			piece = loop->units - done;
	}
	return done;
}

/* On a thread that is recorded: all of it, in pieces as work_adaptive() would take them. */
static void run_recorded(
	struct loop *loop, struct recording *recording, const struct loop_options *options)
{
	filar_recorded_part about = { .steps = (int64_t)((uint64_t)loop->end -
							 (uint64_t)loop->begin),
		.grain = options->grain,
		.schedule = (int32_t)options->schedule,
		.threads = options->threads };
	struct recording_frame frame;
	uint32_t done = 0, piece = 1;

	if (!recording_begin_loop(recording, &about, &frame)) {
		(void)run_range(loop, 0, 0, loop->units);
		return;
	}
	while (done < loop->units && !is_stopped(loop, 0)) {
		uint64_t most = (uint64_t)piece * PROBE_GROWTH;
		double ns;

		piece = done == 0 ? 1 : piece_units(loop, loop->units - done, loop->ns_each);
		piece = piece < most ? piece : (uint32_t)most;
		recording_begin_piece(recording, &frame);
		run_units(loop, done, done + piece);
		done += piece;
		ns = recording_end_piece(recording, &frame,
			done == loop->units ? about.steps - (int64_t)((done - piece) * loop->unit)
					    : (int64_t)(piece * loop->unit));
		loop->ns_each = ns / piece;
	}
	recording_end_loop(recording, &frame);
}

static bool can_be_stopped(const struct loop *loop)
{
	return loop->token != NULL || loop->interrupted != NULL;
}

static void run_alone(struct loop *loop)
{
	struct part part;

	if (loop->schedule != LOOP_ADAPTIVE || !can_be_stopped(loop)) {
		(void)run_range(loop, 0, 0, loop->units);
		return;
	}
	/* In pieces, between which it is asked. */
	atomic_init(&part.range, PART_WORD(0, loop->units));
	loop->parts = &part;
	loop->places = 1;
	work_adaptive(loop, 0);
	loop->parts = NULL;
}

static void run_helped(struct loop *loop, uint32_t done)
{
	if (loop->schedule != LOOP_ADAPTIVE)
		run_together(loop, NULL, done);
	else if (loop->places > PARTS_FEW)
		run_many(loop, done);
	else
		run_few(loop, done);
}

static void run_loop(struct loop *loop)
{
	bool is_few = loop->units <= PROBE_STEPS_MIN * loop->places;
	uint32_t done = 0;

	if (loop->places < 2 || loop->units < 2) {
		run_alone(loop);
		return;
	}
	if (loop->schedule == LOOP_ADAPTIVE && (!is_few || was_short(loop))) {
		done = probe(loop);
		if (done == loop->units || is_stopped(loop, 0))
			return;
	}
	/* Without workers the caller does it alone. */
	if (pool_start(loop->pool) != FILAR_OK) {
		(void)run_range(loop, 0, done, loop->units);
		return;
	}
	run_helped(loop, done);
	if (is_few && loop->measured_ns > 0)
		remember(loop);
}

static void init_loop(struct loop *loop, struct pool *pool, const struct loop_options *options)
{
	uint64_t steps = (uint64_t)loop->end - (uint64_t)loop->begin;
	uint64_t grain = (uint64_t)options->grain;
	uint32_t workers = load_relaxed(&pool->workers);

	loop->pool = pool;
	loop->token = options->token;
	loop->schedule = options->schedule;
	loop->interrupted = options->interrupted;
	loop->interrupted_argument = options->interrupted_argument;
	if (loop->interrupted != NULL)
		loop->asked_ticks = clock_ticks();
	loop->ns_each = loop->measured_ns = 0;
	/* At most 2^31 units. */
	loop->unit = (steps >> 31) + 1;
	loop->units = (uint32_t)((steps + loop->unit - 1) / loop->unit);
	loop->grain = loop->units;
	if (grain == 0 && loop->schedule == LOOP_DYNAMIC)
		grain = 1;
	if (grain > 0 && grain / loop->unit < loop->units)
		loop->grain = grain / loop->unit > 0 ? (uint32_t)(grain / loop->unit) : 1;
	loop->places =
		options->threads > 0 && options->threads < workers ? options->threads : workers;
	if (loop->places > loop->units)
		loop->places = loop->units;
	atomic_init(&loop->cursor, 0);
	atomic_init(&loop->stopped, FILAR_OK);
	loop->entered = 0;
}

enum filar_status pool_parallel_for(struct pool *pool, const struct loop_options *options,
	int64_t begin, int64_t end, range_body *body, void *ctx)
{
	struct loop loop;
	struct pool_worker *self;
	struct recording *recording;
	const struct token *outer = NULL;

	if (FILAR_UNLIKELY(pool_is_forked(pool)))
		return status_detail(FILAR_FORKED, "the pool runs in the parent process");
	self = pool_worker_of(pool);
	if (FILAR_UNLIKELY(load_relaxed(&pool->state) == POOL_CLOSED && self == NULL))
		return status_detail(FILAR_WRONG_STATE, "the pool was shut down");
	if (end <= begin)
		return FILAR_OK;
	loop.body = body;
	loop.ctx = ctx;
	loop.begin = begin;
	loop.end = end;
	init_loop(&loop, pool, options);
	if (self != NULL) {
		outer = self->forks.token;
		if (options->token != NULL)
			self->forks.token = options->token;
	}
	clock_calibrate();
	recording = self == NULL ? recording_current() : NULL;
	if (FILAR_UNLIKELY(recording != NULL))
		run_recorded(&loop, recording, options);
	else
		run_loop(&loop);
	if (self != NULL)
		self->forks.token = outer;
	return (enum filar_status)load_relaxed(&loop.stopped);
}

/* ---- reduce ---- */

/* Blocks: enough to share out among many threads, few enough that their results are nothing. */
#define BLOCKS_MAX  256u
#define BLOCK_ALIGN ((size_t)64)

struct reduce {
	const struct reduction *reduction;
	void *ctx;
	int64_t begin, end;
	uint64_t block; /* steps */
	char *partials;
	size_t stride;
};

static void reduce_blocks(int64_t first, int64_t last, void *pointer)
{
	struct reduce *reduce = pointer;
	const struct reduction *reduction = reduce->reduction;

	for (int64_t i = first; i < last; i++) {
		void *partial = reduce->partials + (size_t)i * reduce->stride;
		uint64_t begin = (uint64_t)reduce->begin + (uint64_t)i * reduce->block;
		uint64_t left = (uint64_t)reduce->end - begin;
		uint64_t count = left < reduce->block ? left : reduce->block;

		if (reduction->identity != NULL)
			memcpy(partial, reduction->identity, reduction->bytes_each);
		reduction->body((int64_t)begin, (int64_t)(begin + count), reduce->ctx, partial);
	}
}

enum filar_status pool_parallel_reduce(struct pool *pool, const struct loop_options *options,
	int64_t begin, int64_t end, const struct reduction *reduction, void *ctx, void *result)
{
	uint64_t steps = end > begin ? (uint64_t)end - (uint64_t)begin : 0;
	uint64_t grain = (uint64_t)options->grain, blocks;
	struct loop_options inner = *options;
	struct reduce reduce = { reduction, ctx, begin, end, 0, NULL, 0 };
	enum filar_status status = FILAR_OK;

	reduce.block = steps / BLOCKS_MAX + (steps % BLOCKS_MAX > 0);
	if (reduce.block < grain)
		reduce.block = grain;
	blocks = reduce.block > 0 ? (steps + reduce.block - 1) / reduce.block : 0;
	reduce.stride = (reduction->bytes_each + BLOCK_ALIGN - 1) / BLOCK_ALIGN * BLOCK_ALIGN;
	reduce.partials = memory_acquire_aligned(blocks + 1, reduce.stride);
	if (reduce.partials == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for %llu partial results",
			(unsigned long long)blocks);
	inner.grain = options->schedule == LOOP_DYNAMIC ? 1 : 0;
	if (pool != NULL)
		status =
			pool_parallel_for(pool, &inner, 0, (int64_t)blocks, reduce_blocks, &reduce);
	else
		reduce_blocks(0, (int64_t)blocks, &reduce);
	if (status == FILAR_OK) {
		if (blocks == 0 && reduction->identity != NULL)
			memcpy(reduce.partials, reduction->identity, reduction->bytes_each);
		for (uint64_t i = 1; i < blocks; i++)
			reduction->combine(
				reduce.partials, reduce.partials + i * reduce.stride, ctx);
		memcpy(result, reduce.partials, reduction->bytes_each);
	}
	memory_release(reduce.partials);
	return status;
}
