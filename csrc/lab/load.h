/*
 * load.h - a load generator: many connections to one server, driven by one kernel thread.
 *
 * A *closed loop*: each connection sends its next request when the last was answered.  So a server
 * that stalls is asked less meanwhile, and the latencies show the stall once for each connection
 * and not once for each request that would have come (coordinated omission): they are what a fixed
 * number of patient clients sees, not what a stream of arrivals would.
 *
 * Some of the connections may be slow: they send a byte now and then.  Their requests are answered
 * like others, but their latencies are not recorded.
 *
 * Life: load_open, any number of load_run, load_close.  Each answer is checked against the request.
 */
#ifndef FILAR_LAB_LOAD_H
#define FILAR_LAB_LOAD_H

#include <sys/socket.h>

#include "base/status.h"
#include "lab/histogram.h"

#define LOAD_CONNECTIONS_MAX 60000u

struct load_options {
	const struct sockaddr *address;
	socklen_t address_bytes;
	uint32_t connections;
	uint32_t slow;    /* of them: these send slowly */
	int64_t pause_ns; /* a slow one's time between two bytes */
	int64_t steps;    /* what each request asks for */
	int64_t block_us;
	bool reconnect;                         /* a connection for each request */
	int64_t patience_ns;                    /* to wait for first answers while connecting */
	bool (*cancelled)(const void *context); /* asked now and then */
	const void *context;
};

struct load_counts {
	uint64_t answered; /* of those that are not slow */
	uint64_t failed;   /* connections that ended, refused, or gave a wrong answer */
	uint32_t silent;   /* connections, not slow, without any answer in this run */
	int64_t length_ns; /* of the run */
};

struct load;

/* Connects all and waits until each has had an answer, at most patience_ns.  A connection that
 * cannot be made for want of descriptors or ports is FILAR_LIMIT. */
enum filar_status load_open(struct load **load, const struct load_options *options);
/* Drives them for so long; counts and latencies are those of this run alone.  FILAR_CANCELLED. */
enum filar_status load_run(struct load *load, int64_t length_ns);
const struct load_counts *load_counts(const struct load *load);
const struct histogram *load_latencies(const struct load *load);
/* What the first failure was; "" without one. */
const char *load_trouble(const struct load *load);
/* Resets the connections, so that no port is kept waiting.  NULL is allowed. */
void load_close(struct load *load);

#endif
