#!/usr/bin/env bash
# From a fresh clone to two trained sparse autoencoders and a page about them: installs what is missing,
# builds, trains a top-k and a top-AFA model on the sample activations over four ranks (a 2 x 2 grid),
# evaluates both on held-out tokens, prints one table and makes runs/quickstart.html. Works from any
# folder; a second call builds nothing.
#
#   bash jobs/quickstart.sh
#
# ORTHANT_QUICKSTART_STEPS=20 trains for that many steps in place of the configured ones.
set -euo pipefail
# shellcheck source=jobs/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
cd "$ORTHANT_ROOT"

bash jobs/build.sh
find_tools # what was just installed
if ! command -v jq >/dev/null; then
    echo "orthant: error: no jq: the table of results is made with it; install it or load its module" >&2
    exit 1
fi
program=$ORTHANT_ROOT/build/release/orthant

# Four ranks share the processors there are.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((ORTHANT_PARALLEL > 4 ? ORTHANT_PARALLEL / 4 : 1))}
length=()
if [[ -n ${ORTHANT_QUICKSTART_STEPS:-} ]]; then
    length=(--set "run.steps=$ORTHANT_QUICKSTART_STEPS")
fi

runs=() seconds=()
for model in topk topafa; do
    run=runs/quickstart-$model
    rm -rf "$run" # its own earlier run, nothing else
    echo
    echo "quickstart: training $model"
    started=$SECONDS
    "${MPIRUN[@]}" -n 4 "$program" train "configs/quickstart-$model.yaml" \
        --set "run.dir=$run" --set grid.n_group=2 --set grid.n_shard=2 "${length[@]}"
    runs+=("$run") seconds+=("$((SECONDS - started))")
done
echo
echo "quickstart: evaluating both"
"${MPIRUN[@]}" -n 4 "$program" report "${runs[@]}" --data tests/data/sample-eval.h5 \
    --out runs/quickstart.html --json runs/quickstart.json --quiet

echo
jq -r '.models[] | [.checkpoint.selection, .evaluation.mse, .evaluation.fvu, .evaluation.l0.mean,
        .evaluation.dead, .evaluation.elbo.median] | @tsv' runs/quickstart.json |
    LC_ALL=C awk -F '\t' -v seconds="${seconds[*]}" '
        BEGIN {
            split(seconds, second, " ")
            print "Held-out tokens of tests/data/sample-eval.h5:"
            printf "%-8s %10s %8s %9s %6s %12s %8s\n",
                   "model", "mse", "fvu", "l0", "dead", "eLBO median", "seconds"
        }
        { printf "%-8s %10.5f %8.4f %9.1f %6d %12.3e %8d\n", $1, $2, $3, $4, $5, $6, second[NR] }'
echo
echo "A page about both, for a browser: $ORTHANT_ROOT/runs/quickstart.html"
