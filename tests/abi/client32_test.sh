#!/usr/bin/env bash
# A 32-bit client attaches to the 64-bit agent and spends from the same bytes.
#
#   client32_test.sh SOURCE_DIR AGENT NESTED_BUILD_DIR
#
# libweir alone is built into NESTED_BUILD_DIR, which is kept. Exits 77 where g++ has no -m32.
. "$(dirname "$0")/common.sh"
source=$1 agent=$2 build=$3
command -v gcc > /dev/null && command -v g++ > /dev/null || skip "gcc and g++ are missing"
echo '#include <string>
int main() { return std::string("32").size() == 2 && sizeof(void*) == 4 ? 0 : 1; }' > "$work/probe.cpp"
g++ -m32 -msse2 "$work/probe.cpp" -o "$work/probe" 2> /dev/null && "$work/probe" ||
  skip "g++ -m32 builds nothing that runs here; g++-multilib is missing"
[[ -x $agent ]] || skip "$agent is not built yet"

quietly "cmake" cmake -S "$source" -B "$build" -DWEIR_CLIENT_ONLY=ON -DWEIR_TESTS=OFF \
  -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_C_COMPILER=gcc -DCMAKE_CXX_COMPILER=g++ \
  -DCMAKE_C_FLAGS='-m32 -msse2' -DCMAKE_CXX_FLAGS='-m32 -msse2'
quietly "libweir does not build for 32 bits" cmake --build "$build" --target weir
library=$(readlink -f "$build/lib/libweir.so")
[[ $(readelf -h "$library") == *ELF32* ]] || fail "$library is not a 32-bit library"
quietly "the C program does not build" gcc -m32 -std=c99 "-I$source/libclient/include" \
  "$source/tests/abi/consumer.c" -o "$work/consumer" "-L$build/lib" -lweir "-Wl,-rpath,$build/lib"
ok "libweir builds for 32 bits"

"$work/consumer" || fail "the 32-bit program does not run without an agent"
start_agent "$agent"
"$work/consumer" "$work/agent.sock" spend 20 ||
  { cat "$work/agent.log" >&2; fail "the 32-bit program cannot spend the host's tokens"; }
ok "a 32-bit client spends from the 64-bit agent's bucket"
