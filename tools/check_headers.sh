#!/usr/bin/env bash
# Each header compiles alone, as C and (the public one) as C++.
set -eu
CC=${CC:-gcc}
for header in csrc/*/*.h; do
	case $header in csrc/py/*) continue ;; esac
	$CC -std=gnu11 -D_GNU_SOURCE -Icsrc -Icsrc/include -Wall -Wextra -Werror -fsyntax-only -x c - <<<"#include \"${header#csrc/}\"" ||
		{ echo "headers: $header does not stand alone"; exit 1; }
done
if command -v g++ >/dev/null; then
	g++ -std=c++17 -Icsrc/include -Wall -Wextra -Werror -fsyntax-only -x c++ - <<<'#include "filar.h"'
fi
echo "headers: each stands alone"
