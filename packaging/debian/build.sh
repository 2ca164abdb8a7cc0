#!/bin/sh
# Builds the Debian packages of this tree into a folder, from a copy of what git tracks.
#   packaging/debian/build.sh FOLDER
set -eu
cd "$(dirname "$0")/../.."
to=$1
mkdir -p "$to/grouphead-0.1.0"
git ls-files -z | xargs -0 cp --parents -t "$to/grouphead-0.1.0"
cp -r packaging/debian "$to/grouphead-0.1.0/debian"
cd "$to/grouphead-0.1.0"
rm debian/build.sh
exec dpkg-buildpackage --build=binary --no-sign
