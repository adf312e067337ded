#ifndef ORTHANT_RUN_JSON_VALUE_H
#define ORTHANT_RUN_JSON_VALUE_H

#include <orthant/eval/quantile.h>

#include <stdint.h>

struct json_t;

/** Parts of a result as JSON (jansson); what is not finite becomes null. The objects belong to the
 * caller, or to the object that they are set in. Local. */

struct json_t *orth_json_number(double value);
struct json_t *orth_json_numbers(const double *values, int64_t count);

/** Text that may hold anything, as paths do: what is not UTF-8 becomes U+FFFD. NULL gives null. */
struct json_t *orth_json_text(const char *text);

/** A model's training step, null where it is not known (ORTH_STEP_UNKNOWN). */
struct json_t *orth_json_step(int64_t step);

/** {"edges": [bins + 1], "counts": [bins]} */
struct json_t *orth_json_histogram(const orth_histogram *histogram);

/** The number that an object has under a name, NaN when it has none. */
double orth_json_number_at(const struct json_t *object, const char *name);

/* Of a NULL object nothing is set. */
void orth_json_set_number(struct json_t *object, const char *name, double value);
void orth_json_set_integer(struct json_t *object, const char *name, int64_t value);
void orth_json_set_text(struct json_t *object, const char *name, const char *text);

#endif
