#!/usr/bin/env bash
# What a user of pip gets: the sdist builds, the wheel is built from the sdist, exports one symbol, keeps to a
# manylinux (or musllinux) policy, and works in a fresh environment from another folder.
set -euo pipefail
python=${1:?usage: check_package.sh PYTHON_WITH_BUILD}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

"$python" -m build --outdir "$out/dist" . >"$out/build.log" 2>&1 || { tail -40 "$out/build.log"; exit 1; }
wheel=$(ls "$out"/dist/*.whl)
echo "package: $(basename "$wheel") from $(basename "$out"/dist/*.tar.gz)"

"$python" -m zipfile -e "$wheel" "$out/wheel"
symbols=$(nm -D --defined-only "$out"/wheel/filar/_filar*.so | awk '{print $3}')
if [ "$symbols" != PyInit__filar ]; then
	echo "package: the extension exports more than PyInit__filar:"
	echo "$symbols"
	exit 1
fi
undefined=$(nm -D --undefined-only "$out"/wheel/filar/_filar*.so | awk '$2 ~ /^filar_/ {print $2}')
if [ -n "$undefined" ]; then
	echo "package: declared but not defined: $undefined"
	exit 1
fi
# Which policy the wheel meets follows from the C library it was built with: the newest symbols it asks for.
"$python" -m auditwheel show "$wheel" >"$out/policy.txt" 2>&1 || { cat "$out/policy.txt"; exit 1; }
policy=$(grep -Eo '(many|musl)linux_[0-9]+_[0-9]+_[a-z0-9_]+' "$out/policy.txt" | head -n 1 || true)
if [ -z "$policy" ]; then
	echo "package: the wheel meets no manylinux policy, so no index would take it:"
	cat "$out/policy.txt"
	exit 1
fi
needs=$(nm -D --undefined-only "$out"/wheel/filar/_filar*.so | grep -Eo '[^ ]+@GLIBC_[0-9.]+' | sed 's/@@*/ /' | sort -V -k2,2 || true)
newest=$(awk 'END {print $2}' <<<"$needs")
symbols=$(awk -v newest="$newest" '$2 == newest {print $1}' <<<"$needs")
echo "package: meets $policy${newest:+, since it asks for $newest: $(wc -w <<<"$symbols") symbols such as $(grep -v '^_' <<<"$symbols" | head -n 3 | paste -sd ' ')}"

"$python" tools/old_glibc.py "$out"/wheel/filar/_filar*.so || {
	echo "package: a wheel for manylinux_2_28 cannot be built"
	exit 1
}

for file in filar/py.typed filar/lab/schema.json filar/report/page.css; do
	[ -f "$out/wheel/$file" ] || { echo "package: the wheel lacks $file"; exit 1; }
done

"$python" -m venv "$out/venv"
"$out/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$wheel"
cd "$out"
venv/bin/python -c "import filar; print('package: import filar', filar.__version__)"
venv/bin/filar doctor >"$out/doctor.txt"
venv/bin/filar list --json >"$out/list.json"
venv/bin/filar run self-check --quick --json - >"$out/run.json"
venv/bin/filar report --quick --no-progress --only floors --out "$out/report" >"$out/report.txt"
venv/bin/python - <<'CHECK'
import json
from pathlib import Path

names = json.loads(Path("list.json").read_text())
result = json.loads(Path("run.json").read_text())
assert names and result["rows"], "an empty list or result"
report = json.loads(Path("report/report.json").read_text())
assert {"self-check", "floors"} <= {one["experiment"] for one in report["results"]}, "a report without its results"
assert "</html>" in Path("report/report.html").read_text(), "half a page"
print(f"package: filar list names {len(names)}, filar run gives {len(result['rows'])} rows")
CHECK
