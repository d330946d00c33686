/*
 * test_http.c - heads of requests, and the server of green threads: answers, limits, slow clients,
 * many connections, stopping.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "filar.h"
#include "lab/http_head.h"
#include "os/clock.h"

static enum http_verdict parse(const char *text, struct http_head *head)
{
	size_t scanned = 0;

	return http_head_parse(head, text, strlen(text), &scanned);
}

#define HOST "Host: x\r\n"

TEST(a_head_says_what_it_asks_for)
{
	struct http_head head;

	CHECK_EQ(parse("GET / HTTP/1.1\r\n" HOST "\r\n", &head), HTTP_REQUEST);
	CHECK(head.keep_alive && !head.only_head && head.body_bytes == 0);
	CHECK_EQ(parse("POST /a?steps=12&x=y&sleep_us=3&block_us=4 HTTP/1.1\r\n" HOST
		       "content-length:  7 \r\nConnection: Close\r\n\r\nabc",
			 &head),
		HTTP_REQUEST);
	CHECK(!head.keep_alive);
	CHECK_EQ(head.body_bytes, 7);
	CHECK_EQ(head.steps, 12);
	CHECK_EQ(head.sleep_us, 3);
	CHECK_EQ(head.block_us, 4);
	CHECK_EQ(parse("HEAD / HTTP/1.0\r\n\r\n", &head), HTTP_REQUEST);
	CHECK(head.only_head && !head.keep_alive);
	CHECK_EQ(parse("GET / HTTP/1.0\r\nConnection: foo, keep-alive\r\n\r\n", &head),
		HTTP_REQUEST);
	CHECK(head.keep_alive);
	CHECK_EQ(parse("PUT / HTTP/1.1\r\n" HOST "Expect: 100-continue\r\n\r\n", &head),
		HTTP_REQUEST);
	CHECK(head.wants_continue);
}

TEST(a_bad_head_is_refused)
{
	static const struct {
		const char *text;
		enum http_verdict verdict;
	} bad[] = {
		{ "GET / HTTP/1.1\r\n\r\n", HTTP_BAD_REQUEST },
		{ "GET / HTTP/1.1\r\n" HOST HOST "\r\n", HTTP_BAD_REQUEST },
		{ "GET  / HTTP/1.1\r\n" HOST "\r\n", HTTP_BAD_REQUEST },
		{ "get / HTTP/1.1\r\n" HOST "\r\n", HTTP_BAD_REQUEST },
		{ "DELETE / HTTP/1.1\r\n" HOST "\r\n", HTTP_BAD_METHOD },
		{ "GET x HTTP/1.1\r\n" HOST "\r\n", HTTP_BAD_REQUEST },
		{ "GET / HTTP/2.0\r\n" HOST "\r\n", HTTP_BAD_VERSION },
		{ "GET / HTTP/1.1 \r\n" HOST "\r\n", HTTP_BAD_REQUEST },
		{ "GET /\r\n" HOST "\r\n", HTTP_BAD_REQUEST },
		{ "\r\n\r\n", HTTP_BAD_REQUEST },
		{ "GET / HTTP/1.1\r\nHost : x\r\n\r\n", HTTP_BAD_REQUEST },
		{ "GET / HTTP/1.1\r\nHost\r\n\r\n", HTTP_BAD_REQUEST },
		{ "GET / HTTP/1.1\r\n: x\r\n\r\n", HTTP_BAD_REQUEST },
		{ "GET / HTTP/1.1\nHost: x\r\n\r\n", HTTP_BAD_REQUEST },
		{ "GET / HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n", HTTP_BAD_REQUEST },
		{ "GET / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
			HTTP_BAD_REQUEST },
		{ "GET / HTTP/1.1\r\n" HOST "Content-Length: 9999999999999999999\r\n\r\n",
			HTTP_BAD_REQUEST },
		{ "GET / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n",
			HTTP_NOT_IMPLEMENTED },
		{ "GET /?steps=x HTTP/1.1\r\n" HOST "\r\n", HTTP_BAD_REQUEST },
		{ "GET /?block_us=99999999999 HTTP/1.1\r\n" HOST "\r\n", HTTP_BAD_REQUEST },
	};

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct http_head head;

		if (parse(bad[i].text, &head) != bad[i].verdict)
			fprintf(stderr, "head %zu: %s\n", i, bad[i].text);
		CHECK_EQ(parse(bad[i].text, &head), bad[i].verdict);
	}
}

TEST(a_head_that_comes_byte_by_byte_is_whole_at_its_last_byte)
{
	static const char text[] = "GET / HTTP/1.1\r\n" HOST "\r\n";
	struct http_head head;
	size_t scanned = 0;

	for (size_t bytes = 0; bytes < sizeof text - 1; bytes++)
		CHECK_EQ(http_head_parse(&head, text, bytes, &scanned), HTTP_INCOMPLETE);
	CHECK_EQ(http_head_parse(&head, text, sizeof text - 1, &scanned), HTTP_REQUEST);
	CHECK_EQ(head.bytes, sizeof text - 1);
}

/* ---- the server ---- */

static filar_http *server;

static void start(const filar_http_options *wanted)
{
	filar_http_options options;

	filar_http_options_init(&options);
	if (wanted != NULL)
		options = *wanted;
	CHECK_EQ(filar_http_start(&server, &options), FILAR_OK);
	CHECK_GE(filar_http_port(server), 1);
}

static filar_http_stats stats(void)
{
	filar_http_stats now;

	CHECK_EQ(filar_http_read_stats(server, &now), FILAR_OK);
	return now;
}

static void stop(void)
{
	CHECK_EQ(filar_http_stop_until(server, FILAR_FOREVER), FILAR_OK);
	CHECK_EQ(stats().connections, 0);
	CHECK_EQ(filar_http_destroy(server), FILAR_OK);
}

static int connect_client(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons((uint16_t)filar_http_port(server)) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK_GE(fd, 0);
	CHECK_EQ(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	CHECK_EQ(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Reads until `ending` has come, or the end; the text lives until the next call. */
static const char *hear(int fd, const char *ending)
{
	static char text[1 << 16];
	size_t used = 0;
	ssize_t got;

	text[0] = '\0';
	while ((ending == NULL || strstr(text, ending) == NULL) && used < sizeof text - 1 &&
		(got = recv(fd, text + used, sizeof text - 1 - used, 0)) > 0) {
		used += (size_t)got;
		text[used] = '\0';
	}
	return text;
}

static bool starts_with(const char *text, const char *start_of_it)
{
	return strncmp(text, start_of_it, strlen(start_of_it)) == 0;
}

TEST(it_answers_and_keeps_the_connection)
{
	int fd;

	start(NULL);
	fd = connect_client();
	for (int i = 0; i < 3; i++) {
		say(fd, "GET /?steps=1000&sleep_us=10&block_us=10 HTTP/1.1\r\n" HOST "\r\n");
		CHECK(starts_with(hear(fd, "filar\n"), "HTTP/1.1 200 OK\r\n"));
	}
	say(fd, "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhe");
	say(fd, "llo");
	CHECK(strstr(hear(fd, "hello"), "Content-Length: 5\r\n") != NULL);
	/* Two at once, and the beginning of a third. */
	say(fd, "POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\n1POST / HTTP/1.1\r\n" HOST
		"Content-Length: 1\r\n\r\n2POST / HT");
	CHECK(strstr(hear(fd, "\r\n\r\n2"), "\r\n\r\n1") != NULL);
	say(fd, "TP/1.1\r\n" HOST "Content-Length: 3\r\nConnection: close\r\n\r\nend");
	CHECK(strstr(hear(fd, NULL), "Connection: close\r\n\r\nend") != NULL);
	close(fd);
	fd = connect_client();
	say(fd, "HEAD / HTTP/1.0\r\n\r\n");
	CHECK(strstr(hear(fd, NULL), "filar") == NULL);
	close(fd);
	fd = connect_client();
	say(fd, "PUT / HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
	CHECK(starts_with(hear(fd, "\r\n\r\n"), "HTTP/1.1 100 "));
	say(fd, "ok");
	CHECK(strstr(hear(fd, "ok"), " 200 OK") != NULL);
	close(fd);
	WAIT_UNTIL(stats().connections == 0);
	CHECK_EQ(stats().requests, 9);
	CHECK_EQ(stats().accepted, 3);
	CHECK_EQ(stats().broken + stats().refused + stats().timed_out, 0);
	stop();
}

static void send_much(int fd, size_t bytes)
{
	static char much[1 << 16];
	ssize_t sent;

	memset(much, 'x', sizeof much);
	while (bytes > 0) {
		sent = send(fd, much, bytes < sizeof much ? bytes : sizeof much, MSG_NOSIGNAL);
		CHECK_GE(sent, 1);
		bytes -= (size_t)sent;
	}
}

struct much {
	int fd;
	size_t bytes;
};

static void *send_much_on_thread(void *argument)
{
	struct much *much = argument;

	send_much(much->fd, much->bytes);
	return NULL;
}

TEST(a_body_of_a_megabyte_comes_back)
{
	struct much much = { .bytes = 1 << 20 };
	char piece[4096];
	size_t got = 0;
	ssize_t n;
	pthread_t sender;

	start(NULL);
	much.fd = connect_client();
	say(much.fd,
		"POST / HTTP/1.1\r\n" HOST "Connection: close\r\nContent-Length: 1048576\r\n\r\n");
	CHECK_EQ(pthread_create(&sender, NULL, send_much_on_thread, &much), 0);
	while ((n = recv(much.fd, piece, sizeof piece, 0)) > 0)
		got += (size_t)n;
	CHECK_GE(got, 1 << 20);
	CHECK_EQ(pthread_join(sender, NULL), 0);
	close(much.fd);
	stop();
}

TEST(what_is_wrong_or_too_large_is_refused_and_closed)
{
	filar_http_options options;
	int fd;

	filar_http_options_init(&options);
	options.head_bytes_max = 200;
	options.body_bytes_max = 10;
	start(&options);
	fd = connect_client();
	say(fd, "nonsense\r\n\r\n");
	CHECK(starts_with(hear(fd, NULL), "HTTP/1.1 400 "));
	close(fd);
	fd = connect_client();
	say(fd, "POST / HTTP/1.1\r\n" HOST "Content-Length: 11\r\n\r\n");
	CHECK(starts_with(hear(fd, NULL), "HTTP/1.1 413 "));
	close(fd);
	fd = connect_client();
	send_much(fd, 4000);
	CHECK(starts_with(hear(fd, NULL), "HTTP/1.1 414 "));
	close(fd);
	fd = connect_client();
	say(fd, "GET / HTTP/1.1\r\nX: ");
	send_much(fd, 4000);
	CHECK(starts_with(hear(fd, NULL), "HTTP/1.1 431 "));
	close(fd);
	WAIT_UNTIL(stats().connections == 0);
	CHECK_EQ(stats().refused, 4);
	stop();
}

static void check_only_one_timed_out(int fd)
{
	close(fd);
	WAIT_UNTIL(stats().connections == 0);
	CHECK_EQ(stats().timed_out, 1);
	stop();
}

/* One limit at a time: whoever is slow to say something is silent until then. */
TEST(a_client_that_dribbles_is_told_and_cut_off)
{
	filar_http_options options;
	int slow;

	filar_http_options_init(&options);
	options.request_ns = 20 * NS_PER_MS;
	start(&options);
	slow = connect_client();
	say(slow, "GET / HT");
	CHECK(starts_with(hear(slow, NULL), "HTTP/1.1 408 "));
	check_only_one_timed_out(slow);
}

TEST(a_client_that_says_nothing_is_cut_off)
{
	filar_http_options options;
	int silent;

	filar_http_options_init(&options);
	options.idle_ns = 20 * NS_PER_MS;
	start(&options);
	silent = connect_client();
	CHECK_EQ(hear(silent, NULL)[0], '\0');
	check_only_one_timed_out(silent);
}

TEST(a_client_that_breaks_off_leaves_nothing)
{
	const struct linger reset = { .l_onoff = 1, .l_linger = 0 };

	start(NULL);
	for (int i = 0; i < 50; i++) {
		int fd = connect_client();

		if (i % 4 > 0)
			say(fd, i % 4 == 1 ? "GE"
					   : "POST / HTTP/1.1\r\n" HOST
					     "Content-Length: 100\r\n\r\nx");
		if (i % 2 == 0)
			CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
		close(fd);
	}
	/* A connection that was reset before it was accepted may never be seen. */
	WAIT_UNTIL(stats().connections == 0);
	CHECK_EQ(stats().requests, 0);
	stop();
}

TEST(no_more_connections_than_it_may_have)
{
	filar_http_options options;
	int fds[4];

	filar_http_options_init(&options);
	options.connections_max = 2;
	start(&options);
	for (int i = 0; i < 4; i++)
		fds[i] = connect_client();
	for (int i = 0; i < 2; i++) {
		say(fds[i], "GET / HTTP/1.1\r\n" HOST "\r\n");
		CHECK(starts_with(hear(fds[i], "filar\n"), "HTTP/1.1 200 "));
	}
	CHECK_EQ(stats().connections, 2);
	for (int i = 2; i < 4; i++)
		say(fds[i], "GET / HTTP/1.1\r\n" HOST "\r\n");
	for (int i = 0; i < 2; i++) {
		close(fds[i]);
		CHECK(starts_with(hear(fds[i + 2], "filar\n"), "HTTP/1.1 200 "));
	}
	for (int i = 2; i < 4; i++)
		close(fds[i]);
	stop();
}

enum { CLIENTS = 8, REQUESTS = 100 };

static void *request_often(void *unused)
{
	char text[512];

	(void)unused;
	for (int round = 0; round < 2; round++) {
		int fd = connect_client();

		for (int i = 0; i < REQUESTS; i++) {
			size_t used = 0;
			ssize_t got;

			say(fd, "GET / HTTP/1.1\r\n" HOST "\r\n");
			do {
				got = recv(fd, text + used, sizeof text - 1 - used, 0);
				CHECK_GE(got, 1);
				used += (size_t)got;
				text[used] = '\0';
			} while (strstr(text, "filar\n") == NULL);
		}
		close(fd);
	}
	return NULL;
}

TEST(many_clients_at_once)
{
	for (uint32_t workers = 1; workers <= 2; workers++) {
		filar_http_options options;
		pthread_t clients[CLIENTS];

		filar_http_options_init(&options);
		options.workers = workers;
		start(&options);
		for (int i = 0; i < CLIENTS; i++)
			CHECK_EQ(pthread_create(&clients[i], NULL, request_often, NULL), 0);
		for (int i = 0; i < CLIENTS; i++)
			CHECK_EQ(pthread_join(clients[i], NULL), 0);
		/* It counts an answer after it was sent. */
		WAIT_UNTIL(stats().requests == CLIENTS * REQUESTS * 2);
		WAIT_UNTIL(stats().connections == 0);
		stop();
	}
}

/* ---- stopping ---- */

TEST(a_stop_answers_what_is_under_way_and_ends_the_idle)
{
	filar_runtime_stats runtime_stats;
	int busy, idle;

	start(NULL);
	idle = connect_client();
	say(idle, "GET / HTTP/1.1\r\n" HOST "\r\n");
	CHECK(starts_with(hear(idle, "filar\n"), "HTTP/1.1 200 "));
	CHECK_EQ(filar_http_destroy(server), FILAR_BUSY);
	busy = connect_client();
	CHECK_EQ(filar_http_read_runtime_stats(server, &runtime_stats), FILAR_OK);
	CHECK_GE(runtime_stats.spawned, 2);
	/* Read or not yet: it is in the server's socket, and will be answered. */
	say(busy, "GET /?sleep_us=20000 HTTP/1.1\r\n" HOST "\r\n");
	WAIT_UNTIL(stats().accepted == 2);
	CHECK_EQ(filar_http_stop_until(server, FILAR_FOREVER), FILAR_OK);
	CHECK_EQ(hear(idle, NULL)[0], '\0');
	CHECK(starts_with(hear(busy, NULL), "HTTP/1.1 200 "));
	close(idle);
	close(busy);
	CHECK_EQ(stats().connections, 0);
	CHECK_EQ(filar_http_stop_until(server, 0), FILAR_OK);
	CHECK_EQ(filar_http_destroy(server), FILAR_OK);
}

TEST(a_stop_whose_deadline_passes_cuts_off)
{
	int fd;

	start(NULL);
	fd = connect_client();
	say(fd, "GET /?sleep_us=10000000 HTTP/1.1\r\n" HOST "\r\n");
	WAIT_UNTIL(stats().connections == 1);
	CHECK_EQ(filar_http_stop_until(server, filar_now_ns() + 20 * NS_PER_MS), FILAR_TIMED_OUT);
	CHECK_EQ(stats().connections, 0);
	(void)hear(fd, NULL);
	close(fd);
	CHECK_EQ(filar_http_destroy(server), FILAR_OK);
}

TEST(bad_options_are_told)
{
	filar_http_options options;
	filar_http *second;

	filar_http_options_init(&options);
	options.port = 70000;
	CHECK_EQ(filar_http_start(&second, &options), FILAR_INVALID);
	options.port = 0;
	options.address = "localhost";
	CHECK_EQ(filar_http_start(&second, &options), FILAR_INVALID);
	options.address = "127.0.0.1";
	options.head_bytes_max = 1 << 20;
	CHECK_EQ(filar_http_start(&second, &options), FILAR_INVALID);
	CHECK_EQ(filar_http_start(NULL, NULL), FILAR_INVALID);
	CHECK_EQ(filar_http_destroy(NULL), FILAR_OK);
	start(NULL);
	options.head_bytes_max = 0;
	options.port = filar_http_port(server);
	CHECK_EQ(filar_http_start(&second, &options), FILAR_BUSY);
	CHECK(strstr(filar_status_detail(), "in use") != NULL);
	stop();
}

TEST_MAIN()
