#ifndef ORTHANT_BASE_NUMBER_H
#define ORTHANT_BASE_NUMBER_H

#include <stddef.h>
#include <stdint.h>

/**
 * Numbers as people write them in a configuration: `[sign] power [/ power]` with
 * `power = decimal [^ [sign] digits]` and decimals such as 12, 65_536, 0.5, 1e-3. So 1/32, 2^14,
 * 1/2^14. No names (nan, inf), no hexadecimal. Each function returns NULL and sets *out, or returns
 * why the text is refused ("is not a number") and leaves *out unchanged. Independent of the locale.
 */

/** A finite double. */
const char *orth_number_parse(const char *text, double *out);

/** An exact integer: 2^14, 1e6 and 64/2 are; 1/3 and 1e-3 are not. Nothing is rounded on the way.
 */
const char *orth_number_integer(const char *text, int64_t *out);

/** Hours, minutes and seconds as HH:MM:SS, in seconds; hours may exceed 24. */
const char *orth_number_time(const char *text, double *out);

/** Room for a number written by orth_number_write. */
enum { ORTH_NUMBER_ROOM = 32 };

/** Write the shortest decimal that reads back as the same double. Returns `out`. */
char *orth_number_write(double value, char out[ORTH_NUMBER_ROOM]);

#endif
