/*
 * child_says.h - what a process that ends badly has to say.
 */
#ifndef FILAR_TESTS_CHILD_SAYS_H
#define FILAR_TESTS_CHILD_SAYS_H

#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

/* Runs `body` in a child with stderr in a pipe; the text it left.  Its status, as of waitpid(). */
static int child_says(void (*body)(void), char *text, size_t max)
{
	int fds[2], status;
	size_t used = 0;
	ssize_t got;
	pid_t child;

	CHECK_EQ(pipe(fds), 0);
	child = fork();
	if (child == 0) {
		dup2(fds[1], STDERR_FILENO);
		body();
		_exit(0);
	}
	close(fds[1]);
	while (used + 1 < max && (got = read(fds[0], text + used, max - 1 - used)) > 0)
		used += (size_t)got;
	text[used] = '\0';
	close(fds[0]);
	CHECK_EQ(waitpid(child, &status, 0), child);
	return status;
}

#endif
