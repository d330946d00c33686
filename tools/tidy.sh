#!/usr/bin/env bash
# clang's warnings, clang-tidy and cppcheck on the core; formatting last.  A tool that is not installed
# is named and left out: CI installs nothing for it.
set -uo pipefail
failed=0
flags=(-std=gnu11 -D_GNU_SOURCE -Icsrc -Icsrc/include)
mapfile -t sources < <(ls csrc/*/*.c | grep -v '^csrc/py/')

if command -v clang >/dev/null; then
	for source in "${sources[@]}"; do
		clang "${flags[@]}" -fsyntax-only -Wall -Wextra -Wconversion -Wno-sign-conversion -Wshadow \
			-Wthread-safety -Werror "$source" || failed=1
	done
else
	echo "tidy: no clang here"
fi
if command -v clang-tidy >/dev/null; then
	clang-tidy --quiet --warnings-as-errors='*' \
		--checks='-*,bugprone-*,-bugprone-easily-swappable-parameters,-bugprone-reserved-identifier,-bugprone-narrowing-conversions,-bugprone-implicit-widening-of-multiplication-result,-bugprone-assignment-in-if-condition,-bugprone-macro-parentheses,-bugprone-signal-handler,performance-*,-performance-no-int-to-ptr,portability-*' \
		"${sources[@]}" -- "${flags[@]}" 2>/dev/null || failed=1
else
	echo "tidy: no clang-tidy here"
fi
if command -v cppcheck >/dev/null; then
	cppcheck --quiet --error-exitcode=1 --inline-suppr --enable=warning,portability --std=c11 \
		--suppress=missingIncludeSystem --suppress=unknownMacro -D__x86_64__ -Icsrc -Icsrc/include "${sources[@]}" || failed=1
else
	echo "tidy: no cppcheck here"
fi
if command -v clang-format >/dev/null; then
	clang-format --dry-run --Werror csrc/*/*.[ch] tests/c/*.[ch] || failed=1
fi
[ $failed = 0 ] && echo "tidy: clean"
exit $failed
