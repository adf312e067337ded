#ifndef ORTHANT_SRC_REPORT_MODEL_PARTS_H
#define ORTHANT_SRC_REPORT_MODEL_PARTS_H

#include "report_parts.h"

#include <orthant/eval/geometry.h>
#include <orthant/eval/latents.h>
#include <orthant/eval/quality.h>
#include <orthant/run/model_source.h>

/** `evaluation`, `latents`, `geometry`, `frame` and `pca` of a model on a table. Collective;
 * agreed. */
orth_status orth_report_evaluate(const orth_report_options *options,
                                 const orth_model_source *source, orth_report_tables *tables,
                                 int64_t table, MPI_Comm world, json_t *model);

/** `latents`: the most frequent ones, and of the table which rows they show. Collective; agreed. */
orth_status orth_report_latents(const orth_report_options *options, const orth_sae *sae,
                                const orth_latents *latents, orth_report_tables *tables,
                                int64_t table, json_t *model);

/** `geometry`: how far the latents are from orthogonal. Local. */
void orth_report_geometry(const orth_geometry *geometry, json_t *model);

/** `frame`: the spectrum of the frame operator. Collective; agreed. */
orth_status orth_report_frame(const orth_sae *sae, json_t *model);

/** `pca`: what linear maps of each rank reconstruct of the same tokens. Collective; agreed. */
orth_status orth_report_pca(const orth_sae *sae, orth_dataset *dataset, bool skip, MPI_Comm world,
                            json_t *model);

#endif
