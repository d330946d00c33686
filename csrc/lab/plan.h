/*
 * plan.h - all ways of one comparison, run in shuffled rounds on a driver thread.
 *
 * Why rounds: measured one after the other (A, then B), the same work differs by 30 to 47 % on a
 * shared machine; interleaved in shuffled rounds, by 1 to 2 %.  So a plan is never split.
 * The public side, with the meaning of each option, is in filar.h.
 */
#ifndef FILAR_LAB_PLAN_H
#define FILAR_LAB_PLAN_H

#include "lab/way.h"

struct plan;

void plan_options_init(filar_plan_options *options);
enum filar_status plan_check_options(const filar_plan_options *options);
enum filar_status plan_create(struct plan **plan, const filar_plan_options *options);
enum filar_status plan_add(struct plan *plan, const struct way *way, const int64_t *params,
	size_t param_count, uint32_t batch, int32_t *index);
enum filar_status plan_start(struct plan *plan);
enum filar_status plan_wait_until(struct plan *plan, int64_t deadline_ns);
void plan_cancel(struct plan *plan);
void plan_read_progress(struct plan *plan, filar_plan_progress *progress);
enum filar_status plan_way_status(struct plan *plan, int32_t index, const char **detail);
size_t plan_sample_count(struct plan *plan);
size_t plan_copy_samples(struct plan *plan, filar_sample *samples, size_t max);
size_t plan_point_count(struct plan *plan);
size_t plan_copy_points(struct plan *plan, filar_point *points, size_t max);
uint64_t plan_points_lost(struct plan *plan);
void plan_destroy(struct plan *plan);

#endif
