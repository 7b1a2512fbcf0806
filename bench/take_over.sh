#!/usr/bin/env bash
# Kills the owner of a namespace (-9) again and again, and measures how long it takes until all
# hosts are served by the next one: each has heard a server of a later epoch, has had an answer from
# it, and holds a lease that is in force. Real processes: three members of etcd, three servers, three
# agents with demand, all at default settings; and over all of it the oracle, which counts every
# admission against burst + rate x window.
#
#   bench/take_over.sh [--kills N] [--build DIR]
#
#   --kills N     how often (50); each takes some five seconds
#   --build DIR   where ha_test, weir-server and weir-agent are built (build/dev)
#
# Prints JSON. Exit code 0: median <= 3 s, worst <= 5 s, and nothing over the bound.
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
build=$top/build/dev
kills=50
while (($# > 0)); do
  case $1 in
    --kills) kills=${2:?a number}; shift 2 ;;
    --build) build=${2:?a folder}; shift 2 ;;
    -h | --help) awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"; exit 0 ;;
    *) echo "take_over: unknown option '$1'; see --help" >&2; exit 2 ;;
  esac
done

WEIR_HA_KILLS=$kills "$build/tests/ha_test" --gtest_filter="HaKill.*" |
  python3 -c '
import json, re, statistics, sys
text = sys.stdin.read()
took = sorted(float(ms) for ms in re.findall(r"\[ takeover \] (\S+) ms", text))
oracle = re.search(r"\[ oracle +\].*?(\d+) admitted, (\S+) tokens (below|OVER)", text)
passed = "[  PASSED  ] 1 test" in text
if not took or oracle is None:
    sys.exit("take_over: the test did not run to its end:\n" + text)
over = float(oracle.group(2)) if oracle.group(3) == "OVER" else 0.0
result = {
    "name": "take_over/kill9",
    "kills": len(took),
    "median_ms": round(statistics.median(took)),
    "p90_ms": round(took[int(0.9 * (len(took) - 1))]),
    "worst_ms": round(took[-1]),
    "admitted": int(oracle.group(1)),
    "tokens_over": over,
    "passed": passed,
}
print(json.dumps(result))
good = passed and over == 0 and took[0] >= 0
sys.exit(0 if good and result["median_ms"] <= 3000 and result["worst_ms"] <= 5000 else 1)'
