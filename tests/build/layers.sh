#!/usr/bin/env bash
# Proves the layer rule: with the include path that the build gives to a layer, the headers of the
# layers it may use compile and all others are not found.
#   layers.sh COMPILER INCLUDE_FOLDER INCLUDE_PATHS     (one line each: layer folder...)
set -euo pipefail
compiler=$1 headers=$2 paths=$3

declare -A may_use=(
    [base]="base"
    [par]="base par"
    [kern]="base kern"
    [io]="base par io"
    [sae]="base par kern sae"
    [foreign]="base par kern io sae foreign"
    [eval]="base par kern io sae eval"
    [run]="base par kern io sae foreign eval run"
    [bench]="base par kern io sae foreign eval run bench"
    [exchange]="base par kern io sae foreign eval run exchange"
    [report]="base par kern io sae foreign eval run report"
)
checked=0 failed=0

# compiles HEADER FLAG...: whether a file that includes it alone gets past the compiler.
compiles() {
    local header=$1
    shift
    printf '#include <%s>\n' "$header" | LC_ALL=C "$compiler" -std=gnu11 -fsyntax-only "$@" \
        -x c - 2>&1
}

# expect WANTED LAYER HEADER FLAG...
expect() {
    local wanted=$1 layer=$2 header=$3 said found=no
    shift 3
    if said=$(compiles "$header" "$@"); then
        found=yes
    elif [[ $said != *"$header"*"not found"* && $said != *"$header: No such file"* ]]; then
        found="broken: $said"
    fi
    checked=$((checked + 1))
    if [[ $found != "$wanted" ]]; then
        echo "layers: $layer and <$header>: includable should be $wanted, is $found" >&2
        failed=$((failed + 1))
    fi
}

while read -r layer folders; do
    [[ -n $layer ]] || continue
    flags=()
    for folder in $folders; do
        flags+=("-I$folder")
    done
    for other in base par kern io sae eval run app; do
        wanted=no
        [[ " ${may_use[$layer]} " == *" $other "* ]] && wanted=yes
        for header in "$headers/orthant/$other"/*.h; do
            [[ -e $header ]] || continue
            expect "$wanted" "$layer" "${header#"$headers"/}" "${flags[@]}"
        done
    done
    if [[ $layer == kern ]]; then
        expect no kern mpi.h "${flags[@]}"
    fi
done <"$paths"

echo "layers: $checked includes tried, $failed wrong"
((checked > 0 && failed == 0))
