#!/bin/bash
# Builds the peer programs into OUT (build/peers); names what is absent and goes on.
# Ours needs libfilar.a without assertions: `make bench-green` makes it first.
#
# Usage: build.sh [OUT] [LIBFILAR]      CC, CXX, GO: the compilers; PYTHON: the one that has filar
set -u
cd "$(dirname "$0")/../.." || exit 1
out=${1:-build/peers}
lib=${2:-build/release/libfilar.a}
here=bench/peers
CC=${CC:-gcc} CXX=${CXX:-g++} GO=${GO:-go}
mkdir -p "$out"

absent() { # name, why: an old build must not be taken for this one
	rm -f "$out/$1"
	echo "$1: left out: $2"
}

build() { # name, command...
	local name=$1 log="$out/$1.log"
	shift
	if "$@" >"$log" 2>&1; then
		echo "$name: built"
	else
		absent "$name" "does not build: $(grep -m1 -i 'error' "$log" || tail -n1 "$log")"
		return 1
	fi
}

has_header() {
	echo "#include <$1>" | $CXX -std=c++17 -x c++ -fsyntax-only - 2>/dev/null
}

status=0
filar_flags=(-std=gnu11 -D_GNU_SOURCE -Icsrc -Icsrc/include -O2 -g -pthread -ftls-model=initial-exec -Wall -Wextra)
if [ ! -f "$lib" ]; then
	absent filar "no $lib: make bench-green builds it"
	status=1
else
	build filar $CC "${filar_flags[@]}" "$here/filar.c" -o "$out/filar" "$lib" -lm -ldl || status=1
fi
build floor $CC -std=gnu11 -D_GNU_SOURCE -O2 -g -pthread -Wall -Wextra \
	$(test "$(uname -m)" = x86_64 && echo -mno-red-zone) "$here/floor.c" -o "$out/floor" || status=1

# ---- pools ----
if [ -f "$lib" ]; then
	build pool-filar $CC "${filar_flags[@]}" "$here/pool_filar.c" -o "$out/pool-filar" "$lib" -lm -ldl || status=1
fi
plain_flags=(-std=gnu11 -D_GNU_SOURCE -O2 -g -pthread -Wall -Wextra)
build pool-plain $CC "${plain_flags[@]}" "$here/pool_plain.c" -o "$out/pool-plain" -lm || status=1
build pool-gomp gcc "${plain_flags[@]}" -fopenmp "$here/pool_omp.c" -o "$out/pool-gomp" -lm
if command -v clang >/dev/null && clang -fopenmp=libomp -x c -o /dev/null - <<<'int main(void){return 0;}' 2>/dev/null; then
	build pool-llvm clang "${plain_flags[@]}" -fopenmp=libomp "$here/pool_omp.c" -o "$out/pool-llvm" -lm
else
	absent pool-llvm "clang or its OpenMP is not installed (Debian: clang libomp-dev)"
fi
if echo "#include <pthreadpool.h>" | $CC -x c -fsyntax-only - 2>/dev/null; then
	build pool-pthreadpool $CC "${plain_flags[@]}" "$here/pool_pthreadpool.c" -o "$out/pool-pthreadpool" -lpthreadpool -lm
else
	absent pool-pthreadpool "pthreadpool is not installed (Debian: libpthreadpool-dev)"
fi
if command -v "$CXX" >/dev/null && has_header tbb/tbb.h; then
	build pool-tbb $CXX -std=c++17 -O2 -g -pthread -Wall -Wextra "$here/pool_tbb.cpp" -o "$out/pool-tbb" -ltbb
else
	absent pool-tbb "oneTBB is not installed (Debian: libtbb-dev)"
fi

# ---- executors: Python, with the interpreter that has filar ----
python=${PYTHON:-python3}
for kind in filar standard queue chunks joblib numba; do
	printf '#!/bin/sh\nexec "%s" "%s" %s "$@"\n' "$python" "$(realpath "$here/executor.py")" "$kind" >"$out/executor-$kind"
	chmod +x "$out/executor-$kind"
done

# ---- green threads ----
if ! command -v "$CXX" >/dev/null; then
	absent boost-context "no C++ compiler ($CXX)"
	absent boost-fiber "no C++ compiler ($CXX)"
else
	if has_header boost/context/fiber.hpp; then
		build boost-context $CXX -std=c++17 -O2 -g -Wall -Wextra "$here/boost_context.cpp" -o "$out/boost-context" \
			-lboost_context
	else
		absent boost-context "Boost.Context is not installed (Debian: libboost-context-dev)"
	fi
	if has_header boost/fiber/all.hpp; then
		build boost-fiber $CXX -std=c++17 -O2 -g -pthread -Wall -Wextra "$here/boost_fiber.cpp" -o "$out/boost-fiber" \
			-lboost_fiber -lboost_context
	else
		absent boost-fiber "Boost.Fiber is not installed (Debian: libboost-fiber-dev)"
	fi
fi

if command -v "$GO" >/dev/null; then
	# From the module's folder; nothing is fetched: it uses only Go's own library.
	build go env GOPROXY=off GOCACHE="$(realpath "$out")/gocache" \
		bash -c 'cd "$1" && exec "$2" build -o "$3" .' - "$here/go" "$GO" "$(realpath "$out")/go"
else
	absent go "Go is not installed (Debian: golang-go)"
fi
exit $status
