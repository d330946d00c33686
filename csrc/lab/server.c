/*
 * server.c - the parent's side of a server: its socket, its process, its counters.
 *
 * The parent makes the listening socket, so that it knows the address and that trouble with it is
 * an ordinary status; then it forks, and closes its own descriptor.
 */
#include "lab/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/memory.h"
#include "lab/crew.h"
#include "lab/peer.h"
#include "os/calls.h"

enum { ORDER_START = 1, ORDER_COUNT = 2 };

struct server {
	struct server_page *page;      /* I */
	struct peer *peer;             /* I */
	struct server_address address; /* I */
};

/* ---- the child's side ---- */

static enum filar_status obey(void *argument, uint32_t order)
{
	struct server_page *page = argument;
	struct rusage usage;

	if (order == ORDER_START)
		return server_start(page);
	getrusage(RUSAGE_SELF, &usage);
	page->switches = (double)(usage.ru_nvcsw + usage.ru_nivcsw);
	return FILAR_OK;
}

/* Only the watch of a peer that is a thread calls it. */
static void ignore(void *argument)
{
	(void)argument;
}

/* ---- the socket ---- */

struct server_address loopback_address(uint16_t port)
{
	struct server_address address = { .bytes = sizeof(struct sockaddr_in) };
	struct sockaddr_in *inet = (struct sockaddr_in *)&address.storage;

	inet->sin_family = AF_INET;
	inet->sin_port = htons(port);
	inet->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return address;
}

/* Bound to nothing but its family, a unix socket gets a name of the kernel's. */
static struct server_address any_address(bool local)
{
	struct server_address address = { .bytes = sizeof(sa_family_t) };

	if (!local)
		return loopback_address(0);
	address.storage.ss_family = AF_UNIX;
	return address;
}

static enum filar_status listen_on(struct server *server, bool local)
{
	struct server_address *address = &server->address;
	/* Inherited by the connections: what sends waits for no acknowledgement, nor for ever. */
	struct timeval patience = { .tv_sec = 5 };
	int on = 1, fd = call_socket(local ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return status_from_errno(errno, "a listening socket");
	server->page->listener = fd;
	*address = any_address(local);
	if (!local)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	if (bind(fd, (struct sockaddr *)&address->storage, address->bytes) != 0)
		return status_from_errno(errno, "bind to the loopback");
	if (listen(fd, SERVER_BACKLOG) != 0)
		return status_from_errno(errno, "listen");
	address->bytes = sizeof address->storage;
	if (getsockname(fd, (struct sockaddr *)&address->storage, &address->bytes) != 0)
		return status_from_errno(errno, "getsockname");
	return FILAR_OK;
}

/* ---- life ---- */

enum filar_status server_lost(pid_t process)
{
	return status_detail(FILAR_SYSTEM, "the server's process (%d) has ended", (int)process);
}

static enum filar_status order(struct server *server, uint32_t what)
{
	pid_t process = peer_process(server->peer);
	enum filar_status status;

	peer_begin(server->peer, what);
	status = peer_end(server->peer);
	return status != FILAR_OK && child_has_ended(process) ? server_lost(process) : status;
}

static enum filar_status start(struct server *server, const struct way_run *run)
{
	enum filar_status status = crew_mask(&server->page->cpus, -1);

	if (status == FILAR_OK)
		status = listen_on(server, server->page->options.local);
	if (status == FILAR_OK)
		status = peer_create(&server->peer, run,
			&(struct peer_options){ .process = true,
				.cpu = -1,
				.body = obey,
				.argument = server->page,
				.on_stuck = ignore,
				.unwatched = true,
				.fds = { server->page->listener, -1 } });
	if (status == FILAR_OK)
		status = order(server, ORDER_START);
	if (server->page->listener >= 0)
		(void)close(server->page->listener);
	return status;
}

enum filar_status server_open(
	struct server **result, const struct way_run *run, const struct server_options *options)
{
	struct server *server = memory_acquire(1, sizeof *server);
	enum filar_status status;

	if (server == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for a server");
	*result = server;
	server->page = shared_acquire(sizeof *server->page);
	if (server->page == NULL) {
		status = status_detail(FILAR_NO_MEMORY, "no shared memory for a server");
	} else {
		server->page->options = *options;
		server->page->listener = -1;
		status = start(server, run);
	}
	if (status != FILAR_OK) {
		server_close(server);
		*result = NULL;
	}
	return status;
}

const struct server_address *server_address(const struct server *server)
{
	return &server->address;
}

pid_t server_process(const struct server *server)
{
	return peer_process(server->peer);
}

enum filar_status server_switches(struct server *server, double *count)
{
	enum filar_status status = order(server, ORDER_COUNT);

	*count = server->page->switches;
	return status;
}

void server_close(struct server *server)
{
	if (server == NULL)
		return;
	peer_destroy(server->peer);
	shared_release(server->page, sizeof *server->page);
	memory_release(server);
}
