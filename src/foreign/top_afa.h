#ifndef ORTHANT_SRC_FOREIGN_TOP_AFA_H
#define ORTHANT_SRC_FOREIGN_TOP_AFA_H

/** The text of top_afa.py, which the build embeds (src/cmake/OrthEmbed.cmake). */
extern const char orth_top_afa_py[];

#endif
