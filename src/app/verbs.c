#include <orthant/app/verb.h>

#include <stddef.h>

extern const orth_verb orth_verb_bench;
extern const orth_verb orth_verb_compare;
extern const orth_verb orth_verb_convert;
extern const orth_verb orth_verb_encode;
extern const orth_verb orth_verb_eval;
extern const orth_verb orth_verb_export;
extern const orth_verb orth_verb_import;
extern const orth_verb orth_verb_info;
extern const orth_verb orth_verb_plan;
extern const orth_verb orth_verb_probe;
extern const orth_verb orth_verb_report;
extern const orth_verb orth_verb_scaling;
extern const orth_verb orth_verb_spectrum;
extern const orth_verb orth_verb_synth;
extern const orth_verb orth_verb_train;

/* A new verb: its file src/app/verb_<name>.c, a declaration above and a line below. */
const orth_verb *const orth_verbs[] = {
    &orth_verb_train,   &orth_verb_eval,    &orth_verb_encode,  &orth_verb_export,
    &orth_verb_import,  &orth_verb_convert, &orth_verb_info,    &orth_verb_spectrum,
    &orth_verb_compare, &orth_verb_probe,   &orth_verb_scaling, &orth_verb_report,
    &orth_verb_synth,   &orth_verb_bench,   &orth_verb_plan,    NULL,
};
