/*
 * check.c - the last words of a program whose invariant broke.
 *
 * Writes with write(2) into a buffer on the stack: the heap or stdio may be what is broken.
 */
#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void (*check_last_words)(void);

void check_set_last_words(void (*last_words)(void))
{
	check_last_words = last_words;
}

FILAR_NORETURN static void stop(const char *text, int length)
{
	ssize_t ignored = write(STDERR_FILENO, text, length > 0 ? (size_t)length : 0);

	(void)ignored;
	if (check_last_words != NULL)
		check_last_words();
	abort();
}

void check_failed(const char *file, int line, const char *what)
{
	char text[512];

	stop(text, snprintf(text, sizeof text, "filar: %s:%d: broken invariant: %s\n", file, line,
			   what));
}

void check_failed_compare(const char *file, int line, const char *left_text,
	const char *operator_text, const char *right_text, int64_t left, int64_t right)
{
	char text[512];

	stop(text, snprintf(text, sizeof text,
			   "filar: %s:%d: broken invariant: %s %s %s (%lld against %lld)\n", file,
			   line, left_text, operator_text, right_text, (long long)left,
			   (long long)right));
}
