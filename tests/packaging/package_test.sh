#!/usr/bin/env bash
# The five Debian packages hold what they should and nothing else, know what they depend on, can
# be built against, and lintian finds no error in them.
#
#   package_test.sh BUILD_DIR     packs what was built there; nothing is compiled again
#
# Exits 77 with the reason where it cannot run.
set -euo pipefail

fail() { echo "FAIL: $*" >&2; exit 1; }
skip() { echo "SKIP: $*" >&2; exit 77; }
ok() { echo "ok - $*"; }

[[ $# -eq 1 ]] || { echo "usage: ${0##*/} BUILD_DIR" >&2; exit 2; }
[[ -f $1/CMakeCache.txt ]] || fail "$1 is not a build directory; run cmake --preset dev first"
build_dir=$(realpath "$1")

for tool in dpkg-deb dpkg-shlibdeps lintian cpack file readelf; do
  command -v "$tool" > /dev/null || skip "$tool is missing; scripts/deps.sh test installs it"
done
cached() { sed -n "s/^$1:[A-Z]*=//p" "$build_dir/CMakeCache.txt"; }
[[ -z $(cached WEIR_SANITIZE) ]] || skip "a sanitizer's build is not packaged"
for file in bin/weir-agent bin/weir-server bin/weir lib/libweir.so.0; do
  [[ -e $build_dir/$file ]] || skip "$build_dir/$file is not built yet"
done

work=$(mktemp -d "${TMPDIR:-/tmp}/weir-package.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'echo "FAIL: the script itself failed in line $LINENO" >&2' ERR
umask 022
libdir=usr/$(cached CMAKE_INSTALL_LIBDIR)
version=$(cached CMAKE_PROJECT_VERSION)

cpack --config "$build_dir/CPackConfig.cmake" -B "$work" > "$work/cpack.log" 2>&1 ||
  { cat "$work/cpack.log" >&2; fail "cpack fails"; }
declare -A deb
for package in weir-agent weir-server libweir0 libweir-dev weir; do
  deb[$package]=$(ls "$work/${package}_${version}"-*.deb) || fail "cpack made no $package"
  dpkg-deb --raw-extract "${deb[$package]}" "$work/$package"
done
made=("$work"/*.deb)
((${#made[@]} == 5)) || fail "cpack made other packages too: ${made[*]}"
ok "cpack makes the five packages of $version"

# ---- contents --------------------------------------------------------------------------------

# holds PACKAGE PATH...: exactly these files, besides documentation that each package has.
holds() {
  local package=$1
  shift
  local expected actual
  expected=$(printf '%s\n' "$@" "usr/share/doc/$package/changelog.Debian.gz" \
    "usr/share/doc/$package/copyright" "usr/share/lintian/overrides/$package" | sort)
  actual=$(cd "$work/$package" && find . -path ./DEBIAN -prune -o ! -type d -printf '%P\n' | sort)
  diff <(echo "$expected") <(echo "$actual") > "$work/diff" ||
    { cat "$work/diff" >&2; fail "$package holds other files (< expected, > is there)"; }
  ok "$package holds what it should"
}

holds weir-agent etc/weir/rules.yaml usr/bin/weir-agent \
  usr/lib/systemd/system/weir-agent.{service,socket} usr/lib/{sysusers,tmpfiles}.d/weir.conf \
  usr/share/man/man8/weir-agent.8.gz usr/share/man/man5/weir-rules.5.gz
holds weir-server etc/weir/server.yaml usr/bin/weir-server \
  usr/lib/systemd/system/weir-server.service usr/lib/sysusers.d/weir-server.conf \
  usr/share/man/man8/weir-server.8.gz usr/share/man/man5/weir-server-rules.5.gz
holds libweir0 "$libdir/libweir.so.0" "$libdir/libweir.so.$version"
mapfile -t headers < <(cd "$build_dir" && cd "$(cached CMAKE_HOME_DIRECTORY)/libclient/include" &&
  find weir -name '*.h' -printf 'usr/include/%p\n' -o -name '*.hpp' -printf 'usr/include/%p\n')
((${#headers[@]} > 0)) || fail "the source tree has no headers"
config=$(cached CMAKE_BUILD_TYPE)
holds libweir-dev "${headers[@]}" "$libdir/libweir.so" "$libdir/pkgconfig/weir.pc" \
  "$libdir"/cmake/weir/weir-{config,config-version,targets,"targets-${config,,}"}.cmake \
  usr/share/man/man3/{libweir,weir_toolkit}.3.gz
holds weir usr/bin/weir usr/share/man/man1/weir.1.gz \
  usr/share/bash-completion/completions/weir usr/share/zsh/vendor-completions/_weir

odd=$(find "$work"/{weir-agent,weir-server,libweir0,libweir-dev,weir} ! -type l -perm /022 -print)
[[ -z $odd ]] || fail "writable for others: $odd"
# The build's own paths, and the default prefix, belong into no file that is read.
leaks=$(grep -rIlE -- "$build_dir|$(cached CMAKE_HOME_DIRECTORY)|/usr/local" \
  "$work"/{weir-agent,weir-server,libweir0,libweir-dev,weir} || true)
[[ -z $leaks ]] || fail "paths of the build machine in $leaks"
ok "no path of the build machine, nothing writable for others"

# ---- control ---------------------------------------------------------------------------------

field() { dpkg-deb --field "${deb[$1]}" "$2"; }
full_version=$(field weir Version)
changelog=$(zcat "$work/weir/usr/share/doc/weir/changelog.Debian.gz" | sed -n '1s/.*(\(.*\)).*/\1/p')
[[ $changelog == "$full_version" ]] ||
  fail "the version is $full_version, but packaging/debian/changelog begins with $changelog"
ok "the changelog is of this version"

# Who loads the library depends on exactly this version of it, and nobody else does.
for program in {weir-agent/usr/bin/weir-agent,weir-server/usr/bin/weir-server,weir/usr/bin/weir}; do
  package=${program%%/*} program=$work/$program
  needs=no says=no
  ! readelf -d "$program" | grep -q 'NEEDED.*libweir\.so\.0' || needs=yes
  ! field "$package" Depends | grep -qF "libweir0 (= $full_version)" || says=yes
  [[ $needs == "$says" ]] || fail "$package loads libweir.so.0: $needs; depends on it: $says"
  ! readelf -d "$program" | grep -E 'RPATH|RUNPATH' || fail "$package has a path to libraries in it"
  field "$package" Depends | grep -q 'libc6 (>=' || fail "$package does not depend on libc6"
  field "$package" Depends | grep -q 'libstdc++6 (>=' || fail "$package does not depend on libstdc++6"
done
field libweir-dev Depends | grep -qxF "libweir0 (= $full_version)" ||
  fail "libweir-dev depends on $(field libweir-dev Depends)"
ok "dependencies: weir: $(field weir Depends)"
ok "dependencies: weir-agent: $(field weir-agent Depends)"
ok "dependencies: libweir0: $(field libweir0 Depends)"

[[ $(cat "$work/weir-agent/DEBIAN/conffiles") == /etc/weir/rules.yaml ]] ||
  fail "the conffiles are $(cat "$work/weir-agent/DEBIAN/conffiles")"
[[ $(cat "$work/weir-server/DEBIAN/conffiles") == /etc/weir/server.yaml ]] ||
  fail "the conffiles are $(cat "$work/weir-server/DEBIAN/conffiles")"
[[ $(cat "$work/libweir0/DEBIAN/triggers") == "activate-noawait ldconfig" ]] || fail "no ldconfig trigger"
[[ ! -e $work/libweir0/DEBIAN/postinst ]] || fail "libweir0 calls ldconfig besides its trigger"
for script in weir-{agent,server}/DEBIAN/{postinst,prerm,postrm}; do
  sh -n "$work/$script" || fail "$script has a mistake"
  [[ -x $work/$script ]] || fail "$script is not executable"
done
grep -qF 'ExecStart=/usr/bin/weir-server ' "$work/weir-server/usr/lib/systemd/system/weir-server.service" ||
  fail "the unit does not start /usr/bin/weir-server"
grep -qF 'ExecStart=/usr/bin/weir-agent ' "$work/weir-agent/usr/lib/systemd/system/weir-agent.service" ||
  fail "the unit does not start /usr/bin/weir-agent"
for file in weir-agent/usr/bin/weir-agent weir-server/usr/bin/weir-server weir/usr/bin/weir "libweir0/$libdir/libweir.so.$version"; do
  ! file "$work/$file" | grep -q 'not stripped' || fail "$file is not stripped"
done
ok "conffile, trigger and maintainer scripts"

# ---- use -------------------------------------------------------------------------------------

# As on a machine with libweir-dev: the tree stands in for /.
if command -v pkg-config > /dev/null && command -v "${CC:-cc}" > /dev/null; then
  cp -a "$work/libweir0/usr" "$work/root"
  cp -a "$work/libweir-dev/usr/." "$work/root/"
  cat > "$work/hello.c" << 'C'
#include <weir/weir.h>
int main(void) { return weir_version()[0] == 0; }
C
  export PKG_CONFIG_PATH=$work/root/${libdir#usr/}/pkgconfig
  [[ $(pkg-config --modversion weir) == "$version" ]] || fail "weir.pc has another version"
  read -ra flags < <(pkg-config --define-variable=prefix="$work/root" --cflags --libs weir)
  "${CC:-cc}" -std=c99 "$work/hello.c" -o "$work/hello" "${flags[@]}" ||
    fail "a program does not build with pkg-config weir: ${flags[*]}"
  LD_LIBRARY_PATH=$work/root/${libdir#usr/} "$work/hello" || fail "the program does not run"
  ok "a C program builds with pkg-config weir, and runs"

  mkdir "$work/use"
  cat > "$work/use/CMakeLists.txt" << 'CMAKE'
cmake_minimum_required(VERSION 3.16)
project(use C)
find_package(weir 0.1 REQUIRED)
add_executable(use ../hello.c)
target_link_libraries(use PRIVATE weir::weir)
CMAKE
  { cmake -S "$work/use" -B "$work/use/build" -DCMAKE_PREFIX_PATH="$work/root" \
      -DCMAKE_FIND_USE_SYSTEM_PACKAGE_REGISTRY=OFF && cmake --build "$work/use/build"; } \
    > "$work/use.log" 2>&1 || { cat "$work/use.log" >&2; fail "find_package(weir) does not work"; }
  "$work/use/build/use" || fail "the program built with find_package(weir) does not run"
  ok "find_package(weir) gives weir::weir"
else
  echo "not checked: building against libweir-dev (pkg-config or a C compiler is missing)"
fi

# ---- lintian ---------------------------------------------------------------------------------

TMPDIR=$work lintian --allow-root --fail-on error "${deb[@]}" > "$work/lintian" 2>&1 ||
  { cat "$work/lintian" >&2; fail "lintian finds errors"; }
cat "$work/lintian"
ok "lintian: no errors, $(grep -c '^W:' "$work/lintian" || true) warnings"
echo "PASS"
