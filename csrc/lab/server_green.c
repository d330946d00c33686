/*
 * server_green.c - a green thread for each connection, in the server's own process.
 *
 * The same handler as everywhere (http.h); its transport parks the green thread where the plain one
 * blocks a kernel thread.  A call that blocks is marked, so that a spare worker serves the others
 * meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <time.h>

#include "base/check.h"
#include "green/runtime.h"
#include "io/fd.h"
#include "io/stream.h"
#include "lab/http.h"
#include "lab/server_green.h"
#include "os/clock.h"
#include "sched/blocking.h"

#define BACK_OFF_NS (5 * NS_PER_MS)
#define SPARES      64

static struct runtime *runtime; /* I  before the first green thread */
static int listener;            /* I */

/* ---- the transport of green threads ---- */

/* As recv(2) and send(2) say it; no handler asks which error it was. */
static ssize_t as_system_call(enum filar_status status, const size_t *done)
{
	if (status == FILAR_OK)
		return (ssize_t)*done;
	errno = EIO;
	return -1;
}

static ssize_t receive(int fd, void *buffer, size_t bytes)
{
	size_t done = 0;

	return as_system_call(stream_recv(fd, buffer, bytes, 0, DEADLINE_NEVER, &done), &done);
}

static ssize_t send_parked(int fd, const void *bytes, size_t count)
{
	size_t done = 0;

	return as_system_call(stream_send_all(fd, bytes, count, 0, DEADLINE_NEVER, &done), &done);
}

static void block_marked(int64_t length_ns)
{
	struct timespec length = clock_timespec(length_ns);

	blocking_begin();
	(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &length, NULL);
	blocking_end();
}

static const struct http_transport http_green = { receive, send_parked, block_marked };

/* ---- the green threads ---- */

static void serve_connection(void *fd)
{
	struct http_connection connection;

	http_connection_init(&connection, (int)(intptr_t)fd);
	http_serve(&connection, &http_green);
	(void)fd_close(connection.fd);
}

static void accept_connections(void *nothing)
{
	static const struct green_options detached = { .detached = true };
	int fd;

	(void)nothing;
	for (;;) {
		enum filar_status status = stream_accept(listener, NULL, NULL, DEADLINE_NEVER, &fd);

		if (status == FILAR_OK) {
			status = green_spawn(
				NULL, runtime, &detached, serve_connection, (void *)(intptr_t)fd);
			if (status != FILAR_OK)
				(void)fd_close(fd);
		}
		/* No descriptor, no stack: others must leave first. */
		if (status != FILAR_OK)
			(void)green_sleep_until(clock_now_ns() + BACK_OFF_NS);
	}
}

enum filar_status server_start_green(int fd, uint32_t workers)
{
	static const struct green_options detached = { .detached = true };
	struct runtime_options options;
	enum filar_status status;

	listener = fd;
	if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0)
		return status_from_errno(errno, "fcntl of the listening socket");
	runtime_options_init(&options);
	options.workers = workers;
	options.spares_max = SPARES;
	status = runtime_create(&runtime, &options);
	return status == FILAR_OK ? green_spawn(NULL, runtime, &detached, accept_connections, NULL)
				  : status;
}
