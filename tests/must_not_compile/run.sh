#!/bin/sh
# usage: run.sh COMPILER INCLUDE FILE
# FILE compiles with -DCONTROL, and without fails with an error that its first line describes.
set -u
compile() { "$1" -std=c++20 -fsyntax-only -I "$2" $4 "$3" 2>&1; }
if ! text=$(compile "$1" "$2" "$3" -DCONTROL); then
  echo "the control does not compile:"; echo "$text"; exit 1
fi
if text=$(compile "$1" "$2" "$3" -UCONTROL); then
  echo "it compiles"; exit 1
fi
expected=$(sed -n '1s|^// error: ||p' "$3")
[ -n "$expected" ] || { echo "no expected error in the first line"; exit 1; }
echo "$text" | grep -Eq "$expected" && exit 0
echo "expected an error with '$expected', got:"; echo "$text"; exit 1
