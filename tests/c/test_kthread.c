/*
 * test_kthread.c - kernel threads: all options or no thread, and every end.
 *
 * The tests look at a thread from outside, with what the kernel itself says (sched_getaffinity,
 * getpriority, /proc/self/task).  Those on permission drop root in their own process first.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "base/atomic.h"
#include "base/tracepoint.h"
#include "check.h"
#include "filar.h"
#include "os/clock.h"
#include "os/futex.h"
#include "tasks.h"

#define ALLOWED_MAX     64
#define NO_SUCH_CPU     8000
#define MIB             ((size_t)1 << 20)
#define STACK_BYTES_OWN (4 * MIB) /* sanitizers put megabytes of thread-locals on a stack */

/* TSan knows no new threads in the child of a fork of several: there the test ends earlier. */
#define CHILD_MAY_CREATE (!FILAR_TSAN)

/* ---- bodies ---- */

/* Who waits there sleeps: a hundred that look now and then would keep the others from their CPU. */
struct gate {
	_Atomic uint32_t open;
	_Atomic uint32_t entered;
};

static void body_nothing(void *argument)
{
	(void)argument;
}

static void body_wait(void *argument)
{
	struct gate *gate = argument;

	fetch_add_acq_rel(&gate->entered, 1);
	while (load_acquire(&gate->open) == 0)
		(void)futex_wait_until(&gate->open, 0, DEADLINE_NEVER);
}

static void open_gate(struct gate *gate)
{
	store_release(&gate->open, 1);
	futex_wake(&gate->open, INT32_MAX);
}

static void body_count(void *argument)
{
	_Atomic uint32_t *count = argument;

	fetch_add_relaxed(count, 1);
}

static void body_pthread_exit(void *argument)
{
	fetch_add_relaxed((_Atomic uint32_t *)argument, 1);
	pthread_exit(NULL);
}

static filar_kthread_options plain_options(void)
{
	filar_kthread_options options;

	filar_kthread_options_init(&options);
	return options;
}

static filar_kthread *create(
	const filar_kthread_options *options, filar_kthread_body body, void *argument)
{
	filar_kthread *thread = NULL;
	int status = filar_kthread_create(&thread, options, body, argument);

	if (status != FILAR_OK)
		fprintf(stderr, "create: %s\n", filar_status_detail());
	CHECK_EQ(status, FILAR_OK);
	return thread;
}

static void join_and_release(filar_kthread *thread)
{
	CHECK_EQ(filar_kthread_join_until(thread, FILAR_FOREVER), FILAR_OK);
	filar_kthread_release(thread);
}

static void end(struct gate *gate, filar_kthread *thread)
{
	open_gate(gate);
	join_and_release(thread);
}

/* Nothing was created: the status, a sentence with `part`, no handle, no body, no more threads. */
static void check_refused(const filar_kthread_options *options, int status, const char *part)
{
	filar_kthread *thread = NULL;
	_Atomic uint32_t ran = 0;
	int tasks = task_count();

	CHECK_EQ(filar_kthread_create(&thread, options, body_count, (void *)&ran), status);
	CHECK_TEXT_HAS(filar_status_detail(), part);
	CHECK(thread == NULL);
	CHECK_EQ(load_acquire(&ran), 0);
	WAIT_UNTIL(task_count() <= tasks);
}

/* Sanitizers' thread-locals make the smallest stack larger than what users would ask for. */
static size_t stack_bytes_at_least(size_t bytes)
{
	size_t min = filar_kthread_stack_bytes_min();

	return bytes > min ? bytes : min;
}

/* ---- what the kernel says of a thread ---- */

static void read_task_file(int32_t tid, const char *name, char *text, size_t bytes)
{
	char path[64];
	FILE *file;
	size_t length;

	snprintf(path, sizeof path, "/proc/self/task/%d/%s", tid, name);
	file = fopen(path, "r");
	CHECK(file != NULL);
	length = fread(text, 1, bytes - 1, file);
	text[length] = '\0';
	fclose(file);
}

static int allowed_cpus(int32_t cpus[ALLOWED_MAX])
{
	cpu_set_t set;
	int count = 0;

	CHECK_EQ(sched_getaffinity(0, sizeof set, &set), 0);
	for (int cpu = 0; cpu < CPU_SETSIZE && count < ALLOWED_MAX; cpu++) {
		if (CPU_ISSET(cpu, &set))
			cpus[count++] = cpu;
	}
	return count;
}

static void check_cpus(filar_kthread *thread, const int32_t *cpus, int count)
{
	cpu_set_t set, wanted;

	CPU_ZERO(&wanted);
	for (int i = 0; i < count; i++)
		CPU_SET(cpus[i], &wanted);
	CHECK_EQ(sched_getaffinity(filar_kthread_tid(thread), sizeof set, &set), 0);
	CHECK(CPU_EQUAL(&set, &wanted));
}

static bool may_raise_priority(void)
{
	return geteuid() == 0;
}

static void drop_permissions(void)
{
	struct rlimit none = { 0, 0 };

	CHECK_EQ(setrlimit(RLIMIT_NICE, &none), 0);
	CHECK_EQ(setrlimit(RLIMIT_RTPRIO, &none), 0);
	if (geteuid() == 0)
		CHECK_EQ(setuid(65534), 0);
}

/* ---- a plain thread ---- */

TEST(a_thread_runs_its_body_with_its_argument_and_is_joined)
{
	_Atomic uint32_t count = 0;
	filar_kthread *thread = create(NULL, body_count, (void *)&count);

	CHECK_EQ(filar_kthread_join_until(thread, FILAR_FOREVER), FILAR_OK);
	CHECK_EQ(load_relaxed(&count), 1);
	CHECK_EQ(filar_kthread_is_alive(thread), 0);
	filar_kthread_release(thread);
}

TEST(a_thread_is_alive_from_creation_until_its_body_has_returned)
{
	struct gate gate = { 0, 0 };
	filar_kthread *thread = create(NULL, body_wait, &gate);

	CHECK_EQ(filar_kthread_is_alive(thread), 1);
	open_gate(&gate);
	WAIT_UNTIL(!filar_kthread_is_alive(thread));
	join_and_release(thread);
}

static void body_own_ids(void *argument)
{
	uint64_t *ids = argument;

	ids[0] = (uint64_t)gettid();
	ids[1] = (uint64_t)pthread_self();
	ids[2] = (uint64_t)(uintptr_t)filar_kthread_self();
}

TEST(tid_ident_and_self_are_the_threads_own)
{
	uint64_t ids[3] = { 0 };
	filar_kthread *thread = create(NULL, body_own_ids, ids);

	CHECK(filar_kthread_self() == NULL);
	CHECK_EQ(filar_kthread_join_until(thread, FILAR_FOREVER), FILAR_OK);
	CHECK_EQ(filar_kthread_tid(thread), ids[0]);
	CHECK_EQ(filar_kthread_ident(thread), ids[1]);
	CHECK_EQ((uintptr_t)thread, ids[2]);
	filar_kthread_release(thread);
}

TEST(all_signals_are_blocked_in_it_but_those_of_its_own_faults)
{
	struct gate gate = { 0, 0 };
	filar_kthread *thread = create(NULL, body_wait, &gate);
	unsigned long long blocked;
	sigset_t mine;
	char text[4096];

	WAIT_UNTIL(load_acquire(&gate.entered) == 1);
	read_task_file(filar_kthread_tid(thread), "status", text, sizeof text);
	CHECK_EQ(sscanf(strstr(text, "SigBlk:"), "SigBlk: %llx", &blocked), 1);
	for (int signal = 1; signal < 32; signal++) {
		bool own = signal == SIGSEGV || signal == SIGBUS || signal == SIGFPE ||
			   signal == SIGILL || signal == SIGTRAP || signal == SIGSYS;

		if (signal != SIGKILL && signal != SIGSTOP)
			CHECK_EQ((blocked >> (signal - 1)) & 1, !own);
	}
	CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &mine), 0);
	CHECK_EQ(sigismember(&mine, SIGUSR1), 0);
	end(&gate, thread);
}

TEST(a_signal_that_the_creator_blocks_stays_blocked_in_both)
{
	struct gate gate = { 0, 0 };
	unsigned long long blocked;
	filar_kthread *thread;
	sigset_t trap;
	char text[4096];

	sigemptyset(&trap);
	sigaddset(&trap, SIGTRAP);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, &trap, NULL), 0);
	thread = create(NULL, body_wait, &gate);
	WAIT_UNTIL(load_acquire(&gate.entered) == 1);
	read_task_file(filar_kthread_tid(thread), "status", text, sizeof text);
	CHECK_EQ(sscanf(strstr(text, "SigBlk:"), "SigBlk: %llx", &blocked), 1);
	CHECK_EQ((blocked >> (SIGTRAP - 1)) & 1, 1);
	CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &trap), 0);
	CHECK_EQ(sigismember(&trap, SIGTRAP), 1);
	end(&gate, thread);
}

static void body_burn(void *argument)
{
	_Atomic bool *stop = argument;

	while (!load_relaxed(stop))
		;
}

TEST(cpu_time_grows_while_it_runs_and_stays_after_its_end)
{
	_Atomic bool stop = false;
	filar_kthread *thread = create(NULL, body_burn, (void *)&stop);
	int64_t running, ended;

	WAIT_UNTIL(filar_kthread_cpu_ns(thread) > NS_PER_MS);
	running = filar_kthread_cpu_ns(thread);
	store_relaxed(&stop, true);
	CHECK_EQ(filar_kthread_join_until(thread, FILAR_FOREVER), FILAR_OK);
	ended = filar_kthread_cpu_ns(thread);
	CHECK_GE(ended, running);
	CHECK_EQ(filar_kthread_cpu_ns(thread), ended);
	filar_kthread_release(thread);
}

/* ---- name ---- */

TEST(the_kernel_knows_its_name)
{
	filar_kthread_options options = plain_options();
	struct gate gate = { 0, 0 };
	filar_kthread *thread;
	char text[64];

	options.name = "fifteen-bytes-x";
	thread = create(&options, body_wait, &gate);
	WAIT_UNTIL(load_acquire(&gate.entered) == 1);
	read_task_file(filar_kthread_tid(thread), "comm", text, sizeof text);
	CHECK_EQ(strcmp(text, "fifteen-bytes-x\n"), 0);
	end(&gate, thread);
}

TEST(without_a_name_it_gets_a_numbered_one)
{
	struct gate gate = { 0, 0 };
	filar_kthread *thread = create(NULL, body_wait, &gate);
	char text[64];

	WAIT_UNTIL(load_acquire(&gate.entered) == 1);
	read_task_file(filar_kthread_tid(thread), "comm", text, sizeof text);
	CHECK_EQ(strncmp(text, "filar-", 6), 0);
	end(&gate, thread);
}

TEST(a_name_of_sixteen_bytes_is_refused)
{
	filar_kthread_options options = plain_options();

	options.name = "sixteen-bytes-xx";
	check_refused(&options, FILAR_INVALID, "16 bytes long; Linux keeps 15");
}

/* ---- stack ---- */

TEST(a_stack_of_one_kilobyte_is_refused)
{
	filar_kthread_options options = plain_options();

	options.stack_bytes = 1024;
	check_refused(&options, FILAR_INVALID, "a stack of 1024 bytes is too small");
}

TEST(one_byte_less_than_the_minimum_is_refused_and_the_minimum_works)
{
	filar_kthread_options options = plain_options();
	_Atomic uint32_t count = 0;

	CHECK_GE(filar_kthread_stack_bytes_min(), FILAR_STACK_BYTES_MIN);
	options.stack_bytes = filar_kthread_stack_bytes_min() - 1;
	check_refused(&options, FILAR_INVALID, "this machine needs at least");
	options.stack_bytes++;
	join_and_release(create(&options, body_count, (void *)&count));
	CHECK_EQ(load_relaxed(&count), 1);
}

static void body_stack_bytes(void *argument)
{
	pthread_attr_t attributes;
	void *base;

	CHECK_EQ(pthread_getattr_np(pthread_self(), &attributes), 0);
	CHECK_EQ(pthread_attr_getstack(&attributes, &base, (size_t *)argument), 0);
	pthread_attr_destroy(&attributes);
}

TEST(a_stack_has_the_size_asked_for_rounded_up_to_pages)
{
	const size_t asked[] = { stack_bytes_at_least(64 * 1024), MIB + 1, 1024 * MIB };
	filar_kthread_options options = plain_options();

	for (size_t i = 0; i < 3; i++) {
		size_t bytes = 0;

		options.stack_bytes = asked[i];
		join_and_release(create(&options, body_stack_bytes, &bytes));
		CHECK_GE(bytes, asked[i]);
		CHECK_LE(bytes, asked[i] + (FILAR_TSAN || FILAR_ASAN ? 4 * MIB : 4096));
	}
}

TEST(a_stack_that_no_address_space_holds_is_refused_by_its_size)
{
	filar_kthread_options options = plain_options();

	options.stack_bytes = (size_t)1 << 50;
	check_refused(&options, FILAR_LIMIT, "a thread's stack of 1125899906842624 bytes");
	options.stack_bytes = SIZE_MAX - 5;
	check_refused(&options, FILAR_INVALID, "larger than the address space");
}

#if !FILAR_TSAN && !FILAR_ASAN
TEST(a_stack_of_one_terabyte_is_refused_under_an_address_space_limit)
{
	struct rlimit limit = { (rlim_t)1 << 36, (rlim_t)1 << 36 };
	filar_kthread_options options = plain_options();

	CHECK_EQ(setrlimit(RLIMIT_AS, &limit), 0);
	options.stack_bytes = (size_t)1 << 40;
	check_refused(&options, FILAR_LIMIT, "a thread's stack of 1099511627776 bytes");
}

TEST(creation_refused_for_lack_of_address_space_names_the_default_stack)
{
	pthread_attr_t attributes;
	struct rlimit limit;
	size_t bytes;

	CHECK_EQ(pthread_getattr_default_np(&attributes), 0);
	CHECK_EQ(pthread_attr_getstacksize(&attributes, &bytes), 0);
	limit = (struct rlimit){ bytes, bytes };
	CHECK_EQ(setrlimit(RLIMIT_AS, &limit), 0);
	for (int i = 0; i < 3; i++)
		check_refused(NULL, FILAR_LIMIT, "no memory for a thread's stack");
}
#endif

TEST(creation_refused_by_a_limit_on_threads_says_so)
{
	struct rlimit limit = { 1, 1 };

	(void)task_count();
	drop_permissions();
	/* More processes of this user than one may exist: then the limit is reached already. */
	CHECK_EQ(setrlimit(RLIMIT_NPROC, &limit), 0);
	for (int i = 0; i < 3; i++)
		check_refused(NULL, FILAR_LIMIT, "the kernel refused a new thread");
	_exit(0); /* the leak checker would want a thread */
}

static void *map_stack(size_t bytes)
{
	void *stack = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(stack != MAP_FAILED);
	return stack;
}

static void body_local_address(void *argument)
{
	volatile char local = 0;

	*(uintptr_t *)argument = (uintptr_t)&local;
}

TEST(a_stack_of_the_callers_is_used_and_free_again_after_each_join)
{
	/* ThreadSanitizer follows each byte that is written. */
	int rounds = FILAR_TSAN ? 30 : 300;
	filar_kthread_options options = plain_options();
	char *stack = map_stack(STACK_BYTES_OWN);

	options.stack = stack;
	options.stack_bytes = STACK_BYTES_OWN;
	for (int i = 0; i < rounds; i++) {
		uintptr_t address = 0;

		join_and_release(create(&options, body_local_address, &address));
		if (!FILAR_ASAN) /* its locals are elsewhere */
			CHECK(address >= (uintptr_t)stack &&
				address < (uintptr_t)stack + STACK_BYTES_OWN);
		/* If the kernel were not done with it, this would break the thread. */
		memset(stack, 0xa5, STACK_BYTES_OWN);
	}
	munmap(stack, STACK_BYTES_OWN);
}

TEST(a_stack_of_the_callers_without_a_size_is_refused)
{
	filar_kthread_options options = plain_options();
	char stack[1];

	options.stack = stack;
	check_refused(&options, FILAR_INVALID, "a stack of the caller's needs its size");
}

/* ---- CPUs ---- */

static void pin_each_way(const int32_t *cpus, int count)
{
	filar_kthread_options options = plain_options();

	options.cpus = cpus;
	options.cpu_count = (size_t)count;
	for (int32_t by = FILAR_PIN_BY_ATTRIBUTE; by <= FILAR_PIN_BY_SELF; by++) {
		struct gate gate = { 0, 0 };
		filar_kthread *thread;

		options.pin_by = by;
		thread = create(&options, body_wait, &gate);
		check_cpus(thread, cpus, count);
		end(&gate, thread);
	}
}

TEST(each_way_of_pinning_pins_to_each_cpu_and_to_all)
{
	int32_t cpus[ALLOWED_MAX];
	int count = allowed_cpus(cpus);

	for (int i = 0; i < count; i++)
		pin_each_way(&cpus[i], 1);
	pin_each_way(cpus, count);
}

static void body_cpu(void *argument)
{
	*(int *)argument = sched_getcpu();
}

TEST(the_body_begins_on_its_cpu_whoever_pins)
{
	filar_kthread_options options = plain_options();
	int32_t cpus[ALLOWED_MAX];
	int count = allowed_cpus(cpus);

	options.cpu_count = 1;
	for (int i = 0; i < count; i++) {
		for (int32_t by = FILAR_PIN_BY_ATTRIBUTE; by <= FILAR_PIN_BY_SELF; by++) {
			int cpu = -1;

			options.pin_by = by;
			options.cpus = &cpus[i];
			join_and_release(create(&options, body_cpu, &cpu));
			CHECK_EQ(cpu, cpus[i]);
		}
	}
}

TEST(a_cpu_that_does_not_exist_is_refused_whoever_pins)
{
	filar_kthread_options options = plain_options();
	int32_t cpus[ALLOWED_MAX + 1];
	int count = allowed_cpus(cpus);

	for (int32_t by = FILAR_PIN_BY_ATTRIBUTE; by <= FILAR_PIN_BY_SELF; by++) {
		int32_t none = NO_SUCH_CPU;

		options.pin_by = by;
		options.cpus = &none;
		options.cpu_count = 1;
		check_refused(&options, FILAR_NO_CPU, "8000");
		/* The kernel would take this set and drop the one it does not know. */
		cpus[count] = NO_SUCH_CPU;
		options.cpus = cpus;
		options.cpu_count = (size_t)count + 1;
		check_refused(&options, FILAR_NO_CPU, "CPU 8000 is not online");
	}
}

TEST(a_cpu_number_out_of_range_and_an_empty_list_are_refused)
{
	filar_kthread_options options = plain_options();
	int32_t cpu = -1;

	options.cpus = &cpu;
	options.cpu_count = 1;
	check_refused(&options, FILAR_NO_CPU, "there is no CPU -1");
	cpu = INT32_MAX;
	check_refused(&options, FILAR_NO_CPU, "there is no CPU 2147483647");
	options.cpu_count = 0;
	check_refused(&options, FILAR_INVALID, "the list of CPUs is empty");
	options.pin_by = 7;
	check_refused(&options, FILAR_INVALID, "unknown way to pin: 7");
}

TEST(a_running_thread_moves_to_other_cpus_or_stays_as_it_was)
{
	struct gate gate = { 0, 0 };
	filar_kthread *thread = create(NULL, body_wait, &gate);
	int32_t cpus[ALLOWED_MAX + 1];
	int count = allowed_cpus(cpus);

	CHECK_EQ(filar_kthread_set_cpus(thread, &cpus[0], 1), FILAR_OK);
	check_cpus(thread, cpus, 1);
	CHECK_EQ(filar_kthread_set_cpus(thread, cpus, (size_t)count), FILAR_OK);
	check_cpus(thread, cpus, count);
	cpus[count] = NO_SUCH_CPU;
	CHECK_EQ(filar_kthread_set_cpus(thread, &cpus[count], 1), FILAR_NO_CPU);
	CHECK_EQ(filar_kthread_set_cpus(thread, cpus, (size_t)count + 1), FILAR_NO_CPU);
	CHECK_EQ(filar_kthread_set_cpus(thread, cpus, 0), FILAR_INVALID);
	check_cpus(thread, cpus, count);
	end(&gate, thread);
}

/* ---- nice and policy ---- */

TEST(nice_up_needs_no_permission_and_is_the_threads_alone)
{
	filar_kthread_options options = plain_options();
	struct gate gate = { 0, 0 };
	int before = getpriority(PRIO_PROCESS, 0);
	filar_kthread *thread;

	drop_permissions();
	options.nice = 19;
	thread = create(&options, body_wait, &gate);
	CHECK_EQ(getpriority(PRIO_PROCESS, (id_t)filar_kthread_tid(thread)), 19);
	CHECK_EQ(getpriority(PRIO_PROCESS, 0), before);
	end(&gate, thread);
}

TEST(nice_down_without_permission_is_refused)
{
	filar_kthread_options options = plain_options();
	struct gate gate = { 0, 0 };
	filar_kthread *thread;

	drop_permissions();
	options.nice = -5;
	check_refused(&options, FILAR_NO_PERMISSION, "nice -5 needs CAP_SYS_NICE");
	thread = create(NULL, body_wait, &gate);
	CHECK_EQ(filar_kthread_set_nice(thread, 7), FILAR_OK);
	CHECK_EQ(filar_kthread_set_nice(thread, -20), FILAR_NO_PERMISSION);
	CHECK_EQ(getpriority(PRIO_PROCESS, (id_t)filar_kthread_tid(thread)), 7);
	end(&gate, thread);
}

TEST(nice_down_with_permission_works)
{
	filar_kthread_options options = plain_options();
	struct gate gate = { 0, 0 };
	filar_kthread *thread;

	if (!may_raise_priority())
		return;
	options.nice = -3;
	thread = create(&options, body_wait, &gate);
	CHECK_EQ(getpriority(PRIO_PROCESS, (id_t)filar_kthread_tid(thread)), -3);
	end(&gate, thread);
}

TEST(nice_out_of_range_is_refused)
{
	filar_kthread_options options = plain_options();

	options.nice = 20;
	check_refused(&options, FILAR_INVALID, "nice is -20 to 19, not 20");
	options.nice = -21;
	check_refused(&options, FILAR_INVALID, "nice is -20 to 19, not -21");
}

static void check_policy(int32_t policy, int32_t priority, int system_policy)
{
	filar_kthread_options options = plain_options();
	struct gate gate = { 0, 0 };
	struct sched_param parameters;
	filar_kthread *thread;
	int32_t tid;

	options.policy = policy;
	options.priority = priority;
	thread = create(&options, body_wait, &gate);
	tid = filar_kthread_tid(thread);
	CHECK_EQ(sched_getscheduler(tid), system_policy);
	CHECK_EQ(sched_getparam(tid, &parameters), 0);
	CHECK_EQ(parameters.sched_priority, priority);
	CHECK_EQ(sched_getscheduler(0), SCHED_OTHER);
	end(&gate, thread);
}

TEST(time_sharing_policies_need_no_permission)
{
	drop_permissions();
	check_policy(FILAR_POLICY_OTHER, 0, SCHED_OTHER);
	check_policy(FILAR_POLICY_BATCH, 0, SCHED_BATCH);
	check_policy(FILAR_POLICY_IDLE, 0, SCHED_IDLE);
}

TEST(real_time_policies_with_permission_work)
{
	if (!may_raise_priority())
		return;
	check_policy(FILAR_POLICY_FIFO, 1, SCHED_FIFO);
	check_policy(FILAR_POLICY_RR, 2, SCHED_RR);
}

TEST(real_time_policies_without_permission_are_refused)
{
	filar_kthread_options options = plain_options();
	struct gate gate = { 0, 0 };
	filar_kthread *thread;

	drop_permissions();
	options.policy = FILAR_POLICY_FIFO;
	options.priority = 50;
	check_refused(&options, FILAR_NO_PERMISSION, "SCHED_FIFO with priority 50");
	options.policy = FILAR_POLICY_RR;
	check_refused(&options, FILAR_NO_PERMISSION, "SCHED_RR with priority 50");
	thread = create(NULL, body_wait, &gate);
	CHECK_EQ(filar_kthread_set_policy(thread, FILAR_POLICY_RR, 1), FILAR_NO_PERMISSION);
	CHECK_EQ(sched_getscheduler(filar_kthread_tid(thread)), SCHED_OTHER);
	CHECK_EQ(filar_kthread_set_policy(thread, FILAR_POLICY_BATCH, 0), FILAR_OK);
	CHECK_EQ(sched_getscheduler(filar_kthread_tid(thread)), SCHED_BATCH);
	end(&gate, thread);
}

TEST(a_policy_with_the_wrong_priority_is_refused)
{
	filar_kthread_options options = plain_options();

	options.policy = 6;
	check_refused(&options, FILAR_INVALID, "unknown scheduling policy 6");
	options.policy = FILAR_POLICY_FIFO;
	check_refused(&options, FILAR_INVALID, "a real-time priority is 1 to 99, not 0");
	options.priority = 100;
	check_refused(&options, FILAR_INVALID, "a real-time priority is 1 to 99, not 100");
	options.policy = FILAR_POLICY_INHERIT;
	options.priority = 1;
	check_refused(&options, FILAR_INVALID, "priority 1 needs the FIFO or RR policy");
}

TEST(all_options_together_take_effect)
{
	filar_kthread_options options = plain_options();
	struct gate gate = { 0, 0 };
	int32_t cpus[ALLOWED_MAX];
	filar_kthread *thread;
	char text[64];

	(void)allowed_cpus(cpus);
	options.name = "everything";
	options.stack_bytes = stack_bytes_at_least(256 * 1024);
	options.cpus = cpus;
	options.cpu_count = 1;
	options.pin_by = FILAR_PIN_BY_PARENT;
	options.policy = FILAR_POLICY_BATCH;
	options.nice = 4;
	thread = create(&options, body_wait, &gate);
	check_cpus(thread, cpus, 1);
	CHECK_EQ(getpriority(PRIO_PROCESS, (id_t)filar_kthread_tid(thread)), 4);
	CHECK_EQ(sched_getscheduler(filar_kthread_tid(thread)), SCHED_BATCH);
	read_task_file(filar_kthread_tid(thread), "comm", text, sizeof text);
	CHECK_EQ(strcmp(text, "everything\n"), 0);
	end(&gate, thread);
}

TEST(no_handle_no_body_no_list_are_answered_not_followed)
{
	filar_kthread *thread;

	CHECK_EQ(filar_kthread_create(NULL, NULL, body_nothing, NULL), FILAR_INVALID);
	CHECK_EQ(filar_kthread_create(&thread, NULL, NULL, NULL), FILAR_INVALID);
	CHECK_EQ(filar_kthread_join_until(NULL, 0), FILAR_INVALID);
	CHECK_EQ(filar_kthread_set_cpus(NULL, NULL, 0), FILAR_INVALID);
	CHECK_EQ(filar_kthread_set_nice(NULL, 0), FILAR_INVALID);
	CHECK_EQ(filar_kthread_set_policy(NULL, 0, 0), FILAR_INVALID);
	CHECK_EQ(filar_kthread_is_alive(NULL), 0);
	CHECK_EQ(filar_kthread_tid(NULL), 0);
	CHECK_EQ(filar_kthread_ident(NULL), 0);
	CHECK_EQ(filar_kthread_cpu_ns(NULL), 0);
	filar_kthread_release(NULL);
	filar_kthread_options_init(NULL);
}

/* ---- the end ---- */

TEST(a_join_gives_up_at_its_deadline_and_the_thread_goes_on)
{
	struct gate gate = { 0, 0 };
	filar_kthread *thread = create(NULL, body_wait, &gate);

	CHECK_EQ(filar_kthread_join_until(thread, 0), FILAR_TIMED_OUT);
	CHECK_EQ(filar_kthread_join_until(thread, clock_now_ns() + NS_PER_MS), FILAR_TIMED_OUT);
	CHECK_EQ(filar_kthread_is_alive(thread), 1);
	end(&gate, thread);
}

TEST(a_join_of_an_ended_thread_answers_any_number_of_times)
{
	filar_kthread *thread = create(NULL, body_nothing, NULL);

	for (int i = 0; i < 3; i++)
		CHECK_EQ(filar_kthread_join_until(thread, FILAR_FOREVER), FILAR_OK);
	CHECK_EQ(filar_kthread_join_until(thread, 0), FILAR_OK);
	filar_kthread_release(thread);
}

static void body_join_self(void *argument)
{
	*(int *)argument = filar_kthread_join_until(filar_kthread_self(), FILAR_FOREVER);
}

TEST(a_thread_that_joins_itself_is_told)
{
	int status = 1;

	join_and_release(create(NULL, body_join_self, &status));
	CHECK_EQ(status, FILAR_DEADLOCK);
}

static void handle_signal(int signal)
{
	(void)signal;
}

struct joiner {
	filar_kthread *thread;
	_Atomic int32_t tid;
	int status;
};

static void *join_and_note(void *pointer)
{
	struct joiner *joiner = pointer;

	atomic_store(&joiner->tid, gettid());
	joiner->status = filar_kthread_join_until(joiner->thread, FILAR_FOREVER);
	return NULL;
}

/* 'S' in /proc: it sleeps, and the only thing it can sleep in is the wait. */
static bool sleeps(int32_t tid)
{
	char text[512], *state;

	read_task_file(tid, "stat", text, sizeof text);
	state = strrchr(text, ')');
	return state != NULL && state[2] == 'S';
}

TEST(a_signal_interrupts_a_join)
{
	struct sigaction action = { .sa_handler = handle_signal };
	struct gate gate = { 0, 0 };
	struct joiner joiner = { .thread = create(NULL, body_wait, &gate) };
	pthread_t pthread;

	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	CHECK_EQ(pthread_create(&pthread, NULL, join_and_note, &joiner), 0);
	WAIT_UNTIL(atomic_load(&joiner.tid) != 0 && sleeps(atomic_load(&joiner.tid)));
	/* TSan defers a handler until the thread enters an interceptor, so it may need another. */
	while (pthread_tryjoin_np(pthread, NULL) != 0) {
		pthread_kill(pthread, SIGUSR1);
		usleep(1000);
	}
	CHECK_EQ(joiner.status, FILAR_INTERRUPTED);
	end(&gate, joiner.thread);
}

TEST(many_joiners_all_see_the_end)
{
	enum { JOINERS = 16 };
	struct gate gate = { 0, 0 };
	filar_kthread *thread = create(NULL, body_wait, &gate);
	struct joiner joiners[JOINERS];
	pthread_t pthreads[JOINERS];

	for (int i = 0; i < JOINERS; i++) {
		joiners[i] = (struct joiner){ .thread = thread, .status = 1 };
		CHECK_EQ(pthread_create(&pthreads[i], NULL, join_and_note, &joiners[i]), 0);
	}
	for (int i = 0; i < JOINERS; i++)
		WAIT_UNTIL(
			atomic_load(&joiners[i].tid) != 0 && sleeps(atomic_load(&joiners[i].tid)));
	open_gate(&gate);
	for (int i = 0; i < JOINERS; i++) {
		CHECK_EQ(pthread_join(pthreads[i], NULL), 0);
		CHECK_EQ(joiners[i].status, FILAR_OK);
	}
	filar_kthread_release(thread);
}

TEST(a_released_thread_goes_on_and_ends_by_itself)
{
	struct gate gate = { 0, 0 };
	int tasks = task_count();

	filar_kthread_release(create(NULL, body_wait, &gate));
	WAIT_UNTIL(load_acquire(&gate.entered) == 1);
	CHECK_EQ(task_count(), tasks + 1);
	open_gate(&gate);
	WAIT_UNTIL(task_count() == tasks);
}

TEST(a_thread_released_after_its_end_and_never_joined_leaves_nothing)
{
	int tasks = task_count();

	for (int i = 0; i < 2000; i++) {
		filar_kthread *thread = create(NULL, body_nothing, NULL);

		WAIT_UNTIL(!filar_kthread_is_alive(thread));
		filar_kthread_release(thread);
	}
	WAIT_UNTIL(task_count() == tasks);
}

TEST(ten_thousand_short_threads_all_run)
{
	/* ThreadSanitizer takes a hundred times as long. */
	uint32_t tens = FILAR_TSAN ? 100 : 1000;
	_Atomic uint32_t count = 0;
	filar_kthread *threads[10];

	for (uint32_t i = 0; i < tens; i++) {
		for (int j = 0; j < 10; j++)
			threads[j] = create(NULL, body_count, (void *)&count);
		for (int j = 0; j < 10; j++)
			join_and_release(threads[j]);
	}
	CHECK_EQ(load_relaxed(&count), 10 * tens);
}

TEST(settings_after_the_end_are_refused)
{
	filar_kthread *thread = create(NULL, body_nothing, NULL);
	int32_t cpus[ALLOWED_MAX];
	int count = allowed_cpus(cpus);

	CHECK_EQ(filar_kthread_join_until(thread, FILAR_FOREVER), FILAR_OK);
	CHECK_EQ(filar_kthread_set_cpus(thread, cpus, 1), FILAR_WRONG_STATE);
	CHECK_TEXT_HAS(filar_status_detail(), "the thread has ended");
	CHECK_EQ(filar_kthread_set_nice(thread, 5), FILAR_WRONG_STATE);
	CHECK_EQ(filar_kthread_set_policy(thread, FILAR_POLICY_BATCH, 0), FILAR_WRONG_STATE);
	CHECK_EQ(filar_kthread_set_policy(thread, FILAR_POLICY_INHERIT, 0), FILAR_INVALID);
	/* Nor did they hit somebody else, who would be us. */
	CHECK_EQ(allowed_cpus(cpus), count);
	CHECK_EQ(sched_getscheduler(0), SCHED_OTHER);
	filar_kthread_release(thread);
}

TEST(a_body_may_end_its_thread_by_pthread_exit)
{
	_Atomic uint32_t count = 0;
	filar_kthread *thread = create(NULL, body_pthread_exit, (void *)&count);

	CHECK_EQ(filar_kthread_join_until(thread, FILAR_FOREVER), FILAR_OK);
	CHECK_EQ(filar_kthread_is_alive(thread), 0);
	CHECK_EQ(load_relaxed(&count), 1);
	filar_kthread_release(thread);
}

static pthread_key_t blocking_key;

static void wait_in_destructor(void *value)
{
	body_wait(value);
}

static void body_leave_destructor(void *argument)
{
	CHECK_EQ(pthread_setspecific(blocking_key, argument), 0);
}

TEST(a_thread_local_destructor_that_blocks_does_not_outlast_a_joins_deadline)
{
	struct gate gate = { 0, 0 };
	filar_kthread *thread;

	CHECK_EQ(pthread_key_create(&blocking_key, wait_in_destructor), 0);
	thread = create(NULL, body_leave_destructor, &gate);
	WAIT_UNTIL(load_acquire(&gate.entered) == 1);
	CHECK_EQ(filar_kthread_is_alive(thread), 0);
	CHECK_EQ(filar_kthread_join_until(thread, 0), FILAR_TIMED_OUT);
	CHECK_EQ(filar_kthread_join_until(thread, 0), FILAR_TIMED_OUT);
	end(&gate, thread);
}

/* ---- fork ---- */

static void check_child(pid_t child)
{
	int status;

	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
}

static void check_forked_handle(filar_kthread *thread)
{
	int32_t cpu = 0;

	CHECK_EQ(filar_kthread_join_until(thread, FILAR_FOREVER), FILAR_FORKED);
	CHECK_TEXT_HAS(filar_status_detail(), "in the parent process");
	CHECK_EQ(filar_kthread_is_alive(thread), 0);
	CHECK_EQ(filar_kthread_set_nice(thread, 5), FILAR_FORKED);
	CHECK_EQ(filar_kthread_set_cpus(thread, &cpu, 1), FILAR_FORKED);
	CHECK_EQ(filar_kthread_set_policy(thread, FILAR_POLICY_BATCH, 0), FILAR_FORKED);
	CHECK_EQ(filar_kthread_cpu_ns(thread), 0);
	(void)filar_kthread_tid(thread);
	filar_kthread_release(thread);
}

TEST(in_the_child_of_a_fork_handles_are_forked_and_new_threads_work)
{
	struct gate gate = { 0, 0 };
	filar_kthread *running = create(NULL, body_wait, &gate);
	filar_kthread *ended = create(NULL, body_nothing, NULL);
	_Atomic uint32_t count = 0;
	pid_t child;

	CHECK_EQ(filar_kthread_join_until(ended, FILAR_FOREVER), FILAR_OK);
	/* Else a sanitizer's lock, held while a thread begins, may stay so in the child. */
	WAIT_UNTIL(load_acquire(&gate.entered) == 1);
	child = fork();
	if (child == 0) {
		alarm(30);
		check_forked_handle(running);
		check_forked_handle(ended);
		if (!CHILD_MAY_CREATE)
			_exit(0);
		join_and_release(create(NULL, body_count, (void *)&count));
		/* By hand as well is harmless: the new generation stays. */
		filar_after_fork_in_child();
		ended = create(NULL, body_count, (void *)&count);
		filar_after_fork_in_child();
		join_and_release(ended);
		_exit(load_relaxed(&count) == 2 ? 0 : 1);
	}
	check_child(child);
	CHECK_EQ(filar_kthread_is_alive(running), 1);
	end(&gate, running);
	filar_kthread_release(ended);
}

TEST(a_fork_at_any_moment_of_creation_leaves_a_child_that_answers)
{
	struct gate gate = { 0, 0 };
	int tasks = task_count();

	for (int i = 0; i < 100; i++) {
		filar_kthread *thread = create(NULL, body_wait, &gate); /* may not run yet */
		pid_t child = fork();

		if (child == 0) {
			alarm(30);
			check_forked_handle(thread);
			_exit(0);
		}
		check_child(child);
		filar_kthread_release(thread);
	}
	open_gate(&gate);
	WAIT_UNTIL(load_acquire(&gate.entered) == 100);
	WAIT_UNTIL(task_count() == tasks);
}

static void body_fork(void *argument)
{
	filar_kthread *own = filar_kthread_self();
	pid_t *child = argument;

	*child = fork();
	if (*child != 0)
		return;
	alarm(30);
	CHECK(filar_kthread_self() == NULL);
	if (CHILD_MAY_CREATE)
		join_and_release(create(NULL, body_nothing, NULL));
	filar_kthread_release(own);
	/* Back through thread_main(): the child's only thread ends, and with it the child. */
}

TEST(a_thread_that_forks_may_return_in_the_child)
{
	pid_t child = 0;

	join_and_release(create(NULL, body_fork, &child));
	check_child(child);
}

/*
 * Not under the sanitizers: their own locks (gcc 12) do not survive a fork beside busy threads.
 * Seen with a debugger: the child spins in TSan's DenseSlabAlloc::Drain, or in its
 * LargeMmapAllocator, for a lock held by a thread that it does not have.
 */
#if !FILAR_ASAN && !FILAR_TSAN
static void *trace_and_create(void *pointer)
{
	_Atomic bool *stop = pointer;

	while (!load_relaxed(stop)) {
		struct trace_totals totals;
		struct trace_record record;

		join_and_release(create(NULL, body_nothing, NULL));
		(void)tracepoint_collect(&record, 1, &totals);
		(void)tracepoint_stop();
		(void)tracepoint_clear();
		(void)tracepoint_start(&(struct trace_options){ 0 });
	}
	return NULL;
}

/* Hunts a child that inherits the rings' lock held, or their list half changed. */
TEST(a_fork_while_threads_are_traced_leaves_every_lock_free)
{
	_Atomic bool stop = false;
	pthread_t busy;

	CHECK_EQ(tracepoint_start(&(struct trace_options){ 0 }), FILAR_OK);
	CHECK_EQ(pthread_create(&busy, NULL, trace_and_create, (void *)&stop), 0);
	for (int i = 0; i < 100; i++) {
		pid_t child = fork();

		if (child == 0) {
			alarm(30);
			if (CHILD_MAY_CREATE)
				join_and_release(create(NULL, body_nothing, NULL));
			if (tracepoint_start(&(struct trace_options){ 0 }) != FILAR_OK)
				_exit(1);
			TRACE(TRACE_MARK, 1, 0, 2);
			_exit(tracepoint_stop() == FILAR_OK ? 0 : 2);
		}
		check_child(child);
	}
	store_relaxed(&stop, true);
	CHECK_EQ(pthread_join(busy, NULL), 0);
}
#endif

TEST_MAIN()
