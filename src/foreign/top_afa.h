#ifndef ORTHANT_SRC_FOREIGN_TOP_AFA_H
#define ORTHANT_SRC_FOREIGN_TOP_AFA_H

#include <orthant/base/embedded.h>

/** The files of src/foreign/python, which the build embeds (src/cmake/OrthEmbed.cmake): top_afa.py
 * alone, a text that ends with a NUL. */
extern const struct orth_file orth_python_files[];

#endif
