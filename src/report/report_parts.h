#ifndef ORTHANT_SRC_REPORT_REPORT_PARTS_H
#define ORTHANT_SRC_REPORT_REPORT_PARTS_H

#include <orthant/report/report.h>

#include <orthant/io/dataset.h>
#include <orthant/run/config.h>
#include <orthant/run/json_value.h>

#include <jansson.h>
#include <stddef.h>

/*
 * The report is one JSON document, built on rank 0; on the other ranks json_t pointers are NULL.
 * The page and the static plots only draw what is in it.
 */

/* ---- how a run was made and how it trained (record.c, curves.c); rank 0, local ---- */

/** `config`: an array of [key, value], in the order of the table of keys; of a model that was not
 * trained here without what is about training. */
orth_status orth_report_config(const orth_config *config, bool trained_here, json_t *model);

/** `history`: what orthant.log tells besides the steps, when there is one. ORTH_ERR_DATA. */
orth_status orth_report_history(const char *run_dir, json_t *model);

/** `training`: what metrics.jsonl tells, when there is one: curves, phases, evaluations and
 * roll-backs. Memory does not grow with the file. ORTH_ERR_DATA. */
orth_status orth_report_training(const char *run_dir, json_t *model);

/* ---- tables of tokens (tables.c) ---- */

/** Activation tables that models were evaluated on, each opened once, and of each the rows that the
 * page shows. */
typedef struct orth_report_tables orth_report_tables;

orth_status orth_report_tables_create(orth_report_tables **out);
void orth_report_tables_free(orth_report_tables *tables);

/** The table of these files. *index is its place in the document's `tables`. Collective; agreed.
 * ORTH_ERR_DATA. */
orth_status orth_report_tables_open(orth_report_tables *tables, const orth_strings *files,
                                    const char *dataset, MPI_Comm world, int64_t *index);
orth_dataset *orth_report_table(const orth_report_tables *tables, int64_t index);

/** Whether its tokens have ids, so that examples have a text. Rank 0, local. */
bool orth_report_table_has_text(const orth_report_tables *tables, int64_t index);

/** Ask for the text around a row. Rank 0, local. */
orth_status orth_report_table_want(orth_report_tables *tables, int64_t index, int64_t row);

/** Whether `path` is one of the tables' files. Local. */
bool orth_report_tables_hold(const orth_report_tables *tables, const char *path);

/** `tables` and `strings` of the document. Rank 0, local. ORTH_ERR_DATA. */
orth_status orth_report_tables_write(const orth_report_tables *tables, int64_t context,
                                     json_t *document);

/* ---- one run (model.c) ---- */

/** Everything about one RUN, as an element of the document's `models`. Collective; agreed. */
orth_status orth_report_model(const orth_report_options *options, int64_t index,
                              orth_report_tables *tables, MPI_Comm world, json_t *model);

/** `name` of each model, from its `path`: the last part, and as many before it as tell it from all
 * others; a path that is there twice is numbered. Rank 0, local. ORTH_ERR_ENVIRONMENT. */
orth_status orth_report_names(json_t *models);

/* ---- what is written (page.c, plots.c); rank 0, local ---- */

/** The page with the document in it, as owned text (free). */
orth_status orth_report_page(const json_t *document, char **out, size_t *length);

/** Make the folder of the plots, or see that files can be written there. ORTH_ERR_STORAGE. */
orth_status orth_report_plots_open(const char *folder);

/** Data, gnuplot scripts, and what gnuplot makes of them: SVG and PNG. `page` is what was written
 * before, for the message; NULL: nothing. ORTH_ERR_STORAGE; ORTH_ERR_ENVIRONMENT when gnuplot is
 * missing or fails, after data and scripts were written. */
orth_status orth_report_plots(const json_t *document, const char *folder, const char *page);

#endif
