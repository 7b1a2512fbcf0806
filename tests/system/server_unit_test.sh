#!/usr/bin/env bash
# weir-server.service parses without a complaint and stays as hardened as the agent's: systemd's
# own rating may not rise above the threshold.
#
#   server_unit_test.sh SOURCE_DIR
#
# Exits 77 with the reason where it cannot run.
set -euo pipefail

# shellcheck source=tests/support/unit_file.sh
source "$(dirname "$0")/../support/unit_file.sh"

make_unit weir-server WEIR_SERVER_PATH
verify_units weir-server "$work/weir-server.service"
rate_unit "$work/weir-server.service"

echo "sysusers"
if command -v systemd-sysusers > /dev/null; then
  mkdir -p "$work/root/etc"
  # With the agent's beside it, as on a machine that has both packages.
  systemd-sysusers --root="$work/root" "$source_dir/systemd/sysusers.d/weir-server.conf" \
    "$source_dir/systemd/sysusers.d/weir.conf" 2> "$work/log" ||
    fail "systemd-sysusers: $(cat "$work/log")"
  ! grep -q weir-server.conf "$work/log" || fail "systemd-sysusers: $(cat "$work/log")"
  grep -q '^weir:' "$work/root/etc/passwd" || fail "sysusers.d/weir-server.conf made no user weir"
fi

echo "what the server relies on"
for line in Type=notify WatchdogSec=5s Restart=always StartLimitIntervalSec=0 User=weir \
  StateDirectory=weir StateDirectoryMode=0700 RuntimeDirectory=weir-server LimitNOFILE=65536; do
  has "$line" "$work/weir-server.service"
done
echo "PASS"
