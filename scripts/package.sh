#!/usr/bin/env bash
# Builds the release and the four Debian packages, and has lintian look at them.
#
#   scripts/package.sh [--build-dir DIR] [--output DIR] [--jobs N] [--no-lintian]
#
# The build directory (build/deb) is one of its own: packages are configured for /usr, and with
# the hardening flags of Debian. The packages land in build/packages.
set -euo pipefail

source_dir=$(cd "$(dirname "$0")/.." && pwd)
build_dir=$source_dir/build/deb
output_dir=$source_dir/build/packages
jobs=$(nproc)
lint=yes

die() { echo "package.sh: $*" >&2; exit 1; }
usage() { sed -n '2,7s/^# \{0,1\}//p' "$0"; }

while (($# > 0)); do
  case $1 in
    --build-dir) build_dir=$(realpath -m "${2:?--build-dir needs a folder}"); shift 2 ;;
    --output) output_dir=$(realpath -m "${2:?--output needs a folder}"); shift 2 ;;
    --jobs) jobs=${2:?--jobs needs a number}; shift 2 ;;
    --no-lintian) lint=no; shift ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done

for tool in cmake ninja; do
  command -v "$tool" > /dev/null || die "$tool is missing; run scripts/deps.sh build"
done
for tool in dpkg-deb dpkg-shlibdeps strip gzip file; do
  command -v "$tool" > /dev/null || die "$tool is missing; run scripts/deps.sh test"
done

# What a package holds must not depend on who builds it.
umask 022

readonly kHardening="-fstack-protector-strong -D_FORTIFY_SOURCE=2 -ffile-prefix-map=$source_dir=."
# g++ 12 sees overlapping copies in std::string at -O3 that are not there (GCC bug 105651).
readonly kCxxFlags="$kHardening -Wno-restrict"
readonly kLinkHardening="-Wl,-z,relro,-z,now"

echo "== configure $build_dir"
cmake -S "$source_dir" -B "$build_dir" -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_INSTALL_PREFIX=/usr -DWEIR_TESTS=OFF -DWEIR_BENCH=OFF \
  -DCMAKE_C_FLAGS="$kHardening" -DCMAKE_CXX_FLAGS="$kCxxFlags" \
  -DCMAKE_EXE_LINKER_FLAGS="$kLinkHardening" -DCMAKE_SHARED_LINKER_FLAGS="$kLinkHardening" \
  --log-level=WARNING > /dev/null
echo "== build"
cmake --build "$build_dir" --parallel "$jobs"

echo "== pack into $output_dir"
mkdir -p "$output_dir"
rm -f "$output_dir"/*.deb
cpack --config "$build_dir/CPackConfig.cmake" -B "$build_dir/packages" > "$build_dir/cpack.log" 2>&1 ||
  { cat "$build_dir/cpack.log" >&2; die "cpack fails, see above"; }
mv "$build_dir"/packages/*.deb "$output_dir/"
rm -rf "$build_dir/packages/_CPack_Packages"
(cd "$output_dir" && du -h --apparent-size ./*.deb)

[[ $lint == yes ]] || exit 0
echo "== lintian"
command -v lintian > /dev/null || die "lintian is missing; run scripts/deps.sh test, or say --no-lintian"
# lintian leaves files in TMPDIR.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
TMPDIR=$scratch lintian --allow-root --fail-on error "$output_dir"/*.deb || die "lintian finds errors, see above"
echo "lintian: no errors"
