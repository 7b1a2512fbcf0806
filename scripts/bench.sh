#!/bin/sh
# Measures the calls of libweir against their floors, and an idle agent; see docs/performance.md.
#
#   scripts/bench.sh [--json FILE] [--quick] [--check] [--micro] [--store] [--build DIR]
#
#   --json FILE   also write an array of {"name","ns_median","floor_ns_median","ratio"}
#   --quick       fewer rounds: a first impression in half a minute
#   --check       end with 2 when a bar was missed; otherwise 0 says only that it was measured
#   --micro       afterwards also the single calls and the minter, on Google Benchmark
#   --store       afterwards also the quotas' store, on the disk of the build directory; with
#                 --json into FILE.store
#   --build DIR   use this build directory as it is, in place of build/release
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
build=
micro=no
store=no
json=
quick=
check=

usage() {
  sed -n '2,/^set /{/^#/s/^# \{0,1\}//p;}' "$0"
}

while [ $# -gt 0 ]; do
  case $1 in
    --json) [ $# -ge 2 ] || { usage >&2; exit 64; }; json=$2; shift ;;
    --build) [ $# -ge 2 ] || { usage >&2; exit 64; }; build=$2; shift ;;
    --quick) quick=$1 ;;
    --check) check=$1 ;;
    --micro) micro=yes ;;
    --store) store=yes ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 64 ;;
  esac
  shift
done

targets='weir_paired weir-agent'
[ "$micro" = no ] || targets="$targets weir_bench"
[ "$store" = no ] || targets="$targets weir_store_bench"

if [ -z "$build" ]; then
  build=$root/build/release
  echo "building $build ..." >&2
  log=$(mktemp)
  # shellcheck disable=SC2086  # the targets are separate words
  if ! { { [ -f "$build/build.ninja" ] || (cd "$root" && cmake --preset release); } &&
         cmake --build "$build" --target $targets; } >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    rm -f "$log"
    exit 1
  fi
  rm -f "$log"
fi
if [ ! -x "$build/bin/weir_paired" ]; then
  echo "bench.sh: $build/bin/weir_paired is missing; configure with -DWEIR_BENCH=ON" >&2
  exit 1
fi

# Other work on the machine does not spoil the ratios, but it makes more slices be repeated.
[ ! -r /proc/loadavg ] || echo "load average: $(cut -d' ' -f1-3 /proc/loadavg)" >&2

status=0
# shellcheck disable=SC2086  # empty options must vanish
"$build/bin/weir_paired" ${json:+--json "$json"} $quick $check || status=$?
[ "$status" -eq 0 ] || [ "$status" -eq 2 ] || exit "$status"
if [ "$micro" = yes ]; then
  "$build/bin/weir_bench" ${quick:+--benchmark_repetitions=3} || exit 1
fi
if [ "$store" = yes ]; then
  # shellcheck disable=SC2086  # an empty option must vanish
  "$build/bin/weir_store_bench" --dir "$build" ${json:+--json "$json.store"} $quick || status=$?
fi
exit "$status"
