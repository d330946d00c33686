#!/usr/bin/env bash
# Runs the test programs given, one after the other; fails if any fails, after running all.
set -u
failed=()
for program in "$@"; do
	"$program" || { echo "FAILED: $program"; failed+=("$program"); }
done
[ ${#failed[@]} -eq 0 ] && exit 0
echo "${#failed[@]} of $# test programs failed: ${failed[*]}"
exit 1
