/*
 * compiler.h - words for what the compiler must know, and the key to the letters on struct fields.
 *
 * Access letters, one in front of each field's comment:
 *   I  set before the object is shared, then constant
 *   W  only the owning worker or kernel thread touches it
 *   L  under the object's lock
 *   A  atomic; the order stands at each use
 *   S  owned by whoever owns the state (see the state's enum)
 */
#ifndef FILAR_BASE_COMPILER_H
#define FILAR_BASE_COMPILER_H

#include <stddef.h>
#include <stdint.h>

#define FILAR_CACHELINE_BYTES 64
/* Two lines: the adjacent-line prefetcher of x86 pulls pairs, so 64 bytes apart still share. */
#define FILAR_FALSE_SHARING_BYTES 128

#define FILAR_CACHELINE_ALIGNED __attribute__((aligned(FILAR_FALSE_SHARING_BYTES)))
#define FILAR_CACHELINE_BREAK   _Alignas(FILAR_FALSE_SHARING_BYTES)

#define FILAR_LIKELY(x)           __builtin_expect(!!(x), 1)
#define FILAR_UNLIKELY(x)         __builtin_expect(!!(x), 0)
#define FILAR_NOINLINE            __attribute__((noinline))
#define FILAR_ALWAYS_INLINE       inline __attribute__((always_inline))
#define FILAR_NORETURN            __attribute__((noreturn))
#define FILAR_MUST_USE            __attribute__((warn_unused_result))
#define FILAR_PRINTF(fmt, args)   __attribute__((format(printf, fmt, args)))
#define FILAR_NO_SANITIZE_ADDRESS __attribute__((no_sanitize("address")))

#define FILAR_COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define FILAR_CONTAINER_OF(ptr, type, member)                                                      \
	((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Keeps a result alive that a timing loop would otherwise be optimised away with. */
#define FILAR_KEEP(value) __asm__ volatile("" : : "g"(value) : "memory")
/* The compiler must hold an integer in a register here and forget what it knew of its value. */
#define FILAR_KEEP_IN_REGISTER(integer) __asm__ volatile("" : "+r"(integer))
#define FILAR_COMPILER_BARRIER()        __asm__ volatile("" : : : "memory")

#if defined(__SANITIZE_THREAD__)
#define FILAR_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FILAR_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define FILAR_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FILAR_ASAN 1
#endif
#endif
#ifndef FILAR_TSAN
#define FILAR_TSAN 0
#endif
#ifndef FILAR_ASAN
#define FILAR_ASAN 0
#endif

/* Build variants (Makefile): HARD makes rare paths common, FAIL compiles the failure points in,
 * INTERLEAVE makes each atomic operation a call of the checker of interleavings. */
#ifndef FILAR_HARD
#define FILAR_HARD 0
#endif
#ifndef FILAR_FAIL
#define FILAR_FAIL 0
#endif
#ifndef FILAR_INTERLEAVE
#define FILAR_INTERLEAVE 0
#endif

#endif
