#ifndef ORTHANT_BASE_NEAREST_H
#define ORTHANT_BASE_NEAREST_H

/**
 * The edit distance of two names (Levenshtein: insert, delete, replace cost 1), of which the first
 * 63 characters count. For "did you mean" in errors.
 */
int orth_edit_distance(const char *a, const char *b);

#endif
