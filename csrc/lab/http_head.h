/*
 * http_head.h - the head of an HTTP/1.1 request: is it all there, and what does it ask for?
 *
 * Text in, numbers out; knows no sockets.  http_server.c reads until it is whole.
 */
#ifndef FILAR_LAB_HTTP_HEAD_H
#define FILAR_LAB_HTTP_HEAD_H

#include <stdbool.h>

#include "base/compiler.h"

enum http_verdict {
	HTTP_INCOMPLETE = 0, /* more bytes are needed */
	HTTP_REQUEST = 200,  /* it is a request that can be answered */
	/* The rest is what the answer to a bad one says. */
	HTTP_BAD_REQUEST = 400,
	HTTP_BAD_METHOD = 405,
	HTTP_TIMEOUT = 408,
	HTTP_BODY_TOO_LARGE = 413,
	HTTP_LINE_TOO_LONG = 414,
	HTTP_HEAD_TOO_LARGE = 431,
	HTTP_NOT_IMPLEMENTED = 501,
	HTTP_BAD_VERSION = 505
};

struct http_head {
	size_t bytes; /* of the head, its empty line included */
	uint64_t body_bytes;
	bool keep_alive;
	bool wants_continue; /* it waits for "100 Continue" before it sends the body */
	bool only_head;      /* HEAD */
	/* From the query. */
	uint64_t steps;
	uint64_t sleep_us;
	uint64_t block_us;
};

#define HTTP_STEPS_MAX    UINT64_C(1000000000)
#define HTTP_PAUSE_US_MAX UINT64_C(10000000)

/* Of text[0..bytes), from the beginning of a request.  *scanned: how far it was looked through in
 * vain, 0 at first; so a head that dribbles in is not searched again and again. */
enum http_verdict http_head_parse(
	struct http_head *head, const char *text, size_t bytes, size_t *scanned);
const char *http_reason(enum http_verdict verdict);

#endif
