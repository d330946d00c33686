#!/usr/bin/env bash
# Runs the test programs given, one after the other; fails if any fails, after running all.
set -u
# A limit for what hangs, not for what is slow: with fifty others on two CPUs, a test of one second needs a minute.
export FILAR_TEST_SECONDS="${FILAR_TEST_SECONDS:-300}"
failed=()
for program in "$@"; do
	"$program" || { echo "FAILED: $program"; failed+=("$program"); }
done
[ ${#failed[@]} -eq 0 ] && exit 0
echo "${#failed[@]} of $# test programs failed: ${failed[*]}"
exit 1
