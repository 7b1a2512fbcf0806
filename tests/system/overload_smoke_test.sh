#!/bin/sh
# The experiment of bench/overload runs through with real processes and an agent while servers are
# killed: limits held at every entry, no permit left behind, the result whole and drawable. Nothing
# here depends on speed; the figures themselves are for a quiet machine.
set -eu
build=$1
source=$2
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
"$build/bin/weir_overload_bench" --smoke --json "$out/overload.json"
if ! command -v python3 >/dev/null; then
  echo "no python3: the picture was not drawn"
  exit 77
fi
python3 - "$out/overload.json" <<'EOF'
import json, sys
result = json.load(open(sys.argv[1]))
cells = result["cells"]
assert [c["arm"] for c in cells] == ["fixed", "weir", "gradient"], cells
for cell in cells:
    assert cell["sent"] > 0 and len(cell["seconds"]) >= 4, cell
    assert cell["leaked"] == 0 and cell["entries_over_limit"] == 0, cell
    # Each server is killed at least once where servers are killed.
    assert cell["kills"] >= 2 or cell["disturbance"] != "kill", cell
    assert sum(second[2] for second in cell["seconds"]) > 0, "nothing was answered in time"
assert cells[0]["in_flight_most"] <= result["fixed_limit"], cells[0]
EOF
python3 "$source/bench/overload/plot.py" "$out/overload.json" "$out/overload.svg"
grep -q '</svg>' "$out/overload.svg"
