#!/usr/bin/env bash
# Runs the Promela models of this folder: the rules as shm/ has them must pass, and each mutant must
# produce a counterexample. One line a run: verdict, name, states stored, seconds.
# usage: run.sh [--quick | --full]   (--quick is the default)
# exit: 0 all as expected, 1 some run is not, 77 spin or a C compiler is missing.
set -u

mode=quick
case "${1:---quick}" in
  --quick) mode=quick ;;
  --full) mode=full ;;
  *) echo "usage: $0 [--quick | --full]" >&2; exit 2 ;;
esac
command -v spin >/dev/null 2>&1 || { echo "skipped: spin is not installed"; exit 77; }
cc=${CC:-}
for candidate in gcc clang cc; do
  [ -n "$cc" ] || { command -v "$candidate" >/dev/null 2>&1 && cc=$candidate; }
done
[ -n "$cc" ] || { echo "skipped: no C compiler"; exit 77; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$(mktemp -d "${TMPDIR:-/tmp}/weir-models.XXXXXX") || exit 1
trap 'rm -rf "$build"' EXIT
seconds_max=${WEIR_MODEL_SECONDS_MAX:-240} # for one verification
memory_mb=${WEIR_MODEL_MEMORY_MB:-4000}
depth_max=200000 # deeper than any run needs; a truncated search counts as a failure

passed=0
failed=0

# run_model EXPECT FILE NAME FLAGS [PAN_FLAGS]. EXPECT is 'pass' (complete search, no error) or
# 'fail' (a counterexample from an assertion; anything else, a compile error too, is a miss).
run_model() {
  local expect=$1 file=$2 name=$3 flags=$4 pan_flags=${5:--DCOLLAPSE}
  local dir="$build/run" verdict=MISS states start_ns end_ns seconds search_status
  rm -rf "$dir"; mkdir -p "$dir"; cp "$here/$file" "$dir/model.pml"
  # The flags are lists of words on purpose.
  # shellcheck disable=SC2086
  if ! (cd "$dir" && spin -a $flags model.pml && "$cc" -O1 -w -DSAFETY -DNOFAIR -DMEMLIM="$memory_mb" \
        $pan_flags -o pan pan.c) >"$dir/build.txt" 2>&1; then
    printf 'MISS  %-34s does not build\n' "$name"; sed 's/^/      /' "$dir/build.txt" | head -5
    failed=$((failed + 1)); return
  fi
  start_ns=$(date +%s%N)
  (cd "$dir" && timeout "$seconds_max" nice -n 10 ./pan -E -m"$depth_max") >"$dir/out.txt" 2>&1
  search_status=$?
  end_ns=$(date +%s%N)
  seconds=$(awk -v ns=$((end_ns - start_ns)) 'BEGIN { printf "%.1f", ns / 1e9 }')
  states=$(awk '/states, stored/ { print $1 }' "$dir/out.txt")
  case $expect in
    pass)
      if [ $search_status -eq 0 ] && grep -q 'errors: 0' "$dir/out.txt" &&
         ! grep -q -e 'max search depth too small' -e 'Search not completed' -e 'reached -DMEMLIM' \
           "$dir/out.txt"; then verdict=ok; fi ;;
    fail) if grep -q 'assertion violated' "$dir/out.txt"; then verdict=ok; fi ;;
  esac
  printf '%-5s %-34s %-4s %12s states %7s s\n' "$verdict" "$name" "$expect" "${states:-?}" "$seconds"
  if [ $verdict = ok ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

book() { run_model "$1" book_office.pml "$2" "$3" "${4:--DCOLLAPSE}"; }
lease() { run_model "$1" lease_handover.pml "$2" "$3" "${4:--DCOLLAPSE}"; }
gcra() { run_model "$1" gcra_word.pml "$2" "$3" "${4:--DCOLLAPSE}"; }
flip() { run_model "$1" rules_flip.pml "$2" "$3" "${4:--DCOLLAPSE}"; }

fence="-DFENCE -DNO_OFFICE"
office="-DSTEP=1 -DSLACK=1"
oracle="-DGATELESS"

echo "# the fenced word: exact, no office, nothing excused"
book pass fence/gate             "-DNCL=1 $fence"
book pass fence/gate-and-kill    "-DNCL=1 $fence -DMAXT=3 -DKILLS"
book pass fence/5-units          "-DNCL=1 $fence $oracle -DMAXT=5"
book pass fence/kill             "-DNCL=1 $fence $oracle -DMAXT=4 -DKILLS"
book pass fence/requests-of-2    "-DNCL=1 $fence $oracle -DMAXT=4 -DNMAX=2"
book pass fence/refund           "-DNCL=1 $fence $oracle -DMAXT=4 -DREFUNDS=1"
book pass fence/remainder        "-DNCL=1 $fence $oracle -DMAXT=6 -DRT=2"
book pass fence/steps            "-DNCL=1 $fence $oracle -DMAXT=5 -DCAP=3 -DSTEP=1"
book pass fence/2-clients        "-DNCL=2 $fence $oracle -DMAXT=2"

echo "# the office: one step excused for each freeze past the late check"
book pass office/gate            "-DNCL=1 $office -DMAXT=3"
book pass office/5-units         "-DNCL=1 $office $oracle -DMAXT=5"
book pass office/kill            "-DNCL=1 $office $oracle -DMAXT=3 -DKILLS"

echo "# mutants of the fenced word"
book fail fence/BLIND_MINT       "-DNCL=1 $fence $oracle -DBLIND_MINT"
book fail fence/UNDO             "-DNCL=1 $fence $oracle -DUNDO"
book fail fence/NO_CLAIM         "-DNCL=1 $fence $oracle -DNO_CLAIM"
book fail fence/CLOCK_FIRST      "-DNCL=1 $fence $oracle -DCLOCK_FIRST"
book fail fence/WORD_BEFORE_BOOK "-DNCL=1 $fence $oracle -DMAXT=5 -DWORD_BEFORE_BOOK"
book fail fence/NO_FENCE         "-DNCL=1 $oracle -DNO_OFFICE -DMAXT=4"
book fail fence/BUMP_BEFORE_ADD  "-DNCL=1 $fence -DBUMP_BEFORE_ADD"
book fail fence/EPOCH_AFTER_SUB  "-DNCL=1 $fence -DEPOCH_AFTER_SUB"
book fail fence/NO_REOPEN        "-DNCL=1 $fence -DKILLS -DNO_REOPEN"
book fail fence/SECOND_BUCKET    "-DNCL=1 $fence $oracle -DSECOND_BUCKET"
book fail fence/STEP_REDUCED     "-DNCL=1 $fence $oracle -DMAXT=5 -DCAP=3 -DSTEP=1 -DSTEP_REDUCED"
book fail fence/REFUND_INTO_TOK  "-DNCL=1 $fence $oracle -DREFUNDS=1 -DREFUND_INTO_TOK"
book fail fence/KEEP_EXCESS_REFUND "-DNCL=1 $fence $oracle -DMAXT=4 -DREFUNDS=1 -DKEEP_EXCESS_REFUND"
book fail fence/FOLD_KEEPS_TIME  "-DNCL=1 $fence $oracle -DMAXT=8 -DRT=3 -DREFUNDS=1 -DFOLD_KEEPS_TIME"

echo "# mutants of the office"
book fail office/BLIND_MINT      "-DNCL=1 $office $oracle -DBLIND_MINT"
book fail office/UNDO            "-DNCL=1 $office $oracle -DUNDO"
book fail office/NO_CLAIM        "-DNCL=1 $office $oracle -DMAXT=4 -DNO_CLAIM"
book fail office/CLOCK_FIRST     "-DNCL=1 $office $oracle -DMAXT=4 -DCLOCK_FIRST"
book fail office/BUMP_BEFORE_ADD "-DNCL=1 $office -DBUMP_BEFORE_ADD"
book fail office/EPOCH_AFTER_SUB "-DNCL=1 $office -DEPOCH_AFTER_SUB"
book fail office/NO_REOPEN       "-DNCL=1 $office -DKILLS -DNO_REOPEN"
book fail office/SECOND_BUCKET   "-DNCL=1 $office $oracle -DSECOND_BUCKET"
book fail office/STEP_REDUCED    "-DNCL=1 $office $oracle -DMAXT=5 -DCAP=3 -DSTEP_REDUCED"
book fail office/REFUND_INTO_TOK "-DNCL=1 $office $oracle -DREFUNDS=1 -DREFUND_INTO_TOK"
book fail office/HEAL_TWICE      "-DNCL=1 $office $oracle -DMAXT=5 -DLOSERS=2 -DHEAL_TWICE"
book fail office/ADD_THEN_HEAL   "-DNCL=1 $office $oracle -DMAXT=4 -DLOSERS=2 -DADD_THEN_HEAL"
book fail office/NO_TERM_CHECK   "-DNCL=1 $office $oracle -DMAXT=5 -DNO_TERM_CHECK"
book fail office/NO_SLACK        "-DNCL=1 $oracle -DSTEP=1 -DSLACK=0 -DMAXT=4"
book fail office/AGENT_BARGES    "-DNCL=1 $office $oracle -DMAXT=5 -DTERM=1 -DAGENT_BARGES"

echo "# a limit's rate on its way between hosts"
lease pass lease/2-and-1         "-DSEQS=2 -DSEQS_OTHERS=1 -DCAP=1"
for mutant in FORGET_OFFERS CONFIRM_ANY TAKE_ANY DECIDE_AGAIN EXPIRE_EARLY OFFER_AFTER_END DROP_TAKEN; do
  lease fail "lease/$mutant"     "-DSEQS=3 -DCAP=2 -D$mutant"
done

echo "# the tables of rules and the ends of leases"
flip pass flip/tables            ""
flip pass flip/more              "-DPUBLICATIONS=8"
for mutant in WRITE_VALID FLIP_FIRST NO_STALE NO_FENCE NO_SECOND_LOOK COMPARE_BIT ENDS_FIRST; do
  flip fail "flip/$mutant"       "-D$mutant"
done

echo "# GCRA in the word"
gcra pass gcra/1-client          "-DNCL=1 -DMAXT=4 -DMAXG=4"
gcra fail gcra/LASTBUG           "-DNCL=1 -DLASTBUG"
gcra fail gcra/NOGEN             "-DNCL=1 -DNOGEN"
gcra fail gcra/NAIVE             "-DNCL=1 -DNAIVE"
gcra fail gcra/NOPREV            "-DNCL=1 -DNOPREV"
gcra fail gcra/UNDO              "-DNCL=1 -DUNDO"
gcra fail gcra/BACKWARD          "-DNCL=2 -DMAXT=2 -DBACKWARD"

if [ $mode = full ]; then
  echo "# larger bounds"
  book pass full/fence/2-clients   "-DNCL=2 $fence $oracle -DMAXT=3"
  book pass full/fence/2-gate      "-DNCL=2 $fence -DMAXT=2"
  book pass full/fence/1-gate      "-DNCL=1 $fence -DMAXT=5"
  book pass full/fence/remainder   "-DNCL=1 $fence $oracle -DMAXT=8 -DRT=3 -DREFUNDS=1"
  book pass full/office/2-clients  "-DNCL=2 $office $oracle -DMAXT=3"
  book pass full/office/2-gate     "-DNCL=2 $office -DMAXT=2"
  book pass full/office/1-gate     "-DNCL=1 $office -DMAXT=5"
  book pass full/office/longer-term "-DNCL=1 $office $oracle -DMAXT=5 -DTERM=1"
  book pass full/office/refund     "-DNCL=1 -DSLACK=2 $oracle -DMAXT=4 -DREFUNDS=1"
  gcra pass full/gcra/2-clients    "-DNCL=2 -DMAXT=3"
  lease pass full/lease/2-and-2    "-DSEQS=2 -DCAP=1"
fi

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
