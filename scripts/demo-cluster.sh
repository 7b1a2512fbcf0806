#!/usr/bin/env bash
# One limit over three hosts: builds weir, starts a token server and three agents, each with a
# process that asks /api/order, which all of them together may do 300 times a second, and shows
#
#   1. 100 + 100 + 100 wanted: all pass
#   2. 400 + 50 + 50 wanted: 300 pass, shared 200 / 50 / 50
#   3. a fourth host joins and leaves again: the total stays
#   4. the server is killed (-9): each host serves its 100/s once lease and tail have run out
#   5. the server is back: 200 / 50 / 50 again
#   6. the server is restarted under load
#
# and at the end that never more than burst + 300/s x time was admitted.
#
#   scripts/demo-cluster.sh [--seconds N] [--build DIR] [--no-deps]
#
#   --seconds N   how long each part is watched (5)
#   --build DIR   use what is built there
#   --no-deps     installs nothing; stops when something is missing
#   --help        this text
#
# The "hosts" are agents in folders of their own on this machine; they and the server speak TCP on
# loopback. Exit code 0: everything held. 1: it did not, or could not run.
set -euo pipefail

program=demo-cluster
# shellcheck source=scripts/demo-lib.sh
source "$(dirname "$0")/demo-lib.sh"
readonly limit=/api/order rate=300 burst=300 hosts=3
seconds=5
failed=no
declare -a outs=() # what the processes that ask have written at their end

while (($# > 0)); do
  common_option "$@" || { usage >&2; exit 2; }
  shift "$shifts"
done

weir() { # HOST ARGUMENT...
  local host=$1
  shift
  "$build_dir/bin/weir" --runtime-dir "$run_dir/host$host" "$@"
}

start_server() {
  local file=$run_dir/server.yaml
  [[ -e $file ]] || cat > "$file" << END
version: 1
listen: 127.0.0.1:$port
state_dir: $run_dir/state
http: off
namespaces:
  default:
    tokens: ["$("$build_dir/bin/weir-server" --hash-token <<< secret)"]
    limits:
      - {name: $limit, rate: $rate/s, burst: $burst}
END
  start_process server "$run_dir/server.log" "$build_dir/bin/weir-server" "$file"
}

start_host() { # HOST
  local dir=$run_dir/host$1
  mkdir -p "$dir"
  echo secret > "$dir/token"
  chmod 600 "$dir/token"
  cat > "$dir/rules.yaml" << END
version: 1
server: 127.0.0.1:$port
cluster: {host: host$1, token_file: $dir/token}
END
  start_process "agent$1" "$run_dir/agent$1.log" \
    "$build_dir/bin/weir-agent" --runtime-dir "$dir" --rules "$dir/rules.yaml" --http off
  wait_for "the agent of host $1" weir "$1" show "$limit"
}

start_load() { # HOST CALLS_PER_SECOND
  local out
  out=$run_dir/load$1.$((${#outs[@]} + 1)).out
  WEIR_SOCKET=$run_dir/host$1/agent.sock "$build_dir/examples/load-c" "$limit" 3600 "$2" \
    > "$out" 2>> "$run_dir/load$1.log" &
  pids[load$1]=$!
  outs+=("$out")
}

# The processes end by themselves on a signal and say what they did; each has a part of the total.
end_load() { # HOST
  local pid=${pids[load$1]-}
  [[ -n $pid ]] || return 0
  unset "pids[load$1]"
  kill -TERM "$pid"
  wait "$pid" || true
}

# From what `weir show` says of the limit on a host: the value of a Python expression.
shown() { # HOST EXPRESSION
  weir "$1" show "$limit" -o json | python3 -c "
import json, sys, time
shown = json.load(sys.stdin)
while isinstance(shown, dict) and 'limits' in shown: shown = shown['limits']
if isinstance(shown, list): shown = shown[0]
print($2)"
}

# What a host has admitted so far, and when it said so: "TOKENS NANOSECONDS".
spent_of() { # HOST
  shown "$1" "int(shown['spent_total']), time.monotonic_ns()"
}

# Watches hosts 1..N for a while: what each admitted a second, and whether it is what was expected.
watch_part() { # TITLE EXPECTED... ; an expected '-' is not judged
  local title=$1 host got total=0 all=0 within
  shift
  local -a spent=() at_ns=()
  local now now_ns
  for ((host = 1; host <= $#; host++)); do
    read -r "spent[$host]" "at_ns[$host]" < <(spent_of "$host")
  done
  sleep "$seconds"
  printf '  %-44s' "$title"
  for ((host = 1; host <= $#; host++)); do
    read -r now now_ns < <(spent_of "$host")
    got=$(((now - spent[host]) * 1000000000 / (now_ns - at_ns[host])))
    printf ' %6d' "$got"
    ((total += got)) || true
    [[ ${!host} == - ]] && continue
    ((all += ${!host})) || true
    # Two per cent of what is expected, and the grain of a short look.
    within=$((${!host} * 2 / 100 + ${!host} / 50 + 3))
    if ((got < ${!host} - within || got > ${!host} + within)); then
      printf '!'
      failed=yes
    fi
  done
  printf '   total %4d/s\n' "$total"
}

# Until the hosts' leases are as they should be, within 2 %, and what was saved up before is spent;
# at most some 20 s. What is not so then is seen by what is admitted.
settle() { # EXPECTED...
  local step host lease good
  sleep 2
  for ((step = 0; step < 60; step++)); do
    good=yes
    for ((host = 1; host <= $#; host++)); do
      lease=$(shown "$host" "shown.get('lease', {}).get('rate_per_s', 0)" || echo 0)
      awk -v a="$lease" -v b="${!host}" 'BEGIN { exit !(a > b * 0.98 - 1 && a < b * 1.02 + 1) }' ||
        good=no
    done
    [[ $good == no ]] || break
    sleep 0.1
  done
  sleep 1.5
}

judge() {
  local admitted window most
  read -r admitted window < <(total_line "${outs[@]}")
  most=$(awk -v w="$window" -v r=$rate -v b=$burst 'BEGIN { printf "%d", b + r * w }')
  say ""
  say "  all the time, $window s: admitted $admitted; burst + rate x time allows $most"
  if ((admitted > most)); then
    die "the bound was BROKEN: $((admitted - most)) too many. Please report this."
  fi
  [[ $failed == no ]] || die "the bound held, but shares were off (marked !). Is the machine busy?"
  say "ok: the total held all the time, and the shares were as they should be."
}

main() {
  local host
  build weir-server weir-agent weir weir-cli load-c
  make_run_dir
  mkdir "$run_dir/state"
  port=$(free_port)
  say "== a server and $hosts hosts; $limit: $rate/s for all together"
  start_server
  for ((host = 1; host <= hosts; host++)); do start_host "$host"; done
  printf '  %-44s' "admitted a second, by host"
  for ((host = 1; host <= hosts + 1; host++)); do printf ' %6s' "h$host"; done
  say ""

  for ((host = 1; host <= hosts; host++)); do start_load "$host" 100; done
  settle 100 100 100
  watch_part "1. 100 + 100 + 100 wanted" 100 100 100

  for ((host = 1; host <= hosts; host++)); do end_load "$host"; done
  start_load 1 400
  start_load 2 50
  start_load 3 50
  settle 200 50 50
  watch_part "2. 400 + 50 + 50 wanted" 200 50 50

  start_host 4
  start_load 4 400
  settle 100 50 50 100
  watch_part "3. host 4 joins and wants 400" 100 50 50 100
  end_load 4
  settle 200 50 50
  watch_part "   and leaves" 200 50 50 0
  end_process agent4

  for host in 2 3; do end_load "$host"; start_load "$host" 400; done
  sleep 3
  end_process server KILL
  watch_part "4. the server is killed: leases run" - - -
  sleep $((seconds < 11 ? 11 - seconds : 0))
  watch_part "   lease and tail are over: local" 100 100 100

  for host in 2 3; do end_load "$host"; start_load "$host" 50; done
  start_server
  settle 200 50 50
  watch_part "5. the server is back" 200 50 50

  end_process server TERM
  start_server
  watch_part "6. restarted under load" - - -
  settle 200 50 50
  watch_part "   and after" 200 50 50

  for ((host = 1; host <= hosts; host++)); do end_load "$host"; done
  judge
}

main
