/*
 * ways_floor.c - the physical floors everything else stands on, and the control that must cost
 * nothing.
 */
#include <errno.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/atomic.h"
#include "lab/crew.h"
#include "lab/registry.h"
#include "os/calls.h"
#include "os/clock.h"
#include "os/futex.h"

#define PAGE_BYTES 4096

/* ---- syscall: getppid, which does nothing but enter and leave the kernel ---- */

static enum filar_status sample_syscall(struct way_run *run)
{
	int64_t start = clock_now_ns();

	for (uint32_t i = 0; i < run->batch; i++)
		FILAR_KEEP(syscall(SYS_getppid));
	run->values[0] = (double)(clock_now_ns() - start) / run->batch;
	return FILAR_OK;
}

/* ---- clock: one reading ---- */

static enum filar_status sample_clock(struct way_run *run)
{
	int64_t start = clock_now_ns();

	for (uint32_t i = 0; i < run->batch; i++)
		FILAR_KEEP(clock_now_ns());
	run->values[0] = (double)(clock_now_ns() - start) / run->batch;
	return FILAR_OK;
}

/* ---- page-fault: first touch of a fresh page ---- */

static enum filar_status sample_page_fault(struct way_run *run)
{
	size_t bytes = (size_t)run->batch * PAGE_BYTES;
	char *pages =
		call_mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int64_t start;

	if (pages == MAP_FAILED)
		return status_from_errno(errno, "mmap");
	(void)call_madvise(pages, bytes, MADV_NOHUGEPAGE);
	start = clock_now_ns();
	for (size_t at = 0; at < bytes; at += PAGE_BYTES)
		*(volatile char *)(pages + at) = 1;
	run->values[0] = (double)(clock_now_ns() - start) / run->batch;
	(void)munmap(pages, bytes);
	return FILAR_OK;
}

/* ---- spin: a fixed chain of dependent additions, the work of the A/A self-check ---- */

#define SPIN_STEPS_MAX INT64_C(100000000) /* a tenth of a second */

static enum filar_status setup_spin(struct way_run *run)
{
	return param_check("steps", run->params[0], 0, SPIN_STEPS_MAX);
}

static enum filar_status sample_spin(struct way_run *run)
{
	uint64_t value = 1;
	int64_t start = clock_now_ns();

	for (uint64_t i = 0; i < (uint64_t)run->batch * (uint64_t)run->params[0]; i++) {
		value += i;
		FILAR_KEEP_IN_REGISTER(value);
	}
	run->values[0] = (double)(clock_now_ns() - start) / run->batch;
	return FILAR_OK;
}

/* ---- yield: sched_yield, whoever else is runnable on this CPU ---- */

static enum filar_status sample_yield(struct way_run *run)
{
	int64_t start = clock_now_ns();

	for (uint32_t i = 0; i < run->batch; i++)
		FILAR_KEEP(sched_yield());
	run->values[0] = (double)(clock_now_ns() - start) / run->batch;
	return FILAR_OK;
}

/* ---- futex-wake: of a word that nobody waits for ---- */

static enum filar_status sample_futex_wake(struct way_run *run)
{
	static _Atomic uint32_t word;
	int64_t start = clock_now_ns();

	for (uint32_t i = 0; i < run->batch; i++)
		FILAR_KEEP(futex_wake(&word, 1));
	run->values[0] = (double)(clock_now_ns() - start) / run->batch;
	return FILAR_OK;
}

const struct way ways_floor[] = {
	{ .name = "syscall",
		.summary = "one getppid: into the kernel and back",
		.metrics = { { "per call", "ns" } },
		.sample = sample_syscall },
	{ .name = "clock",
		.summary = "one reading of the clock",
		.metrics = { { "per reading", "ns" } },
		.sample = sample_clock },
	{ .name = "page-fault",
		.summary = "first touch of a fresh 4 KiB page",
		.metrics = { { "per page", "ns" } },
		.batch_max = 4096,
		.sample = sample_page_fault },
	{ .name = "yield",
		.summary = "one sched_yield",
		.metrics = { { "per call", "ns" } },
		.sample = sample_yield },
	{ .name = "futex-wake",
		.summary = "one FUTEX_WAKE of a word that nobody waits for",
		.metrics = { { "per call", "ns" } },
		.sample = sample_futex_wake },
	{ .name = "spin",
		.summary = "a chain of `steps` dependent additions",
		.params = { { "steps", 100 } },
		.metrics = { { "time", "ns" } },
		.setup = setup_spin,
		.sample = sample_spin },
	{ .name = NULL },
};
