/*
 * ways_pool_process.c - half of a piece of work done by another party: a thread, a process that
 * sees the same memory, or a process that is sent its half and sends it back.
 *
 * The work is to mix each word of a block so many times.  The driver does the first half and waits
 * for the second; every result is checked against that of one party alone.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/random.h"
#include "lab/crew.h"
#include "lab/peer.h"
#include "lab/registry.h"
#include "os/calls.h"
#include "os/clock.h"

enum { PARAM_PARTY, PARAM_BYTES, PARAM_PASSES, PARAM_PEER_CPU };
enum party { PARTY_NONE, PARTY_THREAD, PARTY_PROCESS, PARTY_PROCESS_SENT, PARTIES };

#define PAGE_BYTES      4096u
#define BLOCK_BYTES_MAX (INT64_C(1) << 28)

/* Shared by both parties; the block follows it, and then the peer's copy of its half. */
struct halves {
	struct peer *peer;     /* W  driver; NULL: alone */
	size_t bytes;          /* I  of this whole mapping */
	size_t words;          /* I  of the block; an even number */
	uint64_t passes;       /* I */
	uint64_t *block;       /* S  each half of whoever works on it */
	uint64_t *received;    /* W  peer */
	uint64_t expected;     /* I  sum of the finished block */
	int32_t driver_socket; /* I  -1: none */
	int32_t peer_socket;   /* I  -1: none */
};

/* ---- the work ---- */

static FILAR_NOINLINE void mix(uint64_t *words, size_t count, uint64_t passes)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t word = words[i];

		for (uint64_t pass = 0; pass < passes; pass++)
			word = random_mix(word + pass);
		words[i] = word;
	}
}

static void fill(struct halves *state)
{
	for (size_t i = 0; i < state->words; i++)
		state->block[i] = i;
}

static uint64_t sum_of(const uint64_t *words, size_t count)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += words[i];
	return sum;
}

/* ---- moving ---- */

/* Who hangs up says why (peer_end_after()). */
static enum filar_status moving_failed(int error, const char *what)
{
	if (error == EPIPE)
		return status_detail(FILAR_CANCELLED, "the other party gave up");
	return status_from_errno(error, what);
}

static enum filar_status send_all(int32_t fd, const void *memory, size_t bytes)
{
	for (const char *at = memory; bytes > 0;) {
		ssize_t done = call_write(fd, at, bytes);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return moving_failed(errno, "sending to the other party");
		at += done;
		bytes -= (size_t)done;
	}
	return FILAR_OK;
}

static enum filar_status receive_all(int32_t fd, void *memory, size_t bytes)
{
	for (char *at = memory; bytes > 0;) {
		ssize_t done = call_read(fd, at, bytes);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return moving_failed(
				done < 0 ? errno : EPIPE, "receiving from the other party");
		at += done;
		bytes -= (size_t)done;
	}
	return FILAR_OK;
}

/* ---- the other party ---- */

static enum filar_status peer_works_in_place(void *pointer, uint32_t turns)
{
	struct halves *state = pointer;
	size_t half = state->words / 2;

	(void)turns;
	mix(state->block + half, half, state->passes);
	return FILAR_OK;
}

static enum filar_status peer_works_on_copy(void *pointer, uint32_t turns)
{
	struct halves *state = pointer;
	size_t half = state->words / 2, bytes = half * sizeof(uint64_t);
	enum filar_status status = receive_all(state->peer_socket, state->received, bytes);

	(void)turns;
	if (status != FILAR_OK)
		return status;
	mix(state->received, half, state->passes);
	return send_all(state->peer_socket, state->received, bytes);
}

static void hang_up(void *pointer)
{
	struct halves *state = pointer;

	if (state->driver_socket >= 0)
		(void)shutdown(state->driver_socket, SHUT_RDWR);
}

/* ---- the driver ---- */

static enum filar_status work_with_peer(struct halves *state)
{
	size_t half = state->words / 2, bytes = half * sizeof(uint64_t);
	bool sent = state->driver_socket >= 0;
	enum filar_status status = FILAR_OK;

	peer_begin(state->peer, 1);
	if (sent)
		status = send_all(state->driver_socket, state->block + half, bytes);
	if (status == FILAR_OK)
		mix(state->block, half, state->passes);
	if (status == FILAR_OK && sent)
		status = receive_all(state->driver_socket, state->block + half, bytes);
	if (status != FILAR_OK)
		hang_up(state);
	return peer_end_after(state->peer, status);
}

static enum filar_status sample_halves(struct way_run *run)
{
	struct halves *state = run->state;
	enum filar_status status = FILAR_OK;
	int64_t spent = 0;

	for (uint32_t i = 0; i < run->batch; i++) {
		int64_t start;

		if (way_cancelled(run))
			return FILAR_CANCELLED;
		fill(state);
		start = clock_now_ns();
		if (state->peer != NULL)
			status = work_with_peer(state);
		else
			mix(state->block, state->words, state->passes);
		spent += clock_now_ns() - start;
		if (status != FILAR_OK)
			return status;
		if (sum_of(state->block, state->words) != state->expected)
			return status_detail(FILAR_SYSTEM, "the result is not that of one party");
	}
	run->values[0] = (double)spent / run->batch;
	return FILAR_OK;
}

/* ---- set up and tear down ---- */

static size_t whole_pages(size_t bytes)
{
	return (bytes + PAGE_BYTES - 1) & ~(size_t)(PAGE_BYTES - 1);
}

static enum filar_status acquire(struct way_run *run)
{
	size_t asked = (size_t)run->params[PARAM_BYTES];
	size_t head = whole_pages(sizeof(struct halves)), room = whole_pages(asked);
	struct halves *state = shared_acquire(head + 2 * room);

	if (state == NULL)
		return status_detail(
			FILAR_NO_MEMORY, "no memory for two blocks of %zu bytes", asked);
	run->state = state;
	state->driver_socket = state->peer_socket = -1;
	state->bytes = head + 2 * room;
	state->words = asked / sizeof(uint64_t);
	state->passes = (uint64_t)run->params[PARAM_PASSES];
	state->block = (uint64_t *)(void *)((char *)state + head);
	state->received = (uint64_t *)(void *)((char *)state + head + room);
	memset(state->received, 1, room); /* no page fault while it is measured */
	fill(state);
	mix(state->block, state->words, state->passes);
	state->expected = sum_of(state->block, state->words);
	return FILAR_OK;
}

static enum filar_status connect_parties(struct halves *state)
{
	int fds[2];

	if (call_socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, fds) < 0)
		return status_from_errno(errno, "socketpair");
	state->driver_socket = fds[0];
	state->peer_socket = fds[1];
	return FILAR_OK;
}

static enum filar_status check_params(const int64_t *params)
{
	enum filar_status status = param_check("party", params[PARAM_PARTY], 0, PARTIES - 1);

	if (status == FILAR_OK)
		status = param_check("bytes", params[PARAM_BYTES], 16, BLOCK_BYTES_MAX);
	if (status == FILAR_OK && params[PARAM_BYTES] % 16 != 0)
		status = status_detail(FILAR_INVALID, "bytes must be a multiple of 16, two words");
	return status == FILAR_OK ? param_check("passes", params[PARAM_PASSES], 1, 1 << 20)
				  : status;
}

static enum filar_status setup_halves(struct way_run *run)
{
	enum filar_status status = check_params(run->params);
	enum party party = (enum party)run->params[PARAM_PARTY];
	struct halves *state;

	if (status == FILAR_OK)
		status = acquire(run);
	if (status != FILAR_OK || party == PARTY_NONE)
		return status;
	state = run->state;
	if (party == PARTY_PROCESS_SENT)
		status = connect_parties(state);
	if (status != FILAR_OK)
		return status;
	return peer_create(&state->peer, run,
		&(struct peer_options){ .process = party != PARTY_THREAD,
			.cpu = (int32_t)run->params[PARAM_PEER_CPU],
			.body = party == PARTY_PROCESS_SENT ? peer_works_on_copy
							    : peer_works_in_place,
			.argument = state,
			.on_stuck = hang_up,
			.fds = { state->peer_socket, -1 } });
}

static void teardown_halves(struct way_run *run)
{
	struct halves *state = run->state;

	if (state == NULL)
		return;
	peer_destroy(state->peer);
	if (state->driver_socket >= 0) {
		(void)close(state->driver_socket);
		(void)close(state->peer_socket);
	}
	shared_release(state, state->bytes);
}

const struct way ways_pool_process[] = {
	{ .name = "share-work",
		.summary =
			"a block of words, each mixed so many times, half of it by another party: "
			"0 none, 1 thread, 2 process in place, 3 process that is sent its half",
		.params = { { "party", PARTY_THREAD }, { "bytes", 1 << 20 }, { "passes", 1 },
			{ "peer_cpu", -1 } },
		.metrics = { { "time", "ns" } },
		.setup = setup_halves,
		.sample = sample_halves,
		.teardown = teardown_halves },
	{ .name = NULL },
};
