#!/usr/bin/env bash
# Several servers that may die: builds weir, starts three members of etcd, three token servers and
# three agents, each with a process that asks /api/order, which all of them together may do 300
# times a second. Then
#
#   1. the owner of the namespace is killed (-9): another server takes it over
#   2. the owner is frozen (SIGSTOP), and wakes up again when another one has taken over
#   3. the leader of etcd is killed (-9)
#   4. the owner is stopped (SIGTERM): it gives the namespace up at once
#
# and at the end that never more than burst + 300/s x time was admitted.
#
#   scripts/demo-ha.sh [--seconds N] [--build DIR] [--no-deps]
#
#   --seconds N   how long each part is watched (4)
#   --build DIR   use what is built there
#   --no-deps     installs nothing; stops when something is missing
#   --help        this text
#
# Needs Debian's etcd-server and etcd-client. Everything runs on loopback, in a folder of its own.
# Exit code 0: everything held. 1: it did not, or could not run. 77: there is no etcd.
set -euo pipefail

program=demo-ha
# shellcheck source=scripts/demo-lib.sh
source "$(dirname "$0")/demo-lib.sh"
readonly limit=/api/order rate=300 burst=300 count=3
readonly take_over_steps=100 # of 0.1 s; it takes some 2 s
seconds=4
declare -a outs=() # what the processes that ask have written at their end
declare -a ports=() etcd_ports=() peer_ports=()

while (($# > 0)); do
  common_option "$@" || { usage >&2; exit 2; }
  shift "$shifts"
done

etcd_list() { # SEPARATOR
  local i list=
  for ((i = 1; i <= count; i++)); do list+=${list:+$1}127.0.0.1:${etcd_ports[$i]}; done
  printf '%s' "$list"
}
ctl() { ETCDCTL_API=3 etcdctl --command-timeout=2s --endpoints "$(etcd_list ,)" "$@"; }
ctl_of() { # MEMBER ARGUMENT...
  ETCDCTL_API=3 etcdctl --command-timeout=2s --endpoints "127.0.0.1:${etcd_ports[$1]}" "${@:2}"
}

start_etcd() { # MEMBER
  local i cluster=
  for ((i = 1; i <= count; i++)); do
    cluster+=${cluster:+,}e$i=http://127.0.0.1:${peer_ports[$i]}
  done
  start_process "etcd$1" "$run_dir/etcd$1.log" etcd --name "e$1" --data-dir "$run_dir/etcd$1" \
    --listen-client-urls "http://127.0.0.1:${etcd_ports[$1]}" \
    --advertise-client-urls "http://127.0.0.1:${etcd_ports[$1]}" \
    --listen-peer-urls "http://127.0.0.1:${peer_ports[$1]}" \
    --initial-advertise-peer-urls "http://127.0.0.1:${peer_ports[$1]}" \
    --initial-cluster "$cluster" --initial-cluster-token "$program" --initial-cluster-state new
}

start_server() { # SERVER
  cat > "$run_dir/server$1.yaml" << END
version: 1
listen: 127.0.0.1:${ports[$1]}
state_dir: $run_dir/state$1
http: off
etcd: {endpoints: [$(etcd_list ', ')]}
namespaces: {default: {limits: [{name: $limit, rate: $rate/s, burst: $burst}]}}
END
  start_process "s$1" "$run_dir/s$1.log" "$build_dir/bin/weir-server" "$run_dir/server$1.yaml" \
    --name "s$1"
}

start_host() { # HOST
  local dir=$run_dir/host$1 i list=
  for ((i = 1; i <= count; i++)); do list+=${list:+, }127.0.0.1:${ports[$i]}; done
  mkdir -p "$dir"
  cat > "$dir/rules.yaml" << END
version: 1
server: [$list]
cluster: {host: host$1}
END
  start_process "agent$1" "$run_dir/agent$1.log" \
    "$build_dir/bin/weir-agent" --runtime-dir "$dir" --rules "$dir/rules.yaml" --http off
  wait_for "the agent of host $1" weir "$1" show "$limit"
}

weir() { # HOST ARGUMENT...
  "$build_dir/bin/weir" --runtime-dir "$run_dir/host$1" "${@:2}"
}

start_load() { # HOST CALLS_PER_SECOND
  WEIR_SOCKET=$run_dir/host$1/agent.sock "$build_dir/examples/load-c" "$limit" 3600 "$2" \
    > "$run_dir/load$1.out" 2>> "$run_dir/load$1.log" &
  pids[load$1]=$!
  outs+=("$run_dir/load$1.out")
}

end_load() { # HOST
  local pid=${pids[load$1]}
  unset "pids[load$1]"
  kill -TERM "$pid"
  wait "$pid" || true
}

# From what `weir status` says of a host's server.
upstream() { # HOST EXPRESSION
  weir "$1" status -o json | python3 -c "
import json, sys
up = json.load(sys.stdin)['upstream']
print($2)" 2> /dev/null
}
lease_of() { # HOST
  weir "$1" show "$limit" -o json | python3 -c "
import json, sys
shown = json.load(sys.stdin)
while isinstance(shown, dict) and 'limits' in shown: shown = shown['limits']
if isinstance(shown, list): shown = shown[0]
print(shown.get('lease', {}).get('state', 'none'))"
}
spent() {
  local host sum=0 one
  for ((host = 1; host <= count; host++)); do
    one=$(weir "$host" show "$limit" -o json | python3 -c "
import json, sys
shown = json.load(sys.stdin)
while isinstance(shown, dict) and 'limits' in shown: shown = shown['limits']
if isinstance(shown, list): shown = shown[0]
print(int(shown['spent_total']))")
    ((sum += one)) || true
  done
  echo "$sum"
}

owner() { ctl get /weir/cluster/owner/default --print-value-only 2> /dev/null | head -n 1; }
owned() { [[ -n $(owner) ]]; }

# Whether all hosts hold a lease that a server of a later epoch has confirmed.
served_since() { # EPOCH
  local host heard
  for ((host = 1; host <= count; host++)); do
    heard=$(upstream "$host" "int(up.get('epoch', 0)) if up.get('answering', False) else 0")
    ((${heard:-0} > $1)) || return 1
    [[ $(lease_of "$host") == live ]] || return 1
  done
}
epoch() { upstream 1 "int(up.get('epoch', 0))"; }

await_take_over() { # EPOCH TITLE
  local step from to
  from=$(date +%s%N)
  for ((step = 0; step < take_over_steps; step++)); do
    if served_since "$1"; then
      to=$(date +%s%N)
      printf '  %-44s by %s after some %d.%d s\n' "$2" "$(owner)" $(((to - from) / 1000000000)) \
        $(((to - from) / 100000000 % 10))
      return 0
    fi
    sleep 0.1
  done
  sed 's/^/  /' "$run_dir"/s?.log "$run_dir"/agent?.log >&2
  die "$2: nobody serves all hosts; the logs are above"
}

watch() {
  local before after from to
  before=$(spent) from=$(date +%s%N)
  sleep "$seconds"
  after=$(spent) to=$(date +%s%N)
  printf '  %-44s %d/s\n' "   admitted, all hosts together" \
    $(((after - before) * 1000000000 / (to - from)))
}

main() {
  local i before seen leader admitted window most
  if ! command -v etcd > /dev/null || ! command -v etcdctl > /dev/null; then
    say "$program: there is no etcd here; apt-get install etcd-server etcd-client"
    exit 77
  fi
  build weir-server weir-agent weir weir-cli load-c
  make_run_dir
  for ((i = 1; i <= count; i++)); do
    ports[i]=$(free_port) etcd_ports[i]=$(free_port) peer_ports[i]=$(free_port)
  done
  say "== three members of etcd, three servers, three hosts; $limit: $rate/s for all together"
  for ((i = 1; i <= count; i++)); do start_etcd "$i"; done
  wait_for etcd ctl endpoint health
  for ((i = 1; i <= count; i++)); do start_server "$i"; done
  wait_for "an owner" owned
  for ((i = 1; i <= count; i++)); do start_host "$i"; done
  for ((i = 1; i <= count; i++)); do start_load "$i" 150; done
  await_take_over 0 "the first owner serves"
  watch

  before=$(owner) seen=$(epoch)
  end_process "$before" KILL
  await_take_over "$seen" "1. $before, the owner, was killed; served"
  watch
  start_server "${before#s}"

  before=$(owner) seen=$(epoch)
  kill -STOP "${pids[$before]}"
  await_take_over "$seen" "2. $before, the owner, was frozen; served"
  kill -CONT "${pids[$before]}"
  watch
  [[ $(owner) != "$before" ]] || die "$before woke up and took the namespace back"

  for ((leader = 1; leader <= count; leader++)); do
    ctl_of "$leader" endpoint status -w json 2> /dev/null | python3 -c '
import json, sys
status = json.load(sys.stdin)[0]["Status"]
sys.exit(0 if status["header"]["member_id"] == status["leader"] else 1)' && break
  done
  ((leader <= count)) || die "etcd has no leader"
  end_process "etcd$leader" KILL
  sleep 1
  seen=$(epoch)
  await_take_over $((seen - 1)) "3. e$leader, etcd's leader, was killed; served"
  watch
  start_etcd "$leader" # with what it has stored

  before=$(owner) seen=$(epoch)
  end_process "$before" TERM
  await_take_over "$seen" "4. $before, the owner, was stopped; served"
  watch

  for ((i = 1; i <= count; i++)); do end_load "$i"; done
  read -r admitted window < <(total_line "${outs[@]}")
  most=$(awk -v w="$window" -v r=$rate -v b=$burst 'BEGIN { printf "%d", b + r * w }')
  say ""
  say "  all the time, $window s: admitted $admitted; burst + rate x time allows $most"
  ((admitted <= most)) ||
    die "the bound was BROKEN: $((admitted - most)) too many. Please report this."
  ((admitted > most / 3)) || die "far less was admitted than the hosts wanted"
  say "ok: every time another server took over, and the total held."
}

main
