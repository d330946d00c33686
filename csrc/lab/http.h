/*
 * http.h - the service that every server of the lab gives: a handler, written once.
 *
 * A request (HTTP/1.1, head and body together at most HTTP_BYTES_MAX) says in its target what it
 * wants: "/work?steps=20000&block_us=2000" computes so many steps, then blocks for so long, then
 * gets an answer that echoes its body, or its target if it has none.  Connections stay open unless
 * the request says "Connection: close".
 *
 * A transport says how bytes move and how the handler blocks: plain calls of the system here, those
 * of green threads elsewhere.  All of it may run in the child of a fork: nothing is allocated.
 */
#ifndef FILAR_LAB_HTTP_H
#define FILAR_LAB_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define HTTP_BYTES_MAX 1024u

struct http_request {
	size_t bytes;     /* of all of it */
	int64_t steps;    /* 0 to HTTP_STEPS_MAX */
	int64_t block_us; /* 0 to HTTP_BLOCK_US_MAX */
	const char *echo; /* in the request's own bytes */
	size_t echo_bytes;
	bool keep; /* the connection stays open */
};

#define HTTP_STEPS_MAX    INT64_C(1000000000)
#define HTTP_BLOCK_US_MAX INT64_C(10000000)

enum http_parsed {
	HTTP_PARTIAL, /* more bytes are to come */
	HTTP_WHOLE,
	HTTP_REFUSED, /* malformed or too long */
};

enum http_parsed http_parse(struct http_request *request, const char *text, size_t bytes);
/* The computing part. */
void http_compute(int64_t steps);
/* Writes an answer of at most HTTP_BYTES_MAX + 256 bytes; returns its length. */
size_t http_answer(char *answer, const struct http_request *request);

struct http_transport {
	/* Like recv(2) and send(2) with flags of their own; send may take a part. */
	ssize_t (*receive)(int fd, void *buffer, size_t bytes);
	ssize_t (*send)(int fd, const void *bytes, size_t count);
	void (*block)(int64_t length_ns);
};

/* Kernel threads: each call blocks the caller. */
extern const struct http_transport http_blocking;
/* For one that is told by epoll: receiving never waits. */
extern const struct http_transport http_ready;

struct http_connection {
	struct http_connection *next; /* S  of whoever has it in a queue */
	int fd;                       /* I */
	uint32_t have;                /* S  bytes received and not answered */
	char bytes[HTTP_BYTES_MAX];   /* S */
};

void http_connection_init(struct http_connection *connection, int fd);
/* Receives once and answers what is whole.  False: the connection is over. */
bool http_step(struct http_connection *connection, const struct http_transport *transport);
/* Until the client leaves. */
void http_serve(struct http_connection *connection, const struct http_transport *transport);

#endif
