/*
 * http_server.c - accept, read a request, do what it asks for, answer, again.
 *
 * A connection's requests are read into one buffer, on the green thread's stack until it is too
 * small.  After a read that has returned less than there was room for, a TCP socket is empty: the
 * next read waits first, with the ticket of the one before (io/README.md, "Record"), and saves the
 * call that would say EAGAIN.
 *
 * Always: a connection is in server->connections from its beginning until just before its fd is
 * closed, so whoever stops the server touches no other file.
 */
#include "lab/http_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "block/semaphore.h"
#include "io/fd.h"
#include "io/stream.h"
#include "lab/http_head.h"
#include "os/calls.h"

#define BUFFER_BYTES       2048
#define ANSWER_BYTES       512
#define ACCEPTS_IN_A_ROW   32
#define PAUSE_NS_MIN       (5 * NS_PER_MS)
#define PAUSE_NS_MAX       (200 * NS_PER_MS)
#define CONNECTIONS_MAX    65536
#define BODY_BYTES_LARGEST (UINT32_C(1) << 30)

enum stopping { GOES_ON, STOPPING, STOPPED };

struct http_server {
	struct runtime *runtime;    /* I */
	filar_http_options options; /* I  without zeroes */
	int listener;               /* I  closed by whoever stops it */
	uint32_t port;              /* I */
	struct green_ref acceptor;  /* I */
	struct semaphore room;      /* for connections */
	_Atomic uint32_t stopping;  /* A  enum stopping, by the one that stops it */
	struct spinlock lock;
	struct list connections; /* L */
	_Atomic uint64_t open, accepted, requests, refused, broken, timed_out, accept_failures;
};

struct connection {
	struct http_server *server;
	struct list link; /* L  of the server */
	bool idle;        /* L  between two requests */
	struct fd_user user;
	bool drained;   /* the socket was empty at the user's ticket */
	char *buffer;   /* own, or from the heap */
	size_t room;    /* of the buffer */
	size_t filled;  /* of it */
	size_t scanned; /* of it, for the end of the head */
	char own[BUFFER_BYTES];
};

static void count(_Atomic uint64_t *counter)
{
	fetch_add_relaxed(counter, 1);
}

/* ---- reading ---- */

/* Room for so many bytes from the beginning of the request. */
static bool make_room(struct connection *connection, size_t bytes)
{
	char *buffer;

	if (bytes <= connection->room)
		return true;
	buffer = memory_resize(
		connection->buffer != connection->own ? connection->buffer : NULL, bytes, 1);
	if (buffer == NULL)
		return false;
	if (connection->buffer == connection->own)
		memcpy(buffer, connection->own, connection->filled);
	connection->buffer = buffer;
	connection->room = bytes;
	return true;
}

/* One read into the free room; *got 0: the end.  FILAR_TIMED_OUT, FILAR_CANCELLED, ... */
static enum filar_status read_some(struct connection *connection, int64_t deadline_ns, size_t *got)
{
	struct fd_user *user = &connection->user;
	size_t room = connection->room - connection->filled;
	enum filar_status status;

	for (;;) {
		if (!connection->drained) {
			ssize_t result;

			fd_take_ticket(user);
			result = call_recv(user->fd, connection->buffer + connection->filled, room,
				MSG_DONTWAIT);
			if (result >= 0) {
				connection->drained = (size_t)result < room;
				connection->filled += (size_t)result;
				*got = (size_t)result;
				return FILAR_OK;
			}
			if (errno != EAGAIN && errno != EINTR)
				return FILAR_SYSTEM;
		}
		status = fd_wait_tried(user, EPOLLIN, deadline_ns);
		connection->drained = false;
		if (status != FILAR_OK && status != FD_LOOK_AGAIN)
			return status;
	}
}

/* ---- answering ---- */

/* Whether all of it went out. */
static bool send_all(struct connection *connection, const char *text, size_t bytes, int flags,
	int64_t deadline_ns)
{
	size_t sent;
	enum filar_status status =
		stream_send_all(connection->user.fd, text, bytes, flags, deadline_ns, &sent);

	if (status == FILAR_TIMED_OUT)
		count(&connection->server->timed_out);
	return status == FILAR_OK;
}

static bool answer(struct connection *connection, enum http_verdict verdict,
	const struct http_head *head, const char *body, size_t bytes, int64_t deadline_ns)
{
	char text[ANSWER_BYTES];
	size_t used = (size_t)snprintf(text, sizeof text,
		"HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n%s\r\n",
		(int)verdict, http_reason(verdict), bytes,
		head->keep_alive ? "" : "Connection: close\r\n");

	if (head->only_head)
		return send_all(connection, text, used, 0, deadline_ns);
	if (bytes <= sizeof text - used) {
		memcpy(text + used, body, bytes);
		return send_all(connection, text, used + bytes, 0, deadline_ns);
	}
	return send_all(connection, text, used, MSG_MORE, deadline_ns) &&
	       send_all(connection, body, bytes, 0, deadline_ns);
}

/* What the client sent is read away for a moment: a close with unread bytes is a reset, which would
 * take the answer with it. */
static void linger(struct connection *connection)
{
	int64_t deadline_ns = clock_now_ns() + 500 * NS_PER_MS;
	size_t got = 1, total = 0;

	(void)shutdown(connection->user.fd, SHUT_WR);
	while (got > 0 && total < 65536) {
		connection->filled = 0;
		if (read_some(connection, deadline_ns, &got) != FILAR_OK)
			return;
		total += got;
	}
}

/* An error, and the end of the connection. */
static void refuse(struct connection *connection, enum http_verdict verdict)
{
	const struct http_head head = { .keep_alive = false };
	int64_t deadline_ns = clock_now_ns() + connection->server->options.request_ns;
	char text[64];
	size_t bytes = (size_t)snprintf(text, sizeof text, "%s\n", http_reason(verdict));

	count(&connection->server->refused);
	if (answer(connection, verdict, &head, text, bytes, deadline_ns))
		linger(connection);
}

/* ---- one request ---- */

static void block_for(uint64_t us)
{
	blocking_begin();
	(void)usleep((useconds_t)us);
	blocking_end();
}

static enum filar_status work_for(const struct http_head *head)
{
	uint64_t value = head->steps;

	for (uint64_t i = 0; i < head->steps; i++) {
		value = value * UINT64_C(6364136223846793005) + 1;
		FILAR_KEEP_IN_REGISTER(value);
	}
	if (head->block_us > 0)
		block_for(head->block_us);
	if (head->sleep_us == 0)
		return FILAR_OK;
	return green_sleep_until(clock_now_ns() + (int64_t)head->sleep_us * NS_PER_US);
}

/* The connection broke off, or was too slow. */
static void note_end(struct connection *connection, enum filar_status status, bool in_request)
{
	if (status == FILAR_TIMED_OUT)
		count(&connection->server->timed_out);
	else if (in_request && status != FILAR_CANCELLED)
		count(&connection->server->broken);
}

static bool set_idle(struct connection *connection, bool idle)
{
	struct http_server *server = connection->server;

	spinlock_lock(&server->lock);
	connection->idle = idle;
	spinlock_unlock(&server->lock);
	/* Who stops it looks at `idle` under the lock after this was set. */
	return !idle || load_acquire(&server->stopping) == GOES_ON;
}

/* Until something of the next request is there. */
static bool wait_for_request(struct connection *connection)
{
	int64_t deadline_ns = clock_now_ns() + connection->server->options.idle_ns;
	enum filar_status status;
	bool goes_on;
	size_t got;

	connection->scanned = 0;
	if (connection->filled > 0)
		return true;
	goes_on = set_idle(connection, true);
	/* While it is being stopped, what has come already is still answered. */
	if (!goes_on)
		connection->drained = false;
	status = read_some(connection, goes_on ? deadline_ns : 0, &got);
	(void)set_idle(connection, false);
	if (status != FILAR_OK && goes_on)
		note_end(connection, status, false);
	return status == FILAR_OK && got > 0;
}

/* One more read; false: the connection is over. */
static bool read_more(struct connection *connection, int64_t deadline_ns)
{
	size_t got;
	enum filar_status status = read_some(connection, deadline_ns, &got);

	if (status == FILAR_OK && got > 0)
		return true;
	note_end(connection, status, true);
	if (status == FILAR_TIMED_OUT)
		refuse(connection, HTTP_TIMEOUT);
	return false;
}

static enum http_verdict too_large(const struct connection *connection)
{
	return memchr(connection->buffer, '\n', connection->filled) != NULL ? HTTP_HEAD_TOO_LARGE
									    : HTTP_LINE_TOO_LONG;
}

static bool read_head(struct connection *connection, struct http_head *head, int64_t deadline_ns)
{
	size_t max = connection->server->options.head_bytes_max;
	enum http_verdict verdict;

	for (;;) {
		verdict = http_head_parse(
			head, connection->buffer, connection->filled, &connection->scanned);
		if (verdict == HTTP_INCOMPLETE && connection->filled >= max)
			verdict = too_large(connection);
		if (verdict == HTTP_REQUEST && head->bytes > max)
			verdict = HTTP_HEAD_TOO_LARGE;
		if (verdict == HTTP_REQUEST &&
			head->body_bytes > connection->server->options.body_bytes_max)
			verdict = HTTP_BODY_TOO_LARGE;
		if (verdict == HTTP_REQUEST)
			return true;
		if (verdict != HTTP_INCOMPLETE) {
			refuse(connection, verdict);
			return false;
		}
		if (connection->filled == connection->room && !make_room(connection, max)) {
			count(&connection->server->broken);
			return false;
		}
		if (!read_more(connection, deadline_ns))
			return false;
	}
}

static bool read_body(
	struct connection *connection, const struct http_head *head, int64_t deadline_ns)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
	size_t whole = head->bytes + head->body_bytes;

	if (connection->filled >= whole)
		return true;
	if (head->wants_continue && !send_all(connection, go_on, sizeof go_on - 1, 0, deadline_ns))
		return false;
	if (!make_room(connection, whole)) {
		count(&connection->server->broken);
		return false;
	}
	while (connection->filled < whole) {
		if (!read_more(connection, deadline_ns))
			return false;
	}
	return true;
}

/* Whether another may follow. */
static bool serve_request(struct connection *connection)
{
	struct http_server *server = connection->server;
	int64_t deadline_ns = clock_now_ns() + server->options.request_ns;
	struct http_head head;
	const char *body;
	bool answered;

	if (!read_head(connection, &head, deadline_ns) ||
		!read_body(connection, &head, deadline_ns))
		return false;
	if (work_for(&head) != FILAR_OK)
		return false;
	if (load_relaxed(&server->stopping) != GOES_ON)
		head.keep_alive = false;
	body = head.body_bytes > 0 ? connection->buffer + head.bytes : "filar\n";
	answered = answer(connection, HTTP_REQUEST, &head, body,
		head.body_bytes > 0 ? head.body_bytes : strlen(body),
		head.steps + head.sleep_us + head.block_us > 0
			? clock_now_ns() + server->options.request_ns
			: deadline_ns);
	count(answered ? &server->requests : &server->broken);
	/* What came after it is the beginning of the next. */
	connection->filled -= head.bytes + head.body_bytes;
	memmove(connection->buffer, connection->buffer + head.bytes + head.body_bytes,
		connection->filled);
	return answered && head.keep_alive;
}

/* ---- connections ---- */

static void begin_connection(struct connection *connection, struct http_server *server)
{
	connection->server = server;
	connection->idle = false;
	connection->drained = false;
	connection->buffer = connection->own;
	connection->room = sizeof connection->own;
	connection->filled = 0;
	spinlock_lock(&server->lock);
	list_push_back(&server->connections, &connection->link);
	spinlock_unlock(&server->lock);
}

static void end_connection(struct connection *connection)
{
	struct http_server *server = connection->server;

	spinlock_lock(&server->lock);
	list_remove(&connection->link);
	spinlock_unlock(&server->lock);
	(void)fd_close(connection->user.fd);
	if (connection->buffer != connection->own)
		memory_release(connection->buffer);
	fetch_sub_relaxed(&server->open, 1);
	(void)semaphore_release(&server->room, 1);
}

/* What a connection's green thread is given; it frees it. */
struct handover {
	struct http_server *server;
	int fd;
};

static void run_connection(void *argument)
{
	struct handover handover = *(struct handover *)argument;
	struct connection connection;

	memory_release(argument);
	begin_connection(&connection, handover.server);
	if (fd_begin(&connection.user, handover.fd) == FILAR_OK) {
		while (wait_for_request(&connection) && serve_request(&connection))
			;
	}
	end_connection(&connection);
}

static bool hand_over(struct http_server *server, int fd)
{
	const struct green_options options = { .name = "connection", .detached = true };
	struct handover *handover = memory_acquire(1, sizeof *handover);

	if (handover != NULL) {
		*handover = (struct handover){ server, fd };
		fetch_add_relaxed(&server->open, 1);
		if (green_spawn(NULL, server->runtime, &options, run_connection, handover) ==
			FILAR_OK)
			return true;
		fetch_sub_relaxed(&server->open, 1);
	}
	memory_release(handover);
	(void)fd_close(fd);
	return false;
}

/* No fd, no memory, no stack: those who are connected must first leave.  It does not spin. */
static void rest_a_little(struct http_server *server, int64_t *pause_ns)
{
	count(&server->accept_failures);
	(void)green_sleep_until(clock_now_ns() + *pause_ns);
	*pause_ns = *pause_ns * 2 < PAUSE_NS_MAX ? *pause_ns * 2 : PAUSE_NS_MAX;
}

/* Until the listener is closed, or it is cancelled. */
static void run_acceptor(void *argument)
{
	struct http_server *server = argument;
	int64_t pause_ns = PAUSE_NS_MIN;
	uint32_t in_a_row = 0;
	int fd;

	while (semaphore_acquire_until(&server->room, DEADLINE_NEVER) == FILAR_OK) {
		enum filar_status status =
			stream_accept(server->listener, NULL, NULL, DEADLINE_NEVER, &fd);

		if (load_acquire(&server->stopping) != GOES_ON) {
			if (status == FILAR_OK)
				(void)fd_close(fd);
			break;
		}
		if (status == FILAR_OK)
			count(&server->accepted);
		if (status == FILAR_OK && hand_over(server, fd)) {
			pause_ns = PAUSE_NS_MIN;
			/* A crowd that connects at once must not keep the others waiting. */
			if (++in_a_row % ACCEPTS_IN_A_ROW == 0)
				green_yield();
			continue;
		}
		(void)semaphore_release(&server->room, 1);
		if (status == FILAR_CLOSED || status == FILAR_CANCELLED)
			break;
		rest_a_little(server, &pause_ns);
	}
}

/* ---- start ---- */

void http_options_init(filar_http_options *options)
{
	*options = (filar_http_options){ .spare_workers_max = RUNTIME_SPARES_DEFAULT };
}

static void set_defaults(filar_http_options *options)
{
	if (options->address == NULL)
		options->address = "127.0.0.1";
	if (options->connections_max == 0)
		options->connections_max = CONNECTIONS_MAX;
	if (options->backlog == 0)
		options->backlog = 4096;
	if (options->head_bytes_max == 0)
		options->head_bytes_max = 8192;
	if (options->body_bytes_max == 0)
		options->body_bytes_max = 1 << 20;
	if (options->request_ns == 0)
		options->request_ns = 10 * NS_PER_S;
	if (options->idle_ns == 0)
		options->idle_ns = 60 * NS_PER_S;
}

static enum filar_status check_options(const filar_http_options *options)
{
	if (options->port > 65535)
		return status_detail(FILAR_INVALID, "no port has the number %u", options->port);
	if (options->head_bytes_max > 65536 || options->head_bytes_max < 64)
		return status_detail(FILAR_INVALID, "a head has 64 to 65,536 bytes at most, not %u",
			options->head_bytes_max);
	if (options->body_bytes_max > BODY_BYTES_LARGEST)
		return status_detail(
			FILAR_INVALID, "a body of %u bytes is too large", options->body_bytes_max);
	if (options->backlog > INT32_MAX)
		return status_detail(
			FILAR_INVALID, "a backlog of %u is too long", options->backlog);
	if (options->request_ns < 0 || options->idle_ns < 0)
		return status_detail(FILAR_INVALID, "a time limit cannot be negative");
	return FILAR_OK;
}

union any_address {
	struct sockaddr any;
	struct sockaddr_in four;
	struct sockaddr_in6 six;
};

static enum filar_status parse_address(
	union any_address *address, socklen_t *bytes, const filar_http_options *options)
{
	*address = (union any_address){ .four = { .sin_family = AF_INET,
						.sin_port = htons((uint16_t)options->port) } };
	*bytes = sizeof address->four;
	if (inet_pton(AF_INET, options->address, &address->four.sin_addr) == 1)
		return FILAR_OK;
	*address = (union any_address){ .six = { .sin6_family = AF_INET6,
						.sin6_port = htons((uint16_t)options->port) } };
	*bytes = sizeof address->six;
	if (inet_pton(AF_INET6, options->address, &address->six.sin6_addr) == 1)
		return FILAR_OK;
	return status_detail(
		FILAR_INVALID, "\"%.60s\" is no IP address in numbers", options->address);
}

static enum filar_status bind_and_listen(
	struct http_server *server, union any_address *address, socklen_t bytes)
{
	const int on = 1;

	/* Sockets that are accepted inherit the second. */
	(void)setsockopt(server->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	(void)setsockopt(server->listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (call_bind(server->listener, &address->any, bytes) != 0 ||
		call_listen(server->listener, (int)server->options.backlog) != 0) {
		int error = errno;

		(void)fd_failed(error, "bind or listen", server->listener);
		return error == EADDRINUSE ? status_detail(FILAR_BUSY, "port %u of %.60s is in use",
						     server->options.port, server->options.address)
					   : fd_failed(error, "listen", server->listener);
	}
	if (getsockname(server->listener, &address->any, &bytes) != 0)
		return fd_failed(errno, "getsockname", server->listener);
	server->port = ntohs(address->any.sa_family == AF_INET ? address->four.sin_port
							       : address->six.sin6_port);
	return FILAR_OK;
}

static enum filar_status open_listener(struct http_server *server)
{
	union any_address address;
	socklen_t bytes;
	enum filar_status status = parse_address(&address, &bytes, &server->options);

	if (status != FILAR_OK)
		return status;
	server->listener =
		call_socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (server->listener < 0)
		return status_from_errno(errno, "socket");
	status = bind_and_listen(server, &address, bytes);
	if (status != FILAR_OK)
		(void)close(server->listener);
	return status;
}

static enum filar_status start_runtime(struct http_server *server)
{
	struct runtime_options options;
	enum filar_status status;

	runtime_options_init(&options);
	options.workers = server->options.workers;
	options.spares_max = server->options.spare_workers_max;
	options.name = "http";
	status = runtime_create(&server->runtime, &options);
	if (status != FILAR_OK)
		return status;
	status = green_spawn(&server->acceptor, server->runtime,
		&(struct green_options){ .name = "acceptor" }, run_acceptor, server);
	if (status == FILAR_OK)
		return FILAR_OK;
	(void)runtime_shutdown_until(server->runtime, DEADLINE_NEVER);
	(void)runtime_destroy(server->runtime);
	return status;
}

enum filar_status http_start(struct http_server **result, const filar_http_options *options)
{
	struct http_server *server = memory_acquire_aligned(1, sizeof *server);
	enum filar_status status;

	if (server == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for a server");
	http_options_init(&server->options);
	if (options != NULL)
		server->options = *options;
	set_defaults(&server->options);
	spinlock_init(&server->lock);
	list_init(&server->connections);
	semaphore_init(&server->room, server->options.connections_max,
		server->options.connections_max, "connections");
	status = check_options(&server->options);
	if (status == FILAR_OK)
		status = open_listener(server);
	if (status != FILAR_OK)
		goto free_server;
	status = start_runtime(server);
	if (status != FILAR_OK)
		goto close_listener;
	server->options.address = NULL; /* the caller's */
	*result = server;
	return FILAR_OK;
close_listener:
	(void)close(server->listener);
free_server:
	memory_release(server);
	return status;
}

/* ---- looking ---- */

uint32_t http_port(const struct http_server *server)
{
	return server->port;
}

void http_read_stats(struct http_server *server, filar_http_stats *stats)
{
	*stats = (filar_http_stats){ .connections = load_relaxed(&server->open),
		.accepted = load_relaxed(&server->accepted),
		.requests = load_relaxed(&server->requests),
		.refused = load_relaxed(&server->refused),
		.broken = load_relaxed(&server->broken),
		.timed_out = load_relaxed(&server->timed_out),
		.accept_failures = load_relaxed(&server->accept_failures) };
}

struct runtime *http_runtime(struct http_server *server)
{
	return server->runtime;
}

/* ---- stop ---- */

/* Their next read finds the end, or every call does. */
static void shut_connections(struct http_server *server, bool idle_only)
{
	struct list *link;

	spinlock_lock(&server->lock);
	LIST_FOR_EACH(link, &server->connections)
	{
		struct connection *connection = FILAR_CONTAINER_OF(link, struct connection, link);

		if (!idle_only)
			(void)shutdown(connection->user.fd, SHUT_RDWR);
		else if (connection->idle)
			(void)shutdown(connection->user.fd, SHUT_RD);
	}
	spinlock_unlock(&server->lock);
}

static void begin_to_stop(struct http_server *server)
{
	uint32_t expected = GOES_ON;

	if (!cas_seq_cst(&server->stopping, &expected, STOPPING))
		return;
	(void)fd_close(server->listener);
	/* It may be waiting for room. */
	(void)green_cancel(server->acceptor);
	(void)green_detach(server->acceptor);
	shut_connections(server, true);
}

static enum filar_status cut_off(struct http_server *server)
{
	enum filar_status status;

	shut_connections(server, false);
	runtime_cancel_all(server->runtime);
	do {
		status = runtime_shutdown_until(server->runtime, DEADLINE_NEVER);
	} while (status == FILAR_INTERRUPTED);
	return status;
}

enum filar_status http_stop_until(struct http_server *server, int64_t deadline_ns)
{
	enum filar_status status;

	if (runtime_is_forked(server->runtime))
		return status_detail(FILAR_FORKED, "the server runs in the parent process");
	if (load_acquire(&server->stopping) == STOPPED)
		return FILAR_OK;
	begin_to_stop(server);
	status = runtime_shutdown_until(server->runtime, deadline_ns);
	if (status == FILAR_TIMED_OUT && cut_off(server) == FILAR_OK) {
		store_release(&server->stopping, STOPPED);
		return status_detail(
			FILAR_TIMED_OUT, "requests that were not answered by then were cut off");
	}
	if (status == FILAR_OK)
		store_release(&server->stopping, STOPPED);
	return status;
}

enum filar_status http_destroy(struct http_server *server)
{
	bool forked = runtime_is_forked(server->runtime);

	if (!forked && load_acquire(&server->stopping) != STOPPED)
		return status_detail(FILAR_BUSY, "the server was not stopped");
	if (forked && load_acquire(&server->stopping) == GOES_ON)
		(void)close(server->listener);
	(void)runtime_destroy(server->runtime);
	memory_release(server);
	return FILAR_OK;
}
