/* What a report reads of a run folder, metrics.jsonl and orthant.log, and the page made of it:
 * curves stay short and whole, and the document in the page is the one that was put there. */
#include "fuzz.h"

#include "../../src/report/report_parts.h"

#include <string.h>

static const char *run_dir;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    fuzz_start_mpi();
    run_dir = fuzz_folder();
    return 0;
}

static void write_file(const char *name, const uint8_t *data, size_t size)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", run_dir, name);
    FILE *file = fopen(path, "w");
    fuzz_check(file && fwrite(data, 1, size, file) == size && fclose(file) == 0);
}

static void check_training(const json_t *training)
{
    const char *name;
    json_t *curve;
    json_object_foreach(json_object_get(training, "curves"), name, curve)
    {
        size_t points = json_array_size(json_object_get(curve, "step"));
        fuzz_check(points > 0 && points <= 2000);
        fuzz_check(points == json_array_size(json_object_get(curve, "value")));
    }
}

/* The element that holds the document ends at the first "</", as a browser reads it. */
static void check_page(const json_t *document)
{
    static const char start[] = "id=\"data\">";
    char *page = NULL;
    size_t length = 0;
    fuzz_outcome(orth_report_page(document, &page, &length), ORTH_OK);
    const char *begin = strstr(page, start);
    fuzz_check(begin && strlen(page) == length);
    begin += strlen(start);
    const char *end = strchr(begin, '<');
    fuzz_check(end && strncmp(end, "</script>", 9) == 0);
    json_t *found = json_loadb(begin, (size_t)(end - begin), 0, NULL);
    fuzz_check(found && json_equal(found, document));
    json_decref(found);
    free(page);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *model = json_object(), *document = json_object();
    char *text = fuzz_text(data, size);
    write_file("metrics.jsonl", data, size);
    write_file("orthant.log", data, size);
    orth_status status = orth_report_training(run_dir, model);
    fuzz_outcome(status, ORTH_OK, ORTH_ERR_DATA);
    check_training(json_object_get(model, "training"));
    fuzz_outcome(orth_report_history(run_dir, model), ORTH_OK);
    fuzz_check(json_array_size(json_object_get(model, "history")) <= 200);
    json_object_set_new(document, "model", model);
    json_object_set_new(document, "text", orth_json_text(text));
    fuzz_check(json_is_string(json_object_get(document, "text")));
    check_page(document);
    json_decref(document);
    free(text);
    return 0;
}
