#!/bin/sh
# clang-tidy on the public headers and on the sources that changed in the last ten commits or are not
# committed, forty at most; a finding ends it with 1.
#   scripts/tidy.sh BUILD    BUILD has compile_commands.json, best of clang
set -eu
cd "$(dirname "$0")/.."
build=$1
changed=$({
  git diff --name-only --diff-filter=d "$(git rev-list -n 11 HEAD | tail -n 1)" -- src tools testing
  git ls-files --others --exclude-standard src tools testing
} | grep '\.cc$' | grep -v '^src/kernels/' | sort -u | head -n 40) || true
# shellcheck disable=SC2086  # a list of words
printf '%s\n' "$build/tests/headers/grouphead_grouphead_h.cc" $changed |
  xargs -n 4 -P 2 clang-tidy -p "$build" --quiet --warnings-as-errors='*'
