/*
 * test_status.c - each status has words; details belong to one kernel thread.
 */
#include <errno.h>
#include <pthread.h>

#include "base/status.h"
#include "check.h"

TEST(status_each_has_a_name_and_a_sentence_of_its_own)
{
	for (int left = 0; left >= FILAR_STATUS_LAST; left--) {
		CHECK_TEXT_HAS(filar_status_name(left), "FILAR_");
		CHECK(filar_status_sentence(left)[0] != '\0');
		for (int right = 0; right > left; right--)
			CHECK(strcmp(filar_status_name(left), filar_status_name(right)) != 0);
	}
}

TEST(status_names_stand_at_their_numbers)
{
	CHECK(strcmp(filar_status_name(FILAR_NO_CPU), "FILAR_NO_CPU") == 0);
	CHECK(strcmp(filar_status_name(FILAR_DEADLOCK), "FILAR_DEADLOCK") == 0);
	CHECK(strcmp(filar_status_name(FILAR_SYSTEM), "FILAR_SYSTEM") == 0);
}

TEST(status_unknown_numbers_are_a_system_error)
{
	CHECK(strcmp(filar_status_name(1), "FILAR_SYSTEM") == 0);
	CHECK(strcmp(filar_status_name(FILAR_STATUS_LAST - 1), "FILAR_SYSTEM") == 0);
	CHECK(strcmp(filar_status_name(INT32_MIN), "FILAR_SYSTEM") == 0);
}

static void *look_at_detail(void *unused)
{
	(void)unused;
	CHECK(filar_status_detail()[0] == '\0');
	CHECK_EQ(status_detail(FILAR_LIMIT, "the other's"), FILAR_LIMIT);
	return NULL;
}

TEST(status_detail_belongs_to_its_thread)
{
	pthread_t thread;

	CHECK_EQ(status_detail(FILAR_NO_CPU, "there is no CPU %d", 9), FILAR_NO_CPU);
	CHECK_EQ(pthread_create(&thread, NULL, look_at_detail, NULL), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK(strcmp(filar_status_detail(), "there is no CPU 9") == 0);
	filar_status_detail_clear();
	CHECK(filar_status_detail()[0] == '\0');
}

TEST(status_detail_too_long_is_cut)
{
	char text[1000];

	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	CHECK_EQ(status_detail(FILAR_INVALID, "%s", text), FILAR_INVALID);
	CHECK_LE(strlen(filar_status_detail()), 239);
	CHECK_GE(strlen(filar_status_detail()), 100);
}

TEST(status_from_errno_says_what_failed_and_how)
{
	CHECK_EQ(status_from_errno(ENOMEM, "mmap"), FILAR_NO_MEMORY);
	CHECK_TEXT_HAS(filar_status_detail(), "mmap: ");
	CHECK_TEXT_HAS(filar_status_detail(), "errno 12");
	CHECK_EQ(status_from_errno(EAGAIN, "x"), FILAR_LIMIT);
	CHECK_EQ(status_from_errno(EMFILE, "x"), FILAR_LIMIT);
	CHECK_EQ(status_from_errno(EACCES, "x"), FILAR_NO_PERMISSION);
	CHECK_EQ(status_from_errno(ESRCH, "x"), FILAR_NOT_FOUND);
	CHECK_EQ(status_from_errno(EINTR, "x"), FILAR_INTERRUPTED);
	CHECK_EQ(status_from_errno(ENOSYS, "x"), FILAR_NOT_SUPPORTED);
	CHECK_EQ(status_from_errno(EIO, "x"), FILAR_SYSTEM);
}

TEST_MAIN()
