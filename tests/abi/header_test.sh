#!/usr/bin/env bash
# weir.h is C99 and needs nothing before it; a C program links with libweir and runs.
#
#   header_test.sh SOURCE_DIR LIBRARY CONSUMER
#
# CONSUMER is consumer.c, built by the build system. Exits 77 when there is no compiler.
. "$(dirname "$0")/common.sh"
include=$1/libclient/include library=$2 consumer=$3

strict=(-std=c99 -pedantic -Wall -Wextra -Werror -Wconversion -Wstrict-prototypes "-I$include")
tried=0
for cc in gcc clang; do
  command -v "$cc" > /dev/null || { echo "not checked: no $cc here"; continue; }
  tried=$((tried + 1))
  printf '#include "weir/weir.h"\nint weir_header_test(void);\nint weir_header_test(void) { return WEIR_OK; }\n' \
    > "$work/header.c"
  quietly "$cc: weir.h is not C99 on its own" "$cc" "${strict[@]}" -c "$work/header.c" -o "$work/header.o"
  quietly "$cc: consumer.c is not clean" "$cc" "${strict[@]}" -c "$1/tests/abi/consumer.c" -o "$work/consumer.o"
  # Above with what the header compiles into callers, here without.
  quietly "$cc: consumer.c is not clean without it" "$cc" "${strict[@]}" -DWEIR_NO_INLINE -c \
    "$1/tests/abi/consumer.c" -o "$work/consumer.o"
  # What C++ sees is the same header.
  quietly "$cc: weir.h is not C++" "$cc" -x c++ -std=c++98 -pedantic -Wall -Wextra -Werror \
    -Wno-long-long -Wno-variadic-macros "-I$include" -fsyntax-only "$work/header.c"
  quietly "$cc: consumer.c is not C++11" "$cc" -x c++ -std=c++11 -pedantic -Wall -Wextra -Werror \
    "-I$include" -c "$1/tests/abi/consumer.c" -o "$work/consumer.o"
  ok "$cc -std=c99 -pedantic"
done
((tried > 0)) || skip "neither gcc nor clang is here"

includes=$(grep -oE '^#include *[<"][^>"]*' "$include/weir/weir.h" | sed 's/.*[<"]//' | tr '\n' ' ')
[[ $includes == "stddef.h stdint.h " ]] || fail "weir.h includes $includes"
ok "weir.h includes stddef.h and stdint.h alone"
[[ -e $library ]] || fail "$library is missing"
"$consumer" || fail "the C program does not run"
ok "a C program links and runs"
