/*
 * test_lockrank.c - a wrong order of internal locks is told at once, whether or not anybody waits.
 */
#include "check.h"
#include "sync/spinlock.h"

/* What a child says that takes them, and whether it was stopped. */
static bool is_stopped(struct spinlock *first, struct spinlock *second, char *text, size_t bytes)
{
	int ends[2], status;
	ssize_t length;
	pid_t child;

	CHECK_EQ(pipe(ends), 0);
	child = fork();
	if (child == 0) {
		dup2(ends[1], STDERR_FILENO);
		spinlock_lock(first);
		spinlock_lock(second);
		spinlock_unlock(first); /* in any order */
		spinlock_unlock(second);
		_exit(0);
	}
	close(ends[1]);
	length = read(ends[0], text, bytes - 1);
	text[length > 0 ? length : 0] = '\0';
	close(ends[0]);
	CHECK_EQ(waitpid(child, &status, 0), child);
	return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

TEST(locks_are_taken_from_the_outside_in)
{
	struct spinlock outer, inner[2], free_one;
	char text[1024];

	spinlock_init_ranked(&outer, RANK_OUTSIDE);
	spinlock_init_ranked(&inner[0], RANK_INJECT);
	spinlock_init_ranked(&inner[1], RANK_INJECT);
	spinlock_init(&free_one);
	CHECK(!is_stopped(&outer, &inner[0], text, sizeof text));
	CHECK(!is_stopped(&inner[0], &inner[1], text, sizeof text));
	CHECK(!is_stopped(&inner[0], &free_one, text, sizeof text));
	CHECK(!is_stopped(&free_one, &outer, text, sizeof text));
	if (!FILAR_LOCKRANK)
		return;
	CHECK(is_stopped(&inner[0], &outer, text, sizeof text));
	CHECK_TEXT_HAS(text, "holds \"the inject queue\"");
	CHECK_TEXT_HAS(text, "wants \"spawns from outside\"");
	CHECK(is_stopped(&inner[1], &inner[0], text, sizeof text));
}

/* Who does not wait cannot be part of a circle. */
TEST(a_trylock_may_come_in_any_order)
{
	struct spinlock outer, inner;

	spinlock_init_ranked(&outer, RANK_OUTSIDE);
	spinlock_init_ranked(&inner, RANK_INJECT);
	spinlock_lock(&inner);
	CHECK(spinlock_trylock(&outer));
	spinlock_unlock(&outer);
	spinlock_unlock(&inner);
}

TEST_MAIN()
