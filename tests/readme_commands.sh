#!/bin/sh
# Runs the commands of README's `sh` blocks as they are written, from the top of the tree.
set -eu
cd "$1"
commands=$(sed -n '/^```sh$/,/^```$/p' README.md | sed '/^```/d')
[ -n "$commands" ]
printf '%s\n' "$commands" | sh -eux
[ -s build/quickstart/report.html ]
