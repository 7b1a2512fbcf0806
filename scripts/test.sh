#!/usr/bin/env bash
# Sets up everything on a fresh Debian 12 and runs the tests.
#
#   scripts/test.sh             unit, system and chaos tests (what a change must pass)
#   scripts/test.sh --ci        the same, and then the format check, the core with clang,
#                               ASan+UBSan and TSan, the fuzzers for some seconds each, and the
#                               models' quick run
#   scripts/test.sh --long      also the tests with the label long
#   scripts/test.sh -L unit     any further arguments go to ctest
set -euo pipefail
cd "$(dirname "$0")/.."

ci=0 long=0
args=()
while [ $# -gt 0 ]; do
  case "$1" in
    --ci) ci=1 ;;
    --long) long=1 ;;
    -h|--help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) args+=("$1") ;;
  esac
  shift
done

say() { printf '\n== %s (%s)\n' "$1" "$(date +%T)"; }
jobs=$(nproc)
failed=()
export CCACHE_NOHASHDIR=1 CCACHE_BASEDIR="$PWD"
export CTEST_OUTPUT_ON_FAILURE=1

step() { # title, command...
  local title=$1
  shift
  say "$title"
  if ! "$@"; then
    failed+=("$title")
    echo "FAILED: $title"
  fi
}

build() { # preset, targets...
  local preset=$1
  shift
  cmake --preset "$preset" >"build/$preset.configure.log" 2>&1 ||
    { cat "build/$preset.configure.log"; return 1; }
  cmake --build "build/$preset" -j "$jobs" ${1:+--target "$@"}
}

# What the sanitizers and the second compiler are for: shared words, parsers, frames.
core=(shm_test agent_mint_test agent_domain_test config_test net_test)
core_tests="^($(IFS='|'; echo "${core[*]}"))\$"

# And where what hostile processes write is read.
with_asan=("${core[@]}" client_toolkit_test client_quota_test adaptive_test
  lease_quota_test lease_permit_test)

# The dev build leaves them out.
benches=(weir_bench weir_lease_bench weir_store_bench weir_paired weir_overload_bench weir_toolkit_bench)

fuzzers=(fuzz_rules fuzz_admin_frame fuzz_hostile_counters fuzz_attach_frame fuzz_lease_frame)

# Tests that measure nothing and share nothing may run side by side; those that kill run alone.
run() { # preset, ctest arguments...
  local preset=$1
  shift
  ctest --test-dir "build/$preset" --no-tests=error "$@"
}

say "packages"
scripts/deps.sh build
scripts/deps.sh test
mkdir -p build

say "build (dev)"
build dev
step "unit tests" run dev -L unit -j "$jobs" ${args[@]+"${args[@]}"}
if [ ${#args[@]} -eq 0 ]; then
  step "system tests" run dev -L system
  step "chaos tests" run dev -L chaos
  if [ $long -eq 1 ]; then step "long tests" run dev -C long -L long; fi
fi

if [ $ci -eq 1 ]; then
  step "format" scripts/format.sh --check
  step "build (clang)" build clang "${core[@]}" "${benches[@]}" weir weir-agent weir-cli
  step "core tests (clang)" run clang -R "$core_tests" -j "$jobs"
  step "build (ASan, UBSan)" build asan "${with_asan[@]}"
  step "tests (ASan, UBSan)" run asan -R "^($(IFS='|'; echo "${with_asan[*]}"))\$" -j "$jobs"
  step "build (TSan)" build tsan shm_test agent_mint_test
  step "core tests (TSan)" run tsan -R '^(shm_test|agent_mint_test)$' -j "$jobs"
  step "build (fuzzers)" build fuzz "${fuzzers[@]}"
  step "fuzzers, a few seconds each" run fuzz -L fuzz -j "$jobs"
  step "models" bash tests/models/run.sh --quick
fi

if [ ${#failed[@]} -gt 0 ]; then
  printf '\n%d step(s) failed:\n' "${#failed[@]}"
  printf '  %s\n' "${failed[@]}"
  exit 1
fi
say "everything passed"
