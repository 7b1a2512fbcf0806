# shellcheck shell=bash
# What quickstart.sh and the demos share: their words, the build, and processes that are ended by
# number. Sourced. The script sets `program` before, and may set build_dir, prebuilt and deps.

# shellcheck disable=SC2034 # for those who source it
source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly source_dir program
build_dir=$source_dir/build/quickstart
prebuilt=no  # yes: build_dir is taken as it is
deps=install # check: nothing is installed
run_dir=''
declare -A pids=() # by name: server, agent1, load1...

say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "$program" "$*" >&2; exit 1; }

# The comment at the head of the script is its help.
usage() { awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"; }

need_number() { # OPTION VALUE MAX
  [[ $2 =~ ^[1-9][0-9]{0,8}$ && $2 -le $3 ]] || die "$1 needs a whole number from 1 to $3"
}

# The options that all of them have; the caller says what else there is.
common_option() { # ARGUMENT...; sets `shifts`, false when it is none of these
  # shellcheck disable=SC2034
  shifts=1
  case $1 in
    --seconds) need_number --seconds "${2-}" 9999; seconds=$2; shifts=2 ;;
    --build)
      build_dir=$(cd "${2-}" 2> /dev/null && pwd) || die "--build: there is no folder '${2-}'"
      prebuilt=yes
      shifts=2 ;;
    --no-deps) deps=check ;;
    -h | --help) usage; exit 0 ;;
    *) return 1 ;;
  esac
}

# Ends what this script started, by number, and nothing else.
end_process() { # NAME [SIGNAL]
  local pid=${pids[$1]-} step
  [[ -n $pid ]] || return 0
  unset "pids[$1]"
  kill "-${2:-TERM}" "$pid" 2> /dev/null || return 0
  for ((step = 0; step < 100; step++)); do
    kill -0 "$pid" 2> /dev/null || break
    sleep 0.05
  done
  kill -KILL "$pid" 2> /dev/null || true
  wait "$pid" 2> /dev/null || true
}

cleanup() {
  local name
  for name in "${!pids[@]}"; do end_process "$name"; done
  [[ -z $run_dir ]] || rm -rf "$run_dir"
  run_dir=''
}
trap cleanup EXIT
trap 'say ""; say "$program: interrupted, cleaning up"; exit 130' INT
trap 'exit 143' TERM

# One compiler needs up to about 1 GiB; a small machine must not swap.
jobs_for_memory() {
  local gib cpus
  gib=$(awk '/^MemAvailable:/ { print int($2 / 1048576) }' /proc/meminfo)
  cpus=$(nproc)
  ((gib >= 1)) || gib=1
  echo $((gib < cpus ? gib : cpus))
}

build() { # TARGET...
  [[ $prebuilt == no ]] || return 0
  say "== build (build/quickstart; the first time takes some minutes)"
  if [[ $deps == check ]]; then
    "$source_dir/scripts/deps.sh" build --check
  else
    "$source_dir/scripts/deps.sh" build
  fi
  (cd "$source_dir" && cmake --preset release -B "$build_dir" -DWEIR_TESTS=OFF -DWEIR_BENCH=OFF \
    --log-level=WARNING > /dev/null)
  cmake --build "$build_dir" --parallel "$(jobs_for_memory)" --target "$@"
}

make_run_dir() { run_dir=$(mktemp -d "${TMPDIR:-/tmp}/weir-$program.XXXXXX"); }

# Starts a process in a session of its own: Ctrl-C in this terminal is for the script alone.
start_process() { # NAME LOG COMMAND...
  local name=$1 log=$2
  shift 2
  setsid "$@" >> "$log" 2>&1 < /dev/null &
  pids[$name]=$!
  disown "$!" # bash would report that it was killed
}

wait_for() { # WHAT COMMAND...
  local what=$1 step
  shift
  for ((step = 0; step < 150; step++)); do
    if "$@" > /dev/null 2>&1; then return 0; fi
    sleep 0.1
  done
  sed 's/^/  /' "$run_dir"/*.log >&2
  die "$what did not come up; the logs are above"
}

free_port() {
  python3 -c 'import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])'
}

# Adds up what examples/load-* said at their ends: "ADMITTED SECONDS", first call to last.
total_line() { # FILE...
  awk '{ for (i = 1; i <= NF; i++) { split($i, kv, "="); v[kv[1]] = kv[2] }
         admitted += v["admitted"]
         if (first == 0 || v["begin_ns"] < first) first = v["begin_ns"]
         if (v["end_ns"] > last) last = v["end_ns"] }
       END { printf "%d %.3f\n", admitted, (last - first) / 1e9 }' "$@"
}
