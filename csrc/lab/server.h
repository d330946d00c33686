/*
 * server.h - the service of http.h in a process of its own, served in one of the textbook ways.
 *
 *   ITERATIVE  one thread serves one connection to its end, then the next
 *   THREADS    a kernel thread for each connection
 *   PROCESSES  a process for each connection
 *   CREW       a pool of threads and a queue of connections: each is served to its end
 *   POOL       a pool of threads and a queue of requests: a dispatcher waits for all connections
 *              and queues those that have something to say
 *   EVENTS     one thread that waits for all connections and serves whoever is ready
 *   GREEN      a green thread for each connection
 *
 * The process is a peer (peer.h): it dies with its parent and has nothing of it but the listening
 * socket.  Its main thread does as it is told; what serves are threads of its own.
 */
#ifndef FILAR_LAB_SERVER_H
#define FILAR_LAB_SERVER_H

#include <sys/socket.h>

#include "lab/way.h"
#include "os/affinity.h"

enum server_kind {
	SERVER_ITERATIVE,
	SERVER_THREADS,
	SERVER_PROCESSES,
	SERVER_CREW,
	SERVER_POOL,
	SERVER_EVENTS,
	SERVER_GREEN,
	SERVER_KINDS
};

#define SERVER_WORKERS_MAX 1024
#define SERVER_BACKLOG     4096

struct server_options {
	enum server_kind kind;
	uint32_t workers; /* of CREW, POOL and GREEN */
	bool local;       /* a unix socket without a name instead of a port on the loopback */
};

struct server_address {
	struct sockaddr_storage storage;
	socklen_t bytes;
};

struct server;

/* Returns when it listens and its threads have been started. */
enum filar_status server_open(
	struct server **server, const struct way_run *run, const struct server_options *options);
const struct server_address *server_address(const struct server *server);
pid_t server_process(const struct server *server);
/* Context switches of all its threads so far, in *count; processes' children not included. */
enum filar_status server_switches(struct server *server, double *count);
/* The status of all who find that it has ended by itself. */
enum filar_status server_lost(pid_t process);
/* Ends and reaps it, whatever it does.  NULL is allowed. */
void server_close(struct server *server);

/* Of a port of this machine. */
struct server_address loopback_address(uint16_t port);

/* ---- for server_models.c ---- */

/* Shared by parent and child. */
struct server_page {
	struct server_options options; /* I */
	struct cpu_mask cpus;          /* I  where the server may run, wherever its creator is */
	int listener;                  /* I  the same number in both */
	double switches;               /* S  the child's until the order has ended */
};

/* In the child: starts the threads that serve.  They run until the process is killed. */
enum filar_status server_start(const struct server_page *page);

#endif
