#!/usr/bin/env bash
# The units parse without a complaint, and stay hardened: systemd's own rating of the service
# may not rise above the threshold, and no exception is added without a comment in the unit.
#
#   unit_files_test.sh SOURCE_DIR
#
# Exits 77 with the reason where it cannot run.
set -euo pipefail

readonly kThreshold=15 # of 100; the plain unit is rated 96

fail() { echo "FAIL: $*" >&2; exit 1; }
skip() { echo "SKIP: $*" >&2; exit 77; }

[[ $# -eq 1 && -d $1/systemd ]] || { echo "usage: ${0##*/} SOURCE_DIR" >&2; exit 2; }
source_dir=$(realpath "$1")
command -v systemd-analyze > /dev/null ||
  skip "systemd-analyze is missing; scripts/deps.sh test installs it (package systemd)"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# verify wants a program that exists where ExecStart points; which one does not matter to it.
sed "s|@WEIR_AGENT_PATH@|$(command -v true)|" "$source_dir/systemd/weir-agent.service.in" \
  > "$work/weir-agent.service"
cp "$source_dir/systemd/weir-agent.socket" "$work/"
! grep -n '@[A-Z_]*@' "$work/weir-agent.service" || fail "a placeholder is left in the service"

echo "systemd-analyze verify"
complaints=$(systemd-analyze verify --man=no "$work"/weir-agent.{service,socket} 2>&1) ||
  fail "systemd-analyze verify: $complaints"
# A misspelt directive is only a warning to verify, and exits 0.
! grep -qF weir-agent <<< "$complaints" || fail "systemd-analyze verify: $complaints"

echo "systemd-analyze security --threshold=$kThreshold"
systemd-analyze security --offline=true --no-pager --threshold="$kThreshold" \
  "$work/weir-agent.service" > "$work/security" ||
  { cat "$work/security" >&2; fail "the service is less hardened than $kThreshold of 100"; }
tail -n 1 "$work/security"

echo "sysusers and tmpfiles"
if command -v systemd-sysusers > /dev/null; then
  mkdir -p "$work/root/etc" "$work/root/run"
  systemd-sysusers --root="$work/root" "$source_dir/systemd/sysusers.d/weir.conf" 2> "$work/log" ||
    fail "systemd-sysusers: $(cat "$work/log")"
  grep -q '^weir:' "$work/root/etc/passwd" || fail "sysusers.d/weir.conf made no user weir"
  grep -q '^weir:' "$work/root/etc/group" || fail "sysusers.d/weir.conf made no group weir"
fi
if command -v systemd-tmpfiles > /dev/null && [[ -f $work/root/etc/passwd && $EUID -eq 0 ]]; then
  systemd-tmpfiles --create --root="$work/root" "$source_dir/systemd/tmpfiles.d/weir.conf" \
    2> "$work/log" || fail "systemd-tmpfiles: $(cat "$work/log")"
  [[ -d $work/root/run/weir ]] || fail "tmpfiles.d/weir.conf made no /run/weir"
fi

echo "what the agent relies on"
has() { grep -qxF -- "$1" "$2" || fail "$1 is missing in ${2##*/}"; }
for line in Type=notify WatchdogSec=5s Restart=always StartLimitIntervalSec=0 User=weir \
  PrivateUsers=no FileDescriptorStoreMax=64 RuntimeDirectory=weir RuntimeDirectoryPreserve=yes; do
  has "$line" "$work/weir-agent.service"
done
for line in ListenSequentialPacket=/run/weir/agent.sock FileDescriptorName=agent SocketMode=0660 \
  SocketGroup=weir; do
  has "$line" "$work/weir-agent.socket"
done
echo "PASS"
