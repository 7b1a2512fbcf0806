#!/usr/bin/env bash
# The units parse without a complaint, and stay hardened: systemd's own rating of the service
# may not rise above the threshold, and no exception is added without a comment in the unit.
#
#   unit_files_test.sh SOURCE_DIR
#
# Exits 77 with the reason where it cannot run.
set -euo pipefail

# shellcheck source=tests/support/unit_file.sh
source "$(dirname "$0")/../support/unit_file.sh"

make_unit weir-agent WEIR_AGENT_PATH
cp "$source_dir/systemd/weir-agent.socket" "$work/"
verify_units weir-agent "$work"/weir-agent.{service,socket}
rate_unit "$work/weir-agent.service"

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
for line in Type=notify WatchdogSec=5s Restart=always StartLimitIntervalSec=0 User=weir \
  PrivateUsers=no FileDescriptorStoreMax=64 RuntimeDirectory=weir RuntimeDirectoryPreserve=yes; do
  has "$line" "$work/weir-agent.service"
done
for line in ListenSequentialPacket=/run/weir/agent.sock FileDescriptorName=agent SocketMode=0660 \
  SocketGroup=weir; do
  has "$line" "$work/weir-agent.socket"
done
echo "PASS"
