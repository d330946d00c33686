/*
 * api_http.c - the public HTTP server: check the arguments, call down.
 */
#include "filar.h"
#include "green/preempt.h"
#include "lab/http_server.h"

static struct http_server *inner(filar_http *server)
{
	return (struct http_server *)server;
}

static enum filar_status no_server(void)
{
	return status_detail(FILAR_INVALID, "no server was given");
}

void filar_http_options_init(filar_http_options *options)
{
	if (options != NULL)
		http_options_init(options);
}

int filar_http_start(filar_http **server, const filar_http_options *options)
{
	PREEMPT_GUARD();

	if (server == NULL)
		return status_detail(FILAR_INVALID, "a server needs a place for its handle");
	return http_start((struct http_server **)server, options);
}

uint32_t filar_http_port(filar_http *server)
{
	PREEMPT_GUARD();

	return server != NULL ? http_port(inner(server)) : 0;
}

int filar_http_read_stats(filar_http *server, filar_http_stats *stats)
{
	PREEMPT_GUARD();

	if (server == NULL || stats == NULL)
		return no_server();
	http_read_stats(inner(server), stats);
	return FILAR_OK;
}

int filar_http_read_runtime_stats(filar_http *server, filar_runtime_stats *stats)
{
	PREEMPT_GUARD();

	if (server == NULL)
		return no_server();
	return filar_runtime_read_stats((filar_runtime *)http_runtime(inner(server)), stats);
}

int filar_http_dump(filar_http *server, int fd)
{
	PREEMPT_GUARD();

	if (server == NULL)
		return no_server();
	return filar_runtime_dump((filar_runtime *)http_runtime(inner(server)), fd);
}

int filar_http_stop_until(filar_http *server, int64_t deadline_ns)
{
	PREEMPT_GUARD();

	return server != NULL ? http_stop_until(inner(server), deadline_ns) : no_server();
}

int filar_http_destroy(filar_http *server)
{
	PREEMPT_GUARD();

	return server != NULL ? http_destroy(inner(server)) : FILAR_OK;
}
