/*
 * load.c - the loop of the load generator.
 *
 * A client is FLYING (its request is on the way; an answer comes through epoll), DRIBBLING (a slow
 * one that has sent a part), IDLE (between runs) or LOST (its connection failed and is closed).
 * Sockets are blocking and requests short: a send of a whole request does not wait; receiving is
 * done with MSG_DONTWAIT when epoll says so.
 */
#include "lab/load.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/memory.h"
#include "os/calls.h"
#include "os/clock.h"

#define ANSWER_BYTES_MAX 512u
#define EVENTS_EACH      256
#define CONNECTS_EACH    64
/* So many requests may be unanswered while connecting: fewer than a backlog holds. */
#define PENDING_MAX     1024u
#define LOOK_EACH_NS    (20 * NS_PER_MS)
#define CONNECT_SECONDS 3

enum client_state { IDLE, FLYING, DRIBBLING, LOST };

struct client {
	int fd;                       /* W */
	enum client_state state;      /* W */
	uint32_t have;                /* W  bytes of the answer so far */
	uint32_t sent;                /* W  bytes of the request, of a slow one */
	uint64_t answers;             /* W  in this run */
	bool known;                   /* W  has had an answer */
	int64_t sent_ns;              /* W */
	char bytes[ANSWER_BYTES_MAX]; /* W */
};

struct load {
	struct load_options options; /* I */
	struct client *clients;      /* I */
	int epoll;                   /* I */
	char request[256];           /* I */
	size_t request_bytes;        /* I */
	const char *echo;            /* I  in the request: what answers must end with */
	size_t echo_bytes;           /* I */
	uint32_t opened;             /* W  clients with a connection, ever */
	uint32_t known;              /* W  clients that have had an answer */
	uint32_t lost;               /* W */
	uint32_t next_slow;          /* W  whose turn it is to send a byte */
	int64_t next_byte_ns;        /* W */
	struct load_counts counts;   /* W */
	struct histogram latencies;  /* W */
	char trouble[160];           /* W */
};

static bool is_slow(const struct load *load, const struct client *client)
{
	return client < load->clients + load->options.slow;
}

/* ---- one client ---- */

static void lose(struct load *load, struct client *client, const char *what, int error)
{
	load->counts.failed++;
	load->lost++;
	if (load->trouble[0] == '\0')
		snprintf(load->trouble, sizeof load->trouble, "%s%s%s", what,
			error != 0 ? ": " : "", error != 0 ? strerror(error) : "");
	(void)close(client->fd);
	client->fd = -1;
	client->state = LOST;
}

/* Without lingering the kernel sends a reset and forgets the connection at once; with it, tens of
 * thousands of ports would wait for a minute. */
static void hang_up(struct client *client)
{
	static const struct linger none = { .l_onoff = 1, .l_linger = 0 };

	if (client->fd < 0)
		return;
	(void)setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
	(void)close(client->fd);
	client->fd = -1;
}

static void send_request(struct load *load, struct client *client)
{
	client->have = 0;
	client->sent_ns = clock_now_ns();
	client->state = FLYING;
	if (send(client->fd, load->request, load->request_bytes, MSG_NOSIGNAL) !=
		(ssize_t)load->request_bytes)
		lose(load, client, "send", errno);
}

static void send_byte(struct load *load, struct client *client)
{
	if (client->state == IDLE) {
		client->state = DRIBBLING;
		client->have = client->sent = 0;
	}
	if (client->state != DRIBBLING)
		return;
	if (send(client->fd, load->request + client->sent, 1, MSG_NOSIGNAL) != 1)
		lose(load, client, "send of a slow client", errno);
	else if (++client->sent == load->request_bytes)
		client->state = FLYING;
}

static enum filar_status connect_client(struct load *load, struct client *client)
{
	const struct load_options *options = &load->options;
	struct timeval patience = { .tv_sec = CONNECT_SECONDS };
	struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP, .data.ptr = client };
	int on = 1;

	client->fd = call_socket(options->address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (client->fd < 0)
		return status_from_errno(errno, "a client's socket");
	(void)setsockopt(client->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	if (options->address->sa_family == AF_INET)
		(void)setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (connect(client->fd, options->address, options->address_bytes) != 0)
		return status_from_errno(errno, "connecting to the server");
	if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, client->fd, &event) != 0)
		return status_from_errno(errno, "epoll_ctl");
	client->state = IDLE;
	return FILAR_OK;
}

static void ask_again(struct load *load, struct client *client)
{
	client->state = IDLE;
	if (load->options.reconnect) {
		hang_up(client);
		if (connect_client(load, client) != FILAR_OK) {
			lose(load, client, filar_status_detail(), 0);
			return;
		}
	}
	if (!is_slow(load, client))
		send_request(load, client);
}

/* ---- answers ---- */

/* Bytes of the whole answer, once its head is there; 0: not yet; -1: it is none of ours. */
static int64_t answer_length(const struct client *client)
{
	static const char ok[] = "HTTP/1.1 200", name[] = "ontent-";
	const char *end = memmem(client->bytes, client->have, "\r\n\r\n", 4), *length;

	if (client->have >= sizeof ok - 1 && memcmp(client->bytes, ok, sizeof ok - 1) != 0)
		return -1;
	if (end == NULL)
		return client->have < ANSWER_BYTES_MAX ? 0 : -1;
	for (length = client->bytes; length != NULL; length += sizeof name - 1) {
		length = memmem(length, (size_t)(end - length), name, sizeof name - 1);
		if (length == NULL)
			return -1;
		if (strncasecmp(length + sizeof name - 1, "length:", 7) == 0)
			return end + 4 - client->bytes + strtol(length + sizeof name + 6, NULL, 10);
	}
	return -1;
}

static void count_answer(struct load *load, struct client *client)
{
	if (!client->known)
		load->known++;
	client->known = true;
	client->answers++;
	if (is_slow(load, client))
		return;
	load->counts.answered++;
	histogram_add(&load->latencies, clock_now_ns() - client->sent_ns);
}

static void take_answer(struct load *load, struct client *client)
{
	int64_t length = answer_length(client);

	if (length == 0 || (length > 0 && client->have < (uint64_t)length))
		return;
	if (client->state != FLYING || length != client->have ||
		(uint64_t)length < load->echo_bytes ||
		memcmp(client->bytes + length - load->echo_bytes, load->echo, load->echo_bytes) !=
			0) {
		lose(load, client, "an answer that is not the request's", 0);
		return;
	}
	count_answer(load, client);
	ask_again(load, client);
}

static void receive(struct load *load, struct client *client)
{
	ssize_t got = recv(client->fd, client->bytes + client->have,
		ANSWER_BYTES_MAX - client->have, MSG_DONTWAIT);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		lose(load, client, got == 0 ? "the server closed a connection" : "recv",
			got == 0 ? 0 : errno);
		return;
	}
	client->have += (uint32_t)got;
	take_answer(load, client);
}

/* ---- the loop ---- */

static void dribble(struct load *load, int64_t now)
{
	int64_t each;

	if (load->options.slow == 0)
		return;
	each = load->options.pause_ns / load->options.slow + 1;
	/* Late by more than a turn: the rest is not made up for. */
	if (now - load->next_byte_ns > load->options.pause_ns)
		load->next_byte_ns = now - load->options.pause_ns;
	for (; load->next_byte_ns <= now; load->next_byte_ns += each) {
		struct client *client = &load->clients[load->next_slow];

		if (client->state != LOST)
			send_byte(load, client);
		load->next_slow = (load->next_slow + 1) % load->options.slow;
	}
}

/* Looks for answers, and waits for one at most until the deadline. */
static void turn(struct load *load, int64_t deadline_ns)
{
	struct epoll_event events[EVENTS_EACH];
	int64_t now = clock_now_ns(), until = deadline_ns;
	int count;

	dribble(load, now);
	if (load->options.slow > 0 && load->next_byte_ns < until)
		until = load->next_byte_ns;
	if (until > now + LOOK_EACH_NS)
		until = now + LOOK_EACH_NS;
	count = epoll_wait(load->epoll, events, EVENTS_EACH,
		until > now ? (int)((until - now + NS_PER_MS - 1) / NS_PER_MS) : 0);
	for (int i = 0; i < count; i++) {
		struct client *client = events[i].data.ptr;

		if (client->fd >= 0)
			receive(load, client);
	}
}

static bool is_cancelled(const struct load *load)
{
	return load->options.cancelled != NULL && load->options.cancelled(load->options.context);
}

/* Until all but `pending` of those with a connection have had an answer, or are lost. */
static enum filar_status await_answers(struct load *load, uint32_t pending, int64_t deadline_ns)
{
	uint32_t slow = load->options.slow < load->opened ? load->options.slow : load->opened;

	while (load->known + load->lost + slow + pending < load->opened &&
		clock_now_ns() < deadline_ns) {
		if (is_cancelled(load))
			return FILAR_CANCELLED;
		turn(load, deadline_ns);
	}
	return FILAR_OK;
}

/* ---- life ---- */

static enum filar_status connect_all(struct load *load)
{
	int64_t deadline_ns = clock_now_ns() + load->options.patience_ns;
	enum filar_status status = FILAR_OK;

	while (status == FILAR_OK && load->opened < load->options.connections) {
		struct client *client = &load->clients[load->opened];

		status = connect_client(load, client);
		if (status != FILAR_OK)
			break;
		load->opened++;
		if (!is_slow(load, client))
			send_request(load, client);
		if (load->opened % CONNECTS_EACH == 0)
			status = await_answers(load, PENDING_MAX, deadline_ns);
	}
	return status == FILAR_OK ? await_answers(load, 0, deadline_ns) : status;
}

static void write_request(struct load *load)
{
	const struct load_options *options = &load->options;
	int head, target, rest;

	head = sprintf(load->request, "GET ");
	target = sprintf(load->request + head, "/work?steps=%lld&block_us=%lld",
		(long long)options->steps, (long long)options->block_us);
	rest = sprintf(load->request + head + target, " HTTP/1.1\r\nHost: lab\r\n%s\r\n",
		options->reconnect ? "Connection: close\r\n" : "");
	load->request_bytes = (size_t)head + (size_t)target + (size_t)rest;
	load->echo = load->request + head;
	load->echo_bytes = (size_t)target;
}

enum filar_status load_open(struct load **result, const struct load_options *options)
{
	struct load *load = memory_acquire(1, sizeof *load);
	enum filar_status status = FILAR_OK;

	if (load == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for a load");
	load->options = *options;
	load->epoll = -1;
	load->clients = memory_acquire(options->connections, sizeof *load->clients);
	if (load->clients == NULL)
		status = status_detail(
			FILAR_NO_MEMORY, "no memory for %u clients", options->connections);
	for (uint32_t i = 0; status == FILAR_OK && i < options->connections; i++)
		load->clients[i].fd = -1;
	if (status == FILAR_OK) {
		load->epoll = call_epoll_create(EPOLL_CLOEXEC);
		if (load->epoll < 0)
			status = status_from_errno(errno, "epoll of the load generator");
	}
	write_request(load);
	load->next_byte_ns = clock_now_ns();
	if (status == FILAR_OK)
		status = connect_all(load);
	if (status != FILAR_OK) {
		load_close(load);
		return status;
	}
	*result = load;
	return FILAR_OK;
}

static void begin_run(struct load *load)
{
	load->counts = (struct load_counts){ 0 };
	histogram_clear(&load->latencies);
	for (uint32_t i = 0; i < load->options.connections; i++) {
		struct client *client = &load->clients[i];

		client->answers = 0;
		if (client->state == IDLE && !is_slow(load, client))
			send_request(load, client);
	}
}

static uint32_t count_silent(const struct load *load)
{
	uint32_t silent = 0;

	for (uint32_t i = load->options.slow; i < load->options.connections; i++)
		silent += load->clients[i].answers == 0;
	return silent;
}

enum filar_status load_run(struct load *load, int64_t length_ns)
{
	int64_t begun = clock_now_ns(), end = begun + length_ns;

	begin_run(load);
	while (clock_now_ns() < end && load->lost < load->options.connections) {
		if (is_cancelled(load))
			return FILAR_CANCELLED;
		turn(load, end);
	}
	/* What came while this thread was kept from running; what is on its way is left there. */
	turn(load, 0);
	load->counts.length_ns = clock_now_ns() - begun;
	load->counts.silent = count_silent(load);
	return FILAR_OK;
}

const struct load_counts *load_counts(const struct load *load)
{
	return &load->counts;
}

const struct histogram *load_latencies(const struct load *load)
{
	return &load->latencies;
}

const char *load_trouble(const struct load *load)
{
	return load->trouble;
}

void load_close(struct load *load)
{
	if (load == NULL)
		return;
	for (uint32_t i = 0; load->clients != NULL && i < load->options.connections; i++)
		hang_up(&load->clients[i]);
	if (load->epoll >= 0)
		(void)close(load->epoll);
	memory_release(load->clients);
	memory_release(load);
}
