/*
 * crew.c - gate, tally and crew on futexes.
 *
 * Every wait is a loop around the futex: it may return for no reason.  Two edges:
 *   R1 gate_open() -> A1 gate_wait(): what was written before opening is seen behind the gate.
 *   R2 tally_add() -> A2 tally_wait(): what was written before counting is seen at the total.
 */
#include "lab/crew.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "lab/way.h"
#include "os/calls.h"
#include "os/clock.h"
#include "os/futex.h"

enum { GATE_SHUT, GATE_GO, GATE_HOME };

/* ---- gate ---- */

void gate_open(struct gate *gate, uint32_t value)
{
	/* R1: pairs with A1 in gate_wait(). */
	store_release(&gate->word, value);
	(void)futex_wake(&gate->word, INT_MAX);
}

uint32_t gate_wait(struct gate *gate)
{
	uint32_t value;

	/* A1: pairs with R1 in gate_open(). */
	while ((value = load_acquire(&gate->word)) == GATE_SHUT)
		(void)futex_wait_until(&gate->word, GATE_SHUT, DEADLINE_NEVER);
	return value;
}

bool gate_is_open(const struct gate *gate)
{
	return load_relaxed(&gate->word) != GATE_SHUT;
}

/* ---- tally ---- */

void tally_add(struct tally *tally)
{
	uint32_t total = tally->total;

	/* R2: pairs with A2 in tally_wait().  Only the last one wakes; after its addition the
	 * tally may be gone for all but the waiter, hence the copy of the total. */
	if (fetch_add_acq_rel(&tally->count, 1) + 1 == total)
		(void)futex_wake(&tally->count, INT_MAX);
}

void tally_wait(struct tally *tally)
{
	uint32_t count;

	/* A2: pairs with R2 in tally_add(). */
	while ((count = load_acquire(&tally->count)) < tally->total)
		(void)futex_wait_until(&tally->count, count, DEADLINE_NEVER);
}

/* ---- crew ---- */

static void *member_main(void *pointer)
{
	struct crew_member *member = pointer;
	struct crew *crew = member->crew;

	tally_add(&crew->arrived);
	if (gate_wait(&crew->gate) == GATE_GO)
		crew->body(member);
	return NULL;
}

static enum filar_status refused(int error, uint32_t number, uint32_t count)
{
	/* The only argument that can be wrong here is the mask. */
	if (error == EINVAL)
		return status_detail(FILAR_NO_CPU, "no CPU asked for is online and allowed");
	return status_detail(error == EAGAIN ? FILAR_LIMIT : FILAR_SYSTEM,
		"creation of thread %u of %u was refused (errno %d)", number, count, error);
}

static enum filar_status create_members(
	struct crew *crew, uint32_t count, const pthread_attr_t *attributes)
{
	for (; crew->count < count; crew->count++) {
		struct crew_member *member = &crew->members[crew->count];
		int error;

		*member = (struct crew_member){ .crew = crew, .number = crew->count };
		error = call_thread_create(&member->thread, attributes, member_main, member);
		if (error != 0)
			return refused(error, crew->count + 1, count);
	}
	return FILAR_OK;
}

enum filar_status crew_create(struct crew *crew, uint32_t count, const struct cpu_mask *cpus,
	crew_body *body, void *shared)
{
	enum filar_status status;
	pthread_attr_t attributes;

	*crew = (struct crew){ .body = body, .shared = shared, .arrived = { .total = count } };
	crew->members = memory_acquire((size_t)count + 1, sizeof *crew->members);
	if (crew->members == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for %u threads", count);
	pthread_attr_init(&attributes);
	(void)pthread_attr_setstacksize(&attributes, CREW_STACK_BYTES);
	if (cpus != NULL)
		(void)pthread_attr_setaffinity_np(&attributes, cpus->bytes, cpus->bits);
	status = create_members(crew, count, &attributes);
	pthread_attr_destroy(&attributes);
	if (status == FILAR_OK)
		tally_wait(&crew->arrived);
	else
		crew_join(crew);
	return status;
}

void crew_open(struct crew *crew)
{
	crew->opened_ns = clock_now_ns();
	gate_open(&crew->gate, GATE_GO);
}

void crew_join(struct crew *crew)
{
	if (!gate_is_open(&crew->gate))
		gate_open(&crew->gate, GATE_HOME);
	for (uint32_t i = 0; i < crew->count; i++)
		pthread_join(crew->members[i].thread, NULL);
	memory_release(crew->members);
	crew->members = NULL;
	crew->count = 0;
}

enum filar_status crew_mask(struct cpu_mask *mask, int64_t cpu)
{
	int32_t list[] = { (int32_t)cpu };

	/* The main thread's CPUs: the driver, which asks, may be pinned. */
	if (cpu < 0)
		return affinity_get((int32_t)getpid(), mask);
	if (cpu >= CPUS_MAX)
		return status_detail(FILAR_NO_CPU, "there is no CPU %lld", (long long)cpu);
	return cpu_mask_from_list(mask, list, 1);
}

/* ---- work and numbers ---- */

void spin_steps(uint64_t steps)
{
	uint64_t value = 1;

	for (uint64_t i = 0; i < steps; i++) {
		value *= UINT64_C(6364136223846793005);
		FILAR_KEEP_IN_REGISTER(value);
	}
}

enum filar_status sleep_until(const struct way_run *run, int64_t deadline_ns)
{
	while (!way_cancelled(run)) {
		int64_t now = clock_now_ns(), next = now + 20 * NS_PER_MS;
		struct timespec until = clock_timespec(next < deadline_ns ? next : deadline_ns);

		if (now >= deadline_ns)
			return FILAR_OK;
		(void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
	}
	return FILAR_CANCELLED;
}

static int compare_doubles(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

double median_of(double *values, size_t count)
{
	if (count == 0)
		return NAN;
	qsort(values, count, sizeof *values, compare_doubles);
	return count % 2 != 0 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

enum filar_status param_check(const char *name, int64_t value, int64_t low, int64_t high)
{
	if (value >= low && value <= high)
		return FILAR_OK;
	return status_detail(FILAR_INVALID, "%s goes from %lld to %lld, not %lld", name,
		(long long)low, (long long)high, (long long)value);
}
