#!/usr/bin/env bash
# libweir exports what libclient/weir.symbols lists and nothing else, and drags nothing into a
# process that was not there.
#
#   symbols_test.sh LIBRARY SOURCE_DIR
. "$(dirname "$0")/common.sh"
library=$1 list=$2/libclient/weir.symbols map=$2/libclient/weir.map
for tool in nm readelf; do command -v "$tool" > /dev/null || skip "$tool is missing"; done

expected() { grep -v '^#' "$list" | LC_ALL=C sort; }
exported() { nm -D --defined-only "$1" | awk '{print $3}' | LC_ALL=C sort; }
same_symbols() { diff <(expected) <(exported "$1") > "$work/diff"; }

same_symbols "$library" ||
  { cat "$work/diff" >&2; fail "exports differ from weir.symbols (< listed, > exported)"; }
ok "the library exports the $(expected | wc -l) symbols of weir.symbols"

foreign=$(nm -D -C "$library" | grep -iE 'boost|protobuf|google::|spdlog|fmt::|sqlite|yaml' || true)
[[ -z $foreign ]] || fail "foreign symbols: $foreign"
ok "no symbol of Boost, Protobuf or spdlog"

needed=$(readelf -d "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
for each in $needed; do
  case $each in
    libc.so.6 | libstdc++.so.6 | libgcc_s.so.1 | libm.so.6 | ld-linux*.so.*) ;;
    *) fail "the library needs $each" ;;
  esac
done
ok "it needs" $needed
[[ $(readelf -d "$library" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p') == libweir.so.0 ]] ||
  fail "the name of the library is not libweir.so.0"
readelf -d "$library" | grep -q NODELETE || fail "the library can be unloaded under a running sequence"
! readelf -d "$library" | grep -qE 'TEXTREL|RPATH|RUNPATH' || fail "text relocations or a path"
! readelf -lW "$library" | grep 'GNU_STACK' | grep -q 'E  *0x' || fail "an executable stack"
ok "its name, and the flags that it must and must not have"

# The comparison itself: a library with one symbol more, and one with one symbol less, must fail.
command -v cc > /dev/null || { echo "not checked: the comparison itself, for want of cc"; exit 0; }
make_mutant() { # NAME SED_SCRIPT_FOR_THE_MAP
  sed "$2" "$map" > "$work/$1.map"
  sed -n 's/^ *\(weir_[a-z0-9_]*\);$/void \1(void) {}/p' "$work/$1.map" > "$work/$1.c"
  quietly "the mutant $1 does not build" cc -shared -fPIC -nostdlib -x c "$work/$1.c" \
    -o "$work/$1.so" "-Wl,--version-script=$work/$1.map"
}
make_mutant twin ''
same_symbols "$work/twin.so" || fail "the comparison refuses a library that has the symbols"
make_mutant more 's/^ *weir_peek;$/&\n    weir_planted;/'
! same_symbols "$work/more.so" || fail "the comparison does not notice a symbol that was added"
make_mutant less '/weir_peek;/d'
! same_symbols "$work/less.so" || fail "the comparison does not notice a symbol that is gone"
ok "a symbol that is added or gone is noticed"
