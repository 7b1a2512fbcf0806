#!/bin/sh
# Measures the shedders on real processes and draws the result; see docs/overload.md.
#
#   scripts/overload.sh [--build DIR] [--json FILE] [--plot FILE] [--whole] [-- OPTION...]
#
#   --build DIR   use this build directory as it is, in place of build/release
#   --json FILE   the figures; build directory/overload.json by default
#   --plot FILE   the picture; build directory/overload.svg by default
#   --whole       every arm at every load with 8, 1 and 4 processes, in short steps: 12 minutes
#   -- OPTION...  are passed on to weir_overload_bench
#
# About eight minutes on two CPUs that have nothing else to do. As root the server side gets a
# control group of its own; otherwise it is only pinned, and the agent follows the whole machine.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
build=
json=
plot=
whole=

usage() {
  sed -n '2,/^set /{/^#/s/^# \{0,1\}//p;}' "$0"
}

while [ $# -gt 0 ]; do
  case $1 in
    --build) [ $# -ge 2 ] || { usage >&2; exit 64; }; build=$2; shift ;;
    --json) [ $# -ge 2 ] || { usage >&2; exit 64; }; json=$2; shift ;;
    --plot) [ $# -ge 2 ] || { usage >&2; exit 64; }; plot=$2; shift ;;
    --whole) whole="--all --before 2.5 --during 4 --settled 1 --after 3.5" ;;
    --) shift; break ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 64 ;;
  esac
  shift
done

if [ -z "$build" ]; then
  build=$root/build/release
  echo "building $build ..." >&2
  [ -f "$build/build.ninja" ] || (cd "$root" && cmake --preset release >/dev/null)
  cmake --build "$build" --target weir_overload_bench weir-agent >/dev/null
fi
[ ! -r /proc/loadavg ] || echo "load average: $(cut -d' ' -f1-3 /proc/loadavg)" >&2
json=${json:-$build/overload.json}
plot=${plot:-$build/overload.svg}
# shellcheck disable=SC2086 # the words of --whole are options
"$build/bin/weir_overload_bench" --json "$json" $whole "$@"
python3 "$root/bench/overload/plot.py" "$json" "$plot"
echo "$json $plot" >&2
