/*
 * floor.c - what the machine itself costs, in the lines of peer.h: the least a library could pay.
 *
 *   G1   two stacks and a jump, no words of floating point, nobody to schedule; also one in line
 *   G8   two pinned kernel threads: by spinning on a word, and by a futex
 *   G12  one thread writes to a pipe, is told by epoll, reads: no switch, nobody to wake
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "peer.h"

/* ---- G1 ---- */

#if defined(__x86_64__)
static char stack[64 * 1024] __attribute__((aligned(16)));
static void *main_sp, *other_sp;

/* Saves what a function must keep for its caller; ends in a jump, not in `ret`. */
void floor_switch(void **save, void *load);
__asm__(".text\n"
	".globl floor_switch\n"
	".type floor_switch, @function\n"
	".balign 64\n"
	"floor_switch:\n\t"
	"popq %rax\n\t"
	"pushq %rbp\n\tpushq %rbx\n\tpushq %r12\n\tpushq %r13\n\tpushq %r14\n\tpushq %r15\n\t"
	"pushq %rax\n\t"
	"movq %rsp, (%rdi)\n\t"
	"movq %rsi, %rsp\n\t"
	"popq %rax\n\t"
	"popq %r15\n\tpopq %r14\n\tpopq %r13\n\tpopq %r12\n\tpopq %rbx\n\tpopq %rbp\n\t"
	"jmp *%rax\n");

/* The compiler keeps what it needs; built with -mno-red-zone. */
static inline __attribute__((always_inline)) void switch_inline(void **save, void *load)
{
	__asm__ volatile("leaq 1f(%%rip), %%rax\n\t"
			 "pushq %%rbp\n\tpushq %%rax\n\t"
			 "movq %%rsp, (%0)\n\t"
			 "movq %1, %%rsp\n\t"
			 "popq %%rax\n\tpopq %%rbp\n\t"
			 "jmp *%%rax\n1:"
			 : "+D"(save), "+S"(load)
			 :
			 : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13",
			 "r14", "r15", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
			 "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
			 "xmm15", "cc", "memory");
}

static void go_back(void)
{
	for (;;)
		floor_switch(&other_sp, main_sp);
}

static void go_back_inline(void)
{
	for (;;)
		switch_inline(&other_sp, main_sp);
}

/* A frame that both can jump into: where to go on, and room for the registers. */
static void prepare(void (*body)(void))
{
	void **top = (void **)(stack + sizeof stack - 256) - 1;

	memset(stack, 0, sizeof stack);
	*top = (void *)(uintptr_t)body;
	other_sp = top;
}

static void g1(void)
{
	prepare(go_back);
	floor_switch(&main_sp, other_sp);
	for (int sample = 0; sample < PEER_SAMPLES; sample++) {
		struct peer_watch watch = peer_begin();

		for (int i = 0; i < PEER_SWITCHES; i++)
			floor_switch(&main_sp, other_sp);
		peer_end(watch, "G1", "switch", 2.0 * PEER_SWITCHES, "ns");
	}
	prepare(go_back_inline);
	switch_inline(&main_sp, other_sp);
	for (int sample = 0; sample < PEER_SAMPLES; sample++) {
		struct peer_watch watch = peer_begin();

		for (int i = 0; i < PEER_SWITCHES; i++)
			switch_inline(&main_sp, other_sp);
		peer_end(watch, "G1", "switch_inline", 2.0 * PEER_SWITCHES, "ns");
	}
}
#else
static void g1(void)
{
	printf("skip G1 the bare switch is written for x86-64\n");
}
#endif

/* ---- G8 ---- */

static _Alignas(128) _Atomic uint32_t ping;
static _Alignas(128) _Atomic uint32_t pong;
static double sent_ns, delays_ns[PEER_COLD];

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (pthread_setaffinity_np(pthread_self(), sizeof set, &set) != 0) {
		printf("skip G8 this process may not use CPU %d\n", cpu);
		exit(0);
	}
}

static void spin_until(_Atomic uint32_t *word, uint32_t value)
{
	while (atomic_load_explicit(word, memory_order_acquire) != value)
		continue;
}

static void futex_send(_Atomic uint32_t *word, uint32_t value)
{
	atomic_store(word, value);
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void futex_receive(_Atomic uint32_t *word, uint32_t value)
{
	uint32_t found;

	while ((found = atomic_load(word)) != value)
		syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, found, NULL, NULL, 0);
}

static void *answer(void *kind)
{
	pin(1);
	for (uint32_t i = 1; *(char *)kind == 's' && i <= PEER_CROSS; i++) {
		spin_until(&ping, i);
		atomic_store_explicit(&pong, i, memory_order_release);
	}
	for (uint32_t i = 1; *(char *)kind == 'f' && i <= PEER_CROSS; i++) {
		futex_receive(&ping, i);
		futex_send(&pong, i);
	}
	for (uint32_t i = 1; *(char *)kind == 'c' && i <= PEER_COLD; i++) {
		futex_receive(&ping, i);
		delays_ns[i - 1] = peer_now_ns() - sent_ns;
		futex_send(&pong, i);
	}
	return NULL;
}

static void start(pthread_t *thread, char *kind)
{
	atomic_store(&ping, 0);
	atomic_store(&pong, 0);
	if (pthread_create(thread, NULL, answer, kind) != 0)
		exit(1);
}

static int compare(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

static void g8(void)
{
	char kinds[3] = { 's', 'f', 'c' };
	struct peer_watch watch;
	pthread_t thread;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2) {
		printf("skip G8 one CPU only\n");
		return;
	}
	pin(0);
	start(&thread, &kinds[0]);
	watch = peer_begin();
	for (uint32_t i = 1; i <= PEER_CROSS; i++) {
		atomic_store_explicit(&ping, i, memory_order_release);
		spin_until(&pong, i);
	}
	peer_end(watch, "G8", "cross_spin", 2.0 * PEER_CROSS, "ns");
	pthread_join(thread, NULL);
	start(&thread, &kinds[1]);
	watch = peer_begin();
	for (uint32_t i = 1; i <= PEER_CROSS; i++) {
		futex_send(&ping, i);
		futex_receive(&pong, i);
	}
	peer_end(watch, "G8", "cross_hot", 2.0 * PEER_CROSS, "ns");
	pthread_join(thread, NULL);
	start(&thread, &kinds[2]);
	for (uint32_t i = 1; i <= PEER_COLD; i++) {
		peer_sleep_us(PEER_COLD_PAUSE_US);
		sent_ns = peer_now_ns();
		futex_send(&ping, i);
		futex_receive(&pong, i);
	}
	pthread_join(thread, NULL);
	qsort(delays_ns, PEER_COLD, sizeof delays_ns[0], compare);
	peer_value("G8", "cross_cold", delays_ns[PEER_COLD / 2], "ns");
}

/* ---- G12 ---- */

static void g12(void)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	int ends[2], poller = epoll_create1(EPOLL_CLOEXEC);
	char byte = 0;

	if (poller < 0 || pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0 ||
		epoll_ctl(poller, EPOLL_CTL_ADD, ends[0], &event) != 0)
		exit(1);
	for (int sample = 0; sample < PEER_SAMPLES; sample++) {
		struct peer_watch watch = peer_begin();

		for (int i = 0; i < 2 * PEER_PIPE; i++)
			if (write(ends[1], &byte, 1) != 1 ||
				epoll_wait(poller, &event, 1, -1) != 1 ||
				read(ends[0], &byte, 1) != 1)
				exit(1);
		peer_end(watch, "G12", "pipe", 2.0 * PEER_PIPE, "ns");
	}
}

int main(int argc, char **argv)
{
	static const struct peer_line lines[] = { { "G1", g1 }, { "G8", g8 }, { "G12", g12 },
		{ NULL, NULL } };

	return peer_main(lines, argc, argv);
}
