/*
 * test_ways_server.c - a web server under load: the service understands requests, every kind of
 * server answers all clients, who is starved is seen, and trouble leaves nothing behind.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/memory.h"
#include "lab/histogram.h"
#include "lab/http.h"
#include "lab/server.h"
#include "once.h"

#define MS NS_PER_MS

/* TSan knows no new threads in the child of a fork of several. */
#define SERVER_MAY_START (!FILAR_TSAN)

enum { SERVED, P50, P99, P999, CPU, SWITCHES, MEMORY, SILENT, FAILED };

struct setting {
	int64_t kind, workers, connections, steps, block_us, window_ns, slow, pause_us, reconnect,
		local, patience_ns, port, process;
};

static const struct setting usual = { SERVER_EVENTS, 2, 4, 0, 0, 10 * MS, 0, 1000, 0, 0,
	20 * NS_PER_S, 0, 0 };

static struct once run(struct setting setting)
{
	return once_run(
		"serve-http", (const int64_t *)&setting, sizeof setting / sizeof(int64_t), 1, -1);
}

/* ---- the service ---- */

static enum http_parsed parsed(struct http_request *request, const char *text)
{
	return http_parse(request, text, strlen(text));
}

TEST(a_request_says_what_it_wants)
{
	struct http_request request;
	char answer[HTTP_BYTES_MAX + 256];
	size_t bytes;

	CHECK_EQ(parsed(&request, "GET /work?steps=12&block_us=34 HTTP/1.1\r\nHost: x\r\n\r\nGET"),
		HTTP_WHOLE);
	CHECK_EQ(request.steps, 12);
	CHECK_EQ(request.block_us, 34);
	CHECK_EQ(request.bytes, 52u);
	CHECK(request.keep);
	bytes = http_answer(answer, &request);
	answer[bytes] = '\0';
	CHECK_TEXT_HAS(answer, "HTTP/1.1 200 OK\r\n");
	CHECK_TEXT_HAS(answer, "Content-Length: 26\r\n\r\n/work?steps=12&block_us=34");
}

TEST(a_body_is_echoed_and_a_close_is_heard)
{
	struct http_request request;
	char answer[HTTP_BYTES_MAX + 256];

	CHECK_EQ(parsed(&request,
			 "POST / HTTP/1.1\r\ncontent-length: 5\r\nCONNECTION: Close\r\n\r\nhel"),
		HTTP_PARTIAL);
	CHECK_EQ(parsed(&request,
			 "POST / HTTP/1.1\r\ncontent-length: 5\r\nCONNECTION: Close\r\n\r\nhello"),
		HTTP_WHOLE);
	CHECK(!request.keep);
	CHECK_EQ(request.steps, 0);
	answer[http_answer(answer, &request)] = '\0';
	CHECK_TEXT_HAS(answer, "Content-Length: 5\r\nConnection: close\r\n\r\nhello");
}

TEST(what_is_no_request_is_refused)
{
	static const char *const wrong[] = {
		"\r\n\r\n",
		"GET\r\n\r\n",
		" / HTTP/1.1\r\n\r\n",
		"GET / SPDY/1.1\r\n\r\n",
		"GET x HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
		"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
		"GET / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
	};
	struct http_request request;
	char endless[HTTP_BYTES_MAX];

	for (size_t i = 0; i < FILAR_COUNT_OF(wrong); i++)
		CHECK_EQ(parsed(&request, wrong[i]), HTTP_REFUSED);
	memset(endless, 'x', sizeof endless);
	CHECK_EQ(http_parse(&request, endless, sizeof endless - 1), HTTP_PARTIAL);
	CHECK_EQ(http_parse(&request, endless, sizeof endless), HTTP_REFUSED);
	CHECK_EQ(parsed(&request, "GET /?steps=99999999999999999999 HTTP/1.1\r\n\r\n"), HTTP_WHOLE);
	CHECK_EQ(request.steps, HTTP_STEPS_MAX);
}

TEST(requests_in_pieces_and_several_at_once_are_answered)
{
	static const char two[] = "GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n";
	struct http_connection connection;
	char answers[512] = "";
	ssize_t got;
	int pair[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	http_connection_init(&connection, pair[0]);
	for (size_t i = 0; i + 1 < sizeof two; i++) {
		CHECK_EQ(send(pair[1], two + i, 1, 0), 1);
		CHECK(http_step(&connection, &http_ready));
	}
	CHECK_EQ(send(pair[1], two, sizeof two - 1, 0), (ssize_t)sizeof two - 1);
	CHECK(http_step(&connection, &http_ready));
	CHECK(http_step(&connection, &http_ready)); /* nothing there: it does not wait */
	got = recv(pair[1], answers, sizeof answers - 1, 0);
	CHECK(got > 0);
	answers[got] = '\0';
	for (const char *at = answers, *echo = "abab"; *echo != '\0'; echo++) {
		char body[16];

		snprintf(body, sizeof body, "\r\n\r\n/%c", *echo);
		at = strstr(at, body);
		CHECK(at != NULL);
		at += strlen(body);
	}
	CHECK_EQ(send(pair[1], "nonsense\r\n\r\n", 12, 0), 12);
	CHECK(!http_step(&connection, &http_ready));
	close(pair[0]);
	close(pair[1]);
}

/* ---- the histogram ---- */

TEST(a_quantile_is_right_to_a_sixtyfourth)
{
	static struct histogram histogram;
	struct random random;

	CHECK(isnan(histogram_quantile(&histogram, 0.5)));
	for (int64_t i = 1; i <= 100000; i++)
		histogram_add(&histogram, i * 1000);
	for (double share = 0.01; share < 1; share += 0.01) {
		double exact = share * 1e8;

		CHECK(fabs(histogram_quantile(&histogram, share) - exact) <= exact / 64 + 1000);
	}
	random_init(&random, 1);
	for (int i = 0; i < 100000; i++) {
		uint64_t value = random_next(&random) >> (17 + random_below(&random, 46));
		uint32_t bucket = histogram_bucket(value);

		CHECK(bucket < HISTOGRAM_BUCKETS);
		CHECK(histogram_value(bucket) <= (double)value);
		CHECK((double)value < histogram_value(bucket + 1));
	}
	histogram_clear(&histogram);
	histogram_add(&histogram, INT64_MAX);
	histogram_add(&histogram, -1);
	CHECK_EQ(histogram.counts[0], 1u);
	CHECK_EQ(histogram.counts[HISTOGRAM_BUCKETS - 1], 1u);
}

/* ---- servers ---- */

static bool serves(int64_t kind)
{
	return SERVER_MAY_START && kind < SERVER_KINDS;
}

/* On a busy machine a window may pass before the server has had its turn: then another. */
static void check_served(struct setting setting)
{
	struct once once;
	int windows = 0;

	do {
		once = run(setting);
		CHECK_EQ(once.status, FILAR_OK);
		CHECK(once.values[FAILED] == 0);
		CHECK_LE(++windows, 1000);
	} while (!(once.values[SERVED] > 0));
	CHECK(once.values[P50] > 0 && once.values[P50] <= once.values[P99]);
}

TEST(every_kind_of_server_answers)
{
	int fds = fds_open();

	for (int64_t kind = 0; serves(kind); kind++) {
		struct setting setting = usual;

		setting.kind = kind;
		/* Of these a connection has somebody for itself, or waits for ever. */
		if (kind == SERVER_ITERATIVE)
			setting.connections = 1;
		if (kind == SERVER_CREW)
			setting.workers = 4;
		check_served(setting);
		setting.connections = 4;
		setting.reconnect = setting.local = 1;
		setting.steps = 1000;
		setting.block_us = 10;
		check_served(setting);
		check_nothing_left(fds, 0);
	}
}

TEST(slow_clients_starve_a_pool_by_connection_and_no_dispatcher)
{
	struct setting setting = usual;
	int fds = fds_open();
	struct once once;

	if (!SERVER_MAY_START)
		return;
	setting.slow = setting.workers;
	setting.patience_ns = 50 * MS;
	setting.pause_us = 100000;
	setting.kind = SERVER_CREW;
	once = run(setting);
	CHECK_EQ(once.status, FILAR_OK);
	CHECK(once.values[SERVED] == 0);
	CHECK(once.values[SILENT] == 100);
	setting.patience_ns = 20 * NS_PER_S;
	setting.kind = SERVER_POOL;
	check_served(setting);
	check_nothing_left(fds, 0);
}

TEST(a_limit_of_descriptors_is_named)
{
	struct rlimit limit = { 40, 40 };
	struct setting setting = usual;
	int fds = fds_open();
	struct once once;

	if (!SERVER_MAY_START)
		return;
	setting.connections = 100;
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
	once = run(setting);
	CHECK_EQ(once.status, FILAR_LIMIT);
	CHECK_TEXT_HAS(once.detail, "socket");
	check_nothing_left(fds, 0);
}

TEST(a_server_elsewhere_that_is_not_there_is_trouble_of_the_way)
{
	struct setting setting = usual;
	int fds = fds_open();

	setting.kind = SERVER_KINDS;
	setting.port = 1;
	setting.process = 1 << 22;
	CHECK_EQ(run(setting).status, FILAR_NOT_FOUND);
	setting.process = getpid();
	CHECK_EQ(run(setting).status, FILAR_SYSTEM);
	check_nothing_left(fds, 0);
}

TEST(parameters_out_of_range_are_refused)
{
	struct setting setting = usual;
	int fds = fds_open();

	setting.slow = setting.connections;
	CHECK_EQ(run(setting).status, FILAR_INVALID);
	setting = usual;
	setting.kind = SERVER_KINDS + 1;
	CHECK_EQ(run(setting).status, FILAR_INVALID);
	setting = usual;
	setting.connections = 0;
	CHECK_EQ(run(setting).status, FILAR_INVALID);
	check_nothing_left(fds, 0);
}

/* A server elsewhere, in a process of the test's own. */
struct own_server {
	uint16_t port;
	pid_t process;
};

/* It takes one connection, answers so many requests, and is dead. */
FILAR_NORETURN static void answer_and_die(int listener, int answers)
{
	struct http_connection connection;

	alarm(test_seconds_max());
	http_connection_init(&connection, accept(listener, NULL, NULL));
	while (answers-- > 0 && http_step(&connection, &http_blocking))
		;
	_exit(0);
}

static struct own_server start_own_server(int answers)
{
	struct server_address address = loopback_address(0);
	struct sockaddr_in *inet = (struct sockaddr_in *)&address.storage;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct own_server own;

	CHECK_EQ(bind(listener, (struct sockaddr *)&address.storage, address.bytes), 0);
	CHECK_EQ(listen(listener, 8), 0);
	CHECK_EQ(getsockname(listener, (struct sockaddr *)&address.storage, &address.bytes), 0);
	own.port = ntohs(inet->sin_port);
	own.process = fork();
	if (own.process == 0)
		answer_and_die(listener, answers);
	CHECK(own.process > 0);
	CHECK_EQ(close(listener), 0);
	return own;
}

/* The way is to say that of one that dies after so many answers. */
static void check_lost_after(int answers)
{
	struct setting setting = usual;
	struct own_server own = start_own_server(answers);
	struct once once;

	setting.kind = SERVER_KINDS;
	setting.connections = 1;
	setting.window_ns = 60 * NS_PER_S;
	setting.port = own.port;
	setting.process = own.process;
	once = run(setting);
	CHECK_EQ(once.status, FILAR_SYSTEM);
	CHECK_TEXT_HAS(once.detail, "has ended");
	/* In vain where children are reaped by nobody. */
	(void)waitpid(own.process, NULL, 0);
}

/* The first answer belongs to the connecting, the others to the window. */
TEST(a_server_elsewhere_that_dies_has_ended_whether_it_is_reaped_or_not)
{
	int fds = fds_open();

	for (int answers = 0; answers <= 3; answers++)
		check_lost_after(answers);
	CHECK(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
	for (int answers = 0; answers <= 3; answers++)
		check_lost_after(answers);
	check_nothing_left(fds, 0);
}

TEST(a_server_elsewhere_that_is_a_zombie_has_ended)
{
	struct setting setting = usual;
	siginfo_t info;
	struct once once;
	pid_t child = fork();

	if (child == 0)
		_exit(0);
	CHECK_EQ(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
	setting.kind = SERVER_KINDS;
	setting.port = 1;
	setting.process = child;
	once = run(setting);
	CHECK_EQ(once.status, FILAR_SYSTEM);
	CHECK_TEXT_HAS(once.detail, "has ended");
	CHECK_EQ(waitpid(child, NULL, 0), child);
}

/* The interleaving hunted: the driver is in its loop, or waits for the server's counters, when the
 * server is gone or stopped. */
static void lose_server(int signal, int expected)
{
	struct setting setting = usual;
	int fds = fds_open();
	const char *detail;
	struct plan *plan;

	if (!SERVER_MAY_START)
		return;
	setting.window_ns = 60 * NS_PER_S;
	plan = once_plan("serve-http", (const int64_t *)&setting, sizeof setting / sizeof(int64_t),
		1, 1, -1);
	once_start_and_hit(plan, signal);
	if (expected == FILAR_CANCELLED)
		plan_cancel(plan);
	CHECK_EQ(once_wait(plan, &detail), expected);
	plan_destroy(plan);
	check_nothing_left(fds, 0);
}

TEST(a_killed_server_fails_the_way_and_nothing_else)
{
	lose_server(SIGKILL, FILAR_SYSTEM);
}

TEST(cancelling_ends_a_sample_whose_server_is_stopped)
{
	lose_server(SIGSTOP, FILAR_CANCELLED);
}

#if FILAR_FAIL
static int attempt_serving(void)
{
	return run(usual).status;
}

TEST(every_failure_of_a_server_is_a_status)
{
	int fds = fds_open();

	fail_each(attempt_serving);
	check_nothing_left(fds, 0);
}
#endif

TEST_MAIN()
