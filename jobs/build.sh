#!/usr/bin/env bash
# Builds Orthant for use, from a fresh clone or again: the packages it needs, the modules of
# jobs/site.sh, and build/release/orthant. Call it where programs for the nodes are built.
#
#   bash jobs/build.sh
set -euo pipefail
# shellcheck source=jobs/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
cd "$ORTHANT_ROOT"

bash jobs/packages.sh build run
find_tools
need_cmake
mkdir -p build/release runs # where the configurations in configs/ have their run directories
log=build/release/build.log
echo "build: into build/release"
if ! { "$CMAKE" --preset release && "$CMAKE" --build build/release --target orthant; } >"$log" 2>&1; then
    tail -n 60 "$log" >&2
    echo "build: failed; all of it is in $log" >&2
    exit 1
fi
build/release/orthant --version
