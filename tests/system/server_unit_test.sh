#!/usr/bin/env bash
# weir-server.service parses without a complaint and stays as hardened as the agent's: systemd's
# own rating may not rise above the threshold.
#
#   server_unit_test.sh SOURCE_DIR
#
# Exits 77 with the reason where it cannot run.
set -euo pipefail

readonly kThreshold=15 # of 100; a plain unit is rated 96

fail() { echo "FAIL: $*" >&2; exit 1; }
skip() { echo "SKIP: $*" >&2; exit 77; }

[[ $# -eq 1 && -d $1/systemd ]] || { echo "usage: ${0##*/} SOURCE_DIR" >&2; exit 2; }
source_dir=$(realpath "$1")
command -v systemd-analyze > /dev/null ||
  skip "systemd-analyze is missing; scripts/deps.sh test installs it (package systemd)"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# verify wants a program that exists where ExecStart points; which one does not matter to it.
sed "s|@WEIR_SERVER_PATH@|$(command -v true)|" "$source_dir/systemd/weir-server.service.in" \
  > "$work/weir-server.service"
! grep -n '@[A-Z_]*@' "$work/weir-server.service" || fail "a placeholder is left in the service"

echo "systemd-analyze verify"
complaints=$(systemd-analyze verify --man=no "$work/weir-server.service" 2>&1) ||
  fail "systemd-analyze verify: $complaints"
# A misspelt directive is only a warning to verify, and exits 0.
! grep -qF weir-server <<< "$complaints" || fail "systemd-analyze verify: $complaints"

echo "systemd-analyze security --threshold=$kThreshold"
systemd-analyze security --offline=true --no-pager --threshold="$kThreshold" \
  "$work/weir-server.service" > "$work/security" ||
  { cat "$work/security" >&2; fail "the service is less hardened than $kThreshold of 100"; }
tail -n 1 "$work/security"

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
  grep -qxF -- "$line" "$work/weir-server.service" || fail "$line is missing"
done
echo "PASS"
