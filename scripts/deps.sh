#!/usr/bin/env bash
# Installs the Debian packages that building and testing weir need. For Debian 12 (bookworm).
#
#   scripts/deps.sh build     what cmake and the compiler need
#   scripts/deps.sh test      what the tests, the fuzzers and the packages need besides
#   scripts/deps.sh all       both
#       --check               installs nothing; names what is missing and exits 1 if something is
#       --list                prints the names of the packages
#
# Runs as root or through sudo. Does nothing, quickly, when everything is there.
set -euo pipefail

readonly kBuild=(
  g++ cmake ninja-build ccache pkg-config make git ca-certificates python3 tzdata
  libboost1.81-dev libssl-dev libprotobuf-dev protobuf-compiler libspdlog-dev prometheus-cpp-dev
  libcli11-dev libyaml-cpp-dev nlohmann-json3-dev libncurses-dev libsystemd-dev zlib1g-dev
  libsqlite3-dev libsqlitecpp-dev libgrpc++-dev protobuf-compiler-grpc
  libgtest-dev libgmock-dev libbenchmark-dev
)
# prometheus brings promtool; its service and that of etcd are not wanted and get masked.
readonly kTest=(
  etcd-server etcd-client
  clang llvm libclang-rt-14-dev clang-format spin binutils abigail-tools
  lintian dpkg-dev file man-db prometheus
  systemd systemd-container dbus tmux iproute2 procps curl strace
)
readonly kLockSeconds=120 # how long to wait for another apt

say() { echo "deps.sh: $*"; }
die() { echo "deps.sh: $*" >&2; exit 1; }
usage() { sed -n '2,10s/^# \{0,1\}//p' "$0"; }

wanted() { # build|test|all
  [[ $1 == test ]] || printf '%s\n' "${kBuild[@]}"
  [[ $1 != build ]] || return 0
  printf '%s\n' "${kTest[@]}"
  # 32-bit clients are tested where the compiler can make them.
  [[ $(dpkg --print-architecture) != amd64 ]] || echo g++-multilib
}

missing() { # PACKAGE...
  local there
  there=$(dpkg-query --show --showformat='${db:Status-Abbrev} ${Package}\n' "$@" 2> /dev/null |
    sed -n 's/^ii *//p' || true)
  printf '%s\n' "$@" | grep -vxF -f <(echo "$there") || true
}

installed() { [[ -z $(missing "$1") ]]; }

require_debian() {
  if ! command -v dpkg-query > /dev/null || ! command -v apt-get > /dev/null; then
    die "this is no Debian: dpkg and apt are missing. On other systems install by hand, under
  their names there: g++ 12 or clang 14 and newer, cmake 3.25, ninja, and the development files of
  Boost 1.81, protobuf, spdlog, yaml-cpp, CLI11, nlohmann-json, ncurses, libsystemd, zlib,
  prometheus-cpp, gRPC, GoogleTest with GoogleMock, and Google Benchmark."
  fi
  local name
  # shellcheck source=/dev/null
  name=$(. /etc/os-release && echo "${ID:-unknown} ${VERSION_ID:-}")
  [[ $name == "debian 12" ]] ||
    say "warning: this is $name; the names of the packages are those of debian 12"
}

# Boost 1.81 and Debian's default 1.74 cannot be installed together. apt would remove the old one
# without a word, and with it what else needs it; that is not ours to decide.
refuse_old_boost() {
  local old
  old=$(dpkg-query --show --showformat='${db:Status-Abbrev} ${Package}\n' 'libboost*-dev' \
    2> /dev/null | sed -n '/1\.81/d; s/^ii *\(libboost.*\)/\1/p' | tr '\n' ' ' || true)
  [[ -z $old ]] || die "libboost1.81-dev cannot stand beside another Boost. Installed are:
  $old
Nothing was changed. To replace it:
  apt-get remove $old
and run this script again. To keep it, build in a container or chroot of its own."
}

as_root() { if ((EUID == 0)); then env "$@"; else sudo env "$@"; fi; }

apt_get() {
  as_root DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout="$kLockSeconds" "$@"
}

refresh_lists() {
  say "reading the package lists"
  apt_get -q update || say "warning: not every package list could be read, see above"
}

# Names without a candidate: the machine is offline, or its sources lack something.
require_candidates() { # PACKAGE...
  local package
  local -a unknown=()
  for package in "$@"; do
    [[ $(LC_ALL=C apt-cache policy "$package") =~ Candidate:\ [0-9] ]] || unknown+=("$package")
  done
  ((${#unknown[@]} == 0)) || die "apt knows no package ${unknown[*]}.
Either no package server can be reached (is there a network, a proxy in /etc/apt/apt.conf.d?), or
the sources in /etc/apt lack the section main of this Debian release. Nothing was changed."
}

# A service that comes along with a tool must not run: prometheus would take port 9090 of the host,
# etcd 2379. The mask only goes onto a service that is not there yet.
mask_service() { # PACKAGE SERVICE
  installed "$1" && return 0
  as_root mkdir -p /etc/systemd/system
  [[ -e /etc/systemd/system/$2.service ]] ||
    as_root ln -s /dev/null "/etc/systemd/system/$2.service"
}

install_packages() { # PACKAGE...
  if [[ " $* " == *" prometheus "* ]]; then mask_service prometheus prometheus; fi
  if [[ " $* " == *" etcd-server "* ]]; then mask_service etcd-server etcd; fi
  say "installing $# packages: $*"
  apt_get -q -y --no-install-recommends --no-remove install "$@" ||
    die "apt-get could not install them; its own words are above.
  'needs to remove': apt-get install ${*} (by hand) shows what stands in the way.
  'could not resolve', 'failed to fetch': there is no network, or a package server is down."
}

main() {
  local group='' action=install argument
  for argument in "$@"; do
    case $argument in
      build | test | all) group=$argument ;;
      --check) action=check ;;
      --list) action=list ;;
      -h | --help) usage; exit 0 ;;
      *) usage >&2; exit 2 ;;
    esac
  done
  [[ -n $group ]] || { usage >&2; exit 2; }

  require_debian
  local -a want need
  mapfile -t want < <(wanted "$group")
  if [[ $action == list ]]; then printf '%s\n' "${want[@]}"; exit 0; fi
  mapfile -t need < <(missing "${want[@]}")
  if ((${#need[@]} == 0)); then
    say "all ${#want[@]} packages for '$group' are there"
    exit 0
  fi
  if [[ $action == check ]]; then
    say "${#need[@]} of ${#want[@]} packages for '$group' are missing: ${need[*]}"
    exit 1
  fi

  if ((EUID != 0)) && ! command -v sudo > /dev/null; then
    die "installing needs root, and there is no sudo. As root, run: scripts/deps.sh $group"
  fi
  if [[ " ${need[*]} " == *" libboost1.81-dev "* ]]; then refuse_old_boost; fi
  refresh_lists
  require_candidates "${need[@]}"
  install_packages "${need[@]}"
  mapfile -t need < <(missing "${want[@]}")
  ((${#need[@]} == 0)) || die "still missing: ${need[*]}"
  say "done: all ${#want[@]} packages for '$group' are there"
}

main "$@"
