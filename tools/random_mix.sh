#!/usr/bin/env bash
# tests/py/random_mix.py for MIX_SECONDS (600) on every Python that is set up, at low priority, as many at a time as
# there are CPUs (MIX_AT_ONCE).
#
# The Python of VENV, those of build/python3.* (make pythons) and of build/debug-pythons (make debug-pythons), as they
# were built there.  MIX_SEED: the same seed on all; else each draws its own.  Logs in build/mix.
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD
logs=$top/build/mix
seconds=${MIX_SECONDS:-600}
at_once=${MIX_AT_ONCE:-$(nproc)}
mkdir -p "$logs"
names=() jobs=()

start() {
	while [ "$(jobs -rp | wc -l)" -ge "$at_once" ]; do sleep 1; done
	echo "mix: $1 ($2)"
	(cd "$3" && exec nice -n 19 "$2" -X faulthandler tests/py/random_mix.py --seconds "$seconds" \
		${MIX_SEED:+--seed "$MIX_SEED"}) >"$logs/$1.log" 2>&1 &
	names+=("$1") jobs+=($!)
}

trap 'kill "${jobs[@]}" 2>/dev/null || true' EXIT
start venv "$top/${VENV:-.venv}/bin/python" "$top"
for folder in build/python3.*/; do
	[ -x "$folder/bin/python" ] && start "$(basename "$folder")" "$top/${folder}bin/python" "$top"
done
for folder in build/debug-pythons/3.*/; do
	[ -x "$folder/python" ] && [ -d "$folder/site" ] && start "debug-$(basename "$folder")" "$top/${folder}python" "$top/${folder}source"
done

failed=0
for i in "${!jobs[@]}"; do
	if ! wait "${jobs[$i]}"; then
		echo "mix: ${names[$i]} failed"
		failed=1
	fi
	sed 's/^/  /' "$logs/${names[$i]}.log"
done
jobs=()
exit $failed
