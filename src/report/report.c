#include "report_parts.h"

#include <orthant/base/log.h>
#include <orthant/base/memory.h>
#include <orthant/base/path.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>
#include <orthant/run/json_file.h>
#include <orthant/run/run_dir.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A report under way. */
typedef struct report {
    const orth_report_options *options;
    MPI_Comm world;
    int rank;
    json_t *document; ///< rank 0
    orth_report_tables *tables;
    orth_json_file *page, *json; ///< rank 0
} report;

static orth_status open_outputs(report *r)
{
    const orth_report_options *o = r->options;
    if (o->page)
        ORTH_TRY(orth_json_file_open(o->page, r->world, &r->page));
    if (o->json)
        ORTH_TRY(orth_json_file_open(o->json, r->world, &r->json));
    return o->plots
               ? orth_agree(r->world, r->rank == 0 ? orth_report_plots_open(o->plots) : ORTH_OK)
               : ORTH_OK;
}

/* What is written must not be what was read. */
static orth_status check_output(const report *r, const char *option, const char *path)
{
    bool plots = strcmp(option, "plots") == 0;
    bool read = orth_report_tables_hold(r->tables, path);
    for (size_t i = 0; i < json_array_size(json_object_get(r->document, "models")); i++) {
        const json_t *model = json_array_get(json_object_get(r->document, "models"), i);
        const char *checkpoint =
            json_string_value(json_object_get(json_object_get(model, "checkpoint"), "path"));
        read = read || (checkpoint && orth_same_file(path, checkpoint));
    }
    return read ? orth_fail(ORTH_ERR_USAGE,
                            "--%s %s: is a file that this command reads and would be lost; name "
                            "another %s",
                            option, path, plots ? "folder" : "file")
                : ORTH_OK;
}

/* Nor what is written besides. */
static orth_status check_plot(void *context, const char *path)
{
    const report *r = context;
    const orth_report_options *o = r->options;
    if ((o->page && orth_same_file(path, o->page)) || (o->json && orth_same_file(path, o->json)))
        return orth_fail(ORTH_ERR_USAGE,
                         "--plots %s: is also what --out or --json names; name another folder",
                         path);
    return check_output(r, "plots", path);
}

static orth_status start_document(report *r)
{
    char made[32] = "";
    time_t now = time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc))
        strftime(made, sizeof made, "%Y-%m-%dT%H:%M:%SZ", &utc);
    r->document = json_object();
    orth_json_set_text(r->document, "format", "orthant-report");
    orth_json_set_integer(r->document, "format_version", 1);
    orth_json_set_text(r->document, "program_version", ORTH_VERSION);
    orth_json_set_text(r->document, "made", made);
    orth_json_set_integer(r->document, "context", r->options->context);
    json_object_set_new(r->document, "models", json_array());
    return json_object_get(r->document, "models")
               ? ORTH_OK
               : orth_fail(ORTH_ERR_ENVIRONMENT, "report: out of memory; free memory");
}

static orth_status add_model(report *r, int64_t index)
{
    json_t *model = r->rank == 0 ? json_object() : NULL;
    if (model)
        json_array_append_new(json_object_get(r->document, "models"), model);
    orth_log_info("report: %s", r->options->runs[index]);
    return orth_report_model(r->options, index, r->tables, r->world, model);
}

static orth_status finish_document(report *r)
{
    const orth_report_options *o = r->options;
    if (r->rank != 0)
        return ORTH_OK;
    ORTH_TRY(orth_report_names(json_object_get(r->document, "models")));
    ORTH_TRY(orth_report_tables_write(r->tables, o->context, r->document));
    if (o->page)
        ORTH_TRY(check_output(r, "out", o->page));
    if (o->json)
        ORTH_TRY(check_output(r, "json", o->json));
    return o->plots ? orth_report_plots_each(o->plots, check_plot, r) : ORTH_OK;
}

static orth_status write_page(report *r)
{
    char *page = NULL;
    size_t length = 0;
    orth_status status = ORTH_OK;
    if (r->rank == 0)
        status = orth_report_page(r->document, &page, &length);
    if (status == ORTH_OK && r->rank == 0)
        status = orth_json_file_add(r->page, page);
    status = orth_json_file_end(r->page, status, r->world);
    if (status == ORTH_OK)
        orth_log_info("report: %s, %.1f MB", r->options->page, (double)length / 1e6);
    free(page);
    return status;
}

static orth_status write_outputs(report *r)
{
    const orth_report_options *o = r->options;
    if (o->json)
        ORTH_TRY(orth_json_file_write(r->json, r->document, r->world));
    if (o->page)
        ORTH_TRY(write_page(r));
    return o->plots ? orth_agree(r->world, r->rank == 0
                                               ? orth_report_plots(r->document, o->plots, o->page)
                                               : ORTH_OK)
                    : ORTH_OK;
}

orth_status orth_report_make(const orth_report_options *options, MPI_Comm world)
{
    report r = {.options = options, .world = world};
    ORTH_MPI(MPI_Comm_rank(world, &r.rank));
    orth_status status = orth_agree(world, orth_report_tables_create(&r.tables));
    if (status == ORTH_OK)
        status = open_outputs(&r);
    if (status == ORTH_OK)
        status = orth_agree(world, r.rank == 0 ? start_document(&r) : ORTH_OK);
    for (int64_t i = 0; status == ORTH_OK && i < options->n_run; i++)
        status = add_model(&r, i);
    if (status == ORTH_OK)
        status = orth_agree(world, finish_document(&r));
    if (status == ORTH_OK)
        status = write_outputs(&r);
    orth_json_file_close(r.page);
    orth_json_file_close(r.json);
    orth_report_tables_free(r.tables);
    json_decref(r.document);
    return status;
}
