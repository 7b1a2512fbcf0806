#!/usr/bin/env bash
# Shows one limit at work: builds weir, starts an agent of its own in a private directory, lets
# four processes (two in C, one in C++, one in Python) ask /api/order for far more than its 300/s,
# and adds up what they were given.
#
#   scripts/quickstart.sh [--seconds N] [--keep] [--build DIR] [--no-deps]
#
#   --seconds N   how long the processes ask (10)
#   --keep        leaves the agent running at the end and says how to look at it
#   --build DIR   use what is built there
#   --no-deps     installs nothing; stops when something is missing
#   --help        this text
#
# Exit code 0: the bound held and at least 99 % of the limit was used. 1: not, or it could not run.
# Nothing is installed but Debian packages for the build; agents that run already, and /run/weir,
# are left alone.
set -euo pipefail

program=quickstart
# shellcheck source=scripts/demo-lib.sh
source "$(dirname "$0")/demo-lib.sh"
readonly rules=$source_dir/examples/quickstart-rules.yaml
readonly limit=/api/order rate=300 burst=30 # as in the rules file
seconds=10
keep=no
labels=() # of the processes that ask

while (($# > 0)); do
  if [[ $1 == --keep ]]; then
    keep=yes
    shift
  else
    common_option "$@" || { usage >&2; exit 2; }
    shift "$shifts"
  fi
done

weir() { "$build_dir/bin/weir" --runtime-dir "$run_dir" "$@"; }

start_agent() {
  make_run_dir
  say "== start the agent in $run_dir"
  start_process agent "$run_dir/agent.log" "$build_dir/bin/weir-agent" --runtime-dir "$run_dir" \
    --rules "$rules" --http 127.0.0.1:0
  wait_for "the agent" weir status
}

start_load() { # LABEL COMMAND...
  local label=$1
  shift
  WEIR_SOCKET=$run_dir/agent.sock WEIR_LIBRARY=$build_dir/lib/libweir.so.0 \
    "$@" > "$run_dir/$label.out" 2> "$run_dir/$label.err" &
  pids[$label]=$!
  labels+=("$label")
}

# A line a second of what `weir list` shows: columns 6 and 7 are admitted and refused a second.
show_progress() {
  local second
  for ((second = 1; second <= seconds; second++)); do
    sleep 1
    weir list --no-header "$limit" | awk -v second="$second" \
      '{ printf "  %3d s   admitted %7s/s   refused %7s/s\n", second, $6, $7 }' ||
      say "  $second s   (the agent did not answer in time)"
  done
}

run_load() {
  say "== four processes ask for $limit for $seconds s; it allows $rate/s and $burst at once"
  local examples=$build_dir/examples
  start_load c-1 "$examples/load-c" "$limit" "$seconds" 4000
  start_load c-2 "$examples/load-c" "$limit" "$seconds" 2000
  start_load c++ "$examples/load-cpp" "$limit" "$seconds" 2000
  start_load python python3 "$source_dir/examples/load.py" "$limit" "$seconds" 1000
  show_progress
  local label failed=no
  for label in "${labels[@]}"; do
    wait "${pids[$label]}" || { failed=yes; cat "$run_dir/$label.err" >&2; }
    unset "pids[$label]"
  done
  [[ $failed == no ]] || die "a process that asks for tokens failed, see above"
}

# Adds up what the processes say of themselves, and compares it with the limit.
judge() {
  local n='([0-9]+)' label line first_ns=0 last_ns=0 asked=0 admitted=0 refused=0
  printf '\n  %-10s %12s %12s %12s\n' process asked admitted refused
  for label in "${labels[@]}"; do
    line=$(< "$run_dir/$label.out")
    [[ $line =~ ^asked=$n\ admitted=$n\ refused=$n\ begin_ns=$n\ end_ns=$n$ ]] ||
      die "$label says '$line'"
    printf '  %-10s %12d %12d %12d\n' "$label" "${BASH_REMATCH[@]:1:3}"
    ((asked += BASH_REMATCH[1], admitted += BASH_REMATCH[2], refused += BASH_REMATCH[3])) || true
    if ((first_ns == 0 || BASH_REMATCH[4] < first_ns)); then first_ns=${BASH_REMATCH[4]}; fi
    if ((BASH_REMATCH[5] > last_ns)); then last_ns=${BASH_REMATCH[5]}; fi
  done
  printf '  %-10s %12d %12d %12d\n\n' total "$asked" "$admitted" "$refused"

  local window_ns=$((last_ns - first_ns)) most least
  most=$((burst + rate * window_ns / 1000000000))
  least=$((rate * window_ns * 99 / 100 / 1000000000))
  printf '  window, first call to last, on one clock   %d.%03d s\n' \
    $((window_ns / 1000000000)) $((window_ns / 1000000 % 1000))
  printf '  most that the rule allows, %d + %d/s x window   %d\n' "$burst" "$rate" "$most"
  printf '  admitted   %d, %d.%d %% of %d/s x window\n\n' "$admitted" \
    $((admitted * 100 * 1000000000 / (rate * window_ns))) \
    $((admitted * 1000 * 1000000000 / (rate * window_ns) % 10)) "$rate"
  if ((admitted > most)); then
    die "the bound was BROKEN: $((admitted - most)) too many. Please report this."
  fi
  if ((admitted < least)); then
    die "less than 99 % of the limit was used: $admitted of $least. Is the machine very busy?"
  fi
  say "ok: the bound held, and the limit was used."
}

say_next() {
  say ""
  if [[ $keep == yes ]]; then
    say "The agent runs on, as process ${pids[agent]}. Look at it, and give it something to do:"
    say ""
    say "  export WEIR_RUNTIME_DIR=$run_dir WEIR_SOCKET=$run_dir/agent.sock"
    say "  PATH=$build_dir/bin:\$PATH"
    say "  $build_dir/examples/load-c $limit 60 &"
    say "  weir top"
    say "  weir show $limit"
    say "  kill ${pids[agent]} && rm -r $run_dir      # the end of it"
  else
    say "Try next:"
    say ""
    say "  scripts/quickstart.sh --keep     leaves the agent running, for \`weir top\`"
    say "  scripts/test.sh                  runs the tests"
    say "  examples/                        what the four processes are"
    say "  README.md                        how to link your own"
  fi
}

build weir-agent weir weir-cli load-c load-cpp
start_agent
run_load
judge
say_next
if [[ $keep == yes ]]; then
  unset 'pids[agent]'
  run_dir=''
fi
