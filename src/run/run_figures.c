#include <orthant/run/run_figures.h>

#include <orthant/base/memory.h>
#include <orthant/run/config.h>
#include <orthant/run/json_value.h>
#include <orthant/run/run_dir.h>

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- files ---- */

/* Open `<folder>/<name>`; NULL with errno set where it cannot be. */
static orth_status open_in(const char *folder, const char *name, FILE **out)
{
    char *path = NULL;
    ORTH_TRY(orth_path_format(&path, "%s/%s", folder, name));
    *out = fopen(path, "re");
    free(path);
    return ORTH_OK;
}

/* The last whole line that holds `word`, without its end; NULL when there is none. Lines of ours
 * are whole; what a killed run left after the last line end is not one. */
static orth_status last_line(FILE *file, const char *word, char **out)
{
    char *line = NULL, *kept = NULL;
    size_t room = 0, kept_room = 0;
    bool found = false;
    for (ssize_t length; (length = getline(&line, &room, file)) > 0;) {
        if (line[length - 1] != '\n' || !strstr(line, word))
            continue;
        line[length - 1] = '\0';
        char *swap = kept;
        size_t swap_room = kept_room;
        kept = line;
        kept_room = room;
        line = swap;
        room = swap_room;
        found = true;
    }
    bool failed = ferror(file) != 0 || errno == ENOMEM;
    free(line);
    if (found && !failed) {
        *out = kept;
        return ORTH_OK;
    }
    free(kept);
    return failed ? orth_fail(ORTH_ERR_ENVIRONMENT,
                              "run folder: a file cannot be read: %s; try again", strerror(errno))
                  : ORTH_OK;
}

static orth_status line_of(const char *folder, const char *name, const char *word, char **out)
{
    FILE *file = NULL;
    ORTH_TRY(open_in(folder, name, &file));
    if (!file)
        return ORTH_OK;
    errno = 0;
    orth_status status = last_line(file, word, out);
    fclose(file);
    return status;
}

/* ---- what they say ---- */

static int64_t integer_of(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_integer(value) ? (int64_t)json_integer_value(value) : 0;
}

/* A damaged configuration is told in its own words, and is no error of this program. */
static orth_status read_config(const char *path, orth_run_figures *run)
{
    char *file = NULL;
    orth_config config = {0};
    ORTH_TRY(orth_path_format(&file, "%s/config.yaml", path));
    orth_status status = orth_config_load(file, NULL, 0, &config);
    free(file);
    if (status == ORTH_ERR_ENVIRONMENT)
        return status;
    if (status != ORTH_OK) {
        run->state = ORTH_RUN_UNREADABLE;
        status = orth_path_format(&run->why, "%s", orth_error_text());
        orth_error_clear();
        return status;
    }
    const orth_recipe *recipe = &config.recipe;
    run->selection = recipe->selection;
    run->n_latent = recipe->n_latent;
    run->k = recipe->k;
    run->steps = config.run_steps;
    if (run->steps == 0 && config.run_tokens > 0)
        run->steps = config.run_tokens / recipe->batch + (config.run_tokens % recipe->batch != 0);
    orth_config_free(&config);
    return ORTH_OK;
}

static orth_status read_metrics(const char *path, orth_run_figures *run)
{
    char *line = NULL;
    ORTH_TRY(line_of(path, "metrics.jsonl", "\"loss\":", &line));
    if (!line) {
        run->state = ORTH_RUN_UNFINISHED;
        return orth_path_format(&run->why, "metrics.jsonl has no step yet");
    }
    json_t *object = json_loads(line, 0, NULL);
    free(line);
    if (!json_is_object(object)) {
        json_decref(object);
        run->state = ORTH_RUN_UNREADABLE;
        return orth_path_format(&run->why, "the last step in metrics.jsonl is damaged");
    }
    run->step = integer_of(object, "step");
    run->tokens = integer_of(object, "tokens");
    run->loss = orth_json_number_at(object, "loss");
    run->train_mse = orth_json_number_at(object, "mse");
    run->train_fvu = orth_json_number_at(object, "fvu");
    run->train_l0 = orth_json_number_at(object, "l0");
    json_decref(object);
    return ORTH_OK;
}

/* The step of "step-000000300.json", 0 when it is another name. */
static int64_t step_of_name(const char *name)
{
    long long step = 0;
    int end = 0;
    return sscanf(name, "step-%lld.json%n", &step, &end) == 1 && end > 0 && name[end] == '\0' ? step
                                                                                              : 0;
}

/* The newest evaluation that the run did not go back behind. */
static orth_status newest_evaluation(const char *path, int64_t until, int64_t *newest)
{
    char *folder = NULL;
    ORTH_TRY(orth_path_format(&folder, "%s/eval", path));
    DIR *entries = opendir(folder);
    free(folder);
    *newest = 0;
    for (const struct dirent *entry; entries && (entry = readdir(entries));) {
        int64_t step = step_of_name(entry->d_name);
        if (step > *newest && step <= until)
            *newest = step;
    }
    if (entries)
        closedir(entries);
    return ORTH_OK;
}

static orth_status read_evaluation(const char *path, orth_run_figures *run)
{
    char name[64];
    FILE *file = NULL;
    int64_t newest;
    ORTH_TRY(newest_evaluation(path, run->step, &newest));
    if (newest == 0)
        return ORTH_OK;
    snprintf(name, sizeof name, "eval/step-%09" PRId64 ".json", newest);
    ORTH_TRY(open_in(path, name, &file));
    json_t *object = file ? json_loadf(file, 0, NULL) : NULL;
    if (file)
        fclose(file);
    if (!json_is_object(object)) {
        json_decref(object);
        run->state = ORTH_RUN_UNREADABLE;
        return orth_path_format(&run->why, "%s is damaged or cannot be read", name);
    }
    run->evaluated = true;
    run->eval_step = newest;
    run->eval_tokens = integer_of(object, "tokens");
    run->mse = orth_json_number_at(object, "mse");
    run->nmse = orth_json_number_at(object, "nmse");
    run->fvu = orth_json_number_at(object, "fvu");
    run->l0 = orth_json_number_at(json_object_get(object, "l0"), "mean");
    run->elbo = orth_json_number_at(json_object_get(object, "elbo"), "median");
    run->dead = integer_of(object, "dead");
    if (run->n_latent == 0)
        run->n_latent = integer_of(object, "n_latent");
    json_decref(object);
    return ORTH_OK;
}

/* A run whose length depends on its data says itself that it has ended; every run says why it
 * failed. */
static orth_status judge(const char *path, orth_run_figures *run)
{
    char *line = NULL;
    static const char done[] = "orthant: done: ", error[] = "orthant: error: ";
    ORTH_TRY(line_of(path, "orthant.log", "", &line));
    bool ended = line && strncmp(line, done, strlen(done)) == 0;
    bool failed = line && strncmp(line, error, strlen(error)) == 0;
    orth_status status = ORTH_OK;
    run->state = ORTH_RUN_UNFINISHED;
    if (run->steps > 0 ? run->step >= run->steps : ended)
        run->state = ORTH_RUN_DONE;
    else if (failed)
        status = orth_path_format(&run->why, "failed after step %" PRId64 ": %s", run->step,
                                  line + strlen(error));
    else if (run->steps > 0)
        status = orth_path_format(&run->why, "unfinished: step %" PRId64 " of %" PRId64, run->step,
                                  run->steps);
    else
        status = orth_path_format(&run->why, "unfinished: step %" PRId64, run->step);
    free(line);
    return status;
}

static orth_status read_run(const char *path, orth_run_figures *run)
{
    ORTH_TRY(orth_path_format(&run->path, "%s", path));
    ORTH_TRY(read_config(path, run));
    if (!run->why)
        ORTH_TRY(read_metrics(path, run));
    if (!run->why)
        ORTH_TRY(read_evaluation(path, run));
    if (!run->why)
        ORTH_TRY(judge(path, run));
    if (run->why)
        orth_one_line(run->why);
    return ORTH_OK;
}

orth_status orth_run_figures_read(const char *path, orth_run_figures *out)
{
    orth_run_figures run = {.loss = NAN,
                            .train_mse = NAN,
                            .train_fvu = NAN,
                            .train_l0 = NAN,
                            .mse = NAN,
                            .nmse = NAN,
                            .fvu = NAN,
                            .l0 = NAN,
                            .elbo = NAN};
    orth_status status = read_run(path, &run);
    if (status == ORTH_OK)
        *out = run;
    else
        orth_run_figures_free(&run);
    return status;
}

double orth_run_sparsity(const orth_run_figures *run)
{
    if (run->selection == ORTH_SELECT_TOPK || run->selection == ORTH_SELECT_BATCHTOPK)
        return run->k > 0 ? (double)run->k : NAN;
    return run->evaluated ? run->l0 : run->train_l0;
}

void orth_run_figures_free(orth_run_figures *run)
{
    free(run->path);
    free(run->why);
    memset(run, 0, sizeof *run);
}
