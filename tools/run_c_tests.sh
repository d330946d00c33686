#!/usr/bin/env bash
# Runs the test programs given, one after the other; fails if any fails, after running all.
set -u
failed=0
for program in "$@"; do
	"$program" || { echo "FAILED: $program"; failed=1; }
done
exit $failed
