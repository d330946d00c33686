/*
 * api_trace.c - watching: the public side of base/tracepoint.h.
 */
#include "base/status.h"
#include "base/tracepoint.h"
#include "filar.h"
#include "green/green.h"

_Static_assert(sizeof(filar_trace_record) == sizeof(struct trace_record), "one record");
_Static_assert(offsetof(filar_trace_record, sequence) == offsetof(struct trace_record, sequence),
	"field by field");

int filar_trace_start(const filar_trace_options *options)
{
	struct trace_options inner = { 0 };

	if (options != NULL)
		inner = (struct trace_options){ options->records_per_thread, options->bytes_max };
	return tracepoint_start(&inner);
}

int filar_trace_stop(void)
{
	return tracepoint_stop();
}

size_t filar_trace_collect(filar_trace_record *records, size_t max, filar_trace_totals *totals)
{
	struct trace_totals inner;
	size_t copied = tracepoint_collect(
		(struct trace_record *)records, records != NULL ? max : 0, &inner);

	if (totals != NULL)
		*totals = (filar_trace_totals){ .started_ns = inner.started_ns,
			.stopped_ns = inner.stopped_ns,
			.written = inner.written,
			.overwritten = inner.overwritten,
			.left_out = inner.left_out,
			.rings = inner.rings,
			.bytes = inner.bytes };
	return copied;
}

int filar_trace_clear(void)
{
	return tracepoint_clear();
}

void filar_trace_mark(uint64_t subject, int32_t argument)
{
	TRACE(TRACE_MARK, subject, 0, argument);
}

const char *filar_trace_event_name(uint32_t event)
{
	return tracepoint_event_name(event);
}

const char *filar_trace_wait_name(uint32_t reason)
{
	return reason < WAIT_REASON_COUNT ? wait_reason_name(reason) : NULL;
}
