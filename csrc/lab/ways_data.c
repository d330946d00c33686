/*
 * ways_data.c - what it costs to hand data to another party: by pointer in memory both see, or by
 * copy through a pipe or a unix socket.
 *
 * One operation, the same in every way: the driver writes a block, the peer gets it, reads all of
 * it and answers with its sum, which the driver checks.  "data-alone" is that work without another
 * party.
 */
#include <errno.h>

#include "base/memory.h"
#include "lab/registry.h"
#include "lab/turns.h"
#include "os/calls.h"
#include "os/clock.h"

enum { PARAM_PEER_CPU, PARAM_PROCESS, PARAM_BYTES };

#define PAGE_BYTES      4096u
#define BLOCK_BYTES_MAX (INT64_C(1) << 26)

/* Shared by both parties; the block follows it, and then the peer's copy for the streams. */
struct sharing {
	struct partners partners;
	size_t bytes;       /* I  of this whole mapping */
	size_t words;       /* I  of 8 bytes in the block */
	uint64_t *block;    /* S  of whoever has the turn */
	uint64_t *received; /* W  peer: the copy */
	uint64_t sum;       /* S  like the block */
};

/* ---- the work ---- */

static FILAR_NOINLINE void fill(uint64_t *words, size_t count, uint64_t first)
{
	for (size_t i = 0; i < count; i++)
		words[i] = first + i;
	FILAR_KEEP(words);
}

static FILAR_NOINLINE uint64_t sum_of(const uint64_t *words, size_t count)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += words[i];
	return sum;
}

static enum filar_status check_sum(const struct sharing *state, uint64_t first, uint64_t sum)
{
	uint64_t count = state->words;

	if (sum == count * first + count * (count - 1) / 2)
		return FILAR_OK;
	return status_detail(FILAR_SYSTEM, "the data did not arrive as they were sent");
}

/* ---- by pointer ---- */

static enum filar_status peer_reads_block(void *pointer, uint32_t turns)
{
	struct sharing *state = pointer;
	enum filar_status status = FILAR_OK;

	for (uint32_t i = 0; i < turns && status == FILAR_OK; i++) {
		status = turns_take(&state->partners.turns, SIDE_PEER);
		if (status != FILAR_OK)
			break;
		state->sum = sum_of(state->block, state->words);
		status = turns_give(&state->partners.turns, SIDE_DRIVER);
	}
	if (status != FILAR_OK)
		turns_hang_up(&state->partners.turns);
	return status;
}

static enum filar_status hand_pointer(struct sharing *state, uint64_t first)
{
	enum filar_status status;

	fill(state->block, state->words, first);
	status = turns_give(&state->partners.turns, SIDE_PEER);
	if (status == FILAR_OK)
		status = turns_take(&state->partners.turns, SIDE_DRIVER);
	return status == FILAR_OK ? check_sum(state, first, state->sum) : status;
}

/* ---- by copy ---- */

static enum filar_status stream_failed(const struct turns *turns, const char *what)
{
	if (load_seq_cst(&turns->broken))
		return status_detail(FILAR_CANCELLED, "the other party gave up");
	return status_from_errno(errno, what);
}

static enum filar_status write_all(
	const struct turns *turns, enum side side, const void *memory, size_t bytes)
{
	const char *at = memory;

	while (bytes > 0) {
		ssize_t done = call_write(turns->write_fds[side], at, bytes);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return stream_failed(turns, "writing data to the other party");
		at += done;
		bytes -= (size_t)done;
	}
	return FILAR_OK;
}

static enum filar_status read_all(
	const struct turns *turns, enum side side, void *memory, size_t bytes)
{
	char *at = memory;

	while (bytes > 0) {
		ssize_t done = call_read(turns->read_fds[side], at, bytes);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0 || load_seq_cst(&turns->broken))
			return stream_failed(turns, "reading data of the other party");
		at += done;
		bytes -= (size_t)done;
	}
	return FILAR_OK;
}

static enum filar_status peer_reads_stream(void *pointer, uint32_t turns)
{
	struct sharing *state = pointer;
	size_t bytes = state->words * sizeof(uint64_t);
	enum filar_status status = FILAR_OK;
	uint64_t sum;

	for (uint32_t i = 0; i < turns && status == FILAR_OK; i++) {
		status = read_all(&state->partners.turns, SIDE_PEER, state->received, bytes);
		if (status != FILAR_OK)
			break;
		sum = sum_of(state->received, state->words);
		status = write_all(&state->partners.turns, SIDE_PEER, &sum, sizeof sum);
	}
	if (status != FILAR_OK)
		turns_hang_up(&state->partners.turns);
	return status;
}

static enum filar_status hand_stream(struct sharing *state, uint64_t first)
{
	uint64_t sum = 0;
	enum filar_status status;

	fill(state->block, state->words, first);
	status = write_all(
		&state->partners.turns, SIDE_DRIVER, state->block, state->words * sizeof(uint64_t));
	if (status == FILAR_OK)
		status = read_all(&state->partners.turns, SIDE_DRIVER, &sum, sizeof sum);
	return status == FILAR_OK ? check_sum(state, first, sum) : status;
}

/* ---- set up and tear down ---- */

static void hang_up(void *pointer)
{
	struct sharing *state = pointer;

	turns_hang_up(&state->partners.turns);
}

static enum filar_status acquire(struct way_run *run)
{
	int64_t asked = run->params[PARAM_BYTES];
	size_t page_mask = PAGE_BYTES - 1, head = (sizeof(struct sharing) + page_mask) & ~page_mask;
	size_t room = ((size_t)asked + page_mask) & ~page_mask;
	struct sharing *state;

	if (asked < 8 || asked % 8 != 0 || asked > BLOCK_BYTES_MAX)
		return status_detail(FILAR_INVALID,
			"a block is a multiple of 8 bytes, 8 to %lld, not %lld",
			(long long)BLOCK_BYTES_MAX, (long long)asked);
	state = shared_acquire(head + 2 * room);
	if (state == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for two blocks of %lld bytes",
			(long long)asked);
	run->state = state;
	state->bytes = head + 2 * room;
	state->words = (size_t)asked / sizeof(uint64_t);
	state->block = (uint64_t *)(void *)((char *)state + head);
	state->received = (uint64_t *)(void *)((char *)state + head + room);
	return FILAR_OK;
}

static enum filar_status setup(struct way_run *run, enum medium medium, peer_body *body)
{
	bool process = run->params[PARAM_PROCESS] != 0;
	enum filar_status status = acquire(run);
	struct sharing *state = run->state;

	if (status != FILAR_OK)
		return status;
	return partners_open(&state->partners, run, medium, process,
		&(struct peer_options){ .process = process,
			.cpu = (int32_t)run->params[PARAM_PEER_CPU],
			.body = body,
			.argument = state,
			.on_stuck = hang_up });
}

static void teardown(struct way_run *run)
{
	struct sharing *state = run->state;

	if (state == NULL)
		return;
	partners_close(&state->partners);
	shared_release(state, state->bytes);
}

static enum filar_status setup_pointer(struct way_run *run)
{
	return setup(run, MEDIUM_FUTEX, peer_reads_block);
}

static enum filar_status setup_pipe(struct way_run *run)
{
	return setup(run, MEDIUM_PIPE, peer_reads_stream);
}

static enum filar_status setup_socket(struct way_run *run)
{
	return setup(run, MEDIUM_SOCKET, peer_reads_stream);
}

/* ---- samples ---- */

typedef enum filar_status hand_over(struct sharing *state, uint64_t first);

/* The first round trip wakes the peer and is not measured. */
static enum filar_status hand_many(
	struct sharing *state, hand_over *hand, uint32_t count, int64_t *spent_ns)
{
	enum filar_status status = hand(state, 0);
	int64_t start = clock_now_ns();

	for (uint32_t i = 0; i < count && status == FILAR_OK; i++)
		status = hand(state, i + 1);
	*spent_ns = clock_now_ns() - start;
	return status;
}

static enum filar_status sample(struct way_run *run, hand_over *hand)
{
	struct sharing *state = run->state;
	int64_t spent_ns;
	enum filar_status status;

	peer_begin(state->partners.peer, run->batch + 1);
	status = hand_many(state, hand, run->batch, &spent_ns);
	if (status != FILAR_OK)
		hang_up(state);
	status = partners_end(&state->partners, status);
	if (status == FILAR_OK)
		run->values[0] = (double)spent_ns / run->batch;
	return status;
}

static enum filar_status sample_pointer(struct way_run *run)
{
	return sample(run, hand_pointer);
}

static enum filar_status sample_stream(struct way_run *run)
{
	return sample(run, hand_stream);
}

static enum filar_status sample_alone(struct way_run *run)
{
	struct sharing *state = run->state;
	enum filar_status status = FILAR_OK;
	int64_t start;

	fill(state->block, state->words,
		0); /* warm, like the others after their first round trip */
	start = clock_now_ns();
	for (uint32_t i = 0; i < run->batch && status == FILAR_OK; i++) {
		fill(state->block, state->words, i);
		status = check_sum(state, i, sum_of(state->block, state->words));
	}
	run->values[0] = (double)(clock_now_ns() - start) / run->batch;
	return status;
}

#define DATA_PARAMS                                                                                \
	{                                                                                          \
		{ "peer_cpu", -1 }, { "process", 0 },                                              \
		{                                                                                  \
			"bytes", 64                                                                \
		}                                                                                  \
	}

const struct way ways_data[] = {
	{ .name = "data-pointer",
		.summary =
			"writes a block in memory both parties see; the peer reads it and answers",
		.params = DATA_PARAMS,
		.metrics = { { "round trip", "ns" } },
		.setup = setup_pointer,
		.sample = sample_pointer,
		.teardown = teardown },
	{ .name = "data-pipe",
		.summary = "the same block through a pipe, copied in and out by the kernel",
		.params = DATA_PARAMS,
		.metrics = { { "round trip", "ns" } },
		.setup = setup_pipe,
		.sample = sample_stream,
		.teardown = teardown },
	{ .name = "data-socket",
		.summary = "the same block through a pair of unix stream sockets",
		.params = DATA_PARAMS,
		.metrics = { { "round trip", "ns" } },
		.setup = setup_socket,
		.sample = sample_stream,
		.teardown = teardown },
	{ .name = "data-alone",
		.summary = "writes and reads the block alone: the work without another party",
		.params = DATA_PARAMS,
		.metrics = { { "round trip", "ns" } },
		.setup = acquire,
		.sample = sample_alone,
		.teardown = teardown },
	{ .name = NULL },
};
