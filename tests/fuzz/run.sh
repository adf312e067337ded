#!/usr/bin/env bash
# Fuzzing of the readers of foreign bytes (tests/fuzz/fuzz_<target>.c).
#
#   bash tests/fuzz/run.sh [TARGET|all [SECONDS [OPTION...]]]     default: all, 10 seconds each
#
# Builds the preset `fuzz`, replays the corpus of the target (tests/fuzz/<target>/), then lets
# libFuzzer look for new inputs for so many seconds. A long run is simply
#
#   bash tests/fuzz/run.sh config 28800 -fork=4
#
# What is found stays in build/fuzz/found/<target>/ (and what is new there, in build/fuzz/corpus/, is
# where the next run goes on). Mend the reader, name the input for what it shows and add it to
# tests/fuzz/<target>/: the ordinary suite replays those (ctest -L fuzz).
#
# OPTIONs go to libFuzzer. ORTHANT_FUZZ_SEED sets the seed (default 1; 0 is a new one every time).
set -euo pipefail
# shellcheck source=jobs/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../jobs/environment.sh"
cd "$ORTHANT_ROOT"
need_cmake

build=build/fuzz
all=()
for source in tests/fuzz/fuzz_*.c; do
    name=${source##*/fuzz_}
    all+=("${name%.c}")
done
targets=("${1:-all}")
[[ ${targets[0]} != all ]] || targets=("${all[@]}")
seconds=${2:-10}
options=("${@:3}")

for target in "${targets[@]}"; do
    if [[ ! -f tests/fuzz/fuzz_$target.c ]]; then
        echo "tests/fuzz/run.sh: error: no target '$target'; there are: ${all[*]}" >&2
        exit 2
    fi
done

mkdir -p "$build"
if ! { "$CMAKE" --preset fuzz --log-level=WARNING -B "$build" &&
    "$CMAKE" --build "$build" --target "${targets[@]/#/fuzz_}"; } >"$build/build.log" 2>&1; then
    tail -n 60 "$build/build.log" >&2
    exit 1
fi
echo "built after $SECONDS s"

# The targets' own files: in memory, and gone when a target crashed.
scratch=/dev/shm
[[ -w $scratch ]] || scratch=${TMPDIR:-/tmp}
TMPDIR=$(mktemp -d "$scratch/orthant-fuzz.XXXXXX")
export TMPDIR
trap 'rm -rf --one-file-system "$TMPDIR"' EXIT
export ASAN_OPTIONS=allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1
export LSAN_OPTIONS=suppressions=$PWD/tests/sanitizers/leak.supp:print_suppressions=0

# fuzz TARGET: its last lines tell how many inputs were tried.
fuzz() {
    local target=$1 log=$build/$1.log
    local command=("$build/tests/fuzz/fuzz_$target" -timeout=20 -print_final_stats=1
        -artifact_prefix="$build/found/$target/")
    mkdir -p "$build/corpus/$target" "$build/found/$target"
    if ! "${command[@]}" -runs=0 "tests/fuzz/$target" >"$log" 2>&1; then
        tail -n 60 "$log"
        return 1
    fi
    [[ ! -f tests/fuzz/$target.dict ]] || command+=("-dict=tests/fuzz/$target.dict")
    if ! "${command[@]}" -seed="${ORTHANT_FUZZ_SEED:-1}" -max_total_time="$seconds" \
        "${options[@]}" "$build/corpus/$target" "tests/fuzz/$target" >"$log" 2>&1; then
        tail -n 60 "$log"
        return 1
    fi
    awk -v target="$target" '/stat::number_of_executed_units/ { n = $2 }
        END { printf "%-14s %9d inputs\n", target, n }' "$log"
}

# As many at a time as there are processors; what one says stays together.
failed=()
for ((i = 0; i < ${#targets[@]}; i += ORTHANT_PARALLEL)); do
    declare -A running=()
    for target in "${targets[@]:i:ORTHANT_PARALLEL}"; do
        fuzz "$target" >"$TMPDIR/$target.said" 2>&1 &
        running[$target]=$!
    done
    for target in "${targets[@]:i:ORTHANT_PARALLEL}"; do
        wait "${running[$target]}" || failed+=("$target")
        cat "$TMPDIR/$target.said"
    done
done
if ((${#failed[@]})); then
    echo "tests/fuzz/run.sh: error: found something in: ${failed[*]}; the input is in" \
        "$build/found/" >&2
    exit 1
fi
