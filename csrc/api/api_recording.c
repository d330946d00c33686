/*
 * api_recording.c - predicting: the public side of pool/recording.h.
 */
#include "base/status.h"
#include "filar.h"
#include "green/preempt.h"
#include "pool/recording.h"

static enum filar_status no_recording(void)
{
	return status_detail(FILAR_INVALID, "no recording was given");
}

int filar_recording_start(filar_recording **recording, const filar_recording_options *options)
{
	PREEMPT_GUARD();
	static const filar_recording_options defaults;

	if (recording == NULL)
		return no_recording();
	*recording = NULL;
	return recording_start(
		(struct recording **)recording, options != NULL ? options : &defaults);
}

int filar_recording_stop(filar_recording *recording, filar_recording_totals *totals)
{
	PREEMPT_GUARD();

	return recording != NULL ? recording_stop((struct recording *)recording, totals)
				 : no_recording();
}

size_t filar_recording_copy(
	const filar_recording *recording, filar_recorded_part *parts, size_t max)
{
	PREEMPT_GUARD();

	return recording != NULL ? recording_copy((const struct recording *)recording, parts,
					   parts != NULL ? max : 0)
				 : 0;
}

int filar_recording_destroy(filar_recording *recording)
{
	PREEMPT_GUARD();

	return recording != NULL ? recording_destroy((struct recording *)recording) : FILAR_OK;
}
