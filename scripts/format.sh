#!/usr/bin/env bash
# Formats our C and C++ sources, or with --check says which are not formatted.
set -euo pipefail
cd "$(dirname "$0")/.."
mapfile -t files < <(git ls-files -co --exclude-standard '*.h' '*.hpp' '*.cpp' '*.c')
if [ "${1:-}" = "--check" ]; then
  clang-format --dry-run -Werror "${files[@]}"
  echo "${#files[@]} files are formatted"
else
  clang-format -i "${files[@]}"
fi
