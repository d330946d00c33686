#!/usr/bin/env bash
# Python on green threads under Debian's newest interpreters with their assertions on.
#
#   bash tools/debug_pythons.sh [--release] [--shared] [VERSION ...] [-- pytest arguments]      3.14 3.15 by default
#
# --release: without assertions.  --shared: on libpython.so instead of the static interpreter, which keeps addresses of
# thread-locals differently (docs/green_threads.md, H8).
# Packages of Debian sid are fetched by apt with lists and cache of their own and unpacked into build/; nothing is
# installed.  They are started through the libc they came with.  The extension is built with their headers.  What
# cannot be fetched is named and left out.  Needs a Debian or Ubuntu with apt, dpkg and a network.
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD/build/debug-pythons
suite=${FILAR_DEBIAN_SUITE:-sid}
mirror=${FILAR_DEBIAN_MIRROR:-http://deb.debian.org/debian}
venv=${VENV:-.venv}
flavour=d
shared=
versions=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
	case $1 in
	--release) flavour= ;;
	--shared) shared=yes ;;
	*) versions+=("$1") ;;
	esac
	shift
done
[ $# -gt 0 ] && shift
[ ${#versions[@]} -gt 0 ] || versions=(3.14 3.15)
tests=("$@")
[ ${#tests[@]} -gt 0 ] || tests=(
	tests/py/test_green.py tests/py/test_green_hazards.py tests/py/test_green_preempt.py
	tests/py/test_green_signals.py tests/py/test_green_aio.py
	tests/py/test_sync.py tests/py/test_sync_green.py tests/py/test_sync_process.py tests/py/test_sync_conformance.py
	tests/py/test_queues.py tests/py/test_channels.py tests/py/test_pool.py
)

apt_options=(
	-o Dir::Etc::SourceList="$top/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
	-o Dir::State="$top/apt/state" -o Dir::State::status="$top/apt/status" -o Dir::Cache="$top/apt/cache"
	-o APT::Sandbox::User="" -o Acquire::Languages=none -o Acquire::Retries=3
)

fetch_lists() {
	mkdir -p "$top"/apt/state/lists/partial "$top"/apt/cache/archives/partial
	: >"$top/apt/status"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$top/apt/sources.list"
	apt-get "${apt_options[@]}" -qq update
}

# unpack VERSION: the interpreter, its library, headers and the system libraries it wants, into $top/VERSION.
unpack() {
	local packages=(
		"python$1-minimal" "python$1" "python$1-dbg" "libpython$1-dbg" "libpython$1-dev" "libpython$1"
		"libpython$1-minimal" "libpython$1-stdlib" "libpython$1-testsuite" libc6 libexpat1 zlib1g libgcc-s1 libstdc++6 libsqlite3-0 libffi8
		libbz2-1.0 liblzma5 libzstd1 libmpdec4 libssl3t64 libuuid1 libreadline8t64 libncursesw6 libtinfo6
	)
	mkdir -p "$top/$1/archives"
	(cd "$top/$1/archives" && {
		apt-get "${apt_options[@]}" -qq download "${packages[@]}" 2>/dev/null ||
			for package in "${packages[@]}"; do # one of them has another name here: all but that
				apt-get "${apt_options[@]}" -qq download "$package" 2>/dev/null || echo "debug-pythons: no package $package"
			done
	})
	ls "$top/$1"/archives/python"$1"-minimal*.deb >/dev/null 2>&1 || return 1
	for archive in "$top/$1"/archives/*.deb; do dpkg -x "$archive" "$top/$1/root"; done
}

# link_shared VERSION: the interpreter as a program of one line on libpython.so; says where it is.
link_shared() {
	local library
	library=$(find "$top/$1/root" -name "libpython$1$flavour.so.1.0" | head -1)
	echo 'int Py_BytesMain(int, char **); int main(int count, char **words) { return Py_BytesMain(count, words); }' |
		gcc -o "$top/$1/python-shared" -xc - -xnone "$library" -Wl,--allow-shlib-undefined
	echo "$top/$1/python-shared"
}

# Without the folder's own libc (and its loader) the interpreter would meet one that is too old.
write_launcher() {
	local root=$top/$1/root loader library program
	loader=$(find "$root" -name 'ld-linux-*.so*' | head -1)
	library=$(dirname "$(find "$root" -name 'libc.so.6' | head -1)")
	program=$root/usr/bin/python$1$flavour
	[ -n "$shared" ] && program=$(link_shared "$1")
	cat >"$top/$1/python" <<-END
		#!/bin/sh
		export PYTHONHOME=$root/usr PYTHONPATH=$top/$1/source/python:$top/$1/site FILAR_PYTHON=$top/$1/python
		exec $loader --library-path $library $program "\$@"
	END
	chmod +x "$top/$1/python"
}

# The border's own sources, compiled with that version's headers.
build() {
	local root=$top/$1/root include
	include=$root/usr/include/python$1$flavour
	rm -rf "$top/$1/source" && mkdir -p "$top/$1/source"
	cp -r csrc python tests pyproject.toml setup.py README.md "$top/$1/source"
	rm -f "$top/$1"/source/python/filar/*.so
	(cd "$top/$1/source" && "$OLDPWD/$venv/bin/python" -c '
import runpy
runpy.run_path("python/filar/_ffi_build.py")["ffibuilder"].emit_c_code("filar_module.c")')
	(cd "$top/$1/source" && gcc -shared -fPIC -std=gnu11 -O1 -g -fvisibility=hidden -ftls-model=initial-exec -pthread \
		-D_GNU_SOURCE -DFILAR_DEBUG '-DFILAR_BUILD_VERSION="debug"' '-DFILAR_BUILD_FLAGS=""' '-DFILAR_BUILD_COMMIT=""' \
		-w -I"$root/usr/include" -I"$include" -Icsrc -Icsrc/include filar_module.c csrc/*/*.c csrc/*/*.S \
		-o python/filar/_filar.so -lm -ldl)
	"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade --target "$top/$1/site" \
		--python-version "$1" --implementation cp --abi "cp${1/./}" --only-binary=:all: --ignore-requires-python \
		cffi numpy pytest pytest-timeout
}

run() {
	echo "debug-pythons: $("$top/$1/python" -c 'import sys; print(sys.version, "assertions", hasattr(sys, "gettotalrefcount"))')"
	(cd "$top/$1/source" && "$top/$1/python" -m pytest -q -p no:cacheprovider "${tests[@]}")
}

fetch_lists
failed=0
for version in "${versions[@]}"; do
	if ! unpack "$version"; then
		echo "debug-pythons: Debian $suite has no Python $version: left out"
		continue
	fi
	write_launcher "$version"
	if ! build "$version"; then
		echo "debug-pythons: $version cannot be built for here: left out"
		continue
	fi
	run "$version" || failed=1
done
exit $failed
