/*
 * recording.c - the tree of a recorded program, and the clock that fills it.
 *
 * Time is read twice wherever a strand ends and the next begins: what stands between the two
 * stamps, all of the book-keeping, belongs to neither.
 */
#include "pool/recording.h"

#include "base/check.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/self.h"
#include "os/clock.h"

#define NO_NODE       UINT32_MAX
#define NODES_MIN     64u
#define NODES_DEFAULT 16384u
#define NODES_MAX     (1u << 22)
#define GRAIN_DEFAULT 2000.0
/* Forks deeper than this are counted only.  Each open one needs four nodes at most. */
#define DEPTH_MAX         1024u
#define NODES_OF_A_DEPTH  8u
#define KNOWN_SLOTS       1024u
#define CALIBRATION_STEPS 64u

struct node {
	double ns;                  /* W  work: its own and all of what is below it */
	uint64_t forks;             /* W  STRAND: that were summed up in it */
	int64_t steps;              /* W  LOOP: of it; below a LOOP: of this piece */
	int64_t grain;              /* W  LOOP */
	uint32_t parent;            /* W */
	uint32_t first, last, next; /* W  children, sibling; free nodes are a list by `next` */
	uint32_t threads;           /* W  LOOP */
	uint8_t kind;               /* W  enum filar_recorded_kind */
	uint8_t schedule;           /* W  LOOP */
};

/* What forks of this body at this depth have taken lately. */
struct known {
	uint64_t key;
	double ns;
};

struct recording {
	struct node *nodes;              /* W */
	uint32_t nodes_max;              /* I */
	uint32_t nodes_used;             /* W  touched so far */
	uint32_t nodes_free;             /* W  in the list of free ones, and never used */
	uint32_t free;                   /* W */
	struct recording_frame *top;     /* W  the innermost part that is open */
	struct recording_frame bottom;   /* W  the program itself */
	uint32_t depth;                  /* W  of open forks and loops */
	uint32_t depth_max;              /* I */
	bool quiet;                      /* W  forks are only counted */
	uint64_t quiet_forks;            /* W  counted so */
	int64_t since;                   /* W  ticks: when the strand began */
	int64_t probes_since;            /* W  ticks: when the last one ended */
	int64_t probe_ticks;             /* W  between strands */
	double stamp_ns;                 /* I  two stamps with nothing between */
	double quiet_ns;                 /* I  counting a fork */
	double grain_ns;                 /* W */
	bool running;                    /* W */
	int64_t started_ns;              /* I */
	filar_recording_totals totals;   /* W */
	struct known known[KNOWN_SLOTS]; /* W */
};

_Atomic uint32_t recordings_running;

FILAR_NOINLINE struct recording *recording_current_slow(void)
{
	struct self *self = self_get();

	return self != NULL ? self->recording : NULL;
}

/* ---- nodes ---- */

static struct node *at(struct recording *recording, uint32_t index)
{
	return &recording->nodes[index];
}

static void give_back(struct recording *recording, uint32_t index)
{
	at(recording, index)->next = recording->free;
	recording->free = index;
	recording->nodes_free++;
}

/* Everything below it, without it. */
static void give_back_below(struct recording *recording, uint32_t index)
{
	uint32_t here = at(recording, index)->first, next;

	at(recording, index)->first = at(recording, index)->last = NO_NODE;
	/* Down to a leaf; then on to the next, or up, where the children are gone. */
	while (here != NO_NODE && here != index) {
		struct node *node = at(recording, here);

		if (node->first != NO_NODE) {
			next = node->first;
			node->first = NO_NODE;
		} else {
			next = node->next != NO_NODE ? node->next : node->parent;
			give_back(recording, here);
		}
		here = next;
	}
}

static uint64_t forks_below(struct recording *recording, uint32_t index)
{
	uint32_t here = index;
	uint64_t forks = 0;

	for (;;) {
		struct node *node = at(recording, here);

		forks += node->forks + (node->kind == FILAR_RECORDED_FORK);
		if (node->first != NO_NODE) {
			here = node->first;
			continue;
		}
		while (here != index && at(recording, here)->next == NO_NODE)
			here = at(recording, here)->parent;
		if (here == index)
			return forks;
		here = at(recording, here)->next;
	}
}

/* A finished part becomes one strand. */
static void flatten(struct recording *recording, uint32_t index)
{
	struct node *node = at(recording, index);

	if (node->kind == FILAR_RECORDED_STRAND)
		return;
	node->forks = forks_below(recording, index);
	give_back_below(recording, index);
	node->kind = FILAR_RECORDED_STRAND;
}

/* Of a sequence all, of a loop those that are short together. */
static void merge_strands(struct recording *recording, uint32_t parent)
{
	bool in_loop = at(recording, parent)->kind == FILAR_RECORDED_LOOP;
	uint32_t here = at(recording, parent)->first;

	if (at(recording, parent)->kind == FILAR_RECORDED_FORK)
		return;
	while (here != NO_NODE) {
		struct node *node = at(recording, here);
		uint32_t next = node->next;
		struct node *other = next != NO_NODE ? at(recording, next) : NULL;

		if (other == NULL || node->kind != FILAR_RECORDED_STRAND ||
			other->kind != FILAR_RECORDED_STRAND ||
			(in_loop && node->ns + other->ns >= recording->grain_ns)) {
			here = next;
			continue;
		}
		node->ns += other->ns;
		node->forks += other->forks;
		node->steps += other->steps;
		node->next = other->next;
		if (at(recording, parent)->last == next)
			at(recording, parent)->last = here;
		give_back(recording, next);
	}
}

/* Everything finished below it that is shorter than the grain becomes strands. */
static void simplify(struct recording *recording, uint32_t parent)
{
	for (uint32_t child = at(recording, parent)->first; child != NO_NODE;
		child = at(recording, child)->next) {
		if (at(recording, child)->ns < recording->grain_ns)
			flatten(recording, child);
		else
			simplify(recording, child);
	}
	merge_strands(recording, parent);
}

/* The tree is full: it is made coarser. */
static FILAR_NOINLINE void coarsen(struct recording *recording)
{
	do {
		recording->grain_ns *= 2;
		for (struct recording_frame *frame = recording->top; frame != NULL;
			frame = frame->outer) {
			if (frame->sequence != NO_NODE)
				simplify(recording, frame->sequence);
			if (frame->node != NO_NODE)
				simplify(recording, frame->node);
		}
	} while (recording->nodes_free < recording->nodes_max / 4);
}

static uint32_t node_create(struct recording *recording, enum filar_recorded_kind kind)
{
	uint32_t index;

	/* Never in vain: what cannot be made coarser are the open parts, and DEPTH_MAX bounds
	 * them. */
	if (FILAR_UNLIKELY(recording->nodes_free == 0))
		coarsen(recording);
	index = recording->free;
	if (index != NO_NODE)
		recording->free = at(recording, index)->next;
	else
		index = recording->nodes_used++;
	recording->nodes_free--;
	recording->nodes[index] = (struct node){ .parent = NO_NODE,
		.first = NO_NODE,
		.last = NO_NODE,
		.next = NO_NODE,
		.kind = (uint8_t)kind };
	return index;
}

static void append(struct recording *recording, uint32_t parent, uint32_t child)
{
	struct node *into = at(recording, parent);

	at(recording, child)->parent = parent;
	if (into->last == NO_NODE)
		into->first = child;
	else
		at(recording, into->last)->next = child;
	into->last = child;
	into->ns += at(recording, child)->ns;
}

/* ---- strands ---- */

static void add_strand(struct recording *recording, double ns, uint64_t forks)
{
	uint32_t sequence = recording->top->sequence;
	uint32_t last = at(recording, sequence)->last;

	if (last != NO_NODE && at(recording, last)->kind == FILAR_RECORDED_STRAND) {
		at(recording, last)->ns += ns;
		at(recording, last)->forks += forks;
		at(recording, sequence)->ns += ns;
		return;
	}
	last = node_create(recording, FILAR_RECORDED_STRAND);
	at(recording, last)->ns = ns;
	at(recording, last)->forks = forks;
	append(recording, sequence, last);
}

static void begin_strand(struct recording *recording)
{
	recording->since = clock_ticks();
	recording->probe_ticks += recording->since - recording->probes_since;
}

/* The time since begin_strand(), without what measuring it has cost. */
static double strand_ns(struct recording *recording, uint64_t quiet_forks)
{
	int64_t now = clock_ticks();
	double ns = clock_ticks_to_ns(now - recording->since);
	double cost = recording->stamp_ns + recording->quiet_ns * (double)quiet_forks;

	recording->probes_since = now;
	/* A strand may be shorter than the typical cost of looking at it. */
	cost = cost < ns ? cost : ns;
	recording->totals.subtracted_ns += cost;
	return ns - cost;
}

static void end_strand(struct recording *recording)
{
	add_strand(recording, strand_ns(recording, 0), 0);
}

/* ---- parts of a fork or a loop ---- */

static void open_part(struct recording *recording, struct recording_frame *frame)
{
	frame->sequence = NO_NODE;
	frame->outer = recording->top;
	recording->top = frame;
	frame->sequence = node_create(recording, FILAR_RECORDED_SEQUENCE);
}

/* A sequence of one is that one. */
static uint32_t only_child(struct recording *recording, uint32_t sequence)
{
	uint32_t child = at(recording, sequence)->first;

	if (child == NO_NODE || at(recording, child)->next != NO_NODE)
		return sequence;
	give_back(recording, sequence);
	return child;
}

static uint32_t close_part(struct recording *recording, struct recording_frame *frame)
{
	uint32_t done = only_child(recording, frame->sequence);

	append(recording, frame->node, done);
	recording->top = frame->outer;
	return done;
}

/* The fork or loop has ended, and is added to what its part has done. */
static void close_node(struct recording *recording, uint32_t index)
{
	struct node *node = at(recording, index);

	recording->depth--;
	if (node->ns < recording->grain_ns) {
		flatten(recording, index);
		add_strand(recording, node->ns, node->forks);
		give_back(recording, index);
		return;
	}
	append(recording, recording->top->sequence, index);
}

/* ---- what is known of short forks ---- */

static struct known *known_of(struct recording *recording, call_body *body)
{
	uintptr_t address = (uintptr_t)body;
	uint64_t key = random_mix(address ^ ((uint64_t)recording->depth << 48)) | 1;
	struct known *known = &recording->known[(key >> 1) % KNOWN_SLOTS];

	if (known->key != key)
		*known = (struct known){ key, -1 };
	return known;
}

static void learn(struct known *known, uint64_t key, double ns)
{
	/* The slot may have gone to another body meanwhile. */
	if (known->key == key)
		known->ns = known->ns < 0 ? ns : known->ns + (ns - known->ns) / 4;
}

/* ---- join ---- */

static void run_half(struct recording *recording, uint32_t fork, call_body *body, void *argument)
{
	struct recording_frame frame = { .node = fork };

	open_part(recording, &frame);
	begin_strand(recording);
	body(argument);
	end_strand(recording);
	(void)close_part(recording, &frame);
}

static double join_timed(struct recording *recording, call_body *first, void *first_argument,
	call_body *second, void *second_argument)
{
	uint32_t fork = node_create(recording, FILAR_RECORDED_FORK);
	double ns;

	recording->depth++;
	recording->totals.forks++;
	run_half(recording, fork, first, first_argument);
	run_half(recording, fork, second, second_argument);
	ns = at(recording, fork)->ns;
	close_node(recording, fork);
	return ns;
}

static double join_quietly(struct recording *recording, call_body *first, void *first_argument,
	call_body *second, void *second_argument)
{
	uint64_t before = recording->quiet_forks;
	double ns;

	recording->quiet = true;
	begin_strand(recording);
	first(first_argument);
	second(second_argument);
	recording->quiet = false;
	ns = strand_ns(recording, recording->quiet_forks - before);
	add_strand(recording, ns, recording->quiet_forks - before + 1);
	recording->totals.forks += recording->quiet_forks - before + 1;
	return ns;
}

enum filar_status recording_join(struct recording *recording, call_body *first,
	void *first_argument, call_body *second, void *second_argument)
{
	struct known *known;
	uint64_t key;
	double ns;

	if (recording->quiet) {
		recording->quiet_forks++;
		first(first_argument);
		second(second_argument);
		return FILAR_OK;
	}
	end_strand(recording);
	known = known_of(recording, first);
	key = known->key;
	if ((known->ns >= 0 && known->ns < recording->grain_ns) ||
		recording->depth >= recording->depth_max)
		ns = join_quietly(recording, first, first_argument, second, second_argument);
	else
		ns = join_timed(recording, first, first_argument, second, second_argument);
	learn(known, key, ns);
	begin_strand(recording);
	return FILAR_OK;
}

void recording_call(struct recording *recording, call_body *body, void *argument)
{
	recording->totals.calls++;
	body(argument);
}

/* ---- loops ---- */

bool recording_begin_loop(
	struct recording *recording, const filar_recorded_part *loop, struct recording_frame *frame)
{
	struct node *node;

	if (recording->quiet || recording->depth >= recording->depth_max)
		return false;
	end_strand(recording);
	recording->totals.loops++;
	recording->depth++;
	frame->node = node_create(recording, FILAR_RECORDED_LOOP);
	node = at(recording, frame->node);
	node->steps = loop->steps;
	node->grain = loop->grain;
	node->threads = loop->threads;
	node->schedule = (uint8_t)loop->schedule;
	/* While no piece is open, nothing may be made that could need to find this one. */
	frame->sequence = NO_NODE;
	return true;
}

void recording_begin_piece(struct recording *recording, struct recording_frame *frame)
{
	open_part(recording, frame);
	begin_strand(recording);
}

double recording_end_piece(
	struct recording *recording, struct recording_frame *frame, int64_t steps)
{
	uint32_t piece;
	double ns;

	end_strand(recording);
	piece = close_part(recording, frame);
	ns = at(recording, piece)->ns;
	at(recording, piece)->steps = steps;
	recording->totals.pieces++;
	return ns;
}

void recording_end_loop(struct recording *recording, struct recording_frame *frame)
{
	close_node(recording, frame->node);
	begin_strand(recording);
}

/* ---- start and end ---- */

static void nothing(void *argument)
{
	FILAR_KEEP(argument);
}

static double measure_stamp(void)
{
	int64_t least = INT64_MAX;

	for (uint32_t i = 0; i < CALIBRATION_STEPS; i++) {
		int64_t before = clock_ticks(), ticks = clock_ticks() - before;

		least = ticks < least ? ticks : least;
	}
	return clock_ticks_to_ns(least);
}

/* Of CALIBRATION_STEPS forks that are counted, less what they call. */
static double measure_quiet(struct recording *recording)
{
	call_body *volatile body = nothing;
	int64_t counted = INT64_MAX, plain = INT64_MAX;

	recording->quiet = true;
	for (uint32_t i = 0; i < CALIBRATION_STEPS; i++) {
		int64_t start = clock_ticks(), middle, end;

		for (uint32_t k = 0; k < CALIBRATION_STEPS; k++)
			(void)join_outside(body, NULL, body, NULL);
		middle = clock_ticks();
		for (uint32_t k = 0; k < CALIBRATION_STEPS; k++) {
			body(NULL);
			body(NULL);
		}
		end = clock_ticks();
		counted = middle - start < counted ? middle - start : counted;
		plain = end - middle < plain ? end - middle : plain;
	}
	recording->quiet = false;
	recording->quiet_forks = 0;
	return counted > plain ? clock_ticks_to_ns(counted - plain) / CALIBRATION_STEPS : 0;
}

static enum filar_status check_thread(struct self **self)
{
	*self = self_get_or_create();
	if (*self == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for the thread's record");
	if ((*self)->worker != NULL)
		return status_detail(FILAR_WRONG_STATE,
			"a recording is made outside of pools and green threads, on a thread "
			"of its own or the main thread");
	if ((*self)->recording != NULL)
		return status_detail(FILAR_BUSY, "this thread is being recorded already");
	return FILAR_OK;
}

static enum filar_status create(struct recording **result, const filar_recording_options *options)
{
	uint32_t nodes = options->parts_max != 0 ? options->parts_max : NODES_DEFAULT;
	struct recording *recording;

	if (nodes < NODES_MIN || nodes > NODES_MAX)
		return status_detail(FILAR_INVALID, "parts_max is %u; from %u to %u is possible",
			nodes, NODES_MIN, NODES_MAX);
	if (options->grain_ns < 0)
		return status_detail(FILAR_INVALID, "grain_ns is %lld; it cannot be negative",
			(long long)options->grain_ns);
	recording = memory_acquire(1, sizeof *recording);
	if (recording == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for a recording");
	recording->nodes = memory_acquire(nodes, sizeof *recording->nodes);
	if (recording->nodes == NULL) {
		memory_release(recording);
		return status_detail(
			FILAR_NO_MEMORY, "no memory for a recording of %u parts", nodes);
	}
	recording->nodes_max = recording->nodes_free = nodes;
	recording->free = NO_NODE;
	recording->grain_ns = options->grain_ns > 0 ? (double)options->grain_ns : GRAIN_DEFAULT;
	recording->depth_max = nodes / NODES_OF_A_DEPTH;
	if (recording->depth_max > DEPTH_MAX)
		recording->depth_max = DEPTH_MAX;
	*result = recording;
	return FILAR_OK;
}

enum filar_status recording_start(struct recording **result, const filar_recording_options *options)
{
	struct self *self;
	struct recording *recording = NULL;
	enum filar_status status = check_thread(&self);

	if (status == FILAR_OK)
		status = create(&recording, options);
	if (status != FILAR_OK)
		return status;
	clock_calibrate();
	recording->stamp_ns = measure_stamp();
	recording->bottom.node = NO_NODE;
	open_part(recording, &recording->bottom);
	recording->running = true;
	self->recording = recording;
	(void)fetch_add_relaxed(&recordings_running, 1);
	recording->quiet_ns = measure_quiet(recording);
	recording->started_ns = clock_now_ns();
	recording->probes_since = clock_ticks();
	*result = recording;
	begin_strand(recording);
	return FILAR_OK;
}

enum filar_status recording_stop(struct recording *recording, filar_recording_totals *totals)
{
	filar_recording_totals *own = &recording->totals;
	struct self *self = self_get();

	if (!recording->running)
		return status_detail(FILAR_WRONG_STATE, "the recording was stopped before");
	/* Also where the thread that started it has ended: then nobody is left to stop it. */
	if (self == NULL || self->recording != recording)
		return status_detail(
			FILAR_WRONG_STATE, "a recording is stopped by the thread that started it");
	if (recording->quiet || recording->top != &recording->bottom || recording->depth > 0)
		return status_detail(FILAR_WRONG_STATE,
			"a fork or a loop of the recorded program has not ended");
	end_strand(recording);
	self->recording = NULL;
	recording->running = false;
	(void)fetch_sub_relaxed(&recordings_running, 1);
	own->wall_ns = (double)(clock_now_ns() - recording->started_ns);
	own->work_ns = at(recording, recording->bottom.sequence)->ns;
	own->probes_ns = clock_ticks_to_ns(recording->probe_ticks);
	own->stamp_ns = recording->stamp_ns;
	own->quiet_fork_ns = recording->quiet_ns;
	own->grain_ns = recording->grain_ns;
	own->parts = recording->nodes_max - recording->nodes_free;
	if (totals != NULL)
		*totals = *own;
	return FILAR_OK;
}

static void copy_node(const struct recording *recording, uint32_t index, filar_recorded_part *part)
{
	const struct node *node = &recording->nodes[index];

	*part = (filar_recorded_part){ .work_ns = node->ns,
		.forks = node->forks,
		.steps = node->steps,
		.grain = node->grain,
		.kind = node->kind,
		.schedule = node->schedule,
		.threads = node->threads };
	for (uint32_t child = node->first; child != NO_NODE; child = recording->nodes[child].next)
		part->children++;
}

size_t recording_copy(const struct recording *recording, filar_recorded_part *parts, size_t max)
{
	uint32_t root = recording->bottom.sequence, here = root;
	size_t count = 0;

	if (recording->running)
		return 0;
	for (;;) {
		const struct node *node = &recording->nodes[here];

		if (count < max)
			copy_node(recording, here, &parts[count]);
		count++;
		if (node->first != NO_NODE) {
			here = node->first;
			continue;
		}
		while (here != root && recording->nodes[here].next == NO_NODE)
			here = recording->nodes[here].parent;
		if (here == root)
			return count;
		here = recording->nodes[here].next;
	}
}

enum filar_status recording_destroy(struct recording *recording)
{
	if (recording->running && recording_stop(recording, NULL) != FILAR_OK)
		return status_detail(
			FILAR_BUSY, "the recording runs, on another thread or inside of a fork");
	memory_release(recording->nodes);
	memory_release(recording);
	return FILAR_OK;
}
