/*
 * server_models.c - the textbook ways of serving many connections, in the server's own process.
 *
 * Whoever accepts gives the connection to whoever serves it; from then on that one owns it, closes
 * and frees it.  With a queue (CREW, POOL) ownership goes through the queue.  In POOL a connection
 * that waits for its client belongs to epoll, armed for one event: so it is queued at most once.
 *
 * Nothing here ends: the process is killed.  A process that has no descriptor or thread left for
 * another connection waits a little and goes on, it does not spin.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "lab/http.h"
#include "lab/server.h"
#include "lab/server_green.h"
#include "os/calls.h"
#include "os/clock.h"

#define BACK_OFF_NS (5 * NS_PER_MS)
#define STACK_BYTES ((size_t)64 * 1024)
#define EVENTS_EACH 256

/* The one of this process. */
static const struct server_page *page; /* I  before the first thread */

static void back_off(void)
{
	struct timespec pause = { .tv_nsec = BACK_OFF_NS };

	(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}

/* The next connection's descriptor; -1 when a listener that does not wait has none. */
static int accept_one(void)
{
	for (;;) {
		int fd = accept4(page->listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd >= 0)
			return fd;
		if (errno == EAGAIN)
			return -1;
		/* No descriptor, no memory: others must leave first. */
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			back_off();
	}
}

static enum filar_status start_thread(void *(*body)(void *), void *argument)
{
	pthread_attr_t attributes;
	pthread_t thread;
	int error;

	pthread_attr_init(&attributes);
	(void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
	(void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	error = pthread_create(&thread, &attributes, body, argument);
	pthread_attr_destroy(&attributes);
	return error == 0 ? FILAR_OK : status_from_errno(error, "a thread of the server");
}

/* ---- one after the other; a thread each; a process each ---- */

static void serve_fd(int fd)
{
	struct http_connection connection;

	http_connection_init(&connection, fd);
	http_serve(&connection, &http_blocking);
	(void)close(fd);
}

static void *serve_each(void *nothing)
{
	for (;;)
		serve_fd(accept_one());
	return nothing;
}

static void *serve_on_thread(void *fd)
{
	serve_fd((int)(intptr_t)fd);
	return NULL;
}

static void *thread_each(void *nothing)
{
	for (;;) {
		int fd = accept_one();

		/* Its client sees the connection end: better than one that nobody serves. */
		if (start_thread(serve_on_thread, (void *)(intptr_t)fd) != FILAR_OK) {
			(void)close(fd);
			back_off();
		}
	}
	return nothing;
}

static void *process_each(void *nothing)
{
	pid_t parent = getpid();

	for (;;) {
		int fd = accept_one();
		pid_t child = fork();

		if (child == 0) {
			(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() != parent)
				_exit(1);
			(void)close(page->listener);
			serve_fd(fd);
			_exit(0);
		}
		(void)close(fd);
		if (child < 0)
			back_off();
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
	return nothing;
}

/* ---- a queue of connections, and a pool of threads ---- */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t filled;
	struct http_connection *first, **last; /* L */
} queue = { .lock = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER };

static void queue_push(struct http_connection *connection)
{
	pthread_mutex_lock(&queue.lock);
	connection->next = NULL;
	*queue.last = connection;
	queue.last = &connection->next;
	pthread_mutex_unlock(&queue.lock);
	pthread_cond_signal(&queue.filled);
}

static struct http_connection *queue_pop(void)
{
	struct http_connection *connection;

	pthread_mutex_lock(&queue.lock);
	while (queue.first == NULL)
		pthread_cond_wait(&queue.filled, &queue.lock);
	connection = queue.first;
	queue.first = connection->next;
	if (queue.first == NULL)
		queue.last = &queue.first;
	pthread_mutex_unlock(&queue.lock);
	return connection;
}

static struct http_connection *connection_create(int fd)
{
	struct http_connection *connection = memory_acquire(1, sizeof *connection);

	if (connection != NULL)
		http_connection_init(connection, fd);
	else
		(void)close(fd);
	return connection;
}

static void connection_destroy(struct http_connection *connection)
{
	(void)close(connection->fd);
	memory_release(connection);
}

/* Serves connections to their end, one at a time. */
static void *work_on_connections(void *nothing)
{
	for (;;) {
		struct http_connection *connection = queue_pop();

		http_serve(connection, &http_blocking);
		connection_destroy(connection);
	}
	return nothing;
}

static void *queue_each(void *nothing)
{
	for (;;) {
		struct http_connection *connection = connection_create(accept_one());

		if (connection != NULL)
			queue_push(connection);
	}
	return nothing;
}

/* ---- one thread that waits for all connections ---- */

static int events; /* I  before the first thread: an epoll descriptor */

static bool watch(struct http_connection *connection, int operation, uint32_t flags)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP | flags,
		.data.ptr = connection };

	return epoll_ctl(events, operation, connection->fd, &event) == 0;
}

/* Serves what has come of one connection, gives the connection back to epoll. */
static void *work_on_requests(void *nothing)
{
	for (;;) {
		struct http_connection *connection = queue_pop();

		if (!http_step(connection, &http_ready) ||
			!watch(connection, EPOLL_CTL_MOD, EPOLLONESHOT))
			connection_destroy(connection);
	}
	return nothing;
}

static void accept_all(uint32_t flags)
{
	int fd;

	while ((fd = accept_one()) >= 0) {
		struct http_connection *connection = connection_create(fd);

		if (connection != NULL && !watch(connection, EPOLL_CTL_ADD, flags))
			connection_destroy(connection);
	}
}

static void *dispatch(void *queues)
{
	struct epoll_event found[EVENTS_EACH];

	for (;;) {
		int count = epoll_wait(events, found, EVENTS_EACH, -1);

		for (int i = 0; i < count; i++) {
			struct http_connection *connection = found[i].data.ptr;

			if (connection == NULL)
				accept_all(queues != NULL ? EPOLLONESHOT : 0);
			else if (queues != NULL)
				queue_push(connection);
			else if (!http_step(connection, &http_ready))
				connection_destroy(connection);
		}
	}
	return NULL;
}

static enum filar_status watch_listener(void)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };

	events = epoll_create1(EPOLL_CLOEXEC);
	if (events < 0 || fcntl(page->listener, F_SETFL, O_NONBLOCK) != 0 ||
		epoll_ctl(events, EPOLL_CTL_ADD, page->listener, &event) != 0)
		return status_from_errno(errno, "epoll of the server");
	return FILAR_OK;
}

/* ---- start ---- */

static enum filar_status start_workers(void *(*body)(void *))
{
	enum filar_status status = FILAR_OK;

	queue.last = &queue.first;
	for (uint32_t i = 0; status == FILAR_OK && i < page->options.workers; i++)
		status = start_thread(body, NULL);
	return status;
}

static enum filar_status start_pool(void)
{
	enum filar_status status = watch_listener();

	if (status == FILAR_OK)
		status = start_workers(work_on_requests);
	return status == FILAR_OK ? start_thread(dispatch, &queue) : status;
}

static enum filar_status start_crew(void)
{
	enum filar_status status = start_workers(work_on_connections);

	return status == FILAR_OK ? start_thread(queue_each, NULL) : status;
}

static enum filar_status start_events(void)
{
	enum filar_status status = watch_listener();

	return status == FILAR_OK ? start_thread(dispatch, NULL) : status;
}

/* As many connections as the system allows at all: this process has nothing else. */
static void raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

enum filar_status server_start(const struct server_page *shared)
{
	page = shared;
	raise_descriptors();
	(void)affinity_set(0, &page->cpus);
	switch (page->options.kind) {
	case SERVER_ITERATIVE:
		return start_thread(serve_each, NULL);
	case SERVER_THREADS:
		return start_thread(thread_each, NULL);
	case SERVER_PROCESSES:
		return start_thread(process_each, NULL);
	case SERVER_CREW:
		return start_crew();
	case SERVER_POOL:
		return start_pool();
	case SERVER_EVENTS:
		return start_events();
	case SERVER_GREEN:
		return server_start_green(page->listener, page->options.workers);
	case SERVER_KINDS:
		break;
	}
	return status_detail(FILAR_INVALID, "no such kind of server");
}
