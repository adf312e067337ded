/* How a run was made: its configuration, and what its log says besides the steps. */
#include "report_parts.h"

#include <orthant/par/phase.h>
#include <orthant/run/run_dir.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of a long log the first and the last lines, half each. */
enum { MOST_LINES = 200 };

static void take_key(void *context, const char *key, const char *value)
{
    json_t *pair = json_array();
    json_array_append_new(pair, orth_json_text(key));
    json_array_append_new(pair, orth_json_text(value));
    json_array_append_new(context, pair);
}

/* What a folder of another tool tells; the rest of its configuration are defaults. */
static void take_model_key(void *context, const char *key, const char *value)
{
    static const char *const sections[] = {"input.", "model.", "topk.", "topafa."};
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++)
        if (strncmp(key, sections[i], strlen(sections[i])) == 0)
            take_key(context, key, value);
}

orth_status orth_report_config(const orth_config *config, bool trained_here, json_t *model)
{
    json_t *pairs = json_array();
    orth_status status = orth_config_each(config, trained_here ? take_key : take_model_key, pairs);
    json_object_set_new(model, "config", pairs);
    return status;
}

/* Steps and the table of phases are in the metrics too. */
static bool is_history(const char *text)
{
    char word[32];
    double seconds;
    int end = 0;
    long long step, of;
    if (sscanf(text, "step %lld/%lld (", &step, &of) == 2 || strncmp(text, "phase  ", 7) == 0)
        return false;
    if (sscanf(text, "%31s %lf%n", word, &seconds, &end) != 2)
        return true;
    for (int i = 0; i < ORTH_PHASE_COUNT; i++)
        if (strcmp(word, orth_phase_name((orth_phase)i)) == 0)
            return false;
    return strcmp(word, "total") != 0 || text[end] != '\0';
}

static void take_line(char *line, json_t *lines, int64_t *left_out)
{
    static const char prefix[] = "orthant: ";
    line[strcspn(line, "\r\n")] = '\0';
    if (strncmp(line, prefix, sizeof prefix - 1) == 0)
        line += sizeof prefix - 1;
    if (!*line || !is_history(line))
        return;
    if (json_array_size(lines) == MOST_LINES) {
        json_array_remove(lines, MOST_LINES / 2);
        ++*left_out;
    }
    json_array_append_new(lines, orth_json_text(line));
}

orth_status orth_report_history(const char *run_dir, json_t *model)
{
    char *path = NULL, *line = NULL;
    size_t room = 0;
    int64_t left_out = 0;
    ORTH_TRY(orth_path_format(&path, "%s/orthant.log", run_dir));
    FILE *file = fopen(path, "re");
    orth_status status = ORTH_OK;
    if (file) {
        json_t *lines = json_array();
        while (getline(&line, &room, file) >= 0)
            take_line(line, lines, &left_out);
        if (ferror(file))
            status = orth_fail(ORTH_ERR_DATA, "%s: cannot be read: %s", path, strerror(errno));
        json_object_set_new(model, "history", lines);
        orth_json_set_integer(model, "history_left_out", left_out);
        fclose(file);
    } else if (errno != ENOENT) {
        status = orth_fail(ORTH_ERR_DATA, "%s: cannot be read: %s", path, strerror(errno));
    }
    free(line);
    free(path);
    return status;
}
