#ifndef ORTHANT_BASE_EMBEDDED_H
#define ORTHANT_BASE_EMBEDDED_H

/**
 * A file that the build put into the program (src/cmake/OrthEmbed.cmake): `end - begin` bytes, and
 * a NUL after them. `orth_embed(target folder)` makes the table orth_<folder>_files, which ends
 * with a NULL name; who uses it declares it.
 */
struct orth_file {
    const char *name; ///< without folders
    const char *begin;
    const char *end;
};

#endif
