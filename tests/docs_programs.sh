#!/bin/sh
# Takes the programs of a page apart: N.cc for the N-th ```cpp block, N.txt for the ```output block
# that follows it. Files that did not change stay as they are. Prints how many programs there are.
#   docs_programs.sh PAGE FOLDER
set -eu
new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
awk -v folder="$new" '
  /^```cpp$/ { file = folder "/" ++count ".cc"; cpp = 1; next }
  /^```output$/ { file = cpp ? folder "/" count ".txt" : ""; next }
  /^```[a-z]/ { file = ""; cpp = 0; next }
  /^```/ { file = ""; next }
  file != "" { print > file }
  END { printf "%d", count }
' "$1"
for file in "$new"/*; do
  [ -e "$file" ] || continue  # a page without programs
  cmp -s "$file" "$2/${file##*/}" || cp "$file" "$2"
done
