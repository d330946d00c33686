/*
 * stack.c - slabs of stacks, batches of free slots, and the message of an overflow.
 *
 * Carving.  A slab's slots are taken in order; each gets its guard when it is carved, not when the
 * slab is reserved: a guard costs 0.3 us and the page tables under it.  A slab that the address
 * space or a limit does not allow is tried again at half the size, down to one slot.
 *
 * A batch of free slots is an array that lies in the stack of its first slot: nothing to allocate,
 * giving back never fails, and taking one reads a few lines and not one page of each.
 */
#include "green/stack.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <unistd.h>

#include "arch/sanitizer.h"
#include "arch/valgrind.h"
#include "base/check.h"
#include "base/memory.h"
#include "os/calls.h"

#define CARVE_BATCH      (STACK_BATCH < 16u ? STACK_BATCH : 16u)
#define SLAB_SLOTS_FIRST ((size_t)64)
#define SLAB_BYTES_MAX   ((size_t)64 << 30)
#define CACHELINE        ((size_t)FILAR_CACHELINE_BYTES)

/* ---- places ---- */

uint32_t stack_class_index(size_t bytes)
{
	uint32_t index = 0;

	FILAR_ASSERT(bytes > 0 && bytes <= STACK_BYTES_LARGEST);
	while (stack_class_bytes(index) < bytes)
		index++;
	return index;
}

size_t stack_class_bytes(uint32_t class_index)
{
	return STACK_BYTES_SMALLEST << class_index;
}

static char *slot_base(const struct stack_class *class, const struct stack_slab *slab, size_t index)
{
	/* Z2: acquire; pairs with Z1: the slab's size is visible with its base. */
	return load_acquire(&((struct stack_slab *)slab)->base) + index * class->slot_bytes;
}

/* The descriptor of a slot, below its colour. */
static struct stack_slot *slot_at(const struct stack_pool *pool, const struct stack_class *class,
	const struct stack_slab *slab, size_t index)
{
	size_t colour = index % STACK_COLOURS * CACHELINE;
	char *top = slot_base(class, slab, index) + class->slot_bytes;

	return (struct stack_slot *)(void *)(top - colour - pool->descriptor_bytes);
}

/* ---- how deep it was ---- */

/*
 * The mark: one line at the low end of the page of the descriptor, written when the slot is carved.
 * Who comes deeper than that page has most likely written over it, and only then there may be more
 * to give back: 100 ns a stack, saved for those that stay shallow.  A body with a large local array
 * that it does not fill may step over the mark; its pages stay until the slot is used deeply once
 * more.
 */
#define MARK UINT64_C(0x66696c61726d6172)

static uint64_t *mark_of(const struct stack_slot *slot)
{
	return (uint64_t *)((uintptr_t)slot & ~(uintptr_t)(page_bytes() - 1));
}

FILAR_NO_SANITIZE_ADDRESS static void set_mark(struct stack_slot *slot)
{
	volatile uint64_t *mark = mark_of(slot);

	for (size_t i = 0; i < CACHELINE / sizeof *mark; i++)
		mark[i] = MARK;
}

FILAR_NO_SANITIZE_ADDRESS static bool mark_is_there(const struct stack_slot *slot)
{
	const volatile uint64_t *mark = mark_of(slot);
	uint64_t difference = 0;

	for (size_t i = 0; i < CACHELINE / sizeof *mark; i++)
		difference |= mark[i] ^ MARK;
	return difference == 0;
}

/* ---- slabs ---- */

static size_t slab_slots_wanted(const struct stack_class *class, uint32_t slab_index)
{
	size_t slots = SLAB_SLOTS_FIRST << (slab_index < 24 ? slab_index : 24);
	size_t most = SLAB_BYTES_MAX / class->slot_bytes;

	return slots < most ? slots : most > 0 ? most : 1;
}

/* Adds a slab.  Under the lock. */
static enum filar_status add_slab_locked(struct stack_class *class)
{
	uint32_t index = load_relaxed(&class->slab_count);
	struct stack_slab *slab = &class->slabs[index];
	enum filar_status status;
	void *base;

	if (index == STACK_SLABS_MAX)
		return status_detail(FILAR_LIMIT, "too many stacks of %zu bytes: %d slabs are full",
			class->stack_bytes, STACK_SLABS_MAX);
	for (slab->slots = slab_slots_wanted(class, index);; slab->slots /= 2) {
		status = pages_reserve(&base, slab->slots * class->slot_bytes);
		if (status == FILAR_OK)
			break;
		if (slab->slots == 1)
			return status;
	}
	/* Z1: release; pairs with Z2, for those who look without the lock. */
	store_release(&slab->base, base);
	store_release(&class->slab_count, index + 1);
	return FILAR_OK;
}

/* The slab with an uncarved slot, or NULL. */
static struct stack_slab *open_slab(struct stack_class *class)
{
	uint32_t count = load_relaxed(&class->slab_count);
	struct stack_slab *slab = count > 0 ? &class->slabs[count - 1] : NULL;

	return slab != NULL && load_relaxed(&slab->carved) < slab->slots ? slab : NULL;
}

/* The next slot of the slab, with its guard.  Under the lock. */
static enum filar_status carve_locked(struct stack_slot **result, struct stack_pool *pool,
	struct stack_class *class, struct stack_slab *slab)
{
	size_t index = load_relaxed(&slab->carved);
	char *base = slot_base(class, slab, index);
	struct stack_slot *slot = slot_at(pool, class, slab, index);
	enum filar_status status;

	if (pool->guard_bytes > 0) {
		status = pages_guard(base, pool->guard_bytes, &pool->guard);
		if (status != FILAR_OK)
			return status;
	}
	sanitizer_forget(base, class->slot_bytes);
	slot->low = base + pool->guard_bytes;
	slot->class_index = (uint32_t)(class - pool->classes);
	/* The descriptor with it: an empty stack's pointer points there. */
	slot->valgrind = valgrind_stack_register(slot->low, (char *)slot + pool->descriptor_bytes);
	set_mark(slot);
	store_release(&slab->carved, index + 1);
	*result = slot;
	return FILAR_OK;
}

static void cache_push(struct stack_cache *cache, struct stack_slot *slot)
{
	cache->free[slot->class_index][cache->count[slot->class_index]++] = slot;
}

/* Up to CARVE_BATCH fresh slots into the cache; an error only if there is not even one. */
static enum filar_status carve_some_locked(
	struct stack_pool *pool, struct stack_cache *cache, struct stack_class *class)
{
	struct stack_slab *slab = open_slab(class);
	enum filar_status status = FILAR_OK;
	struct stack_slot *slot;
	uint32_t carved = 0;

	if (slab == NULL) {
		status = add_slab_locked(class);
		if (status != FILAR_OK)
			return status;
		slab = open_slab(class);
	}
	while (carved < CARVE_BATCH && load_relaxed(&slab->carved) < slab->slots) {
		status = carve_locked(&slot, pool, class, slab);
		if (status != FILAR_OK)
			break;
		cache_push(cache, slot);
		carved++;
	}
	return carved > 0 ? FILAR_OK : status;
}

/* ---- batches ---- */

struct stack_batch {
	struct stack_batch *next;
	size_t count;
	struct stack_slot *slots[STACK_BATCH];
};
/* It lies above the mark in the page of the first slot's descriptor. */
_Static_assert(sizeof(struct stack_batch) <= 4096 - 64 - STACK_COLOURS * 64 - 512,
	"a batch and a descriptor fit in a page, whatever the colour");

static struct stack_batch *batch_at(const struct stack_slot *first)
{
	return (struct stack_batch *)(void *)((char *)mark_of(first) + CACHELINE);
}

FILAR_NO_SANITIZE_ADDRESS static void take_batch_locked(
	struct stack_class *class, struct stack_cache *cache, uint32_t class_index)
{
	const volatile struct stack_batch *batch = class->batches;

	class->batches = batch->next;
	for (size_t i = 0; i < batch->count; i++)
		cache->free[class_index][i] = batch->slots[i];
	cache->count[class_index] = (uint32_t)batch->count;
}

enum filar_status stack_cache_fill(
	struct stack_pool *pool, struct stack_cache *cache, uint32_t class_index)
{
	struct stack_class *class = &pool->classes[class_index];
	enum filar_status status = FILAR_OK;

	FILAR_ASSERT(cache->count[class_index] == 0);
	spinlock_lock(&pool->lock);
	if (class->batches != NULL)
		take_batch_locked(class, cache, class_index);
	else
		status = carve_some_locked(pool, cache, class);
	spinlock_unlock(&pool->lock);
	for (uint32_t i = cache->count[class_index];
		i > 0 && i + STACK_AHEAD > cache->count[class_index]; i--)
		stack_prefetch(cache->free[class_index][i - 1]);
	return status;
}

/* What lies below the topmost STACK_KEPT_BYTES of each stack that went deep. */
static void discard_depths(struct stack_slot **slots, size_t stack_bytes)
{
	struct page_range ranges[PAGE_RANGES_MAX];
	size_t count = 0;

	if (stack_bytes <= STACK_KEPT_BYTES)
		return;
	for (size_t i = 0; i < STACK_BATCH; i++) {
		if (mark_is_there(slots[i]))
			continue;
		ranges[count++] =
			(struct page_range){ slots[i]->low, stack_bytes - STACK_KEPT_BYTES };
		set_mark(slots[i]);
	}
	if (count > 0)
		pages_discard(ranges, count);
}

/* The batch holds those that lay longest: their lines are cold anyway. */
FILAR_NO_SANITIZE_ADDRESS static struct stack_batch *write_batch(struct stack_slot **slots)
{
	volatile struct stack_batch *batch = batch_at(slots[0]);

	batch->count = STACK_BATCH;
	for (size_t i = 0; i < STACK_BATCH; i++)
		batch->slots[i] = slots[i];
	return (struct stack_batch *)batch;
}

FILAR_NO_SANITIZE_ADDRESS void stack_cache_spill(
	struct stack_pool *pool, struct stack_cache *cache, uint32_t class_index)
{
	struct stack_class *class = &pool->classes[class_index];
	struct stack_slot **slots = cache->free[class_index];
	volatile struct stack_batch *batch;

	FILAR_ASSERT(cache->count[class_index] >= STACK_BATCH);
	discard_depths(slots, class->stack_bytes);
	batch = write_batch(slots);
	cache->count[class_index] -= STACK_BATCH;
	for (uint32_t i = 0; i < cache->count[class_index]; i++)
		slots[i] = slots[i + STACK_BATCH];
	spinlock_lock(&pool->lock);
	batch->next = class->batches;
	class->batches = (struct stack_batch *)batch;
	spinlock_unlock(&pool->lock);
}

/* ---- looking at all ---- */

void stack_pool_for_each(struct stack_pool *pool,
	void (*visit)(struct stack_slot *slot, void *argument), void *argument)
{
	for (size_t c = 0; c < STACK_CLASSES; c++) {
		struct stack_class *class = &pool->classes[c];
		uint32_t slabs = load_acquire(&class->slab_count);

		for (uint32_t s = 0; s < slabs; s++) {
			uint64_t carved = load_acquire(&class->slabs[s].carved);

			for (uint64_t i = 0; i < carved; i++)
				visit(slot_at(pool, class, &class->slabs[s], i), argument);
		}
	}
}

static void count_slot(struct stack_slot *slot, void *argument)
{
	(void)slot;
	*(uint64_t *)argument += 1;
}

uint64_t stack_pool_carved(struct stack_pool *pool)
{
	uint64_t count = 0;

	stack_pool_for_each(pool, count_slot, &count);
	return count;
}

/* ---- overflow ---- */

#define POOLS_MAX 256
static _Atomic(struct stack_pool *) watched_pools[POOLS_MAX];
static struct sigaction action_before;
static pthread_once_t handler_once = PTHREAD_ONCE_INIT;

/* The slot whose guard holds `address`, or NULL. */
static struct stack_slot *guarded_by(struct stack_pool *pool, const char *address, size_t *bytes)
{
	for (size_t c = 0; c < STACK_CLASSES; c++) {
		struct stack_class *class = &pool->classes[c];
		uint32_t slabs = load_acquire(&class->slab_count);

		for (uint32_t s = 0; s < slabs; s++) {
			const char *base = load_acquire(&class->slabs[s].base);
			size_t offset = (size_t)(address - base);

			if (address < base || offset >= class->slabs[s].slots * class->slot_bytes ||
				offset % class->slot_bytes >= pool->guard_bytes)
				continue;
			*bytes = class->stack_bytes;
			return slot_at(pool, class, &class->slabs[s], offset / class->slot_bytes);
		}
	}
	return NULL;
}

static void say_overflow(struct stack_pool *pool, const struct stack_slot *slot, size_t bytes)
{
	char who[96], text[320];
	int length;
	ssize_t ignored;

	pool->describe(slot, who, sizeof who);
	length = snprintf(text, sizeof text,
		"filar: %s has overflowed its stack of %zu bytes; spawn it with a larger "
		"stack_bytes, or keep large local arrays on the heap\n",
		who, bytes);
	ignored = write(STDERR_FILENO, text, (size_t)length);
	(void)ignored;
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
	for (size_t i = 0; i < POOLS_MAX; i++) {
		struct stack_pool *pool = load_acquire(&watched_pools[i]);
		size_t bytes;
		struct stack_slot *slot =
			pool != NULL ? guarded_by(pool, info->si_addr, &bytes) : NULL;

		if (slot != NULL) {
			say_overflow(pool, slot, bytes);
			break;
		}
	}
	/* Not ours, or ours and said: as if we had not been here. */
	if ((action_before.sa_flags & SA_SIGINFO) != 0) {
		action_before.sa_sigaction(signal, info, context);
	} else if (action_before.sa_handler != SIG_DFL && action_before.sa_handler != SIG_IGN) {
		action_before.sa_handler(signal);
	} else {
		/* The instruction is tried again and the kernel ends the process, with a core. */
		sigaction(signal, &(struct sigaction){ .sa_handler = SIG_DFL }, NULL);
	}
}

static void install_handler(void)
{
	struct sigaction action = { .sa_sigaction = on_fault,
		.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };

	sigemptyset(&action.sa_mask);
	sigaction(SIGSEGV, NULL, &action_before);
	sigaction(SIGSEGV, &action, NULL);
}

static enum filar_status watch(struct stack_pool *pool)
{
	pthread_once(&handler_once, install_handler);
	for (size_t i = 0; i < POOLS_MAX; i++) {
		struct stack_pool *nobody = NULL;

		if (cas_acq_rel(&watched_pools[i], &nobody, pool))
			return FILAR_OK;
	}
	return status_detail(FILAR_LIMIT, "%d runtimes are alive, and no more can be", POOLS_MAX);
}

static void unwatch(struct stack_pool *pool)
{
	for (size_t i = 0; i < POOLS_MAX; i++) {
		struct stack_pool *mine = pool;

		if (cas_acq_rel(&watched_pools[i], &mine, NULL))
			return;
	}
}

enum filar_status signal_stack_install(struct signal_stack *stack)
{
	long least = sysconf(_SC_SIGSTKSZ);
	size_t bytes = (least > 0 ? (size_t)least : 0) + (size_t)32 * 1024;
	stack_t ours = { .ss_size = bytes }, before;

	stack->memory = memory_acquire(1, bytes);
	if (stack->memory == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for a worker's signal stack");
	ours.ss_sp = stack->memory;
	if (call_sigaltstack(&ours, &before) != 0) {
		memory_release(stack->memory);
		return status_from_errno(errno, "sigaltstack");
	}
	stack->before = before.ss_sp;
	stack->bytes = before.ss_size;
	stack->flags = before.ss_flags;
	return FILAR_OK;
}

void signal_stack_remove(struct signal_stack *stack)
{
	stack_t before = {
		.ss_sp = stack->before, .ss_size = stack->bytes, .ss_flags = stack->flags
	};

	(void)sigaltstack(&before, NULL);
	memory_release(stack->memory);
}

/* ---- the pool ---- */

enum filar_status stack_pool_init(struct stack_pool *pool, size_t descriptor_bytes,
	enum stack_guard guard,
	void (*describe)(const struct stack_slot *slot, char *text, size_t bytes))
{
	memset(pool, 0, sizeof *pool);
	spinlock_init_ranked(&pool->lock, RANK_STACKS);
	pool->guard_bytes = guard == STACK_GUARD_NONE ? 0 : page_bytes();
	pool->guard = guard;
	pool->descriptor_bytes = (descriptor_bytes + CACHELINE - 1) / CACHELINE * CACHELINE;
	pool->describe = describe;
	for (uint32_t c = 0; c < STACK_CLASSES; c++) {
		pool->classes[c].stack_bytes = stack_class_bytes(c);
		pool->classes[c].slot_bytes = stack_class_bytes(c) + pool->guard_bytes;
	}
	return watch(pool);
}

static void tell_valgrind(struct stack_slot *slot, void *unused)
{
	(void)unused;
	valgrind_stack_deregister(slot->valgrind);
}

void stack_pool_deinit(struct stack_pool *pool)
{
	unwatch(pool);
	if (valgrind_is_running())
		stack_pool_for_each(pool, tell_valgrind, NULL);
	for (size_t c = 0; c < STACK_CLASSES; c++) {
		struct stack_class *class = &pool->classes[c];

		for (uint32_t s = 0; s < load_relaxed(&class->slab_count); s++)
			pages_release(load_relaxed(&class->slabs[s].base),
				class->slabs[s].slots * class->slot_bytes);
	}
}
