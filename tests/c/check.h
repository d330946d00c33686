/*
 * check.h - tests of the C core: each test is a process of its own with a time limit.
 *
 * A test file is a program:   TEST(parker_unpark_before_park_is_kept) { ... }   then   TEST_MAIN()
 * Names are claims.  CHECK stops the test and prints both values; check_seed() is the seed of this
 * run (FILAR_TEST_SEED in the environment, printed by every run).  A test that outlives
 * TEST_SECONDS_MAX (default 60, FILAR_TEST_SECONDS overrides) is killed and reported as hanging.
 *
 * Usage of the program: no argument runs all; `-l` lists; a name runs that one.
 */
#ifndef FILAR_TESTS_CHECK_H
#define FILAR_TESTS_CHECK_H

#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct test {
	const char *name;
	void (*body)(void);
	struct test *next;
};

static struct test *test_first, **test_last = &test_first;
static uint64_t test_seed;

#define TEST(claim)                                                                                \
	static void test_body_##claim(void);                                                       \
	__attribute__((constructor)) static void test_register_##claim(void)                       \
	{                                                                                          \
		static struct test test = { #claim, test_body_##claim, NULL };                     \
		*test_last = &test;                                                                \
		test_last = &test.next;                                                            \
	}                                                                                          \
	static void test_body_##claim(void)

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: false: %s\n", __FILE__, __LINE__, #condition);     \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

#define CHECK_COMPARE(left, operator, right)                                                       \
	do {                                                                                       \
		int64_t test_left = (int64_t)(left), test_right = (int64_t)(right);                \
		if (!(test_left operator test_right)) {                                            \
			fprintf(stderr, "%s:%d: %s %s %s: %" PRId64 " against %" PRId64 "\n",      \
				__FILE__, __LINE__, #left, #operator, #right, test_left,           \
				test_right);                                                       \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

#define CHECK_EQ(left, right) CHECK_COMPARE(left, ==, right)
#define CHECK_LE(left, right) CHECK_COMPARE(left, <=, right)
#define CHECK_GE(left, right) CHECK_COMPARE(left, >=, right)
#define CHECK_TEXT_HAS(text, part)                                                                 \
	do {                                                                                       \
		if (strstr(text, part) == NULL) {                                                  \
			fprintf(stderr, "%s:%d: \"%s\" is not in \"%s\"\n", __FILE__, __LINE__,    \
				part, text);                                                       \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* Waits for a state, never for a time: spins with yields until the condition holds. */
#define WAIT_UNTIL(condition)                                                                      \
	do {                                                                                       \
		while (!(condition))                                                               \
			usleep(100);                                                               \
	} while (0)

__attribute__((unused)) static uint64_t check_seed(void)
{
	return test_seed;
}

static unsigned test_seconds_max(void)
{
	const char *text = getenv("FILAR_TEST_SECONDS");

	return text != NULL ? (unsigned)strtoul(text, NULL, 10) : 60;
}

/* True when the test passed. */
static bool test_run(const struct test *test)
{
	int status;
	pid_t child;

	fflush(NULL);
	child = fork();
	if (child == 0) {
		alarm(test_seconds_max());
		test->body();
		exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child) {
		perror("fork");
		return false;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return true;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		printf("HANGS  %s (longer than %u s)\n", test->name, test_seconds_max());
	else
		printf("FAILS  %s (status %#x)\n", test->name, (unsigned)status);
	return false;
}

static int test_main(int argc, char **argv)
{
	const char *seed_text = getenv("FILAR_TEST_SEED");
	int passed = 0, failed = 0;

	test_seed = seed_text != NULL ? strtoull(seed_text, NULL, 0) : (uint64_t)time(NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (const struct test *test = test_first; test != NULL; test = test->next) {
		if (argc > 1 && strcmp(argv[1], "-l") == 0)
			puts(test->name);
		else if (argc <= 1 || strcmp(argv[1], test->name) == 0)
			*(test_run(test) ? &passed : &failed) += 1;
	}
	if (argc <= 1 || strcmp(argv[1], "-l") != 0)
		printf("%s: %d passed, %d failed, seed %" PRIu64 "\n", argv[0], passed, failed,
			test_seed);
	return failed != 0 || (argc > 1 && strcmp(argv[1], "-l") != 0 && passed == 0);
}

#define TEST_MAIN()                                                                                \
	int main(int argc, char **argv)                                                            \
	{                                                                                          \
		return test_main(argc, argv);                                                      \
	}

#endif
