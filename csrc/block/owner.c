/*
 * owner.c - identities of threads, green and kernel.
 */
#include "block/owner.h"

#include <stdio.h>
#include <unistd.h>

#include "base/self.h"
#include "base/tid.h"
#include "green/green.h"

_Static_assert(_Alignof(struct green) >= 1 << OWNER_FLAG_BITS, "the flags fit below the address");

static int32_t kernel_tid(void)
{
	struct self *self = self_get_or_create();

	if (self == NULL)
		return tid_self();
	if (FILAR_UNLIKELY(self->tid == 0))
		self->tid = tid_self();
	return self->tid;
}

struct owner owner_self(void)
{
	struct green *green = green_self();
	uint64_t tid;

	if (green != NULL)
		return (struct owner){ (uint64_t)(uintptr_t)green, load_relaxed(&green->number) };
	tid = (uint64_t)kernel_tid();
	return (struct owner){ tid << OWNER_FLAG_BITS | OWNER_KERNEL, tid };
}

void owner_describe(struct owner owner, char *text, size_t bytes)
{
	if (owner.token == 0)
		snprintf(text, bytes, "nobody");
	else
		snprintf(text, bytes, "%s thread %llu",
			(owner.token & OWNER_KERNEL) != 0 ? "kernel" : "green",
			(unsigned long long)owner.number);
}

void owner_describe_self(char *text, size_t bytes)
{
	struct green *green = green_self();

	if (green != NULL)
		green_describe(green, text, bytes);
	else
		owner_describe(owner_self(), text, bytes);
}

void object_describe(
	const char *kind, const char *name, const void *object, char *text, size_t bytes)
{
	if (name != NULL)
		snprintf(text, bytes, "%s \"%.40s\"", kind, name);
	else
		snprintf(text, bytes, "%s at %p", kind, object);
}
