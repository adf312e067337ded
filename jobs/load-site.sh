# shellcheck shell=bash
# Sourced: jobs/site.sh, under the options it is written for. Expects ORTHANT_ROOT.

if [[ -f $ORTHANT_ROOT/jobs/site.sh ]]; then
    orthant_options=$-
    set +eu # what `module` runs is not written for these
    # shellcheck source=jobs/site.sh
    source "$ORTHANT_ROOT/jobs/site.sh"
    if [[ $orthant_options == *e* ]]; then set -e; fi
    if [[ $orthant_options == *u* ]]; then set -u; fi
    unset orthant_options
fi
