#!/usr/bin/env bash
# What is installed can be moved and built against: by pkg-config and by find_package(weir).
#
#   client_install_test.sh BUILD_DIR SOURCE_DIR
. "$(dirname "$0")/common.sh"
build=$1 source=$2
for tool in cmake pkg-config cc c++; do command -v "$tool" > /dev/null || skip "$tool is missing"; done

for component in libweir libweir-dev; do
  quietly "cmake --install of $component" \
    cmake --install "$build" --component "$component" --prefix "$work/made here"
done
mv "$work/made here" "$work/moved"
prefix=$work/moved
pc=$(find "$prefix" -name weir.pc)
libdir=$(dirname "$(dirname "$pc")")
library=$(readlink -f "$libdir/libweir.so")
[[ -f $library && -e $libdir/libweir.so.0 ]] || fail "no libweir.so, or it leads nowhere"
headers=$(cd "$prefix/include/weir" && echo *)
[[ $headers == "asio.hpp quota.h quota.hpp toolkit.h toolkit.hpp weir.h weir.hpp" ]] || fail "the headers are $headers"
leaks=$(grep -rIl -e "$work/made here" -e "$build" -e "$source" "$prefix" || true)
[[ -z $leaks ]] || fail "paths of the build in $leaks"
ok "libweir and libweir-dev install, and name no path"

export PKG_CONFIG_PATH=$libdir/pkgconfig LD_LIBRARY_PATH=$libdir
quietly "weir.pc" pkg-config --print-errors --exists 'weir >= 0.1'
read -ra flags < <(pkg-config --cflags --libs weir)
quietly "a C program does not build with ${flags[*]}" \
  cc -std=c99 "$source/tests/abi/consumer.c" -o "$work/by_pkg_config" "${flags[@]}"
"$work/by_pkg_config" || fail "the program built with pkg-config does not run"
[[ $(ldd "$work/by_pkg_config") == *"$libdir/libweir.so.0"* ]] || fail "it runs with another libweir"
ok "pkg-config weir"

mkdir "$work/use"
cat > "$work/use/CMakeLists.txt" << CMAKE
cmake_minimum_required(VERSION 3.16)
project(use C CXX)
find_package(weir 0.1 REQUIRED)
add_executable(use_c "$source/tests/abi/consumer.c")
target_link_libraries(use_c PRIVATE weir::weir)
add_executable(use_cxx "$source/tests/abi/consumer.cpp")
target_compile_features(use_cxx PRIVATE cxx_std_20)
target_link_libraries(use_cxx PRIVATE weir::weir)
CMAKE
unset PKG_CONFIG_PATH LD_LIBRARY_PATH
quietly "find_package(weir)" cmake -S "$work/use" -B "$work/use/build" \
  "-DCMAKE_PREFIX_PATH=$prefix" -DCMAKE_FIND_USE_PACKAGE_REGISTRY=OFF
quietly "programs do not build with weir::weir" cmake --build "$work/use/build"
for program in use_c use_cxx; do
  "$work/use/build/$program" || fail "$program does not run"
done
! cmake -S "$work/use" -B "$work/use/other" "-DCMAKE_PREFIX_PATH=$work/nowhere" \
  > /dev/null 2>&1 || fail "find_package(weir) finds another weir on this machine"
ok "find_package(weir)"
