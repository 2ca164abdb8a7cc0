#!/bin/sh
# Unpacks Debian's arm64 packages of what the library needs into a folder, for cross-compiling. The
# system's own packages stay as they are.
#   scripts/arm_root.sh FOLDER
set -eu
root=$(realpath -m "$1")  # apt takes no relative one
packages="libc6-dev libstdc++-12-dev libhwy-dev libdnnl-dev libtbb-dev libhdf5-dev libzip-dev
  zlib1g-dev libicu-dev nlohmann-json3-dev libcli11-dev libfmt-dev libgtest-dev libgmock-dev
  librandom123-dev"
[ ! -e "$root/.complete" ] || exit 0
state=$root/.apt
mkdir -p "$state/lists/partial" "$state/archives/partial"
apt() {
  apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State="$state" \
    -o Dir::State::status=/dev/null -o Dir::Cache="$state" -o Debug::NoLocking=true "$@"
}
apt update
# shellcheck disable=SC2086  # a list of words
apt install --yes --download-only --no-install-recommends $packages >/dev/null
for package in "$state"/archives/*.deb; do dpkg -x "$package" "$root"; done
# Links to /lib/... would lead out of the folder.
find "$root" -type l -lname '/*' | while read -r link; do
  ln -sfn "$(realpath -m --relative-to="$(dirname "$link")" "$root$(readlink "$link")")" "$link"
done
rm -r "$state"
touch "$root/.complete"
