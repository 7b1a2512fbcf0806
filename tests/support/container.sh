# shellcheck shell=bash
# What the tests that boot systemd in a container share on the host's side. Sourced; inside the
# container those scripts stand alone.

skip() { echo "SKIP: $*" >&2; exit 77; }
die() { echo "FAIL: $*" >&2; exit 1; }

readonly cgroup_roots=(/sys/fs/cgroup/systemd /sys/fs/cgroup/unified)

need_build() { # BUILD_DIR WHY_NO_SANITIZER
  [[ -f $1/CMakeCache.txt ]] || die "$1 is not a build directory; run cmake --preset dev first"
  ! grep -qE '^WEIR_SANITIZE:[A-Z]+=.+' "$1/CMakeCache.txt" || skip "$2"
  [[ -x $1/bin/weir-agent && -x $1/bin/weir ]] ||
    skip "$1 has no bin/weir-agent and bin/weir; build them first"
}

# Where systemd is not PID 1, nspawn makes its cgroups below the caller's: one for each machine
# keeps containers apart.
enter_cgroup() { # MACHINE
  local root
  [[ ! -d /run/systemd/system ]] || return 0
  for root in "${cgroup_roots[@]}"; do
    [[ -w $root/cgroup.procs ]] || continue
    mkdir -p "$root/$1"
    echo "$BASHPID" > "$root/$1/cgroup.procs"
  done
}

# exec: the words that every boot has, and those of the caller behind them.
boot_container() { # MACHINE SECONDS_MAX NSPAWN_OPTION...
  local machine=$1 seconds=$2
  local -a unit=(--register=no)
  [[ -d /run/systemd/system ]] || unit+=(--keep-unit)
  shift 2
  enter_cgroup "$machine"
  exec timeout --kill-after=10 "$seconds" systemd-nspawn --quiet --machine="$machine" \
    "${unit[@]}" --console=pipe --private-network "$@" --boot systemd.unit=weir-test.target \
    systemd.mask=systemd-firstboot.service systemd.show_status=off
}

forget_container() { # MACHINE
  local root
  for root in "${cgroup_roots[@]}"; do
    [[ ! -d $root/$1 ]] || find "$root/$1" -depth -type d -exec rmdir {} + 2> /dev/null || true
  done
  rmdir "/run/systemd/nspawn/propagate/$1" 2> /dev/null || true
}

# The verdict of a boot that ended with STATUS, from what the checks inside wrote.
judge_container() { # STATUS LOG CONSOLE SECONDS_MAX
  if [[ ! -s $2 ]]; then
    sed 's/^/  | /' "$3" | tail -n 30 >&2
    (($1 != 124)) || die "the container did not boot within $4 s"
    skip "such a container cannot boot here (exit $1, its words above)"
  fi
  cat "$2"
  grep -q '^PASS ' "$2" || die "see above (the container ended with $1)"
}
