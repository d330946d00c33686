/*
 * context.c - fresh contexts.  The switch itself is in context_layout_<cpu>.h and context_<cpu>.S.
 */
#include "arch/context.h"

#include "arch/valgrind.h"
#include "base/check.h"

#if FILAR_ASAN
#include <pthread.h>
#endif

void context_entry(void);
void context_body_returned(void);

/* A body that returns has nowhere to return to. */
__attribute__((used)) void context_body_returned(void)
{
	check_failed(__FILE__, __LINE__,
		"the body of a context returned; it must end with context_switch_last()");
}

#if FILAR_ASAN
/* ASan expects the end of the switch to be the first thing on a fresh stack. */
static void asan_body(void *transfer, void *pointer)
{
	struct context *context = pointer;

	sanitizer_arrive(&context->sanitizer);
	context->body(transfer, context->argument);
}
#endif

static void fill_frame(struct context_frame *frame, context_body *body, void *argument)
{
	/* What is not written here, the body does not look at. */
#if defined(__x86_64__)
	frame->r12 = (uintptr_t)body;
	frame->r13 = (uintptr_t)argument;
	frame->mxcsr = context_float_control() & CONTEXT_MXCSR_CONTROL;
	frame->x87 = context_x87_control();
	frame->rip = (void *)(uintptr_t)context_entry;
#else
	frame->x19_to_x28[0] = (uintptr_t)body;
	frame->x19_to_x28[1] = (uintptr_t)argument;
	frame->fpcr = context_float_control();
	frame->pc = (void *)(uintptr_t)context_entry;
#endif
}

/* Asked once: a question costs more than a look. */
static bool under_valgrind;

__attribute__((constructor)) static void look_for_valgrind(void)
{
	under_valgrind = valgrind_is_running();
}

void context_init(
	struct context *context, void *low, size_t bytes, context_body *body, void *argument)
{
	uintptr_t top = ((uintptr_t)low + bytes) & ~(uintptr_t)15;
	struct context_frame *frame = (struct context_frame *)(top - CONTEXT_BYTES);

	FILAR_ASSERT(bytes >= (size_t)2 * CONTEXT_BYTES);
	*context = (struct context){ .sp = frame };
	if (FILAR_UNLIKELY(under_valgrind))
		valgrind_make_usable(frame, CONTEXT_BYTES);
#if FILAR_ASAN
	/* The frames of whoever ended here before never returned: their red zones are still
	 * poisoned. */
	__asan_unpoison_memory_region(low, bytes);
	context->sanitizer.low = low;
	context->sanitizer.bytes = bytes;
	context->body = body;
	context->argument = argument;
	body = asan_body;
	argument = context;
#endif
#if FILAR_TSAN
	context->sanitizer.fiber = __tsan_create_fiber(0);
	context->sanitizer.fiber_is_ours = true;
#endif
	fill_frame(frame, body, argument);
}

#if FILAR_ASAN
static void find_own_stack(struct context *context)
{
	pthread_attr_t attributes;
	void *low;

	FILAR_CHECK_EQ(pthread_getattr_np(pthread_self(), &attributes), 0);
	FILAR_CHECK_EQ(pthread_attr_getstack(&attributes, &low, &context->sanitizer.bytes), 0);
	context->sanitizer.low = low;
	pthread_attr_destroy(&attributes);
}
#endif

void context_init_running(struct context *context)
{
	*context = (struct context){ 0 };
#if FILAR_ASAN
	find_own_stack(context);
#endif
#if FILAR_TSAN
	context->sanitizer.fiber = __tsan_get_current_fiber();
	context->sanitizer.fiber_is_ours = false;
#endif
}

void context_deinit(struct context *context)
{
#if FILAR_TSAN
	if (context->sanitizer.fiber_is_ours)
		__tsan_destroy_fiber(context->sanitizer.fiber);
#endif
#if FILAR_ASAN
	/* The frames of whoever ended here never returned: their red zones would stay poisoned also
	 * for whatever is mapped here next. */
	if (context->body != NULL)
		__asan_unpoison_memory_region(context->sanitizer.low, context->sanitizer.bytes);
#endif
	(void)context;
}
