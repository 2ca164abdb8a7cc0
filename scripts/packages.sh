# What the build and the tests need, by Debian package. Sourced by ./quickstart and ./test.
# Each line: package, then what shows that it is there: a command, or a C++ header in <>.
build_packages="
g++ c++
cmake cmake
ninja-build ninja
libhwy-dev <hwy/highway.h>
libdnnl-dev <oneapi/dnnl/dnnl.hpp>
libtbb-dev <tbb/task_arena.h>
nlohmann-json3-dev <nlohmann/json.hpp>
libhdf5-dev -
libzip-dev <zip.h>
zlib1g-dev <zlib.h>
libicu-dev <unicode/uregex.h>
libcli11-dev <CLI/CLI.hpp>
libfmt-dev <fmt/format.h>
"
test_packages="
ccache ccache
pkg-config pkg-config
libgtest-dev <gtest/gtest.h>
libgmock-dev <gmock/gmock.h>
librandom123-dev <Random123/philox.h>
libopenmpi-dev -
openmpi-bin mpirun
"
r_packages="
r-base-core R
r-cran-cpp11 -
r-cran-testthat -
r-cran-knitr -
r-cran-markdown -
"
full_test_packages="
clang clang++
libclang-rt-14-dev -
clang-format clang-format
clang-tidy clang-tidy
"
arm_test_packages="
g++-aarch64-linux-gnu aarch64-linux-gnu-g++
qemu-user qemu-aarch64
"
python_packages="
python3-dev -
python3-venv -
"
docs_packages="
doxygen doxygen
"
rivals_packages="
python3-venv -
libopenblas0-pthread -
"

is_bookworm() {
  [ -r /etc/os-release ] && (. /etc/os-release && [ "${ID:-}" = debian ] && [ "${VERSION_CODENAME:-}" = bookworm ])
}

# Whether what shows package $1 is there ($2, as above); on bookworm dpkg knows.
has_package() {
  if is_bookworm; then
    dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed
    return
  fi
  case "$2" in
    "<"*) printf '#include %s\n' "$2" | c++ -std=c++20 -E -x c++ - >/dev/null 2>&1 ;;
    -) true ;;
    *) command -v "$2" >/dev/null 2>&1 ;;
  esac
}

# Installs what is missing of the packages listed in $1. On another system than bookworm, or without
# the right to install, it names them and ends the script with 2.
require_packages() {
  missing=""
  while read -r package sign; do
    [ -z "$package" ] || has_package "$package" "$sign" || missing="$missing $package"
  done <<END
$1
END
  [ -n "$missing" ] || return 0
  if ! is_bookworm; then
    echo "Missing here, by their Debian names:$missing" >&2
    echo "Install them with this system's package manager, then start again." >&2
    exit 2
  fi
  as_root=""
  if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
      echo "Missing packages. As root: apt-get install$missing" >&2
      exit 2
    fi
    as_root=sudo
  fi
  echo "Installing:$missing"
  $as_root apt-get update -qq
  # shellcheck disable=SC2086  # a list of words
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}
