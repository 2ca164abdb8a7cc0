#!/bin/sh
# clang-tidy on the public headers and on src/core; a finding ends it with 1. More files may follow
# the build folder.
#   scripts/tidy.sh BUILD [FILE...]    BUILD has compile_commands.json, best of clang
set -eu
cd "$(dirname "$0")/.."
build=$1
shift
printf '%s\n' "$build/tests/headers/grouphead_grouphead_h.cc" src/core/*.cc "$@" |
  xargs -n 4 -P 2 clang-tidy -p "$build" --quiet --warnings-as-errors='*'
