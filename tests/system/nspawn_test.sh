#!/usr/bin/env bash
# The agent under a real systemd: socket activation, READY, reload, watchdog, and counters that
# outlive every kind of restart.
#
#   nspawn_test.sh BUILD_DIR      installs from a build directory (nothing is compiled)
#   nspawn_test.sh --stage DIR    uses what was installed with DESTDIR=DIR, or unpacked there
#
# systemd boots in a container whose root is a tmpfs and whose /usr is this host's, read-only,
# with the installed files laid over it. Nothing of the host is written to.
# Exits 77 with the reason where no such container can run.
set -euo pipefail

readonly kBootSecondsMax=120
readonly kWatchdogSeconds=5 # WatchdogSec= of the unit
readonly kSlowTokens=5      # burst of the limit that hardly refills
readonly kStockTokens=20    # burst of another one, which is never emptied before the end
readonly kExitRefused=75    # weir take: the limit refused; weir(1)

# ---- inside the container --------------------------------------------------------------------

checks=0
ok() { checks=$((checks + 1)); echo "ok $checks - $*"; }

not_ok() {
  echo "not ok - $*"
  systemctl --no-pager --full status weir-agent.service weir-agent.socket || true
  journalctl --no-pager -u weir-agent.service -u weir-agent.socket | tail -n 60
  exit 1
}

# wait_for SECONDS COMMAND...: true as soon as the command is.
wait_for() {
  local end_ms=$(($(date +%s%3N) + $1 * 1000))
  shift
  until "$@"; do
    (($(date +%s%3N) < end_ms)) || return 1
    sleep 0.05
  done
}

property() { systemctl show --property="$1" --value "${2:-weir-agent.service}"; }
active() { systemctl is-active --quiet weir-agent.service; }
# One reading of the pid: between two, the old agent may just have been found dead.
reborn() {
  local pid
  pid=$(property MainPID)
  [[ $pid != 0 && $pid != "$1" ]] && active
}

# take LIMIT: true when the agent's bucket gave a token, false when it refused; all else ends the
# test, so that "no agent" is never taken for "dry".
take() {
  local status=0
  timeout 10 weir take "$1" > /tmp/take.log 2>&1 || status=$?
  ((status == 0 || status == kExitRefused)) ||
    not_ok "weir take $1 exits $status: $(cat /tmp/take.log)"
  return "$status"
}

# The promise after each restart: the agent serves, what was spent is still spent, and what was
# left is still there. (Counters that were lost would start empty: dry too, but without the rest.)
kept() {
  take fast || not_ok "$1: the agent does not serve (limit 'fast' refuses)"
  if take slow; then not_ok "$1: the spent bucket has a token again"; fi
  take stock || not_ok "$1: what was left in 'stock' is gone"
  stock=$((stock - 1))
  ok "$1: 'slow' is still dry, 'stock' still has its rest"
}

check_installed() {
  getent passwd weir > /dev/null || not_ok "sysusers.d made no user weir"
  ok "systemd-sysusers made the user and group weir"
  useradd --user-group --no-create-home --groups weir member
  useradd --user-group --no-create-home guest
  systemctl start weir-agent.socket || not_ok "weir-agent.socket does not start"
  [[ $(stat -c '%U:%G' /run/weir) == weir:weir ]] ||
    not_ok "/run/weir belongs to $(stat -c '%U:%G' /run/weir), not weir:weir"
  [[ $(stat -c '%F %U:%G %a' /run/weir/agent.sock) == "socket root:weir 660" ]] ||
    not_ok "agent.sock is $(stat -c '%F %U:%G %a' /run/weir/agent.sock)"
  ok "agent.sock is root:weir, mode 0660"
  [[ $(systemctl is-active weir-agent.service) == inactive ]] || not_ok "the agent runs already"
  ok "the socket listens, the agent does not run yet"
}

check_socket_activation() {
  take fast || not_ok "the first client after boot is refused"
  wait_for 5 active || not_ok "a client did not start the agent"
  ok "the first client starts the agent by its socket"
  [[ $(property Type) == notify && $(property SubState) == running ]] ||
    not_ok "the agent is $(property SubState), not running"
  ok "the agent notified READY; systemctl is-active says $(systemctl is-active weir-agent)"
  local uid
  uid=$(stat -c %U "/proc/$(property MainPID)")
  [[ $uid == weir ]] || not_ok "the agent runs as $uid"
  ok "the agent runs as user weir"
}

# take_as USER SOCKET: the exit status of a weir take by that user.
take_as() {
  local status=0
  WEIR_SOCKET=/run/weir/$2 timeout 10 setpriv --reuid="$1" --regid="$1" --init-groups \
    weir take "$([[ $2 == agent.sock ]] && echo fast || echo guest)" > /tmp/take.log 2>&1 ||
    status=$?
  echo "$status"
}

# Who a client is, the kernel says; the sandbox must not blur it.
check_clients() {
  [[ $(take_as member agent.sock) == 0 ]] ||
    not_ok "a member of the group weir is not served: $(cat /tmp/take.log)"
  [[ $(take_as guest guests.sock) == 0 ]] ||
    not_ok "a user whom a domain names is not served: $(cat /tmp/take.log)"
  ok "a member of the group weir is served, and so is the user whom another domain names"
  local pair
  for pair in "guest agent.sock" "member guests.sock"; do
    # shellcheck disable=SC2086 # two words
    case $(take_as $pair) in
      0 | "$kExitRefused") not_ok "at ${pair#* } the user ${pair% *} is served" ;;
    esac
  done
  ok "neither is served at the other's socket: $(head -n 1 /tmp/take.log)"
}

check_metrics() {
  command -v curl > /dev/null || return 0
  wait_for 5 curl -fsS -o /tmp/metrics http://127.0.0.1:9464/metrics 2> /tmp/curl.log ||
    not_ok "no metrics on loopback: $(cat /tmp/curl.log)"
  ok "metrics on loopback: $(grep -vc '^#' /tmp/metrics) lines"
}

check_dry() {
  local taken=0
  while take slow; do
    taken=$((taken + 1))
    ((taken <= kSlowTokens + 1)) || not_ok "took $taken tokens of a burst of $kSlowTokens"
  done
  ((taken > 0)) || not_ok "the limit 'slow' gave no token at all"
  ok "took $taken tokens from 'slow' (one an hour), now it is dry"
  (($(property NFileDescriptorStore) == 4)) ||
    not_ok "$(property NFileDescriptorStore) descriptors are in systemd's store, not two a domain"
  ok "two descriptors for each of the two domains are in systemd's store"
  take stock || not_ok "the limit 'stock' gives no token"
  stock=$((kStockTokens - 1))
}

check_reload() {
  local pid
  pid=$(property MainPID)
  printf '  - {name: fresh, rate: 1000/s, burst: 1000}\n' >> /etc/weir/rules.yaml
  systemctl reload weir-agent || not_ok "systemctl reload fails"
  wait_for 5 active || not_ok "the agent does not come back from the reload"
  [[ $(property MainPID) == "$pid" ]] || not_ok "the reload restarted the agent"
  # systemd 252 does not wait for the end of a reload, so the new limit may come a moment later.
  wait_for 5 weir take fresh > /dev/null 2>&1 ||
    not_ok "a limit added to the file is not served after the reload"
  kept "reload with a limit added"
}

check_restart() {
  local pid
  pid=$(property MainPID)
  systemctl restart weir-agent || not_ok "systemctl restart fails"
  reborn "$pid" || not_ok "systemctl restart left the same process"
  kept "systemctl restart"
}

check_kill() {
  local pid round
  for round in 1 2 3 4 5 6 7; do # more than systemd's default start limit allows in ten seconds
    pid=$(property MainPID)
    kill -9 "$pid"
    wait_for 5 reborn "$pid" || not_ok "not restarted after kill -9 number $round"
  done
  kept "kill -9 of the agent, seven times in a row"
}

check_watchdog() {
  local pid begin_ms took_ms
  pid=$(property MainPID)
  begin_ms=$(date +%s%3N)
  kill -STOP "$pid"
  wait_for $((kWatchdogSeconds + 4)) reborn "$pid" || not_ok "the watchdog did not restart the agent"
  took_ms=$(($(date +%s%3N) - begin_ms))
  journalctl --no-pager -u weir-agent.service | grep -q 'Watchdog timeout' ||
    not_ok "the journal knows of no watchdog timeout"
  ok "a stopped agent is replaced by the watchdog after $took_ms ms"
  kept "watchdog"
}

# To the last token: nothing was given twice and nothing was lost.
check_rest() {
  local left=0
  while take stock; do left=$((left + 1)); done
  ((left == stock)) || not_ok "$left tokens were left in 'stock' instead of $stock"
  ok "'stock' held exactly the $left tokens that were never taken"
}

# A plain stop gives the stored counters up. The agent after it knows that one ran before and
# starts with empty buckets; the socket must outlive the stop.
check_stop() {
  systemctl stop weir-agent.service 2> /dev/null || not_ok "systemctl stop fails"
  [[ $(property Result) == success ]] || not_ok "the agent ended with $(property Result)"
  [[ -S /run/weir/agent.sock ]] || not_ok "stopping the agent removed agent.sock"
  wait_for 5 take fast || not_ok "no agent is started for the next client after a stop"
  ok "after a plain stop the next client starts the agent again"
  local limit
  for limit in slow stock; do
    if take "$limit"; then not_ok "a stop and a start filled '$limit'"; fi
  done
  ok "a stop and a start give no free refill either"
}

check_sandbox() {
  local journal
  journal=$(journalctl --no-pager -u weir-agent.service)
  ! grep -iE 'operation not permitted|permission denied|read-only file system' <<< "$journal" ||
    not_ok "the sandbox is in the agent's way"
  ok "no complaint about the sandbox in the journal"
}

inside() {
  trap 'echo "not ok - the script itself failed in line $LINENO"' ERR
  check_installed
  check_socket_activation
  check_clients
  check_metrics
  check_dry
  check_reload
  check_restart
  check_kill
  check_watchdog
  check_rest
  check_stop
  check_sandbox
  echo "PASS $checks checks"
}

# ---- on the host -----------------------------------------------------------------------------

# shellcheck source=tests/support/container.sh
# Sourced by who is on the host only: inside there is this file alone.
[[ ${1:-} == --inside ]] || source "$(dirname "$0")/../support/container.sh"

require_container() {
  ((EUID == 0)) || skip "systemd-nspawn needs root"
  command -v systemd-nspawn > /dev/null ||
    skip "systemd-nspawn is missing; scripts/deps.sh test installs it (systemd-container)"
  [[ -x /lib/systemd/systemd ]] || skip "systemd is missing; scripts/deps.sh test installs it"
  [[ -L /bin ]] || skip "the volatile root needs a merged /usr; /bin is a folder here"
  grep -qw overlay /proc/filesystems || skip "this kernel has no overlay file system"
  [[ -d /sys/fs/cgroup ]] || skip "no cgroups are mounted at /sys/fs/cgroup"
}

install_stage() { # BUILD_DIR
  need_build "$1" "a sanitizer's memory does not fit the unit's limits"
  local component
  for component in agent libweir weir; do
    DESTDIR=$stage cmake --install "$1" --prefix /usr --component "$component" > /dev/null ||
      die "cmake --install --component $component fails"
  done
}

add_test_files() {
  mkdir -p "$stage/etc/weir" "$stage/usr/lib/systemd/system" "$stage/usr/lib/weir-test"
  cat > "$stage/etc/weir/rules.yaml" << RULES
version: 1
domains:
  - name: default
  - name: guests
    allow: {users: [guest]}
limits:
  - name: guest
    domain: guests
    rate: 1000/s
    burst: 1000
  - name: slow
    rate: 1/h
    burst: $kSlowTokens
  - name: stock
    rate: 1/h
    burst: $kStockTokens
  - name: fast
    rate: 1000/s
    burst: 1000
RULES
  install -m 0755 "$0" "$stage/usr/lib/weir-test/check"
  cat > "$stage/usr/lib/systemd/system/weir-test.target" << 'UNIT'
[Unit]
Requires=basic.target
Wants=weir-test.service
UNIT
  cat > "$stage/usr/lib/systemd/system/weir-test.service" << 'UNIT'
[Unit]
After=basic.target
SuccessAction=exit
FailureAction=exit
[Service]
Type=oneshot
StandardOutput=append:/weir-test/log
StandardError=append:/weir-test/log
ExecStart=/usr/lib/weir-test/check --inside
TimeoutStartSec=90
UNIT
}

boot() {
  (
    boot_container "$machine" "$kBootSecondsMax" --volatile=yes --directory=/ \
      --overlay-ro="/usr:$stage/usr:/usr" --bind="$stage/etc/weir:/etc/weir" \
      --bind="$work/out:/weir-test"
  ) < /dev/null > "$work/console" 2>&1
}

cleanup() {
  forget_container "$machine"
  rm -rf "$work"
}

main() {
  require_container
  work=$(mktemp -d "${TMPDIR:-/tmp}/weir-nspawn.XXXXXX")
  machine=weir-test-$$
  trap cleanup EXIT
  chmod 0755 "$work" # the container's users walk through it
  stage=$work/stage
  mkdir -p "$stage" "$work/out"
  if [[ $1 == --stage ]]; then cp -a "$2/." "$stage/"; else install_stage "$1"; fi
  chmod 0755 "$stage"
  add_test_files

  echo "booting systemd in a volatile container"
  local status=0
  boot || status=$?
  judge_container "$status" "$work/out/log" "$work/console" "$kBootSecondsMax"
}

case "${1:-}${2:+ DIR}" in
  --inside) inside ;;
  "--stage DIR") main "$@" ;;
  "" | -*) echo "usage: ${0##*/} BUILD_DIR | --stage DIR" >&2; exit 2 ;;
  *) main "$1" ;;
esac
