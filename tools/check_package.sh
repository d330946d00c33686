#!/usr/bin/env bash
# What a user of pip gets: the sdist builds, the wheel is built from the sdist, exports one symbol,
# and works in a fresh environment from another folder.
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
venv/bin/python - <<'CHECK'
import json
from pathlib import Path

names = json.loads(Path("list.json").read_text())
result = json.loads(Path("run.json").read_text())
assert names and result["rows"], "an empty list or result"
print(f"package: filar list names {len(names)}, filar run gives {len(result['rows'])} rows")
CHECK
