/*
 * check.h - a broken invariant is not an error: it prints both values and stops.
 *
 * FILAR_CHECK is always compiled in; FILAR_ASSERT only in debug builds (FILAR_DEBUG).  Errors from
 * outside the program are an `enum filar_status` instead (status.h).
 */
#ifndef FILAR_BASE_CHECK_H
#define FILAR_BASE_CHECK_H

#include "base/compiler.h"

FILAR_NORETURN void check_failed(const char *file, int line, const char *what);
FILAR_NORETURN void check_failed_compare(const char *file, int line, const char *left_text,
	const char *operator_text, const char *right_text, int64_t left, int64_t right);

/* What else to print before stopping (trace/dump installs itself here); NULL for nothing. */
void check_set_last_words(void (*last_words)(void));

#define FILAR_CHECK(condition)                                                                     \
	do {                                                                                       \
		if (FILAR_UNLIKELY(!(condition)))                                                  \
			check_failed(__FILE__, __LINE__, #condition);                              \
	} while (0)

#define FILAR_CHECK_COMPARE(left, operator, right)                                                 \
	do {                                                                                       \
		int64_t check_left = (int64_t)(left), check_right = (int64_t)(right);              \
		if (FILAR_UNLIKELY(!(check_left operator check_right)))                            \
			check_failed_compare(__FILE__, __LINE__, #left, #operator, #right,         \
				check_left, check_right);                                          \
	} while (0)

#define FILAR_CHECK_EQ(left, right) FILAR_CHECK_COMPARE(left, ==, right)

#ifdef FILAR_DEBUG
#define FILAR_ASSERT(condition) FILAR_CHECK(condition)
#else
#define FILAR_ASSERT(condition)                                                                    \
	do {                                                                                       \
		(void)sizeof((condition) ? 1 : 0);                                                 \
	} while (0)
#endif

#endif
