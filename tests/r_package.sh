#!/bin/sh
# The R package as users have it: linked to the installed library, and checked by R.
#   r_package.sh SOURCE BUILD
set -eu
source=$1 build=$2
work=$build/r_package
rm -rf "$work"
mkdir -p "$work/library"
cmake --install "$build" --component library --prefix "$work/prefix" >/dev/null
PKG_CONFIG_PATH=$(dirname "$(find "$work/prefix" -name grouphead.pc)")
export PKG_CONFIG_PATH

# The package's own code is compiled quickly: what takes time is in the library.
compiler=g++
! command -v ccache >/dev/null || compiler="ccache g++"
printf 'CXX20 = %s\nCXX20FLAGS = -O1 -Wall -Wextra -Werror\n' "$compiler" >"$work/Makevars"
R_MAKEVARS_USER=$work/Makevars MAKEFLAGS=-j2
export R_MAKEVARS_USER MAKEFLAGS

# The manual is what the functions say.
mkdir "$work/man"
(cd "$source/r" && Rscript tools/rd.R "$work/man")
diff -r "$source/r/man" "$work/man"

cd "$work"
R CMD build "$source/r"
_R_CHECK_FORCE_SUGGESTS_=false R CMD check --no-manual grouphead_*.tar.gz
! grep -E 'WARNING|ERROR' grouphead.Rcheck/00check.log
