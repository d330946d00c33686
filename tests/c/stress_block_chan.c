/*
 * stress_block_chan.c - channels and select under all kinds of threads.
 */
#include "block/chan.h"
#include "crowd.h"

#define THREADS 8

struct item {
	uint32_t producer;
	uint32_t sequence;
};

struct line {
	struct chan chan;
	_Atomic uint64_t sent, received;
	_Atomic int senders;
};

static const size_t capacities[] = { 0, 1, 3, CHAN_UNBOUNDED };

/* A lap of sending: what was sent is received by somebody, once. */
static void send_often(struct crowd_thread *self)
{
	struct line *line = self->shared;
	struct item item = { .producer = (uint32_t)self->index };

	while (stress_goes_on()) {
		enum filar_status status =
			random_below(&self->random, 8) == 0
				? chan_try_send(&line->chan, &item)
				: chan_send_until(&line->chan, &item, crowd_deadline(self));

		CHECK(status == FILAR_OK || status == FILAR_TIMED_OUT || status == FILAR_BUSY);
		item.sequence += status == FILAR_OK;
		/* An unbounded channel would fill memory if senders were faster. */
		if (chan_count(&line->chan) > 100)
			green_yield();
		crowd_jitter(self);
	}
	fetch_add_relaxed(&line->sent, item.sequence);
	if (fetch_sub_acq_rel(&line->senders, 1) == 1)
		CHECK_EQ(chan_close(&line->chan), FILAR_OK);
}

static void receive_often(struct crowd_thread *self)
{
	struct line *line = self->shared;
	uint32_t next[CROWD_MAX] = { 0 };
	uint64_t received = 0;
	enum filar_status status = FILAR_OK;

	while (status != FILAR_CLOSED) {
		struct item item;

		status = random_below(&self->random, 8) == 0
				 ? chan_try_receive(&line->chan, &item)
				 : chan_receive_until(&line->chan, &item, crowd_deadline(self));
		CHECK(status == FILAR_OK || status == FILAR_TIMED_OUT || status == FILAR_BUSY ||
			status == FILAR_CLOSED);
		if (status == FILAR_OK) {
			CHECK_GE(item.sequence, next[item.producer]);
			next[item.producer] = item.sequence + 1;
			received++;
		} else {
			green_yield();
		}
		crowd_jitter(self);
	}
	fetch_add_relaxed(&line->received, received);
}

/*
 * Hunts: a deadline that passes while a partner has claimed the waiter: the item is lost or comes
 * twice; a wake that is lost, so that all wait; an item that overtakes another.
 */
TEST(chan_items_arrive_once_and_in_order)
{
	void (*const bodies[])(struct crowd_thread *) = { send_often, receive_often };

	for (int kind = 0; kind < CROWD_KINDS; kind++) {
		for (size_t i = 0; i < FILAR_COUNT_OF(capacities); i++) {
			struct line line = { .senders = THREADS / 2 };

			CHECK_EQ(chan_init(&line.chan, sizeof(struct item), capacities[i], "c"), 0);
			crowd_run((enum crowd_kind)kind, bodies, 2, THREADS, &line, 0.025);
			CHECK_EQ(load_relaxed(&line.sent), load_relaxed(&line.received));
			CHECK_EQ(chan_deinit(&line.chan), FILAR_OK);
		}
	}
}

/* ---- close against everything ---- */

static void send_until_closed(struct crowd_thread *self)
{
	struct line *line = self->shared;
	struct item item = { .producer = (uint32_t)self->index };

	while (chan_send_until(&line->chan, &item, DEADLINE_NEVER) == FILAR_OK)
		fetch_add_relaxed(&line->sent, 1);
}

static void receive_until_closed(struct crowd_thread *self)
{
	struct line *line = self->shared;
	struct item item;

	while (chan_receive_until(&line->chan, &item, DEADLINE_NEVER) == FILAR_OK)
		fetch_add_relaxed(&line->received, 1);
}

static void close_soon(struct crowd_thread *self)
{
	struct line *line = self->shared;

	for (uint32_t i = random_below(&self->random, 20); i > 0; i--)
		crowd_jitter(self);
	(void)chan_close(&line->chan);
}

/* Hunts: one that queues itself just after the close has emptied the queue, and sleeps for ever; a
 * send that says it was done although the close came first, or the other way round. */
TEST(chan_close_at_any_moment_ends_all_and_loses_nothing)
{
	void (*const bodies[])(
		struct crowd_thread *) = { send_until_closed, receive_until_closed, close_soon };
	int64_t end_ns = clock_now_ns() + (int64_t)(stress_seconds() * 0.2e9);
	int round = 0;

	do {
		struct line line = { .senders = 0 };

		CHECK_EQ(chan_init(&line.chan, sizeof(struct item), capacities[round % 3], "c"), 0);
		crowd_run((enum crowd_kind)(round / 3 % CROWD_KINDS), bodies, 3, 6, &line, 0);
		CHECK_EQ(load_relaxed(&line.sent), load_relaxed(&line.received));
		CHECK_EQ(chan_deinit(&line.chan), FILAR_OK);
		round++;
	} while (clock_now_ns() < end_ns || round < 3 * CROWD_KINDS);
}

/* ---- cancel ---- */

static void receive_until_cancelled(void *argument)
{
	struct line *line = argument;
	enum filar_status status;
	struct item item;

	do {
		status = chan_receive_until(&line->chan, &item, DEADLINE_NEVER);
		if (status == FILAR_OK)
			fetch_add_relaxed(&line->received, 1);
	} while (status == FILAR_OK);
	CHECK_EQ(status, FILAR_CANCELLED);
}

static void send_and_cancel(struct crowd_thread *self)
{
	struct line *line = self->shared;
	struct item item = { .producer = 0 };

	while (stress_goes_on()) {
		struct green_ref ref = crowd_spawn(receive_until_cancelled, line);

		if (random_below(&self->random, 2) == 0)
			green_yield();
		for (uint32_t i = random_below(&self->random, 3); i > 0; i--) {
			if (chan_try_send(&line->chan, &item) == FILAR_OK)
				fetch_add_relaxed(&line->sent, 1);
		}
		crowd_jitter(self);
		CHECK_EQ(green_cancel(ref), FILAR_OK);
		/* It may find items for ever only if somebody sends for ever. */
		crowd_join(ref);
	}
}

/* Hunts: an item handed to a receiver that was cancelled at that moment. */
TEST(chan_items_are_not_given_to_the_cancelled)
{
	void (*const bodies[])(struct crowd_thread *) = { send_and_cancel };

	for (int kind = 0; kind < CROWD_KINDS; kind++) {
		struct line line = { .senders = 0 };

		if (kind == CROWD_KERNEL)
			continue; /* kernel threads are not cancelled */
		CHECK_EQ(chan_init(&line.chan, sizeof(struct item), 0, "c"), FILAR_OK);
		crowd_run((enum crowd_kind)kind, bodies, 1, 3, &line, 0.05);
		CHECK_EQ(load_relaxed(&line.sent), load_relaxed(&line.received));
		CHECK_EQ(chan_deinit(&line.chan), FILAR_OK);
	}
}

/* ---- select ---- */

enum { CHANS = 3 };

struct mesh {
	struct chan chans[CHANS];
	_Atomic int64_t balance; /* sent - received */
	_Atomic uint64_t done;
};

/* Sends on some and receives on others, whichever comes first, with all kinds of deadlines. */
static void select_often(struct crowd_thread *self)
{
	struct mesh *mesh = self->shared;

	/* Until one has been done at least: a busy machine may let all deadlines pass. */
	while (stress_goes_on() || load_relaxed(&mesh->done) == 0) {
		struct select_case cases[4];
		uint32_t count = 1 + random_below(&self->random, 4), chosen;
		struct item item = { 0, 0 };
		enum filar_status status;

		for (uint32_t i = 0; i < count; i++)
			cases[i] = (struct select_case){
				.chan = &mesh->chans[random_below(&self->random, CHANS)],
				.operation = random_below(&self->random, 2) == 0 ? CHAN_SEND
										 : CHAN_RECEIVE,
				.item = &item
			};
		/* Always a deadline: nobody need be there for what this one wants. */
		status = select_until(cases, count,
			clock_now_ns() + random_below(&self->random, 100000), &chosen);
		CHECK(status == FILAR_OK || status == FILAR_TIMED_OUT);
		if (status != FILAR_OK)
			continue;
		fetch_add_relaxed(&mesh->balance, cases[chosen].operation == CHAN_SEND ? 1 : -1);
		fetch_add_relaxed(&mesh->done, 1);
		crowd_jitter(self);
	}
}

/* Hunts: a select that is claimed on two channels, or by one after it has given up; two selects
 * that wait for each other's lock; an entry left behind. */
TEST(select_does_exactly_one_case)
{
	void (*const bodies[])(struct crowd_thread *) = { select_often };

	for (int kind = 0; kind < CROWD_KINDS; kind++) {
		struct mesh mesh = { .balance = 0 };
		int64_t left = 0;

		for (size_t i = 0; i < CHANS; i++)
			CHECK_EQ(chan_init(&mesh.chans[i], sizeof(struct item), i / 2, "c"), 0);
		crowd_run((enum crowd_kind)kind, bodies, 1, THREADS, &mesh, 0.08);
		for (size_t i = 0; i < CHANS; i++) {
			left += (int64_t)chan_count(&mesh.chans[i]);
			CHECK_EQ(chan_deinit(&mesh.chans[i]), FILAR_OK);
		}
		CHECK_EQ(load_relaxed(&mesh.balance), left);
		CHECK_GE(load_relaxed(&mesh.done), 1);
	}
}

/* Always one of each pair can go on, so there is no deadline. */
static void send_by_select(struct crowd_thread *self)
{
	struct mesh *mesh = self->shared;
	struct item item = { 0, 0 };
	uint32_t chosen;

	while (stress_goes_on()) {
		struct select_case cases[2] = {
			{ .chan = &mesh->chans[0], .operation = CHAN_SEND, .item = &item },
			{ .chan = &mesh->chans[1], .operation = CHAN_SEND, .item = &item },
		};

		CHECK_EQ(select_until(cases, 2, DEADLINE_NEVER, &chosen), FILAR_OK);
		fetch_add_relaxed(&mesh->balance, 1);
		crowd_jitter(self);
	}
	if (fetch_add_acq_rel(&mesh->done, 1) == THREADS / 2 - 1)
		for (int i = 0; i < CHANS; i++)
			CHECK_EQ(chan_close(&mesh->chans[i]), FILAR_OK);
}

static void receive_by_select(struct crowd_thread *self)
{
	struct mesh *mesh = self->shared;
	enum filar_status status;
	struct item item;
	uint32_t chosen;

	do {
		struct select_case cases[3] = {
			{ .chan = &mesh->chans[1], .operation = CHAN_RECEIVE, .item = &item },
			{ .chan = &mesh->chans[2], .operation = CHAN_RECEIVE, .item = &item },
			{ .chan = &mesh->chans[0], .operation = CHAN_RECEIVE, .item = &item },
		};

		status = select_until(cases, 3, DEADLINE_NEVER, &chosen);
		if (status == FILAR_OK)
			fetch_sub_relaxed(&mesh->balance, 1);
		crowd_jitter(self);
	} while (status == FILAR_OK);
	CHECK_EQ(status, FILAR_CLOSED);
}

/* Hunts: a wake lost between two channels, where it shows as a hang: nobody has a deadline. */
TEST(select_wakes_are_never_lost)
{
	void (*const bodies[])(struct crowd_thread *) = { send_by_select, receive_by_select };

	for (int kind = 0; kind < CROWD_KINDS; kind++) {
		struct mesh mesh = { .balance = 0 };

		for (size_t i = 0; i < CHANS; i++)
			CHECK_EQ(chan_init(&mesh.chans[i], sizeof(struct item), 0, "c"), FILAR_OK);
		crowd_run((enum crowd_kind)kind, bodies, 2, THREADS, &mesh, 0.06);
		CHECK_EQ(load_relaxed(&mesh.balance), 0);
	}
}

TEST_MAIN()
