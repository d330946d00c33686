/*
 * test_context.c - the switch itself: what it keeps, where it goes on, what a fresh stack looks
 * like.
 *
 * Runs on aarch64 under qemu as well (make c-aarch64), so it uses nothing but arch/ and base/.
 */
#include <pthread.h>
#include <sys/mman.h>

#include "arch/context.h"
#include "check.h"
#include "child_says.h"

#define STACK_BYTES ((size_t)64 * 1024)

struct coroutine {
	struct context context;
	struct context *back;
	void *stack;
	uint64_t turns;
	uint64_t seen; /* whatever the body wants to tell */
};

static void coroutine_init(struct coroutine *coroutine, struct context *back, context_body *body)
{
	*coroutine = (struct coroutine){ .back = back };
	coroutine->stack =
		mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(coroutine->stack != MAP_FAILED);
	context_init(&coroutine->context, coroutine->stack, STACK_BYTES, body, coroutine);
}

static void coroutine_deinit(struct coroutine *coroutine)
{
	context_deinit(&coroutine->context);
	munmap(coroutine->stack, STACK_BYTES);
}

/* ---- control and data ---- */

static void count_turns(void *transfer, void *argument)
{
	struct coroutine *self = argument;

	for (;;) {
		self->seen = (uint64_t)(uintptr_t)transfer;
		self->turns++;
		transfer =
			context_switch(&self->context, self->back, (void *)(uintptr_t)self->turns);
	}
}

TEST(each_switch_goes_on_where_the_other_left_and_carries_its_pointer)
{
	struct context main_context;
	struct coroutine one, two;

	context_init_running(&main_context);
	coroutine_init(&one, &main_context, count_turns);
	coroutine_init(&two, &main_context, count_turns);
	for (uint64_t i = 1; i <= 1000; i++) {
		struct coroutine *next = i % 3 == 0 ? &two : &one;
		uint64_t before = next->turns;
		void *received =
			context_switch(&main_context, &next->context, (void *)(uintptr_t)(i << 8));

		CHECK_EQ((uintptr_t)received, before + 1);
		CHECK_EQ(next->seen, i << 8);
	}
	CHECK_EQ(one.turns + two.turns, 1000);
	coroutine_deinit(&one);
	coroutine_deinit(&two);
	context_deinit(&main_context);
}

static void finish(void *transfer, void *argument)
{
	struct coroutine *self = argument;

	self->seen = (uint64_t)(uintptr_t)transfer;
	context_switch_last(&self->context, self->back, self);
}

TEST(a_body_ends_by_its_last_switch)
{
	struct context main_context;

	context_init_running(&main_context);
	for (uint64_t i = 0; i < 100; i++) {
		struct coroutine one;

		coroutine_init(&one, &main_context, finish);
		CHECK(context_switch(&main_context, &one.context, (void *)(uintptr_t)i) == &one);
		CHECK_EQ(one.seen, i);
		coroutine_deinit(&one);
	}
}

/* A ring: each hands over to the next directly, not through main. */
static void hand_on(void *transfer, void *argument)
{
	struct coroutine *self = argument;

	for (;;) {
		self->turns++;
		transfer = context_switch(
			&self->context, self->back, (void *)((uintptr_t)transfer + 1));
	}
}

TEST(a_ring_of_stacks_passes_a_token_round)
{
	enum { RING = 50, ROUNDS = 20 };
	static struct coroutine ring[RING];
	struct context main_context;

	context_init_running(&main_context);
	for (int i = 0; i < RING; i++)
		coroutine_init(
			&ring[i], i + 1 < RING ? &ring[i + 1].context : &main_context, hand_on);
	for (int round = 0; round < ROUNDS; round++)
		CHECK_EQ((uintptr_t)context_switch(&main_context, &ring[0].context, NULL), RING);
	for (int i = 0; i < RING; i++) {
		CHECK_EQ(ring[i].turns, ROUNDS);
		coroutine_deinit(&ring[i]);
	}
}

/* ---- the fresh stack ---- */

/* A frame that must be aligned for SSE: the compiler believes the ABI here and uses movaps. */
__attribute__((noinline)) static uint64_t frame_misalignment(void)
{
	return (uintptr_t)__builtin_frame_address(0) & 15;
}

static void look_at_alignment(void *transfer, void *argument)
{
	struct coroutine *self = argument;
	_Alignas(16) volatile char local[16];

	(void)transfer;
	local[0] = 1;
	self->seen = ((uintptr_t)__builtin_frame_address(0) & 15) | frame_misalignment() |
		     ((uintptr_t)local & 15);
	context_switch_last(&self->context, self->back, NULL);
}

/* The frame address is what the ABI fixes: 16-aligned after the prologue has pushed the frame
 * pointer (x86-64), or the aligned stack pointer (aarch64).  Off by 8 passes every other test. */
TEST(the_first_activation_is_aligned_as_the_abi_wants)
{
	struct context main_context;

	context_init_running(&main_context);
	for (size_t odd = 0; odd < 32; odd++) {
		struct coroutine one;

		coroutine_init(&one, &main_context, look_at_alignment);
		context_deinit(&one.context);
		context_init(&one.context, one.stack, STACK_BYTES - odd, look_at_alignment, &one);
		(void)context_switch(&main_context, &one.context, NULL);
		CHECK_EQ(one.seen, 0);
		coroutine_deinit(&one);
	}
}

static void return_at_once(void *transfer, void *argument)
{
	(void)transfer;
	(void)argument;
}

static void let_a_body_return(void)
{
	struct context main_context;
	struct coroutine one;

	context_init_running(&main_context);
	coroutine_init(&one, &main_context, return_at_once);
	(void)context_switch(&main_context, &one.context, NULL);
}

TEST(a_body_that_returns_is_named_and_stopped)
{
	char text[512];
	int status = child_says(let_a_body_return, text, sizeof text);

	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	CHECK_TEXT_HAS(text, "the body of a context returned");
}

/* ---- what is kept ---- */

/* Sanitizers keep values of their own across the bare switch, so these stay out of their builds. */
#if !FILAR_ASAN && !FILAR_TSAN
#if defined(__x86_64__)
/* Fills the registers a function must keep, lets `between` run, reads them back: 0 if all are kept.
 */
static uint64_t registers_lost(struct context *from, struct context *to, uint64_t salt)
{
	uint64_t pattern[5], found[5];

	for (int i = 0; i < 5; i++)
		pattern[i] = salt * 31 + (uint64_t)i * 0x0101010101010101u;
	{
		register uint64_t rbx __asm__("rbx") = pattern[0];
		register uint64_t r12 __asm__("r12") = pattern[1];
		register uint64_t r13 __asm__("r13") = pattern[2];
		register uint64_t r14 __asm__("r14") = pattern[3];
		register uint64_t r15 __asm__("r15") = pattern[4];

		__asm__ volatile("" : "+r"(rbx), "+r"(r12), "+r"(r13), "+r"(r14), "+r"(r15));
		(void)context_switch_registers(&from->sp, to->sp, NULL);
		__asm__ volatile("" : "+r"(rbx), "+r"(r12), "+r"(r13), "+r"(r14), "+r"(r15));
		found[0] = rbx;
		found[1] = r12;
		found[2] = r13;
		found[3] = r14;
		found[4] = r15;
	}
	return (uint64_t)memcmp(pattern, found, sizeof pattern);
}
#else
static uint64_t registers_lost(struct context *from, struct context *to, uint64_t salt)
{
	register uint64_t x19 __asm__("x19") = salt;
	register uint64_t x28 __asm__("x28") = salt * 3;
	register double d8 __asm__("d8") = (double)salt;
	register double d15 __asm__("d15") = (double)salt * 5;
	double low, high;
	uint64_t first, last;

	__asm__ volatile("" : "+r"(x19), "+r"(x28), "+w"(d8), "+w"(d15));
	(void)context_switch_registers(&from->sp, to->sp, NULL);
	__asm__ volatile("" : "+r"(x19), "+r"(x28), "+w"(d8), "+w"(d15));
	first = x19;
	last = x28;
	low = d8;
	high = d15;
	return !(first == salt && last == salt * 3 && low == (double)salt &&
		 high == (double)salt * 5);
}
#endif

static void spoil_registers(void *transfer, void *argument)
{
	struct coroutine *self = argument;

	(void)transfer;
	for (;;)
		self->seen |= registers_lost(&self->context, self->back, ++self->turns);
}

TEST(registers_of_both_sides_survive)
{
	struct context main_context;
	struct coroutine one;

	context_init_running(&main_context);
	coroutine_init(&one, &main_context, spoil_registers);
	for (uint64_t i = 0; i < 100; i++)
		CHECK_EQ(registers_lost(&main_context, &one.context, ~i), 0);
	CHECK_EQ(one.seen, 0);
	CHECK_EQ(one.turns, 100);
	coroutine_deinit(&one);
}

/* The red zone of a leaf function belongs to it: the switch must not write there. */
__attribute__((noinline)) static uint64_t sum_in_red_zone(struct context *from, struct context *to)
{
	volatile uint64_t local[8];
	uint64_t sum = 0;

	for (uint64_t i = 0; i < 8; i++)
		local[i] = i + 1;
	(void)context_switch_registers(&from->sp, to->sp, NULL);
	for (uint64_t i = 0; i < 8; i++)
		sum += local[i];
	return sum;
}

TEST(the_red_zone_survives)
{
	struct context main_context;
	struct coroutine one;

	context_init_running(&main_context);
	coroutine_init(&one, &main_context, spoil_registers);
	for (int i = 0; i < 10; i++)
		CHECK_EQ(sum_in_red_zone(&main_context, &one.context), 36);
	coroutine_deinit(&one);
}
#endif

/* ---- floating point ---- */

#if defined(__x86_64__)
#define FLUSH_TO_ZERO 0x8000u
#define STICKY_FLAGS  0x3fu

static void float_write(uint32_t control)
{
	__asm__ volatile("ldmxcsr %0" : : "m"(control));
}

static void float_change(void *transfer, void *argument)
{
	struct coroutine *self = argument;
	uint16_t x87 = context_x87_control() & (uint16_t)~0x300; /* 24 bits of mantissa */

	(void)transfer;
	self->seen = context_float_control();
	float_write(context_float_control() | FLUSH_TO_ZERO);
	__asm__ volatile("fldcw %0" : : "m"(x87));
	(void)context_switch(&self->context, self->back, NULL);
	self->seen = (context_float_control() & FLUSH_TO_ZERO) != 0 && context_x87_control() == x87;
	context_switch_last(&self->context, self->back, NULL);
}

TEST(floating_point_control_belongs_to_the_stack)
{
	struct context main_context;
	struct coroutine one;
	uint32_t before = context_float_control();
	uint16_t x87_before = context_x87_control();

	context_init_running(&main_context);
	coroutine_init(&one, &main_context, float_change);
	(void)context_switch(&main_context, &one.context, NULL);
	CHECK_EQ(one.seen & ~STICKY_FLAGS, before & ~STICKY_FLAGS); /* a fresh one inherits */
	CHECK_EQ(context_float_control() & ~STICKY_FLAGS, before & ~STICKY_FLAGS);
	CHECK_EQ(context_x87_control(), x87_before);
	(void)context_switch(&main_context, &one.context, NULL);
	CHECK_EQ(one.seen, 1);
	CHECK_EQ(context_float_control() & ~STICKY_FLAGS, before & ~STICKY_FLAGS);
	CHECK_EQ(context_x87_control(), x87_before);
	coroutine_deinit(&one);
}

/* If the switch wrote MXCSR here, it would bring back the flags as they were saved. */
static void clear_flags(void *transfer, void *argument)
{
	struct coroutine *self = argument;

	(void)transfer;
	for (;;) {
		float_write(context_float_control() & ~STICKY_FLAGS);
		(void)context_switch(&self->context, self->back, NULL);
	}
}

TEST(a_sticky_flag_does_not_make_the_switch_write_the_control_word)
{
	struct context main_context;
	struct coroutine one;

	context_init_running(&main_context);
	coroutine_init(&one, &main_context, clear_flags);
	for (int i = 0; i < 3; i++) {
		float_write(context_float_control() | 0x20); /* "inexact" is saved with main */
		(void)context_switch(&main_context, &one.context, NULL);
		CHECK_EQ(context_float_control() & STICKY_FLAGS, 0);
	}
	coroutine_deinit(&one);
}
#else
static void float_change(void *transfer, void *argument)
{
	struct coroutine *self = argument;

	(void)transfer;
	self->seen = context_float_control();
	__asm__ volatile("msr fpcr, %0" : : "r"(UINT64_C(1) << 24)); /* flush to zero */
	context_switch_last(&self->context, self->back, NULL);
}

TEST(floating_point_control_belongs_to_the_stack)
{
	struct context main_context;
	struct coroutine one;
	uint64_t before = context_float_control();

	context_init_running(&main_context);
	coroutine_init(&one, &main_context, float_change);
	(void)context_switch(&main_context, &one.context, NULL);
	CHECK_EQ(one.seen, before);
	CHECK_EQ(context_float_control(), before);
	coroutine_deinit(&one);
}
#endif

/* ---- other kernel threads ---- */

struct relay {
	struct coroutine coroutine;
	pthread_mutex_t lock; /* the stack is handed on under it */
	uint64_t threads;
};

static void *visit(void *pointer)
{
	struct relay *relay = pointer;
	struct context own;

	context_init_running(&own);
	for (int i = 0; i < 500; i++) {
		pthread_mutex_lock(&relay->lock);
		relay->coroutine.back = &own;
		(void)context_switch(&own, &relay->coroutine.context, NULL);
		pthread_mutex_unlock(&relay->lock);
	}
	context_deinit(&own);
	return NULL;
}

TEST(a_stack_is_continued_by_any_kernel_thread)
{
	static struct relay relay;
	pthread_t threads[2];

	coroutine_init(&relay.coroutine, NULL, count_turns);
	pthread_mutex_init(&relay.lock, NULL);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, visit, &relay), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	CHECK_EQ(relay.coroutine.turns, 1000);
	coroutine_deinit(&relay.coroutine);
}

/* ---- signals ---- */

/* ThreadSanitizer delivers signals only at system calls, so there is nothing to see. */
#if !FILAR_TSAN
static volatile sig_atomic_t alarms;

static void count_alarm(int signal)
{
	volatile char scribble[4096];

	(void)signal;
	for (size_t i = 0; i < sizeof scribble; i++)
		scribble[i] = (char)i;
	alarms = alarms + 1;
}

/* A handler runs on whatever stack pointer it finds; it finds every instruction of the switch. */
TEST(signals_in_the_middle_of_switches_harm_nothing)
{
	struct sigaction action = { .sa_handler = count_alarm };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct itimerspec every = { { 0, 20000 }, { 0, 20000 } };
	struct context main_context;
	struct coroutine one;
	uint64_t turns = 0;
	timer_t timer;

	context_init_running(&main_context);
	coroutine_init(&one, &main_context, count_turns);
	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	CHECK_EQ(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	CHECK_EQ(timer_settime(timer, 0, &every, NULL), 0);
	while (alarms < 200) {
		(void)context_switch(&main_context, &one.context, NULL);
		turns++;
	}
	timer_delete(timer);
	CHECK_EQ(one.turns, turns);
	coroutine_deinit(&one);
}
#endif

TEST_MAIN()
