/*
 * http_head.c - RFC 9112, as much of it as a server needs that sends back what it gets.
 *
 * Strict where two readings would differ between a proxy and us (lengths, line ends, spaces before
 * a colon): such requests are refused.
 */
#include "lab/http_head.h"

#include <string.h>
#include <strings.h>

/* A piece of the text. */
struct piece {
	const char *at;
	size_t bytes;
};

static bool is(struct piece piece, const char *text)
{
	return piece.bytes == strlen(text) && memcmp(piece.at, text, piece.bytes) == 0;
}

static bool is_caseless(struct piece piece, const char *text)
{
	return piece.bytes == strlen(text) && strncasecmp(piece.at, text, piece.bytes) == 0;
}

/* Up to `end`, which is taken off too; the whole rest if it is not there. */
static struct piece cut(struct piece *rest, char end)
{
	const char *found = rest->bytes > 0 ? memchr(rest->at, end, rest->bytes) : NULL;
	struct piece first = { rest->at, found != NULL ? (size_t)(found - rest->at) : rest->bytes };
	size_t taken = first.bytes + (found != NULL);

	rest->at += taken;
	rest->bytes -= taken;
	return first;
}

static struct piece trim(struct piece piece)
{
	while (piece.bytes > 0 && (*piece.at == ' ' || *piece.at == '\t')) {
		piece.at++;
		piece.bytes--;
	}
	while (piece.bytes > 0 &&
		(piece.at[piece.bytes - 1] == ' ' || piece.at[piece.bytes - 1] == '\t'))
		piece.bytes--;
	return piece;
}

/* Decimal digits and nothing else, at most 18. */
static bool number_of(struct piece piece, uint64_t *number)
{
	*number = 0;
	if (piece.bytes == 0 || piece.bytes > 18)
		return false;
	for (size_t i = 0; i < piece.bytes; i++) {
		if (piece.at[i] < '0' || piece.at[i] > '9')
			return false;
		*number = *number * 10 + (uint64_t)(piece.at[i] - '0');
	}
	return true;
}

/* ---- the request line ---- */

static enum http_verdict parse_parameter(struct http_head *head, struct piece parameter)
{
	struct piece name = cut(&parameter, '=');
	uint64_t *place, max = HTTP_PAUSE_US_MAX;

	if (is(name, "steps")) {
		place = &head->steps;
		max = HTTP_STEPS_MAX;
	} else if (is(name, "sleep_us")) {
		place = &head->sleep_us;
	} else if (is(name, "block_us")) {
		place = &head->block_us;
	} else {
		return HTTP_REQUEST;
	}
	return number_of(parameter, place) && *place <= max ? HTTP_REQUEST : HTTP_BAD_REQUEST;
}

static enum http_verdict parse_target(struct http_head *head, struct piece target)
{
	enum http_verdict verdict = HTTP_REQUEST;
	struct piece query = target;

	if (target.bytes == 0 || (*target.at != '/' && *target.at != 'h' && !is(target, "*")))
		return HTTP_BAD_REQUEST;
	(void)cut(&query, '?');
	while (query.bytes > 0 && verdict == HTTP_REQUEST)
		verdict = parse_parameter(head, cut(&query, '&'));
	return verdict;
}

static enum http_verdict parse_method(struct http_head *head, struct piece method)
{
	if (method.bytes == 0)
		return HTTP_BAD_REQUEST;
	for (size_t i = 0; i < method.bytes; i++) {
		if (method.at[i] < 'A' || method.at[i] > 'Z')
			return HTTP_BAD_REQUEST;
	}
	head->only_head = is(method, "HEAD");
	return head->only_head || is(method, "GET") || is(method, "POST") || is(method, "PUT")
		       ? HTTP_REQUEST
		       : HTTP_BAD_METHOD;
}

static enum http_verdict parse_request_line(
	struct http_head *head, struct piece line, bool *old_version)
{
	struct piece method = cut(&line, ' '), target = cut(&line, ' ');
	enum http_verdict verdict = parse_method(head, method);

	if (verdict == HTTP_BAD_REQUEST)
		return verdict;
	if (line.bytes != 8 || memcmp(line.at, "HTTP/", 5) != 0)
		return HTTP_BAD_REQUEST;
	*old_version = is(line, "HTTP/1.0");
	if (!*old_version && !is(line, "HTTP/1.1"))
		return HTTP_BAD_VERSION;
	head->keep_alive = !*old_version;
	return verdict == HTTP_REQUEST ? parse_target(head, target) : verdict;
}

/* ---- the headers ---- */

struct seen {
	bool host;
	bool length;
};

static void parse_connection(struct http_head *head, struct piece value)
{
	while (value.bytes > 0) {
		struct piece option = trim(cut(&value, ','));

		if (is_caseless(option, "close"))
			head->keep_alive = false;
		else if (is_caseless(option, "keep-alive"))
			head->keep_alive = true;
	}
}

static enum http_verdict parse_header(
	struct http_head *head, struct piece name, struct piece value, struct seen *seen)
{
	uint64_t length;

	if (is_caseless(name, "Content-Length")) {
		if (!number_of(value, &length) || (seen->length && length != head->body_bytes))
			return HTTP_BAD_REQUEST;
		head->body_bytes = length;
		seen->length = true;
	} else if (is_caseless(name, "Transfer-Encoding")) {
		return HTTP_NOT_IMPLEMENTED;
	} else if (is_caseless(name, "Host")) {
		if (seen->host)
			return HTTP_BAD_REQUEST;
		seen->host = true;
	} else if (is_caseless(name, "Connection")) {
		parse_connection(head, value);
	} else if (is_caseless(name, "Expect")) {
		head->wants_continue = is_caseless(value, "100-continue");
	}
	return HTTP_REQUEST;
}

/* A line without its end, which is CR LF. */
static bool cut_line(struct piece *rest, struct piece *line)
{
	*line = cut(rest, '\n');
	if (line->bytes == 0 || line->at[line->bytes - 1] != '\r')
		return false;
	line->bytes--;
	return true;
}

static enum http_verdict parse_headers(struct http_head *head, struct piece rest, struct seen *seen)
{
	enum http_verdict verdict = HTTP_REQUEST;

	while (verdict == HTTP_REQUEST) {
		struct piece line, name;

		if (!cut_line(&rest, &line))
			return HTTP_BAD_REQUEST;
		if (line.bytes == 0)
			return HTTP_REQUEST;
		if (memchr(line.at, ':', line.bytes) == NULL)
			return HTTP_BAD_REQUEST;
		name = cut(&line, ':');
		if (name.bytes == 0 || memchr(name.at, ' ', name.bytes) != NULL ||
			memchr(name.at, '\t', name.bytes) != NULL)
			return HTTP_BAD_REQUEST;
		verdict = parse_header(head, name, trim(line), seen);
	}
	return verdict;
}

/* ---- the whole ---- */

/* The end of the empty line that ends the head, or 0. */
static size_t find_end(const char *text, size_t bytes, size_t *scanned)
{
	/* The last three bytes may be the beginning of it. */
	size_t from = *scanned > 3 ? *scanned - 3 : 0;
	const char *found = bytes > from ? memmem(text + from, bytes - from, "\r\n\r\n", 4) : NULL;

	*scanned = bytes;
	return found != NULL ? (size_t)(found - text) + 4 : 0;
}

enum http_verdict http_head_parse(
	struct http_head *head, const char *text, size_t bytes, size_t *scanned)
{
	size_t end = find_end(text, bytes, scanned);
	struct piece rest = { text, end }, line;
	struct seen seen = { 0 };
	enum http_verdict verdict;
	bool old_version = false;

	if (end == 0)
		return HTTP_INCOMPLETE;
	*head = (struct http_head){ .bytes = end };
	if (!cut_line(&rest, &line))
		return HTTP_BAD_REQUEST;
	verdict = parse_request_line(head, line, &old_version);
	if (verdict == HTTP_REQUEST)
		verdict = parse_headers(head, rest, &seen);
	if (verdict == HTTP_REQUEST && !seen.host && !old_version)
		return HTTP_BAD_REQUEST;
	return verdict;
}

const char *http_reason(enum http_verdict verdict)
{
	switch (verdict) {
	case HTTP_REQUEST:
		return "OK";
	case HTTP_BAD_METHOD:
		return "Method Not Allowed";
	case HTTP_TIMEOUT:
		return "Request Timeout";
	case HTTP_BODY_TOO_LARGE:
		return "Content Too Large";
	case HTTP_LINE_TOO_LONG:
		return "URI Too Long";
	case HTTP_HEAD_TOO_LARGE:
		return "Request Header Fields Too Large";
	case HTTP_NOT_IMPLEMENTED:
		return "Not Implemented";
	case HTTP_BAD_VERSION:
		return "HTTP Version Not Supported";
	default:
		return "Bad Request";
	}
}
