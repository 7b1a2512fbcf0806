#!/usr/bin/env bash
# The packages under a real dpkg and a real systemd: a first installation runs the agent, an
# upgrade restarts it without giving spent tokens back, the administrator's choices stay, and
# removal and purge leave nothing behind.
#
#   install_test.sh BUILD_DIR     packs what was built there; nothing is compiled again
#   install_test.sh --debs DIR    takes the packages that lie there
#
# systemd boots in a container whose root is an overlay over this system, with every write going
# to a tmpfs. Exits 77 with the reason where no such container can run.
set -euo pipefail

readonly kBootSecondsMax=150
readonly kSlowTokens=5   # burst of the limit that hardly refills
readonly kExitRefused=75 # weir take: the limit refused; weir(1)

# ---- inside the container --------------------------------------------------------------------

checks=0
ok() { checks=$((checks + 1)); echo "ok $checks - $*"; }

not_ok() {
  echo "not ok - $*"
  systemctl --no-pager --full status weir-agent.service weir-agent.socket || true
  tail -n 40 /tmp/dpkg.log
  exit 1
}

dpkg_do() { # The root is a tmpfs: nothing is gained by waiting for it.
  DEBIAN_FRONTEND=noninteractive dpkg --force-unsafe-io "$@" > /tmp/dpkg.log 2>&1 ||
    not_ok "dpkg $*"
}
state() { systemctl is-active "weir-agent.$1" || true; }
enabled() { systemctl is-enabled "weir-agent.$1" 2> /dev/null || true; }
main_pid() { systemctl show --property=MainPID --value weir-agent.service; }

# expect WHAT ACTUAL EXPECTED
expect() { [[ $2 == "$3" ]] || not_ok "$1 is '$2', not '$3'"; }

take() {
  local status=0
  timeout 10 weir take "$1" > /tmp/take.log 2>&1 || status=$?
  ((status == 0 || status == kExitRefused)) ||
    not_ok "weir take $1 exits $status: $(cat /tmp/take.log)"
  return "$status"
}

check_install() {
  dpkg_do --install /weir-test/debs/{libweir0,weir-agent,weir,libweir-dev}_*.deb
  expect "the agent" "$(state service)" active
  expect "the socket" "$(state socket)" active
  expect "the service at boot" "$(enabled service)" enabled
  expect "the socket at boot" "$(enabled socket)" enabled
  expect "agent.sock" "$(stat -c '%U:%G %a' /run/weir/agent.sock)" "root:weir 660"
  ldconfig -p | grep -q 'libweir\.so\.0' || not_ok "ldconfig does not know libweir.so.0"
  ok "a first installation runs the agent and enables it"
}

check_upgrade() {
  cat > /etc/weir/rules.yaml << RULES
version: 1
limits:
  - name: slow
    rate: 1/h
    burst: $kSlowTokens
  - name: stock
    rate: 1/h
    burst: $kSlowTokens
RULES
  systemctl reload weir-agent || not_ok "systemctl reload fails"
  local end_s=$((SECONDS + 5)) taken=0 pid
  until timeout 10 weir take slow > /dev/null 2>&1; do
    ((SECONDS < end_s)) || not_ok "the rules are not applied by a reload"
    sleep 0.1
  done
  while take slow; do
    taken=$((taken + 1))
    ((taken <= kSlowTokens)) || not_ok "more than $kSlowTokens tokens came out of 'slow'"
  done
  take stock || not_ok "the limit 'stock' gives no token"
  pid=$(main_pid)
  dpkg_do --install --force-confdef --force-confold /weir-test/next/*.deb
  expect "the agent" "$(state service)" active
  [[ $(main_pid) != "$pid" ]] || not_ok "the upgrade left the old agent running"
  grep -q 'name: slow' /etc/weir/rules.yaml || not_ok "the upgrade replaced rules.yaml"
  if take slow; then not_ok "the upgrade gave a spent bucket a token again"; fi
  # Counters that were lost would start empty: dry too, but without the rest.
  take stock || not_ok "the upgrade lost what was left in 'stock'"
  ok "an upgrade restarts the agent; the rules and every counter stay"
}

check_choice() {
  systemctl disable --quiet --now weir-agent.service weir-agent.socket > /dev/null 2>&1 ||
    not_ok "systemctl disable fails"
  dpkg_do --install --force-confdef --force-confold /weir-test/next/*.deb
  expect "the service at boot" "$(enabled service)" disabled
  ok "what the administrator disabled stays so"
}

check_removal() {
  systemctl start weir-agent.service
  dpkg_do --remove weir-agent
  expect "the agent after removal" "$(state service)" inactive
  [[ ! -e /run/weir ]] || not_ok "removal leaves /run/weir"
  [[ -e /etc/weir/rules.yaml ]] || not_ok "removal deletes the rules; only purge may"
  dpkg_do --purge weir-agent
  [[ ! -e /etc/weir ]] || not_ok "purge leaves /etc/weir"
  local left
  left=$(find /etc/systemd /var/lib/systemd -name '*weir-agent*' 2> /dev/null)
  [[ -z $left ]] || not_ok "purge leaves $left"
  ok "removal stops the agent and keeps the rules, purge leaves nothing"
}

inside() {
  trap 'echo "not ok - the script itself failed in line $LINENO"' ERR
  check_install
  check_upgrade
  check_choice
  check_removal
  echo "PASS $checks checks"
}

# ---- in a mount namespace of its own, on the host ----------------------------------------------

# Boots systemd over an overlay of /; every write of the container ends in a tmpfs that dies with
# this namespace.
boot() { # WORK MACHINE
  local work=$1 machine=$2 root
  mount -t tmpfs -o size=1g,mode=0755 weir-test "$work/overlay"
  mkdir "$work/overlay/upper" "$work/overlay/work" "$work/overlay/root"
  mount -t overlay overlay "$work/overlay/root" \
    -o "lowerdir=/,upperdir=$work/overlay/upper,workdir=$work/overlay/work" || exit 78
  root=$work/overlay/root
  # A machine of its own, where services may start and weir was never installed.
  : > "$root/etc/machine-id"
  rm -rf "$root/usr/sbin/policy-rc.d" "$root/etc/weir"
  cat > "$root/etc/systemd/system/weir-test.target" << 'UNIT'
[Unit]
Requires=basic.target
Wants=weir-test.service
UNIT
  cat > "$root/etc/systemd/system/weir-test.service" << 'UNIT'
[Unit]
After=basic.target
SuccessAction=exit
FailureAction=exit
[Service]
Type=oneshot
StandardOutput=append:/weir-test/log
StandardError=append:/weir-test/log
ExecStart=/weir-test/check --inside
TimeoutStartSec=120
UNIT
  boot_container "$machine" "$kBootSecondsMax" --directory="$root" --bind="$work/share:/weir-test"
}

# ---- on the host -----------------------------------------------------------------------------

# shellcheck source=tests/support/container.sh
# Sourced by who is on the host only: inside there is this file alone.
[[ ${1:-} == --inside ]] || source "$(dirname "$0")/../support/container.sh"

require_container() {
  ((EUID == 0)) || skip "a container needs root"
  local tool
  for tool in systemd-nspawn unshare dpkg dpkg-deb deb-systemd-helper; do
    command -v "$tool" > /dev/null || skip "$tool is missing; scripts/deps.sh test installs it"
  done
  grep -qw overlay /proc/filesystems || skip "this kernel has no overlay file system"
  ! dpkg-query --show --showformat='${db:Status-Abbrev}\n' weir-agent libweir0 2> /dev/null |
    grep -q '^i' || skip "weir is installed on this host; its packages would be in the way"
}

pack() { # BUILD_DIR
  need_build "$1" "a sanitizer's build is not packaged"
  command -v cpack > /dev/null || skip "cpack is missing; scripts/deps.sh build installs it"
  cpack --config "$1/CPackConfig.cmake" -B "$work/pack" > "$work/cpack.log" 2>&1 ||
    { cat "$work/cpack.log" >&2; die "cpack fails"; }
  mv "$work/pack"/*.deb "$work/share/debs/"
}

# The same packages once more, as the next version.
make_next() {
  local deb tree
  for deb in "$work/share/debs"/{libweir0,weir-agent,weir,libweir-dev}_*.deb; do
    tree=$work/next/$(basename "$deb")
    mkdir -p "$work/next"
    dpkg-deb --raw-extract "$deb" "$tree"
    sed -i 's/^\(Version: .*\)/\1+next/; s/\(libweir0 (= [^)]*\))/\1+next)/' "$tree/DEBIAN/control"
    # A changed conffile is when dpkg asks.
    [[ ! -e $tree/etc/weir/rules.yaml ]] || echo "# next" >> "$tree/etc/weir/rules.yaml"
    dpkg-deb --root-owner-group -Znone --build "$tree" "$work/share/next/" > /dev/null
  done
}

cleanup() {
  forget_container "$machine"
  rm -rf "$work"
}

main() {
  require_container
  work=$(mktemp -d "${TMPDIR:-/tmp}/weir-install.XXXXXX")
  machine=weir-install-$$
  trap cleanup EXIT
  umask 022
  mkdir -p "$work/overlay" "$work/share/debs" "$work/share/next"
  if [[ $1 == --debs ]]; then cp "$2"/*.deb "$work/share/debs/"; else pack "$1"; fi
  make_next
  install -m 0755 "$0" "$work/share/check"

  echo "booting systemd over an overlay of /"
  local status=0
  unshare --mount "$0" --boot "$work" "$machine" < /dev/null > "$work/console" 2>&1 || status=$?
  judge_container "$status" "$work/share/log" "$work/console" "$kBootSecondsMax"
}

case "${1:-}:$#" in
  --inside:1) inside ;;
  --boot:3) boot "$2" "$3" ;;
  --debs:2) main "$@" ;;
  :* | -*) echo "usage: ${0##*/} BUILD_DIR | --debs DIR" >&2; exit 2 ;;
  *) main "$1" ;;
esac
