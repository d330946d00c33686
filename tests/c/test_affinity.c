/*
 * test_affinity.c - masks of any size, pinning, and sentences for CPUs that are not there.
 */
#include "check.h"
#include "os/affinity.h"

TEST(mask_adds_counts_and_walks)
{
	struct cpu_mask mask;

	cpu_mask_clear(&mask);
	CHECK_EQ(cpu_mask_next(&mask, 0), -1);
	cpu_mask_add(&mask, 3);
	cpu_mask_add(&mask, 1500); /* beyond cpu_set_t */
	cpu_mask_add(&mask, CPUS_MAX - 1);
	CHECK_EQ(cpu_mask_count(&mask), 3);
	CHECK(cpu_mask_has(&mask, 1500));
	CHECK(!cpu_mask_has(&mask, -1) && !cpu_mask_has(&mask, CPUS_MAX));
	CHECK_EQ(cpu_mask_next(&mask, 0), 3);
	CHECK_EQ(cpu_mask_next(&mask, 4), 1500);
	CHECK_EQ(cpu_mask_next(&mask, 1501), CPUS_MAX - 1);
	CHECK_EQ(cpu_mask_next(&mask, CPUS_MAX), -1);
}

TEST(mask_from_list_names_the_cpu_that_cannot_be)
{
	static const int32_t negative[] = { 0, -2 }, large[] = { 0, CPUS_MAX };
	struct cpu_mask mask;

	CHECK_EQ(cpu_mask_from_list(&mask, negative, 0), FILAR_INVALID);
	CHECK_EQ(cpu_mask_from_list(&mask, negative, 2), FILAR_NO_CPU);
	CHECK_TEXT_HAS(filar_status_detail(), "no CPU -2");
	CHECK_EQ(cpu_mask_from_list(&mask, large, 2), FILAR_NO_CPU);
	CHECK_TEXT_HAS(filar_status_detail(), "no CPU 8192");
}

TEST(pin_self_moves_the_caller_there)
{
	struct cpu_mask allowed, now;

	CHECK_EQ(affinity_get(0, &allowed), FILAR_OK);
	for (int cpu = cpu_mask_next(&allowed, 0); cpu >= 0;
		cpu = cpu_mask_next(&allowed, cpu + 1)) {
		CHECK_EQ(affinity_pin_self(cpu), FILAR_OK);
		CHECK_EQ(affinity_current_cpu(), cpu);
		CHECK_EQ(affinity_get(0, &now), FILAR_OK);
		CHECK_EQ(cpu_mask_count(&now), 1);
		CHECK_EQ(affinity_set(0, &allowed), FILAR_OK);
	}
}

TEST(pin_to_a_cpu_that_does_not_exist_names_it_and_changes_nothing)
{
	struct cpu_mask before, after;

	CHECK_EQ(affinity_get(0, &before), FILAR_OK);
	CHECK_EQ(affinity_pin_self(CPUS_MAX - 1), FILAR_NO_CPU);
	CHECK_TEXT_HAS(filar_status_detail(), "8191");
	CHECK_EQ(affinity_get(0, &after), FILAR_OK);
	CHECK_EQ(memcmp(before.bits, after.bits, sizeof before.bits), 0);
}

TEST(affinity_of_a_thread_that_is_gone_is_not_found)
{
	struct cpu_mask mask;
	pid_t child = fork();

	if (child == 0)
		_exit(0);
	CHECK_EQ(waitpid(child, NULL, 0), child);
	CHECK_EQ(affinity_get(child, &mask), FILAR_NOT_FOUND);
	CHECK_EQ(affinity_get(0, &mask), FILAR_OK);
	CHECK_EQ(affinity_set(child, &mask), FILAR_NOT_FOUND);
}

TEST_MAIN()
