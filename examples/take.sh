#!/usr/bin/env bash
# take.sh: a shell script under a limit, with `weir take`. Calls a command once for each line of
# its input, never faster than the limit, together with every other process of the host.
#
#   printf '%s\n' a b c | examples/take.sh LIMIT COMMAND [ARGUMENT...]
#   printf '%s\n' a b c | examples/take.sh /api/order echo
#
# It reads WEIR_RUNTIME_DIR (default /run/weir) and needs `weir` in PATH, or its path in WEIR.
#
# The exit codes of `weir take NAME -- COMMAND`, as far as they are not the command's own:
#   69  no agent answers (with --allow-without-agent the command runs anyway)
#   75  refused: the limit is reached, and waiting as long as --wait allows would not help
set -euo pipefail

(($# >= 2)) || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
limit=$1
shift
weir=${WEIR:-weir}

while IFS= read -r line; do
  until "$weir" take --wait 2s "$limit" -- "$@" "$line" < /dev/null; do
    status=$?
    ((status == 75)) || exit "$status"
    sleep 1 # a longer queue than 2 s: others need their turn, too
  done
done
