/*
 * boost_fiber.cpp - Boost.Fiber in the lines of peer.h.
 *
 * Stacks come from its pool, as large as ours, except where memory is measured: there each has a
 * guard, and it stops where the system allows no more mappings.
 */
#include <algorithm>
#include <boost/fiber/algo/work_stealing.hpp>
#include <boost/fiber/all.hpp>
#include <boost/fiber/protected_fixedsize_stack.hpp>
#include <cstdio>
#include <mutex>
#include <thread>
#include <unistd.h>
#include <vector>

#include "peer.h"

namespace fibers = boost::fibers;
using boost::this_fiber::yield;

static fibers::pooled_fixedsize_stack stacks{ 64 * 1024 };

template <typename Body> static fibers::fiber make(Body &&body)
{
	return fibers::fiber(
		fibers::launch::post, std::allocator_arg, stacks, std::forward<Body>(body));
}

/* ---- G2, G3, G9: yields ---- */

static void crowd(const char *line, const char *metric, int members, int yields, int samples)
{
	for (int sample = 0; sample < samples; sample++) {
		std::vector<fibers::fiber> all;
		peer_watch watch = peer_begin();

		all.reserve(members);
		for (int i = 0; i < members; i++)
			all.push_back(make([yields] {
				for (int j = 0; j < yields; j++)
					yield();
			}));
		for (auto &one : all)
			one.join();
		peer_end(watch, line, metric, (double)members * yields, "ns");
	}
}

static void g2()
{
	crowd("G2", "yield_2", 2, PEER_YIELDS / 2, PEER_SAMPLES);
}

static void g3()
{
	crowd("G3", "yield_1000", 1000, PEER_YIELDS / 1000, PEER_SAMPLES);
	crowd("G3", "yield_10000", 10000, PEER_YIELDS / 10000, PEER_SAMPLES);
}

/* Two kernel threads that steal from each other, idle ones sleeping, while body() runs on the
 * first. */
template <typename Body> static void on_two_workers(Body &&body)
{
	std::mutex lock;
	fibers::condition_variable_any ended_event;
	bool ended = false;
	std::thread other([&] {
		fibers::use_scheduling_algorithm<fibers::algo::work_stealing>(2, true);
		std::unique_lock<std::mutex> hold(lock);
		ended_event.wait(hold, [&] { return ended; });
	});

	fibers::use_scheduling_algorithm<fibers::algo::work_stealing>(2, true);
	body();
	lock.lock();
	ended = true;
	lock.unlock();
	ended_event.notify_all();
	other.join();
}

/* The pool of stacks is not for two threads. */
static void g9()
{
	on_two_workers([] {
		std::vector<fibers::fiber> all;
		peer_watch watch = peer_begin();

		all.reserve(PEER_CROWD);
		for (int i = 0; i < PEER_CROWD; i++)
			all.emplace_back(fibers::launch::post, std::allocator_arg,
				fibers::fixedsize_stack{ 64 * 1024 }, [] {
					for (int j = 0; j < PEER_CROWD_YIELDS; j++)
						yield();
				});
		for (auto &one : all)
			one.join();
		peer_end(watch, "G9", "yield_crowd", (double)PEER_CROWD * PEER_CROWD_YIELDS, "ns");
	});
}

/* ---- G4, G5: spawn and join ---- */

static void g4()
{
	for (int sample = 0; sample < PEER_SAMPLES; sample++) {
		peer_watch watch = peer_begin();

		for (int i = 0; i < PEER_SPAWN_JOIN; i++)
			make([] {}).join();
		peer_end(watch, "G4", "spawn_join", PEER_SPAWN_JOIN, "ns");
	}
}

static void g5()
{
	for (int sample = 0; sample <= PEER_SAMPLES; sample++) {
		std::vector<fibers::fiber> all;
		peer_watch watch = peer_begin();

		all.reserve(PEER_SPAWN_MANY);
		for (int i = 0; i < PEER_SPAWN_MANY; i++)
			all.push_back(make([] {}));
		for (auto &one : all)
			one.join();
		peer_end(watch, "G5", sample == 0 ? "spawn_many_first" : "spawn_many",
			PEER_SPAWN_MANY, "ns");
	}
}

/* ---- G6: memory ---- */

/* Each stack and its guard are two mappings, and where no more are allowed it stops with an
 * assertion: it is stopped a little before. */
static long mappings_allowed()
{
	FILE *file = std::fopen("/proc/sys/vm/max_map_count", "r");
	long count = 65530;

	if (file != nullptr && std::fscanf(file, "%ld", &count) != 1)
		count = 65530;
	if (file != nullptr)
		std::fclose(file);
	return count;
}

static void g6()
{
	long count = std::min(peer_parked_wanted(), mappings_allowed() / 2 - 500);
	fibers::protected_fixedsize_stack guarded{ 64 * 1024 };
	fibers::mutex lock;
	fibers::condition_variable never;
	double before = peer_resident_bytes();

	for (long i = 0; i < count; i++)
		fibers::fiber(fibers::launch::dispatch, std::allocator_arg, guarded, [&] {
			std::unique_lock<fibers::mutex> hold(lock);
			never.wait(hold);
		}).detach();
	peer_value("G6", "bytes", (peer_resident_bytes() - before) / (double)count, "B");
	peer_value("G6", "parked", (double)count, "threads");
	peer_value("G6", "guarded", 1, "bool");
	_exit(0);
}

/* ---- G7: channel ---- */

static void g7()
{
	for (int sample = 0; sample < PEER_SAMPLES; sample++) {
		fibers::unbuffered_channel<int> ping, pong;
		fibers::fiber other = make([&] {
			int value;

			for (int i = 0; i < PEER_PINGPONG; i++) {
				ping.pop(value);
				pong.push(value);
			}
		});
		peer_watch watch = peer_begin();

		for (int i = 0; i < PEER_PINGPONG; i++) {
			int value;

			ping.push(i);
			pong.pop(value);
		}
		peer_end(watch, "G7", "channel_same", 2.0 * PEER_PINGPONG, "ns");
		other.join();
	}
}

/* A million fibers that were joined keep their stacks until its dispatcher runs, which a tree that
 * never waits does not let happen: 8 GiB and 14 s, where memory is plenty. */
static void g10()
{
	std::printf("skip G10 ended fibers keep their stacks until the dispatcher runs: 8 GiB\n");
}

/* ---- G14 ---- */

static void g14_burst()
{
	std::vector<fibers::fiber> all;

	for (int i = 0; i < PEER_BURST; i++)
		all.emplace_back(fibers::launch::dispatch, [] {});
	for (auto &one : all)
		one.join();
}

static void g14()
{
	on_two_workers([] {
		g14_burst();
		peer_know_threads();
		g14_burst();
		peer_report_idle_burn("G14");
	});
}

int main(int argc, char **argv)
{
	static const peer_line lines[] = { { "G2", g2 }, { "G3", g3 }, { "G4", g4 }, { "G5", g5 },
		{ "G6", g6 }, { "G7", g7 }, { "G9", g9 }, { "G10", g10 }, { "G14", g14 },
		{ nullptr, nullptr } };

	return peer_main(lines, argc, argv);
}
