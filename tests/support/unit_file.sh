# shellcheck shell=bash
# Checks of systemd's files that the agent's and the server's have in common. Sourced, with the
# script's arguments; sets source_dir and work, and removes work at the end.

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
make_unit() { # NAME PLACEHOLDER
  sed "s|@$2@|$(command -v true)|" "$source_dir/systemd/$1.service.in" > "$work/$1.service"
  ! grep -n '@[A-Z_]*@' "$work/$1.service" || fail "a placeholder is left in the service"
}

verify_units() { # NAME FILE...
  local complaints name=$1
  shift
  echo "systemd-analyze verify"
  complaints=$(systemd-analyze verify --man=no "$@" 2>&1) ||
    fail "systemd-analyze verify: $complaints"
  # A misspelt directive is only a warning to verify, and exits 0.
  ! grep -qF "$name" <<< "$complaints" || fail "systemd-analyze verify: $complaints"
}

rate_unit() { # SERVICE_FILE
  echo "systemd-analyze security --threshold=$kThreshold"
  systemd-analyze security --offline=true --no-pager --threshold="$kThreshold" "$1" \
    > "$work/security" ||
    { cat "$work/security" >&2; fail "the service is less hardened than $kThreshold of 100"; }
  tail -n 1 "$work/security"
}

has() { grep -qxF -- "$1" "$2" || fail "$1 is missing in ${2##*/}"; }
