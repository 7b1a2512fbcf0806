#!/usr/bin/env bash
# One prepaid quota over three hosts: builds weir, starts a token server with a store and three
# agents, creates a key with 10,000 units, and lets a program in C, one in C++ and one in Python
# spend them, a host each, to the last unit. On the way
#
#   1. the server is killed (-9) and comes back
#   2. an agent is killed and comes back; its chunk is lost by name where nobody kept its memory
#   3. a program is killed
#   4. the quota is topped up by 1,000 units
#
# and at the end that the books balance: total = remaining + consumed + held + lost, and that no
# more was handed out than the total. What happened is read from the audit log.
#
#   scripts/demo-quota.sh [--total N] [--build DIR] [--no-deps]
#
#   --total N     units of the quota (10000)
#   --build DIR   use what is built there
#   --no-deps     installs nothing; stops when something is missing
#   --help        this text
#
# The "hosts" are agents in folders of their own on this machine; they and the server speak TCP on
# loopback. Exit code 0: everything held. 1: it did not, or could not run.
set -euo pipefail

program=demo-quota
# shellcheck source=scripts/demo-lib.sh
source "$(dirname "$0")/demo-lib.sh"
readonly quota=api-calls key=customer-42 hosts=3 top_up=1000
total=10000

while (($# > 0)); do
  if [[ $1 == --total ]]; then
    need_number --total "${2-}" 1000000
    total=$2
    shift 2
    continue
  fi
  common_option "$@" || { usage >&2; exit 2; }
  shift "$shifts"
done

weir() { "$build_dir/bin/weir" "$@" --api "127.0.0.1:$http_port" --token-file "$run_dir/token"; }

start_server() {
  local file=$run_dir/server.yaml
  [[ -e $file ]] || cat > "$file" << END
version: 1
listen: 127.0.0.1:$port
http: 127.0.0.1:$http_port
state_dir: $run_dir/state
store: {unsafe: true} # the demo's folder may lie in memory
api:
  tokens: [{name: demo, role: admin, token: "$("$build_dir/bin/weir-server" --hash-token <<< secret)"}]
namespaces:
  default:
    tokens: ["$("$build_dir/bin/weir-server" --hash-token <<< secret)"]
    quotas:
      - {name: $quota, total: $total}
END
  start_process server "$run_dir/server.log" "$build_dir/bin/weir-server" "$file"
}

start_host() { # HOST
  local dir=$run_dir/host$1
  mkdir -p "$dir"
  cat > "$dir/rules.yaml" << END
version: 1
server: 127.0.0.1:$port
cluster: {host: host$1, token_file: $run_dir/token}
END
  start_process "agent$1" "$run_dir/agent$1.log" \
    "$build_dir/bin/weir-agent" --runtime-dir "$dir" --rules "$dir/rules.yaml" --http off
  wait_for "the agent of host $1" test -S "$dir/agent.sock"
}

start_spender() { # HOST COMMAND...
  local host=$1
  shift
  WEIR_SOCKET=$run_dir/host$host/agent.sock WEIR_LIBRARY=$build_dir/lib/libweir.so.0 \
    setsid "$@" "$quota" "$key" 1000 >> "$run_dir/taken$host" \
    2>> "$run_dir/spender$host.log" < /dev/null &
  pids[spender$host]=$!
  disown "$!"
}

spenders=('' "quota-c" "quota-cpp" "quota.py")
start_spender_of() { # HOST
  case $1 in
    3) start_spender 3 python3 "$source_dir/examples/quota.py" ;;
    *) start_spender "$1" "$build_dir/examples/${spenders[$1]}" ;;
  esac
}

# Units that the programs of all hosts, or of one, have written down.
taken() { cat "$run_dir"/taken${1-*} 2> /dev/null | wc -c; }

# A number of the key's books, by its name in the API.
book() { # NAME
  weir quota show "$quota" "$key" -o json |
    python3 -c "
import json, sys
level = [json.load(sys.stdin)]
while level:
    for each in level:
        if isinstance(each, dict) and '$1' in each:
            print(each['$1'])
            sys.exit()
    level = [v for each in level for v in (each.values() if isinstance(each, dict) else each)
             if isinstance(v, (dict, list))]
sys.exit('no $1 in the answer')"
}
taken_is() { (($(taken) >= $1)); }

wait_taken() { # UNITS
  local step
  for ((step = 0; step < 600; step++)); do
    if taken_is "$1"; then return 0; fi
    sleep 0.1
  done
  sed 's/^/  /' "$run_dir"/*.log >&2
  die "only $(taken) units were taken in a minute; the logs are above"
}

show() { # TITLE
  printf '  %-44s %6d %6d %6d   total %6d\n' "$1" "$(taken 1)" "$(taken 2)" "$(taken 3)" "$(taken)"
}

main() {
  local host step killed=0 remaining consumed held lost all handed
  build weir weir-agent weir-server quota-c quota-cpp
  make_run_dir
  port=$(free_port) http_port=$(free_port)
  export WEIR_LIBRARY=$build_dir/libclient/libweir.so
  [[ -e $WEIR_LIBRARY ]] || WEIR_LIBRARY=$(find "$build_dir" -name 'libweir.so*' | head -n 1)
  echo secret > "$run_dir/token"
  chmod 600 "$run_dir/token"
  start_server
  wait_for "the server" weir quota list
  weir quota create "$quota" "$key" > /dev/null
  for ((host = 1; host <= hosts; host++)); do start_host "$host"; done
  say "== $total units of $quota for $key; taken by C, C++ and Python on three hosts"
  for ((host = 1; host <= hosts; host++)); do start_spender_of "$host"; done

  wait_taken $((total / 5))
  show "three hosts spend"
  end_process server KILL
  start_server
  wait_taken $((total * 2 / 5))
  show "1. the server was killed and is back"
  end_process agent1 KILL
  start_host 1
  wait_taken $((total / 2))
  show "2. the agent of host 1 was killed and is back"
  end_process spender2 KILL
  killed=1
  start_spender_of 2
  wait_taken $((total * 3 / 5))
  show "3. the program on host 2 was killed"
  weir quota top-up "$quota" "$key" "$top_up" > /dev/null
  say "  4. topped up by $top_up"

  # To the last unit that is not in the killed agent's lost memory.
  for ((host = 1; host <= hosts; host++)); do
    for ((step = 0; step < 1200; step++)); do
      kill -0 "${pids[spender$host]}" 2> /dev/null || break
      sleep 0.1
    done
  done
  show "nothing is left to get"
  for ((host = 1; host <= hosts; host++)); do end_process "agent$host"; done
  sleep 1
  remaining=$(book remaining) consumed=$(book consumed) held=$(book held) lost=$(book lost)
  all=$(book total)
  handed=$(taken)
  say "== books: total $all = remaining $remaining + consumed $consumed + held $held + lost $lost"
  say "   taken by the programs: $handed"
  say "== the audit log, its last lines"
  weir audit "$quota" "$key" --page-size 12 || true

  for ((host = 1; host <= hosts; host++)); do
    (($(taken "$host") > 0)) || { cat "$run_dir/spender$host.log" >&2; die "host $host took nothing"; }
  done
  ((all == total + top_up)) || die "the total is $all"
  ((remaining + consumed + held + lost == all)) || die "the books do not balance"
  ((handed <= all)) || die "$handed units were handed out, of $all"
  # What the killed agent held is held or lost by name; nothing else may be missing.
  ((handed + held + lost + remaining + killed >= all)) ||
    die "$((all - handed - held - lost - remaining)) units are nowhere"
  say "== everything held"
}

main
