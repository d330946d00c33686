/*
 * http.c - parse, compute, block, answer: the same few steps for every server.
 *
 * Only what the service needs of HTTP/1.1: a request line, Content-Length, Connection.  A request
 * that is anything else gets 400 and the connection ends.
 */
#include "lab/http.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>

#include "base/compiler.h"
#include "kernels/kernels.h"
#include "os/clock.h"

#define HEAD_END        "\r\n\r\n"
#define STEPS_AT_A_TIME 100

static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ";
static const char last[] = "Connection: close\r\n";
static const char refusal[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: "
			      "close\r\n\r\n";

/* ---- the request ---- */

/* The number behind `name` in the target, between 0 and `max`; 0 without one. */
static int64_t number_in(const char *target, size_t bytes, const char *name, int64_t max)
{
	const char *found = memmem(target, bytes, name, strlen(name)), *end = target + bytes;
	int64_t value = 0;

	if (found == NULL)
		return 0;
	for (found += strlen(name); found < end && *found >= '0' && *found <= '9'; found++)
		value = value < max ? value * 10 + (*found - '0') : max;
	return value < max ? value : max;
}

/* The value of a header in the head, or NULL; names are matched without regard to case. */
static const char *header(const char *head, size_t bytes, const char *name)
{
	const char *end = head + bytes;

	for (const char *line = head; line < end;) {
		const char *next = memmem(line, (size_t)(end - line), "\r\n", 2);

		if (strncasecmp(line, name, strlen(name)) == 0) {
			line += strlen(name);
			return line + strspn(line, " ");
		}
		if (next == NULL)
			break;
		line = next + 2;
	}
	return NULL;
}

/* "METHOD TARGET HTTP/1.x": where the target is. */
static bool parse_line(const char *text, size_t bytes, const char **target, size_t *target_bytes)
{
	const char *end = text + bytes, *from = memchr(text, ' ', bytes), *to;

	if (from == NULL || from == text)
		return false;
	from++;
	to = memchr(from, ' ', (size_t)(end - from));
	if (to == NULL || *from != '/' || end - to < 9 || memcmp(to + 1, "HTTP/1.", 7) != 0)
		return false;
	*target = from;
	*target_bytes = (size_t)(to - from);
	return true;
}

enum http_parsed http_parse(struct http_request *request, const char *text, size_t bytes)
{
	const char *head_end = memmem(text, bytes, HEAD_END, strlen(HEAD_END));
	const char *target, *headers, *value;
	size_t head_bytes, target_bytes, body_bytes = 0;

	if (head_end == NULL)
		return bytes < HTTP_BYTES_MAX ? HTTP_PARTIAL : HTTP_REFUSED;
	head_bytes = (size_t)(head_end - text) + strlen(HEAD_END);
	headers = (const char *)memmem(text, head_bytes, "\r\n", 2) + 2;
	if (!parse_line(text, (size_t)(headers - 2 - text), &target, &target_bytes))
		return HTTP_REFUSED;
	value = header(headers, (size_t)(head_end + 2 - headers), "content-length:");
	if (value != NULL) {
		if (*value < '0' || *value > '9')
			return HTTP_REFUSED;
		body_bytes = strtoul(value, NULL, 10);
	}
	if (body_bytes > HTTP_BYTES_MAX - head_bytes)
		return HTTP_REFUSED;
	if (bytes < head_bytes + body_bytes)
		return HTTP_PARTIAL;
	value = header(headers, (size_t)(head_end + 2 - headers), "connection:");
	*request = (struct http_request){ .bytes = head_bytes + body_bytes,
		.steps = number_in(target, target_bytes, "steps=", HTTP_STEPS_MAX),
		.block_us = number_in(target, target_bytes, "block_us=", HTTP_BLOCK_US_MAX),
		.echo = body_bytes > 0 ? text + head_bytes : target,
		.echo_bytes = body_bytes > 0 ? body_bytes : target_bytes,
		.keep = value == NULL || strncasecmp(value, "close", 5) != 0 };
	return HTTP_WHOLE;
}

/* ---- the work and the answer ---- */

void http_compute(int64_t steps)
{
	filar_spin spin = { .steps = STEPS_AT_A_TIME };

	if (steps > 0)
		kernel_spin(0, (steps + STEPS_AT_A_TIME - 1) / STEPS_AT_A_TIME, &spin);
}

static char *put(char *to, const char *text, size_t bytes)
{
	memcpy(to, text, bytes);
	return to + bytes;
}

static char *put_number(char *to, size_t number)
{
	char digits[20];
	size_t first = sizeof digits;

	do {
		digits[--first] = (char)('0' + number % 10);
		number /= 10;
	} while (number > 0);
	return put(to, digits + first, sizeof digits - first);
}

/* By hand: printf() would touch a page more of every stack that it runs on. */
size_t http_answer(char *answer, const struct http_request *request)
{
	char *to = put(answer, ok, sizeof ok - 1);

	to = put_number(to, request->echo_bytes);
	to = put(to, "\r\n", 2);
	if (!request->keep)
		to = put(to, last, sizeof last - 1);
	to = put(to, "\r\n", 2);
	return (size_t)(put(to, request->echo, request->echo_bytes) - answer);
}

/* ---- the connection ---- */

void http_connection_init(struct http_connection *connection, int fd)
{
	connection->next = NULL;
	connection->fd = fd;
	connection->have = 0;
}

static bool send_all(
	int fd, const char *bytes, size_t count, const struct http_transport *transport)
{
	while (count > 0) {
		ssize_t sent = transport->send(fd, bytes, count);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return false;
		bytes += sent;
		count -= (size_t)sent;
	}
	return true;
}

/* One whole request. */
static bool handle(
	int fd, const struct http_request *request, const struct http_transport *transport)
{
	char answer[HTTP_BYTES_MAX + 256];

	http_compute(request->steps);
	if (request->block_us > 0)
		transport->block(request->block_us * NS_PER_US);
	return send_all(fd, answer, http_answer(answer, request), transport) && request->keep;
}

static bool answer_whole(struct http_connection *connection, const struct http_transport *transport)
{
	struct http_request request;
	uint32_t done = 0;
	bool keep = true;

	while (keep && done < connection->have) {
		enum http_parsed parsed =
			http_parse(&request, connection->bytes + done, connection->have - done);

		if (parsed == HTTP_PARTIAL)
			break;
		if (parsed == HTTP_REFUSED) {
			(void)send_all(connection->fd, refusal, sizeof refusal - 1, transport);
			return false;
		}
		keep = handle(connection->fd, &request, transport);
		done += (uint32_t)request.bytes;
	}
	connection->have -= done;
	memmove(connection->bytes, connection->bytes + done, connection->have);
	return keep;
}

bool http_step(struct http_connection *connection, const struct http_transport *transport)
{
	ssize_t got;

	do
		got = transport->receive(connection->fd, connection->bytes + connection->have,
			HTTP_BYTES_MAX - connection->have);
	while (got < 0 && errno == EINTR);
	if (got < 0 && errno == EAGAIN)
		return true;
	if (got <= 0)
		return false;
	connection->have += (uint32_t)got;
	return answer_whole(connection, transport);
}

void http_serve(struct http_connection *connection, const struct http_transport *transport)
{
	while (http_step(connection, transport))
		;
}

/* ---- transports of kernel threads ---- */

static ssize_t receive_waiting(int fd, void *buffer, size_t bytes)
{
	return recv(fd, buffer, bytes, 0);
}

static ssize_t receive_ready(int fd, void *buffer, size_t bytes)
{
	return recv(fd, buffer, bytes, MSG_DONTWAIT);
}

/* Answers are shorter than any socket's buffer: a client that takes none of them fills that first,
 * and then holds up whoever serves it until the socket's own time limit. */
static ssize_t send_plain(int fd, const void *bytes, size_t count)
{
	return send(fd, bytes, count, MSG_NOSIGNAL);
}

static void block_thread(int64_t length_ns)
{
	struct timespec length = clock_timespec(length_ns);

	(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &length, NULL);
}

const struct http_transport http_blocking = { receive_waiting, send_plain, block_thread };
const struct http_transport http_ready = { receive_ready, send_plain, block_thread };
