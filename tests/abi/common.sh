# Sourced by the scripts of this folder: words, a directory of the test's own, and an agent in it.
set -euo pipefail

fail() { echo "FAIL: $*" >&2; exit 1; }
skip() { echo "SKIP: $*" >&2; exit 77; }
ok() { echo "ok - $*"; }

work=$(mktemp -d "${TMPDIR:-/tmp}/weir-abi.XXXXXX")
agent_pid=
clean_up() {
  if [[ -n $agent_pid ]]; then
    kill "$agent_pid" 2> /dev/null || true
    wait "$agent_pid" 2> /dev/null || true
  fi
  rm -rf "$work"
}
trap clean_up EXIT

# quietly WHAT COMMAND...: its output is shown when it fails.
quietly() {
  local what=$1
  shift
  "$@" > "$work/output" 2>&1 || { cat "$work/output" >&2; fail "$what"; }
}

# start_agent BINARY: serves the limit `spend`, which has 20 tokens and hardly refills. Whoever
# opens $work/agent.sock with require_agent waits for it.
start_agent() {
  [[ -x $1 ]] || skip "$1 is not built yet"
  printf 'version: 1\nlimits:\n  - {name: spend, rate: 1/h, burst: 20}\n' > "$work/rules.yaml"
  "$1" --runtime-dir "$work" --rules "$work/rules.yaml" --http off > "$work/agent.log" 2>&1 &
  agent_pid=$!
}
