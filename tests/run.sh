#!/usr/bin/env bash
# Builds Orthant with every warning an error and runs its tests.
#
#   bash tests/run.sh [--long]        --long: the tests labelled "long" as well, before them the suite
#                                     with sanitizers, and the fuzzing targets for a minute each
#
# Fails when a test fails, and when one is skipped that tests/allowed-skips.txt does not name.
# The last lines are CTest's summary.
set -euo pipefail
# shellcheck source=jobs/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/../jobs/environment.sh"
cd "$ORTHANT_ROOT"

selection=(-LE '^long$') long=
case ${1:-} in
--long) selection=() long=yes ;;
'') ;;
*)
    echo "usage: bash tests/run.sh [--long]" >&2
    exit 2
    ;;
esac

bash jobs/packages.sh build run test ${long:+ci}
find_tools
need_cmake

build=build/dev
log=$build/tests.log
"$CMAKE" --preset dev --log-level=WARNING
"$CMAKE" --build "$build"

outcome=0

# with_sanitizer PRESET [OPTION...]: its tests, one at a time, since time limits stretch only so far.
with_sanitizer() {
    "$CMAKE" --preset "$1" --log-level=WARNING && "$CMAKE" --build "build/$1" &&
        "$CTEST" --test-dir "build/$1" --output-on-failure --no-tests=error "${@:2}" && return 0
    echo "tests/run.sh: error: preset $1: see above" >&2
    outcome=1
}

if [[ -n $long ]]; then
    # Left out: what is long without a sanitizer, what compares with values that another compiler
    # made, and tests that measure memory, which a sanitizer takes a multiple of.
    with_sanitizer asan -LE '^(long|golden)$' -E '^cli/memory$'
    # Its clang has no BLAS here, and most of what ranks do to each other happens in MPI, which is
    # not instrumented: the C tests of the layers that run threads.
    with_sanitizer tsan -L '^(base|par|kern|io|sae|run)$' -LE '^(long|golden)$'
    bash tests/fuzz/run.sh all 60 || outcome=1
fi

# Tests wait for launchers, files and one another half of the time.
"$CTEST" --test-dir "$build" --output-on-failure --no-tests=error -j $((2 * ORTHANT_PARALLEL)) \
    "${selection[@]}" 2>&1 | tee "$log" || outcome=$?

echo
echo "The ten slowest tests:"
sed -nE 's|^ *[0-9]+/[0-9]+ Test +#[0-9]+: ([^ ]+) .* ([0-9.]+) sec.*$|\2 \1|p' "$log" |
    sort -rn | head -n 10 | awk '{ printf "%9.2f s  %s\n", $1, $2 }' || true

# Skipped tests, by CTest's own words, against the list of those that may be.
while read -r name; do
    if awk -v name="$name" '$1 == name && NF > 1 { found = 1 } END { exit !found }' \
        tests/allowed-skips.txt; then
        echo "skipped, as tests/allowed-skips.txt allows: $name"
    else
        echo "tests/run.sh: error: $name: skipped; make it run or give its reason in" \
            "tests/allowed-skips.txt" >&2
        outcome=1
    fi
done < <(sed -nE 's!^ *[0-9]+/[0-9]+ Test +#[0-9]+: ([^ ]+) \.*\*\*\*(Skipped|Not Run).*$!\1!p' "$log")

echo
sed -n '/^Label Time Summary/,/^$/p' "$log"
grep -E '^Total Test time' "$log" || true
grep -E '^[0-9]+% tests passed' "$log" || true
exit "$outcome"
