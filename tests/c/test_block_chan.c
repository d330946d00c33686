/*
 * test_block_chan.c - channels and select: what they do and what they say.
 */
#include "block/chan.h"
#include "crowd.h"
#include "fail.h"

static struct chan chan, other;

static int64_t soon(void)
{
	return clock_now_ns() + NS_PER_MS;
}

static bool has_waiters(struct chan *of)
{
	return (load_acquire(&of->queue.word) & WAITQ_WAITERS) != 0;
}

static void make(struct chan *which, size_t capacity, const char *name)
{
	CHECK_EQ(chan_init(which, sizeof(int), capacity, name), FILAR_OK);
}

static enum filar_status send(struct chan *to, int item, int64_t deadline_ns)
{
	return chan_send_until(to, &item, deadline_ns);
}

/* The item received, or the status. */
static int receive(struct chan *from, int64_t deadline_ns)
{
	int item = -1000;
	enum filar_status status = chan_receive_until(from, &item, deadline_ns);

	if (status != FILAR_OK)
		CHECK_EQ(item, -1000);
	return status == FILAR_OK ? item : (int)status;
}

/* ---- one channel ---- */

static void send_seven(void *unused)
{
	(void)unused;
	CHECK_EQ(send(&chan, 7, DEADLINE_NEVER), FILAR_OK);
}

static void rendezvous(void *unused)
{
	struct green_ref ref = crowd_spawn(send_seven, unused);

	CHECK_EQ(send(&chan, 1, soon()), FILAR_TIMED_OUT);
	YIELD_UNTIL(crowd_is_parked(ref));
	CHECK_EQ(receive(&chan, DEADLINE_NEVER), 7);
	crowd_join(ref);
	CHECK_EQ(receive(&chan, soon()), FILAR_TIMED_OUT);
	CHECK_EQ(receive(&chan, 0), FILAR_TIMED_OUT);
	ref = crowd_spawn(send_seven, unused);
	CHECK_EQ(receive(&chan, DEADLINE_NEVER), 7);
	crowd_join(ref);
}

TEST(chan_rendezvous_send_ends_when_it_is_received)
{
	make(&chan, 0, "c");
	crowd_on_green(1, rendezvous, NULL);
	crowd_on_green(2, rendezvous, NULL);
	CHECK(!has_waiters(&chan));
	CHECK_EQ(chan_deinit(&chan), FILAR_OK);
}

static void fill_and_drain(void *unused)
{
	struct green_ref ref;
	int item = 5;

	for (int i = 0; i < 3; i++)
		CHECK_EQ(send(&chan, i, 0), FILAR_OK);
	CHECK_EQ(chan_try_send(&chan, &item), FILAR_BUSY);
	CHECK_EQ(send(&chan, 5, soon()), FILAR_TIMED_OUT);
	CHECK_EQ(chan_count(&chan), 3);
	ref = crowd_spawn(send_seven, unused);
	YIELD_UNTIL(crowd_is_parked(ref));
	CHECK_EQ(receive(&chan, 0), 0);
	/* The waiting one's item has taken the place. */
	CHECK_EQ(chan_try_send(&chan, &item), FILAR_BUSY);
	CHECK_EQ(receive(&chan, 0), 1);
	CHECK_EQ(receive(&chan, 0), 2);
	CHECK_EQ(receive(&chan, 0), 7);
	CHECK_EQ(chan_try_receive(&chan, &item), FILAR_BUSY);
	crowd_join(ref);
}

TEST(chan_bounded_keeps_its_capacity_and_the_order)
{
	make(&chan, 3, "c");
	crowd_on_green(1, fill_and_drain, NULL);
	CHECK_EQ(chan_deinit(&chan), FILAR_OK);
}

TEST(chan_unbounded_takes_all_and_keeps_the_order)
{
	int item, next = 0;

	make(&chan, CHAN_UNBOUNDED, "c");
	for (int i = 0; i < 1000; i++) {
		CHECK_EQ(chan_try_send(&chan, &i), FILAR_OK);
		/* So that the ring is grown while its oldest item is anywhere. */
		if (i % 3 == 0) {
			CHECK_EQ(chan_try_receive(&chan, &item), FILAR_OK);
			CHECK_EQ(item, next++);
		}
	}
	CHECK_EQ(chan_count(&chan), 1000 - next);
	for (; next < 1000; next++)
		CHECK_EQ(receive(&chan, 0), next);
	CHECK_EQ(chan_deinit(&chan), FILAR_OK);
}

TEST(chan_of_a_large_capacity_grows_to_it_and_is_trimmed_when_empty)
{
	enum { CAPACITY = 1500 };
	int item;

	make(&chan, CAPACITY, "c");
	CHECK(chan.slots < CAPACITY);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < CAPACITY; i++)
			CHECK_EQ(chan_try_send(&chan, &i), FILAR_OK);
		CHECK_EQ(chan_try_send(&chan, &item), FILAR_BUSY);
		CHECK_EQ(send(&chan, 1, clock_now_ns()), FILAR_TIMED_OUT);
		CHECK_EQ(chan.slots, CAPACITY);
		chan_trim(&chan);
		CHECK_EQ(chan.slots, CAPACITY);
		for (int i = 0; i < CAPACITY; i++)
			CHECK_EQ(receive(&chan, 0), i);
		chan_trim(&chan);
		CHECK(chan.slots < CAPACITY);
	}
	CHECK_EQ(chan_deinit(&chan), FILAR_OK);
}

static void be_closed_on(void *send_too)
{
	enum filar_status status = send_too != NULL
					   ? send(&chan, 1, DEADLINE_NEVER)
					   : (enum filar_status)receive(&chan, DEADLINE_NEVER);

	CHECK_EQ(status, FILAR_CLOSED);
	CHECK_TEXT_HAS(filar_status_detail(), "channel \"c\" was closed by kernel thread");
}

static void *be_closed_on_outside(void *send_too)
{
	be_closed_on(send_too);
	return NULL;
}

static void close_on(void *send_too)
{
	struct green_ref ref;
	pthread_t thread;

	make(&chan, 0, "c");
	crowd_start(1);
	ref = crowd_spawn(be_closed_on, send_too);
	WAIT_UNTIL(crowd_is_parked(ref));
	CHECK_EQ(pthread_create(&thread, NULL, be_closed_on_outside, send_too), 0);
	CHECK_EQ(chan_close(&chan), FILAR_OK);
	crowd_join(ref);
	pthread_join(thread, NULL);
	CHECK_EQ(chan_close(&chan), FILAR_CLOSED);
	CHECK_EQ(send(&chan, 1, DEADLINE_NEVER), FILAR_CLOSED);
	crowd_stop();
	CHECK_EQ(chan_deinit(&chan), FILAR_OK);
}

TEST(chan_close_ends_the_waits_of_senders_and_receivers)
{
	close_on(NULL);
	close_on(&chan);
}

TEST(chan_closed_still_gives_what_is_in_it)
{
	int item;

	make(&chan, 2, NULL);
	CHECK_EQ(send(&chan, 4, 0), FILAR_OK);
	CHECK_EQ(chan_close(&chan), FILAR_OK);
	CHECK_EQ(chan_try_send(&chan, &item), FILAR_CLOSED);
	CHECK_EQ(receive(&chan, DEADLINE_NEVER), 4);
	CHECK_EQ(receive(&chan, DEADLINE_NEVER), FILAR_CLOSED);
	CHECK_EQ(chan_try_receive(&chan, &item), FILAR_CLOSED);
	CHECK_TEXT_HAS(filar_status_detail(), "channel at 0x");
	CHECK_EQ(chan_deinit(&chan), FILAR_OK);
}

static void be_cancelled(void *unused)
{
	(void)unused;
	CHECK_EQ(receive(&chan, DEADLINE_NEVER), FILAR_CANCELLED);
}

TEST(chan_receiver_that_is_cancelled_takes_nothing_and_nobody_destroys_it_before)
{
	struct green_ref ref;

	make(&chan, 1, "c");
	crowd_start(2);
	ref = crowd_spawn(be_cancelled, NULL);
	WAIT_UNTIL(crowd_is_parked(ref));
	CHECK_EQ(chan_deinit(&chan), FILAR_BUSY);
	CHECK_TEXT_HAS(filar_status_detail(), "channel \"c\"");
	CHECK_EQ(green_cancel(ref), FILAR_OK);
	crowd_join(ref);
	CHECK_EQ(send(&chan, 1, 0), FILAR_OK);
	CHECK_EQ(chan_count(&chan), 1);
	crowd_stop();
	CHECK_EQ(chan_deinit(&chan), FILAR_OK);
}

TEST(chan_refuses_items_and_capacities_that_make_no_sense)
{
	CHECK_EQ(chan_init(&chan, 0, 1, NULL), FILAR_INVALID);
	CHECK_EQ(chan_init(&chan, CHAN_ITEM_BYTES_MAX + 1, 1, NULL), FILAR_INVALID);
	CHECK_EQ(chan_init(&chan, 8, SIZE_MAX - 1, NULL), FILAR_INVALID);
	CHECK_TEXT_HAS(filar_status_detail(), "larger than any memory");
}

/* ---- select ---- */

static struct select_case sending(struct chan *to, int *item)
{
	return (struct select_case){ .chan = to, .operation = CHAN_SEND, .item = item };
}

static struct select_case receiving(struct chan *from, int *item)
{
	return (struct select_case){ .chan = from, .operation = CHAN_RECEIVE, .item = item };
}

TEST(select_does_one_case_that_is_ready_and_each_has_its_turn)
{
	int in = 3, out = 0, seen[2] = { 0, 0 };
	uint32_t chosen;

	make(&chan, 1, "c");
	make(&other, 1, "d");
	for (int i = 0; i < 200; i++) {
		struct select_case cases[2] = { sending(&chan, &in), receiving(&other, &out) };

		CHECK_EQ(send(&other, i, 0), FILAR_OK);
		CHECK_EQ(select_until(cases, 2, DEADLINE_NEVER, &chosen), FILAR_OK);
		seen[chosen]++;
		CHECK_EQ(chan_count(&chan), chosen == 0);
		CHECK_EQ(chan_count(&other), chosen == 0);
		CHECK_EQ(receive(chosen == 0 ? &chan : &other, 0),
			chosen == 0 ? 3 : FILAR_TIMED_OUT);
		if (chosen == 0)
			CHECK_EQ(receive(&other, 0), i);
		else
			CHECK_EQ(out, i);
	}
	CHECK_GE(seen[0], 20);
	CHECK_GE(seen[1], 20);
}

TEST(select_times_out_and_leaves_nothing_behind)
{
	int in = 3, out;
	uint32_t chosen;
	struct select_case cases[4] = { receiving(&other, &out), receiving(NULL, &out),
		sending(&chan, &in), receiving(&chan, &out) };

	make(&chan, 0, "c");
	make(&other, 0, "d");
	CHECK_EQ(select_until(cases, 4, soon(), &chosen), FILAR_TIMED_OUT);
	CHECK_EQ(select_until(cases, 4, 0, &chosen), FILAR_TIMED_OUT);
	CHECK_EQ(select_until(cases, 0, soon(), &chosen), FILAR_TIMED_OUT);
	CHECK_EQ(select_until(cases + 1, 1, soon(), &chosen), FILAR_TIMED_OUT);
	CHECK_EQ(select_until(cases + 1, 1, DEADLINE_NEVER, &chosen), FILAR_DEADLOCK);
	CHECK_EQ(select_until(cases, 1000, DEADLINE_NEVER, &chosen), FILAR_INVALID);
	CHECK(!has_waiters(&chan) && !has_waiters(&other));
}

static uint32_t select_of_three(enum filar_status *status, int *out)
{
	struct select_case cases[3] = { receiving(&other, out), receiving(&chan, out),
		receiving(&other, out) };
	uint32_t chosen = 77;

	*status = select_until(cases, 3, DEADLINE_NEVER, &chosen);
	return chosen;
}

static void select_often(void *unused)
{
	enum filar_status status;
	int out;

	(void)unused;
	CHECK_EQ(select_of_three(&status, &out), 1);
	CHECK_EQ(status, FILAR_OK);
	CHECK_EQ(out, 7);
	CHECK_EQ(select_of_three(&status, &out) % 2, 0);
	CHECK_EQ(status, FILAR_OK);
	CHECK_EQ(out, 8);
	CHECK_EQ(select_of_three(&status, &out), 1);
	CHECK_EQ(status, FILAR_CLOSED);
	CHECK_TEXT_HAS(filar_status_detail(), "channel \"c\" was closed by");
}

static void *select_often_outside(void *unused)
{
	select_often(unused);
	return NULL;
}

/* With a waiting partner each time, so that the waiter is claimed on each channel and by a close.
 */
static void feed_a_select(void *unused)
{
	(void)unused;
	YIELD_UNTIL(has_waiters(&chan));
	CHECK_EQ(send(&chan, 7, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(send(&other, 8, DEADLINE_NEVER), FILAR_OK);
	YIELD_UNTIL(has_waiters(&chan));
	CHECK_EQ(chan_close(&chan), FILAR_OK);
}

TEST(select_waits_for_whichever_comes_first_green_and_kernel)
{
	struct green_ref ref;
	pthread_t thread;

	crowd_start(2);
	make(&chan, 0, "c");
	make(&other, 0, "d");
	ref = crowd_spawn(select_often, NULL);
	feed_a_select(NULL);
	crowd_join(ref);
	make(&chan, 0, "c");
	CHECK_EQ(pthread_create(&thread, NULL, select_often_outside, NULL), 0);
	ref = crowd_spawn(feed_a_select, NULL);
	crowd_join(ref);
	pthread_join(thread, NULL);
	crowd_stop();
	CHECK(!has_waiters(&chan) && !has_waiters(&other));
}

/* Two selects that are each other's partner, both ways. */
static void swap_by_select(void *unused)
{
	int in = 1, out = 0;
	struct select_case cases[2] = { sending(&chan, &in), receiving(&chan, &out) };
	uint32_t chosen;

	(void)unused;
	CHECK_EQ(select_until(cases, 2, DEADLINE_NEVER, &chosen), FILAR_OK);
	CHECK_EQ(out, chosen);
}

TEST(select_meets_select_but_never_itself)
{
	struct green_ref refs[2];

	make(&chan, 0, "c");
	crowd_start(1);
	for (int i = 0; i < 2; i++)
		refs[i] = crowd_spawn(swap_by_select, NULL);
	for (int i = 0; i < 2; i++)
		crowd_join(refs[i]);
	crowd_stop();
	CHECK(!has_waiters(&chan));
}

/* ---- claimed after the wait has ended, before the one that waits could look ---- */

static void receive_although_cancelled(void *unused)
{
	int out = 0;
	uint32_t chosen;
	struct select_case cases[2] = { receiving(&chan, &out), receiving(&other, &out) };

	(void)unused;
	CHECK_EQ(receive(&chan, DEADLINE_NEVER), 7);
	CHECK_EQ(receive(&chan, DEADLINE_NEVER), FILAR_CANCELLED);
	CHECK_EQ(select_until(cases, 2, DEADLINE_NEVER, &chosen), FILAR_CANCELLED);
}

static void select_although_cancelled(void *unused)
{
	int out = 0;
	uint32_t chosen;
	struct select_case cases[2] = { receiving(&chan, &out), receiving(&other, &out) };

	(void)unused;
	CHECK_EQ(select_until(cases, 2, DEADLINE_NEVER, &chosen), FILAR_OK);
	CHECK_EQ(chosen, 1);
	CHECK_EQ(out, 7);
}

/* On the only worker: between the cancel and the send the waiter cannot run. */
static void cancel_then_send(void *unused)
{
	int item = 7;
	struct green_ref ref = crowd_spawn(receive_although_cancelled, unused);

	YIELD_UNTIL(crowd_is_parked(ref));
	CHECK_EQ(green_cancel(ref), FILAR_OK);
	CHECK_EQ(chan_try_send(&chan, &item), FILAR_OK);
	crowd_join(ref);
	ref = crowd_spawn(select_although_cancelled, unused);
	YIELD_UNTIL(crowd_is_parked(ref));
	CHECK_EQ(green_cancel(ref), FILAR_OK);
	CHECK_EQ(chan_try_send(&other, &item), FILAR_OK);
	/* The other case is dead, though still queued. */
	CHECK_EQ(chan_try_send(&chan, &item), FILAR_BUSY);
	crowd_join(ref);
	CHECK(!has_waiters(&chan) && !has_waiters(&other));
}

TEST(what_was_sent_is_received_though_the_wait_was_cancelled_before)
{
	make(&chan, 0, "c");
	make(&other, 0, "d");
	crowd_on_green(1, cancel_then_send, NULL);
}

/* ---- failures ---- */

#if FILAR_FAIL
static int use_channel(void)
{
	int item = 1, kept = 0, waited;
	enum filar_status status = chan_init(&chan, sizeof(int), CHAN_UNBOUNDED, "c");

	if (status != FILAR_OK)
		return status;
	while (status == FILAR_OK && kept < 40) {
		status = chan_send_until(&chan, &item, DEADLINE_NEVER);
		kept += status == FILAR_OK;
	}
	/* What failed has not been sent, the rest is there. */
	CHECK_EQ(chan_count(&chan), kept);
	for (; kept > 0; kept--)
		CHECK_EQ(receive(&chan, 0), 1);
	/* A sleep that the kernel refuses looks like a signal. */
	waited = receive(&chan, soon());
	CHECK(waited == FILAR_TIMED_OUT || waited == FILAR_INTERRUPTED);
	CHECK_EQ(chan_deinit(&chan), FILAR_OK);
	return status != FILAR_OK || waited == FILAR_TIMED_OUT ? (int)status : waited;
}

TEST(chan_survives_the_nth_failure)
{
	CHECK_GE(fail_each(use_channel), 3);
}
#endif

TEST_MAIN()
