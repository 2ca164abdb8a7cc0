#!/bin/sh
# The R package as users have it: installed from the tree, checked by R on the installed library;
# then the examples in R, and the R of README and docs/r.md.
#   r_package.sh SOURCE BUILD
# BUILD is SOURCE/build/release.
set -eu
source=$1 build=$2
work=$build/r_package
rm -rf "$work"
mkdir -p "$work/library" "$work/man" "$work/run"

# The package's own code is compiled quickly: what takes time is in the library.
compiler=g++
! command -v ccache >/dev/null || compiler="ccache g++"
printf 'CXX20 = %s\nCXX20FLAGS = -O1 -Wall -Wextra -Werror\n' "$compiler" >"$work/Makevars"
R_MAKEVARS_USER=$work/Makevars MAKEFLAGS=-j2
export R_MAKEVARS_USER MAKEFLAGS

(cd "$source" && R CMD INSTALL --library="$work/library" r)

# The manual is what the functions say.
(cd "$source/r" && Rscript tools/rd.R "$work/man")
diff -r "$source/r/man" "$work/man"

PKG_CONFIG_PATH=$(dirname "$(find "$build/r_prefix" -name grouphead.pc)")
export PKG_CONFIG_PATH
cd "$work"
R CMD build "$source/r"
R CMD check --no-manual grouphead_*.tar.gz
if grep -E 'WARNING|ERROR' grouphead.Rcheck/00check.log; then exit 1; fi

R_LIBS=$work/library
export R_LIBS
cd run
for page in "$source/README.md" "$source/docs/r.md"; do
  program=$(basename "$page" .md).R
  awk '/^```r$/ { inside = 1; next } /^```$/ { inside = 0 } inside' "$page" >"$program"
  [ -s "$program" ]
done
for program in *.R "$source"/examples/*.R; do
  echo "== $program"
  Rscript --vanilla "$program"
done
