/*
 * http_server.h - an HTTP/1.1 server of native green threads, one for each connection: the C side
 * of the lab's server experiments, and an example of io/.
 *
 * What it answers, and the options, stand in filar.h.  Life: start -> stop -> destroy.
 */
#ifndef FILAR_LAB_HTTP_SERVER_H
#define FILAR_LAB_HTTP_SERVER_H

#include "base/status.h"
#include "green/runtime.h"

struct http_server;

void http_options_init(filar_http_options *options);
enum filar_status http_start(struct http_server **server, const filar_http_options *options);
uint32_t http_port(const struct http_server *server);
void http_read_stats(struct http_server *server, filar_http_stats *stats);
struct runtime *http_runtime(struct http_server *server);
enum filar_status http_stop_until(struct http_server *server, int64_t deadline_ns);
enum filar_status http_destroy(struct http_server *server);

#endif
