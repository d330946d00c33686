#!/usr/bin/env bash
# The border and the lab on every other Python that is here (3.12 to 3.15): an environment of its own each.
# One that is not here is named and left out.
set -euo pipefail
cd "$(dirname "$0")/.."
root=${PYENV_ROOT:-$HOME/.pyenv}
tests=(tests/py/test_threads.py tests/py/test_topology.py tests/py/test_runner.py tests/py/test_lab_creation.py
	tests/py/test_pool.py tests/py/test_pool_native.py tests/py/test_pool_fits.py tests/py/test_kernels.py
	tests/py/test_pool_conformance.py
	tests/py/test_sync.py tests/py/test_sync_green.py tests/py/test_sync_conformance.py tests/py/test_sync_process.py
	tests/py/test_queues.py tests/py/test_channels.py
	tests/py/test_green.py tests/py/test_green_hazards.py tests/py/test_green_aio.py
	tests/py/test_green_preempt.py tests/py/test_green_signals.py)

find_python() {
	for candidate in "python$1" "$root"/versions/"$1".*/bin/"python$1"; do
		if "$candidate" -c 'import venv, ensurepip' >/dev/null 2>&1; then
			echo "$candidate"
			return
		fi
	done
}

for version in 3.12 3.13 3.14 3.15; do
	python=$(find_python "$version")
	if [ -z "$python" ]; then
		echo "pythons: no $version here: left out"
		continue
	fi
	folder=build/python$version
	"$python" -m venv "$folder"
	# Those that the pool is to work with, where they have wheels.
	fits=(joblib threadpoolctl)
	case $version in 3.12 | 3.13) fits+=(numba scipy dask) ;; esac
	"$folder/bin/python" -m pip install --quiet --disable-pip-version-check . pytest pytest-timeout hypothesis "${fits[@]}"
	bash tools/executor_suite.sh "$folder/bin/python"
	echo "pythons: $("$folder/bin/python" --version)"
	"$folder/bin/python" -m pytest -q -p no:cacheprovider "${tests[@]}"
done
