/*
 * boost_context.cpp - Boost.Context in line G1 of peer.h: its bare jump, and its public class.
 */
#include <boost/context/detail/fcontext.hpp>
#include <boost/context/fiber.hpp>
#include <cfenv>

#include "peer.h"

using namespace boost::context;

static char stack[64 * 1024] __attribute__((aligned(16)));

static void raise_float_flag()
{
	volatile double one = 1.0, three = 3.0, third = one / three;

	(void)third;
}

static void go_back(detail::transfer_t transfer)
{
	if (transfer.data != nullptr)
		raise_float_flag();
	for (;;)
		transfer = detail::jump_fcontext(transfer.fctx, nullptr);
}

static void measure_jump(const char *metric, void *raise_flag)
{
	std::feclearexcept(FE_ALL_EXCEPT);

	detail::fcontext_t other =
		detail::make_fcontext(stack + sizeof stack, sizeof stack, go_back);
	detail::transfer_t transfer = detail::jump_fcontext(other, raise_flag);

	for (int sample = 0; sample < PEER_SAMPLES; sample++) {
		peer_watch watch = peer_begin();

		std::feclearexcept(FE_ALL_EXCEPT); /* the watch raises some */
		for (int i = 0; i < PEER_SWITCHES; i++)
			transfer = detail::jump_fcontext(transfer.fctx, nullptr);
		peer_end(watch, "G1", metric, 2.0 * PEER_SWITCHES, "ns");
	}
}

static void measure_class()
{
	bool end = false;

	std::feclearexcept(FE_ALL_EXCEPT); /* the fiber begins with what is set here */

	fiber other{ [&end](fiber &&back) {
		while (!end)
			back = std::move(back).resume();
		return std::move(back);
	} };

	for (int sample = 0; sample < PEER_SAMPLES; sample++) {
		peer_watch watch = peer_begin();

		std::feclearexcept(FE_ALL_EXCEPT);
		for (int i = 0; i < PEER_SWITCHES; i++)
			other = std::move(other).resume();
		peer_end(watch, "G1", "switch_class", 2.0 * PEER_SWITCHES, "ns");
	}
	end = true;
	other = std::move(other).resume();
}

static void g1()
{
	measure_jump("switch", nullptr);
	measure_jump("switch_flags", stack);
	measure_class();
}

int main(int argc, char **argv)
{
	static const peer_line lines[] = { { "G1", g1 }, { nullptr, nullptr } };

	return peer_main(lines, argc, argv);
}
