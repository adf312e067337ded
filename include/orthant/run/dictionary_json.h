#ifndef ORTHANT_RUN_DICTIONARY_JSON_H
#define ORTHANT_RUN_DICTIONARY_JSON_H

#include <orthant/eval/dictionary_match.h>
#include <orthant/eval/geometry.h>
#include <orthant/eval/pca.h>

struct json_t;

/** What was found of dictionaries, as `orthant spectrum` and `orthant compare` write it (their
 * --help names the keys). jansson's objects, owned by the caller; what is not finite is null.
 * Local. */

struct json_t *orth_geometry_json(const orth_geometry *geometry);
struct json_t *orth_spectrum_json(const orth_spectrum *spectrum);

/** Errors at the ranks 0, 1, 2, 4 ... d. */
struct json_t *orth_pca_json(const orth_pca *pca);

/** With `each` the nearest of every single latent, where it is known. */
struct json_t *orth_match_json(const orth_match *match, bool each);

#endif
