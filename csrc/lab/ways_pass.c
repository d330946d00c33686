/*
 * ways_pass.c - an item handed to another thread and back through memory: by a channel, or by a
 * mutex and a condition variable; the same code on green threads and on kernel threads.  And
 * threads that are to run in an order that their program asks for.
 *
 * An item is a number, and each comes back one higher, so that a hand-over that loses, repeats or
 * mixes up items fails instead of being measured.  Neighbours: ways_switch.c hands over without an
 * item, ways_data.c hands over blocks of memory, between processes too.
 */
#include <sys/resource.h>
#include <unistd.h>

#include "base/check.h"
#include "base/memory.h"
#include "base/tid.h"
#include "block/chan.h"
#include "block/cond.h"
#include "block/event.h"
#include "block/latch.h"
#include "lab/crew.h"
#include "lab/grove.h"
#include "lab/registry.h"
#include "os/calls.h"
#include "os/clock.h"

/* ---- pass: to and fro ---- */

enum { PASS_BY, PASS_KERNEL, PASS_PEER_CPU };
enum pass_by { BY_CHANNEL, BY_RENDEZVOUS, BY_CONDITION };

#define LAST_ITEM      UINT64_MAX /* ends the second party, and is not answered */
#define TRIPS_PER_LOOK 4096

/* One place for an item, under a mutex. */
struct slot {
	struct mutex mutex;
	struct cond changed;
	uint64_t item; /* L */
	bool full;     /* L */
};

/* One direction: a channel or a slot. */
struct lane {
	enum pass_by by; /* I */
	struct chan chan;
	struct slot slot;
};

struct pass {
	struct lane lanes[2];      /* there, and back */
	struct grove grove;        /* on the driver's CPU */
	struct grove elsewhere;    /* on peer_cpu, if that was asked for */
	struct crew crew;          /* W  driver: the partner, if kernel */
	struct cpu_mask peer_cpus; /* I  of that partner */
	bool kernel, apart;        /* I */
	uint32_t lanes_made;       /* W  driver */
	struct way_run *run;       /* I */
	uint64_t wrong;   /* W  the first party's: items that did not come back as agreed */
	int64_t taken_ns; /* W  the first party's */
};

static void slot_put(struct slot *slot, uint64_t item)
{
	mutex_lock_shielded(&slot->mutex);
	while (slot->full)
		(void)cond_wait_until(&slot->changed, &slot->mutex, DEADLINE_NEVER);
	slot->item = item;
	slot->full = true;
	(void)mutex_unlock(&slot->mutex);
	cond_signal(&slot->changed);
}

static uint64_t slot_take(struct slot *slot)
{
	uint64_t item;

	mutex_lock_shielded(&slot->mutex);
	while (!slot->full)
		(void)cond_wait_until(&slot->changed, &slot->mutex, DEADLINE_NEVER);
	item = slot->item;
	slot->full = false;
	(void)mutex_unlock(&slot->mutex);
	cond_signal(&slot->changed);
	return item;
}

/* A signal may interrupt a wait on a kernel thread; nothing was sent or received then. */
static void lane_put(struct lane *lane, uint64_t item)
{
	if (lane->by == BY_CONDITION)
		slot_put(&lane->slot, item);
	else
		while (chan_send_until(&lane->chan, &item, DEADLINE_NEVER) != FILAR_OK)
			continue;
}

static uint64_t lane_take(struct lane *lane)
{
	uint64_t item = 0;

	if (lane->by == BY_CONDITION)
		return slot_take(&lane->slot);
	while (chan_receive_until(&lane->chan, &item, DEADLINE_NEVER) != FILAR_OK)
		continue;
	return item;
}

/* One trip more than is measured: the first finds the partner asleep at the beginning. */
static void first_party(struct pass *pass)
{
	uint64_t trips = pass->run->batch;
	int64_t start_ns = 0;

	pass->wrong = 0;
	for (uint64_t i = 0; i <= trips; i++) {
		if (i == 1)
			start_ns = clock_now_ns();
		if (i % TRIPS_PER_LOOK == 0 && way_cancelled(pass->run))
			break;
		lane_put(&pass->lanes[0], i);
		pass->wrong += lane_take(&pass->lanes[1]) != i + 1;
	}
	pass->taken_ns = clock_now_ns() - start_ns;
	lane_put(&pass->lanes[0], LAST_ITEM);
}

static void second_party(struct pass *pass)
{
	uint64_t item;

	while ((item = lane_take(&pass->lanes[0])) != LAST_ITEM)
		lane_put(&pass->lanes[1], item + 1);
}

static void green_partner(struct grove_member *member)
{
	second_party(member->grove->shared);
}

static void kernel_partner(struct crew_member *member)
{
	second_party(member->crew->shared);
}

static enum filar_status pass_errand(void *pointer)
{
	struct pass *pass = pointer;
	struct grove *home = pass->apart ? &pass->elsewhere : &pass->grove;
	enum filar_status status = grove_spawn(home, 1, green_partner);

	if (status == FILAR_OK)
		first_party(pass);
	grove_join(home);
	return status;
}

/* The driver is the first party. */
static enum filar_status pass_between_kernel_threads(struct pass *pass)
{
	enum filar_status status =
		crew_create(&pass->crew, 1, &pass->peer_cpus, kernel_partner, pass);

	if (status != FILAR_OK)
		return status;
	crew_open(&pass->crew);
	first_party(pass);
	crew_join(&pass->crew);
	return FILAR_OK;
}

static enum filar_status sample_pass(struct way_run *run)
{
	struct pass *pass = run->state;
	enum filar_status status;

	status = pass->kernel ? pass_between_kernel_threads(pass)
			      : grove_run(&pass->grove, pass_errand, pass);
	if (status != FILAR_OK)
		return status;
	if (way_cancelled(run))
		return FILAR_CANCELLED;
	if (pass->wrong > 0)
		return status_detail(FILAR_SYSTEM, "%llu of %u items came back wrong",
			(unsigned long long)pass->wrong, run->batch);
	run->values[0] = (double)pass->taken_ns / (2.0 * run->batch);
	return FILAR_OK;
}

static enum filar_status make_lane(struct lane *lane, enum pass_by by)
{
	lane->by = by;
	mutex_init(&lane->slot.mutex, "lab-slot");
	cond_init(&lane->slot.changed);
	return chan_init(&lane->chan, sizeof(uint64_t), by == BY_RENDEZVOUS ? 0 : 1, "lab-lane");
}

static enum filar_status make_parties(struct way_run *run, struct pass *pass)
{
	int64_t peer = pass->apart ? run->params[PASS_PEER_CPU] : run->driver_cpu;
	struct way_run there = *run;
	enum filar_status status;

	if (pass->kernel)
		return crew_mask(&pass->peer_cpus, peer);
	status = grove_open(&pass->grove, run, 1, -1, 1, pass);
	if (status != FILAR_OK || !pass->apart)
		return status;
	there.driver_cpu = (int32_t)peer;
	return grove_open(&pass->elsewhere, &there, 1, -1, 1, pass);
}

static enum filar_status setup_pass(struct way_run *run)
{
	enum filar_status status =
		param_check("by", run->params[PASS_BY], BY_CHANNEL, BY_CONDITION);
	struct pass *pass;

	if (status == FILAR_OK)
		status = param_check("peer_cpu", run->params[PASS_PEER_CPU], -1, CPUS_MAX - 1);
	if (status != FILAR_OK)
		return status;
	pass = way_acquire_state(run, sizeof *pass);
	if (pass == NULL)
		return FILAR_NO_MEMORY;
	pass->run = run;
	pass->kernel = run->params[PASS_KERNEL] != 0;
	pass->apart = run->params[PASS_PEER_CPU] >= 0;
	for (; pass->lanes_made < 2; pass->lanes_made++) {
		status = make_lane(
			&pass->lanes[pass->lanes_made], (enum pass_by)run->params[PASS_BY]);
		if (status != FILAR_OK)
			return status;
	}
	return make_parties(run, pass);
}

static void teardown_pass(struct way_run *run)
{
	struct pass *pass = run->state;

	if (pass == NULL)
		return;
	grove_close(&pass->elsewhere);
	grove_close(&pass->grove);
	while (pass->lanes_made > 0)
		FILAR_CHECK(chan_deinit(&pass->lanes[--pass->lanes_made].chan) == FILAR_OK);
	memory_release(pass);
}

/* ---- order-kept: in the order that was asked for? ---- */

enum { ORDER_WHO, ORDER_THREADS, ORDER_STEPS };
enum order_who { GREEN_BY_PROGRAM, KERNEL_BY_NICE, KERNEL_BY_PROGRAM };

#define RUNNERS_MAX 256u
#define NICE_WORST  19
#define STEPS_MAX   INT64_C(300000) /* with all runners, less than a tenth of a second */

struct runner {
	struct order *order; /* I */
	uint32_t place;      /* S  whose turn it is to be: the driver's before they begin */
	uint32_t came;       /* W  the place it really took; the driver's once all have ended */
	struct event go;     /* its turn */
	struct event done;
};

struct order {
	struct grove grove;
	struct crew crew;
	enum order_who who;        /* I */
	uint32_t count;            /* I */
	uint64_t steps;            /* I  each runner's work */
	struct latch ready;        /* runners that have their nice level */
	struct event start;        /* all of them, where nobody lets them go one by one */
	_Atomic uint32_t finished; /* A  relaxed: only the order of additions counts */
	_Atomic uint32_t refused;  /* A  runners that did not get their nice level */
	int64_t taken_ns;          /* W  whoever starts them */
	struct runner runners[RUNNERS_MAX];
	struct runner *by_place[RUNNERS_MAX]; /* S  as `place` */
};

/* The last place gets the worst level, the first none: lowering needs no permission. */
static void take_nice_level(struct runner *runner)
{
	struct order *order = runner->order;
	int nice = (int)(runner->place * NICE_WORST / (order->count - 1));
	id_t self = (id_t)tid_self(); /* nice is a thread's on Linux */

	if (nice > 0 && call_setpriority(PRIO_PROCESS, self, nice) != 0)
		fetch_add_relaxed(&order->refused, 1);
	(void)latch_count_down(&order->ready, 1);
	event_wait_shielded(&order->start);
}

static void run_in_turn(struct runner *runner)
{
	if (runner->order->who == KERNEL_BY_NICE)
		take_nice_level(runner);
	else
		event_wait_shielded(&runner->go);
	spin_steps(runner->order->steps);
	runner->came = fetch_add_relaxed(&runner->order->finished, 1);
	event_set(&runner->done);
}

static void green_runner(struct grove_member *member)
{
	struct order *order = member->grove->shared;

	run_in_turn(&order->runners[member->number]);
}

static void kernel_runner(struct crew_member *member)
{
	struct order *order = member->crew->shared;

	run_in_turn(&order->runners[member->number]);
}

/* What a scheduler of the program's own comes to: it picks, and waits for the end of the turn. */
static void let_go(struct order *order)
{
	int64_t start_ns = clock_now_ns();

	if (order->who == KERNEL_BY_NICE) {
		event_set(&order->start);
		for (uint32_t i = 0; i < order->count; i++)
			event_wait_shielded(&order->runners[i].done);
	} else {
		for (uint32_t i = 0; i < order->count; i++) {
			event_set(&order->by_place[i]->go);
			event_wait_shielded(&order->by_place[i]->done);
		}
	}
	order->taken_ns = clock_now_ns() - start_ns;
}

static enum filar_status order_errand(void *pointer)
{
	struct order *order = pointer;
	enum filar_status status = grove_spawn(&order->grove, order->count, green_runner);

	if (status == FILAR_OK)
		let_go(order);
	else /* those that are there must not wait for ever */
		for (uint32_t i = 0; i < order->grove.count; i++)
			event_set(&order->runners[i].go);
	grove_join(&order->grove);
	return status;
}

static enum filar_status order_kernel_threads(const struct way_run *run, struct order *order)
{
	struct cpu_mask cpus;
	enum filar_status status = crew_mask(&cpus, run->driver_cpu);

	if (status == FILAR_OK)
		status = crew_create(&order->crew, order->count, &cpus, kernel_runner, order);
	if (status != FILAR_OK)
		return status;
	crew_open(&order->crew);
	if (order->who == KERNEL_BY_NICE)
		latch_wait_shielded(&order->ready);
	let_go(order);
	crew_join(&order->crew);
	if (load_relaxed(&order->refused) > 0)
		return status_detail(FILAR_NO_PERMISSION, "the kernel refused a nice level");
	return FILAR_OK;
}

/* A fresh order each time: Fisher and Yates. */
static void draw_places(const struct way_run *run, struct order *order)
{
	for (uint32_t i = 0; i < order->count; i++)
		order->by_place[i] = &order->runners[i];
	for (uint32_t i = order->count - 1; i > 0; i--) {
		uint32_t other = random_below(run->random, i + 1);
		struct runner *kept = order->by_place[i];

		order->by_place[i] = order->by_place[other];
		order->by_place[other] = kept;
	}
	for (uint32_t i = 0; i < order->count; i++) {
		*order->by_place[i] = (struct runner){ .order = order, .place = i };
		event_init(&order->by_place[i]->go, false);
		event_init(&order->by_place[i]->done, false);
	}
}

/* Pairs that ended the other way round than asked, of all pairs: 50 for an order by chance. */
static double percent_out_of_order(const struct order *order)
{
	uint64_t wrong = 0, pairs = (uint64_t)order->count * (order->count - 1) / 2;

	for (uint32_t i = 0; i < order->count; i++) {
		for (uint32_t j = i + 1; j < order->count; j++)
			wrong += order->by_place[i]->came > order->by_place[j]->came;
	}
	return 100.0 * (double)wrong / (double)pairs;
}

static enum filar_status sample_order_kept(struct way_run *run)
{
	struct order *order = run->state;
	enum filar_status status;

	draw_places(run, order);
	latch_init(&order->ready, order->count, "lab-ready");
	event_init(&order->start, false);
	store_relaxed(&order->finished, 0);
	store_relaxed(&order->refused, 0);
	status = order->who == GREEN_BY_PROGRAM ? grove_run(&order->grove, order_errand, order)
						: order_kernel_threads(run, order);
	if (status != FILAR_OK)
		return status;
	run->values[0] = percent_out_of_order(order);
	run->values[1] = (double)order->taken_ns / order->count;
	return FILAR_OK;
}

static enum filar_status setup_order_kept(struct way_run *run)
{
	enum filar_status status =
		param_check("who", run->params[ORDER_WHO], GREEN_BY_PROGRAM, KERNEL_BY_PROGRAM);
	struct order *order;

	if (status == FILAR_OK)
		status = param_check("threads", run->params[ORDER_THREADS], 2, RUNNERS_MAX);
	if (status == FILAR_OK)
		status = param_check("steps", run->params[ORDER_STEPS], 0, STEPS_MAX);
	if (status != FILAR_OK)
		return status;
	order = way_acquire_state(run, sizeof *order);
	if (order == NULL)
		return FILAR_NO_MEMORY;
	order->who = (enum order_who)run->params[ORDER_WHO];
	order->count = (uint32_t)run->params[ORDER_THREADS];
	order->steps = (uint64_t)run->params[ORDER_STEPS];
	if (order->who != GREEN_BY_PROGRAM)
		return FILAR_OK;
	return grove_open(&order->grove, run, 1, -1, order->count, order);
}

static void teardown_order_kept(struct way_run *run)
{
	struct order *order = run->state;

	if (order == NULL)
		return;
	grove_close(&order->grove);
	memory_release(order);
}

/* ---- the table ---- */

const struct way ways_pass[] = {
	{ .name = "pass",
		.summary =
			"an item to another thread, which sends it back; by 0 a channel with one "
			"place, 1 one without, 2 a mutex and a condition variable; kernel: "
			"kernel threads; peer_cpu: the other one lives there",
		.params = { { "by", BY_CHANNEL }, { "kernel", 0 }, { "peer_cpu", -1 } },
		.metrics = { { "one way", "ns" } },
		.setup = setup_pass,
		.sample = sample_pass,
		.teardown = teardown_pass },
	{ .name = "order-kept",
		.summary =
			"threads on one core that are to run in an order drawn by chance; who 0: "
			"green threads, let go by their program, 1: kernel threads, by nice "
			"level, 2: kernel threads, let go by their program",
		.params = { { "who", GREEN_BY_PROGRAM }, { "threads", 32 }, { "steps", 20000 } },
		.metrics = { { "out of order", "percent" }, { "per thread", "ns" } },
		.batch_max = 1,
		.setup = setup_order_kept,
		.sample = sample_order_kept,
		.teardown = teardown_order_kept },
	{ .name = NULL },
};
