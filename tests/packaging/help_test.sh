#!/usr/bin/env bash
# Every option that a daemon's --help names stands in its manual page, and the page names no other.
#
#   help_test.sh BUILD_DIR SOURCE_DIR
set -euo pipefail

build=$1 source=$2 failed=0

options_in() { grep -oE -- '--[a-z][a-z0-9-]+' | sort -u; }

for page in "$source"/docs/man/weir-agent.8 "$source"/docs/man/weir-server.8; do
  program=$(basename "$page" .8)
  helps=$("$build/bin/$program" --help)
  # Subcommands and what they have below them.
  for words in rules 'rules put' 'rules get' db 'db backup' 'db restore' 'db migrate' 'db check'; do
    [ "$program" = weir-server ] || break
    # shellcheck disable=SC2086  # one word each
    helps+=$'\n'$("$build/bin/$program" $words --help)
  done
  said=$(sed 's/\\-/-/g; s/\\f[BIR]//g' "$page" | options_in)
  has=$(options_in <<< "$helps" | grep -vx -- --help || true)
  missing=$(comm -23 <(echo "$has") <(echo "$said"))
  gone=$(comm -13 <(echo "$has") <(grep -vx -- --help <<< "$said"))
  [ -z "$missing" ] || { echo "$page does not name: "$missing; failed=1; }
  [ -z "$gone" ] || { echo "$page names what $program does not have: "$gone; failed=1; }
  [ "$(echo "$has" | wc -l)" -gt 5 ] || { echo "$program --help was not understood"; failed=1; }
done
[ $failed -eq 0 ] && echo "the pages name all options"
exit $failed
