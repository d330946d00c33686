/*
 * self.c - owns the one thread-local pointer.
 */
#include "base/self.h"

#include <pthread.h>

#include "base/atomic.h"
#include "base/check.h"
#include "base/memory.h"
#include "base/tracepoint.h"

static __thread struct self *self_pointer __attribute__((tls_model("initial-exec")));
static pthread_key_t self_key;
static pthread_once_t self_key_once = PTHREAD_ONCE_INIT;

static void self_destroy(void *pointer)
{
	struct self *self = pointer;

	self_pointer = NULL;
	tracepoint_ring_retire(self->trace_ring);
	memory_release(self);
}

static void self_create_key(void)
{
	int error = pthread_key_create(&self_key, self_destroy);

	FILAR_CHECK_EQ(error, 0);
}

FILAR_NOINLINE struct self *self_get(void)
{
	return self_pointer;
}

static struct self *acquire(void)
{
	static _Atomic uint32_t numbers;
	struct self *self = memory_acquire(1, sizeof *self);

	if (self != NULL)
		self->number = fetch_add_relaxed(&numbers, 1);
	return self;
}

struct self *self_get_or_create(void)
{
	struct self *self = self_get();

	if (FILAR_LIKELY(self != NULL))
		return self;
	pthread_once(&self_key_once, self_create_key);
	self = acquire();
	if (self == NULL)
		return NULL;
	if (pthread_setspecific(self_key, self) != 0) {
		memory_release(self);
		return NULL;
	}
	self_pointer = self;
	return self;
}

struct self *self_create(void)
{
	pthread_once(&self_key_once, self_create_key);
	return acquire();
}

void self_adopt(struct self *self)
{
	FILAR_ASSERT(self_pointer == NULL);
	self_pointer = self;
}

void self_discard(struct self *self)
{
	memory_release(self);
}

void self_release(void)
{
	struct self *self = self_get();

	if (self == NULL)
		return;
	pthread_setspecific(self_key, NULL);
	self_destroy(self);
}
