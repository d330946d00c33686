#!/bin/bash
# Makes the programs of `make bench-server` in OUT: a Go server where Go is installed, and a small script for each
# server that runs bench/peers/server.py with it.
#
# Usage: build_servers.sh OUT SERVER...      GO: the compiler; PYTHON: the interpreter that has filar
set -u
cd "$(dirname "$0")/../.." || exit 1
out=$1
shift
python=${PYTHON:-python3} GO=${GO:-go}
mkdir -p "$out"
out=$(realpath "$out")

rm -f "$out/goserver"
if ! command -v "$GO" >/dev/null; then
	echo "server-go, server-gonet: left out: Go is not installed (Debian: golang-go)"
else
	# Nothing is fetched: it uses only Go's own library.
	(cd bench/peers/goserver && GOPROXY=off GOCACHE="$out/gocache" "$GO" build -o "$out/goserver" .) ||
		echo "server-go, server-gonet: left out: goserver does not build"
fi
for server in "$@"; do
	rm -f "$out/$server"
	if [[ $server == server-go* && ! -x $out/goserver ]]; then
		continue
	fi
	printf '#!/bin/sh\nPEER_PROGRAMS="%s" exec "%s" "%s" %s "$@"\n' "$out" "$python" \
		"$(realpath bench/peers/server.py)" "$server" >"$out/$server"
	chmod +x "$out/$server"
done
