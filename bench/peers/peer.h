/*
 * peer.h - what the programs of this folder share: the sizes of each line, clocks, one output
 * format.
 *
 * A program is called with the names of lines (G1, G2, ...) and prints one line for each sample:
 *
 *   LINE METRIC VALUE UNIT        METRIC.cpu: the same in CPU time of the whole process
 *   skip LINE REASON              it cannot measure that line
 *
 * Called with --lines it prints the lines it knows.  Everything is bounded: counts below.  The Go
 * program has the same sizes in peer.go; run.py checks that both print the same metrics.
 */
#ifndef PEER_H
#define PEER_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum {
	PEER_SAMPLES = 3,
	PEER_SWITCHES = 1000000,  /* round trips */
	PEER_YIELDS = 1000000,    /* of all that are ready together; Go needs 0.2 s for them */
	PEER_SPAWN_JOIN = 100000, /* one at a time */
	PEER_SPAWN_MANY = 100000, /* at once */
	PEER_PINGPONG = 200000,   /* round trips on one worker */
	PEER_CROSS = 20000,       /* round trips between two CPUs */
	PEER_PIPE = 50000,        /* round trips through two pipes */
	PEER_COLD = 200,          /* single wake-ups, each after PEER_COLD_PAUSE_US of silence */
	PEER_COLD_PAUSE_US = 500,
	PEER_CROWD = 10000,       /* G9: so many ... */
	PEER_CROWD_YIELDS = 1000, /* ... yield so often */
	PEER_SKYNET = 1000000,
	PEER_PARKED = 1000000, /* unless the environment says PEER_PARKED */
	PEER_SPIN_MS = 300,
	PEER_BURST = 100000,
	PEER_THREADS_MAX = 64
};

static inline double peer_clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static inline double peer_now_ns(void)
{
	return peer_clock_ns(CLOCK_MONOTONIC);
}

static inline double peer_cpu_ns(void)
{
	return peer_clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

static inline void peer_value(const char *line, const char *metric, double value, const char *unit)
{
	printf("%s %s %.6g %s\n", line, metric, value, unit);
	fflush(stdout);
}

struct peer_watch {
	double wall_ns, cpu_ns;
};

static inline struct peer_watch peer_begin(void)
{
	struct peer_watch watch;

	watch.wall_ns = peer_now_ns();
	watch.cpu_ns = peer_cpu_ns();
	return watch;
}

/* Time since peer_begin(), divided: by operations for "ns", by 1e6 for "ms". */
static inline void peer_end(struct peer_watch watch, const char *line, const char *metric,
	double divisor, const char *unit)
{
	double cpu_ns = peer_cpu_ns() - watch.cpu_ns, wall_ns = peer_now_ns() - watch.wall_ns;
	char name[80];

	snprintf(name, sizeof name, "%.70s.cpu", metric);
	peer_value(line, metric, wall_ns / divisor, unit);
	peer_value(line, name, cpu_ns / divisor, unit);
}

/* Resident memory and its page tables. */
static inline double peer_resident_bytes(void)
{
	FILE *file = fopen("/proc/self/status", "r");
	char line[256];
	double kib = 0;
	long value;

	while (file != NULL && fgets(line, sizeof line, file) != NULL)
		if (sscanf(line, "VmRSS: %ld", &value) == 1 ||
			sscanf(line, "VmPTE: %ld", &value) == 1)
			kib += (double)value;
	if (file != NULL)
		fclose(file);
	return kib * 1024;
}

static inline long peer_parked_wanted(void)
{
	const char *text = getenv("PEER_PARKED");
	long count = text != NULL ? atol(text) : 0;

	return count > 0 ? count : (long)PEER_PARKED;
}

static inline void peer_sleep_us(long us)
{
	struct timespec pause = { us / 1000000, us % 1000000 * 1000 };

	while (nanosleep(&pause, &pause) != 0)
		continue;
}

static clockid_t peer_thread_clocks[PEER_THREADS_MAX];
static int peer_thread_count;

/*
 * The threads that there are now. The clock of the process has, of a thread that runs on another
 * CPU, only what it had taken at its last tick, up to 4 ms ago; to read the thread's own clock
 * brings it up to date. So what a burst has taken is not taken for what is burnt after it.
 */
static inline void peer_know_threads(void)
{
	DIR *folder = opendir("/proc/self/task");
	struct dirent *entry;

	peer_thread_count = 0;
	while (folder != NULL && (entry = readdir(folder)) != NULL)
		if (atol(entry->d_name) > 0 && peer_thread_count < PEER_THREADS_MAX)
			/* As pthread_getcpuclockid() makes it: the kernel's CPUCLOCK_SCHED of a
			 * thread. */
			peer_thread_clocks[peer_thread_count++] =
				(clockid_t)(~(unsigned)atol(entry->d_name) << 3 | 6);
	if (folder != NULL)
		closedir(folder);
}

/* CPU time of all threads but the one that calls; its own clock is read on both sides, since right
   after a sleep the hypervisor may take the CPU away in between. */
static inline double peer_others_ns(void)
{
	double before, all, after;

	for (int i = 0; i < peer_thread_count; i++)
		(void)peer_clock_ns(peer_thread_clocks[i]);
	do {
		before = peer_clock_ns(CLOCK_THREAD_CPUTIME_ID);
		all = peer_cpu_ns();
		after = peer_clock_ns(CLOCK_THREAD_CPUTIME_ID);
	} while (after - before > 10000);
	return all - before;
}

/* What the process takes while the calling thread sleeps. That thread's own is left out: what a
   wake-up of an idle virtual CPU is charged to who wakes is the hypervisor's (up to milliseconds).
 */
static inline double peer_burnt_beside_ns(long sleep_us)
{
	double start_ns = peer_others_ns();

	peer_sleep_us(sleep_us);
	return peer_others_ns() - start_ns;
}

/* What is taken though there is nothing to do: right after a burst, and later.  Of threads known
   before the burst. */
static inline void peer_report_idle_burn(const char *line)
{
	double soon_ns = peer_burnt_beside_ns(100000), later_ns = peer_burnt_beside_ns(300000);

	peer_value(line, "burnt_first_100ms", soon_ns / 1e6, "ms");
	peer_value(line, "burnt_next_300ms", later_ns / 1e6, "ms");
}

/* What a process takes that has come to rest, per cent of one CPU. */
static inline void peer_report_idle_share(void)
{
	double start_ns, burnt_ns;

	peer_sleep_us(100000); /* what is burnt at first is G14's */
	start_ns = peer_now_ns();
	burnt_ns = peer_burnt_beside_ns(1500000);
	peer_value("G15", "idle_share", 100 * burnt_ns / (peer_now_ns() - start_ns), "%");
}

struct peer_line {
	const char *name;
	void (*measure)(void);
};

/* The body of main(). */
static inline int peer_main(const struct peer_line *lines, int argc, char **argv)
{
	int wrong = argc < 2;

	for (int i = 1; i < argc; i++) {
		const struct peer_line *line = lines;
		int all = strcmp(argv[i], "--lines") == 0;

		for (; line->name != NULL && (all || strcmp(line->name, argv[i]) != 0); line++)
			if (all)
				printf("%s\n", line->name);
		if (line->name != NULL)
			line->measure();
		else if (!all)
			wrong = 1;
	}
	if (wrong)
		fprintf(stderr, "usage: %s --lines | LINE...\n", argv[0]);
	return wrong ? 2 : 0;
}

#endif
