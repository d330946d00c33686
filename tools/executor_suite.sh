#!/usr/bin/env bash
# CPython's executor tests for the Python given, where its installation lacks them: from Debian's package, if this is
# Debian and we may install. Else tests/py/test_pool_conformance.py says what is missing and is skipped.
set -euo pipefail
python=${1:-python3}
"$python" - <<'END' && exit 0
import pathlib, sys, test
folders = [pathlib.Path(folder) for folder in test.__path__]
folders += pathlib.Path("/usr/lib").glob("python3.*/test")
names = ("test_concurrent_futures.py", "test_concurrent_futures/test_thread_pool.py")
sys.exit(not any((folder / name).exists() for folder in folders for name in names))
END
package=$(apt-cache search --names-only '^libpython3\.[0-9]+-testsuite$' 2>/dev/null | sort -V | tail -1 | cut -d' ' -f1 || true)
if [ -z "$package" ] || [ "$(id -u)" != 0 ] || ! apt-get install -y -q "$package" >/dev/null 2>&1; then
	echo "executor_suite: CPython's executor tests are not here and cannot be installed: left out"
fi
