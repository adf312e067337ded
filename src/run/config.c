#include "keys.h"

#include <orthant/base/memory.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A configuration is a page; a file beyond this is something else. */
enum { TEXT_MOST = 1 << 20 };

static orth_status set_defaults(orth_config *config)
{
    for (const orth_key *key = orth_keys; key->path; key++) {
        if (!key->fallback)
            continue;
        orth_raw_value value = {0};
        orth_origin origin = {0};
        orth_status status =
            orth_raw_value_add(&value, key->fallback, strlen(key->fallback), origin);
        if (status == ORTH_OK)
            status = orth_key_store(key, &value, origin, config);
        orth_raw_value_free(&value);
        ORTH_TRY(status);
    }
    return ORTH_OK;
}

/* One "key=value" of the command line. */
static orth_status give_override(orth_config_loader *loader, const char *text)
{
    static const orth_origin origin = {.source = "--set", .line = 0};
    const char *equals = strchr(text, '=');
    if (!equals || equals == text)
        return orth_fail(ORTH_ERR_USAGE, "--set: '%.200s' is not key=value; write for example %s",
                         text, "--set model.k=64");
    char path[128], name[160];
    /* A cut key is longer than any in the table, so it stays unknown. */
    snprintf(path, sizeof path, "%.*s", (int)(equals - text < 127 ? equals - text : 127), text);
    snprintf(name, sizeof name, "--set %s", path);
    const char *content = equals + 1;
    int index = orth_key_find(path);
    orth_raw_value value = {0};
    orth_status status;
    if (index >= 0 && orth_keys[index].type == ORTH_KEY_STRINGS && content[0] == '[')
        status = orth_yaml_list(content, name, &value);
    else
        status = orth_raw_value_add(&value, content, strlen(content), origin);
    if (status == ORTH_OK)
        status = orth_config_give(loader, path, &value, origin);
    orth_raw_value_free(&value);
    return status;
}

static orth_status fill(orth_config_loader *loader, const char *text, int64_t length,
                        const char *name, const char *const *overrides, int64_t n_override)
{
    ORTH_TRY(set_defaults(loader->config));
    if (text)
        ORTH_TRY(orth_yaml_read(text, length, name, loader));
    for (int64_t i = 0; i < n_override; i++)
        ORTH_TRY(give_override(loader, overrides[i]));
    return orth_config_check(loader);
}

orth_status orth_config_parse(const char *text, int64_t length, const char *name,
                              const char *const *overrides, int64_t n_override, orth_config *out)
{
    orth_config config = {0};
    orth_config_loader loader = {.config = &config};
    orth_status status = fill(&loader, text, length, name, overrides, n_override);
    if (status == ORTH_OK)
        *out = config;
    else
        orth_config_free(&config);
    return status;
}

static orth_status read_open_file(FILE *file, const char *path, char **text, int64_t *length)
{
    struct stat info;
    if (fstat(fileno(file), &info) == 0 && S_ISDIR(info.st_mode))
        return orth_fail(ORTH_ERR_USAGE, "%.1000s: is a folder; name the configuration file", path);
    char *content = orth_malloc(TEXT_MOST + 1);
    if (!content)
        return orth_fail(ORTH_ERR_ENVIRONMENT, "%.1000s: out of memory; free some on this host",
                         path);
    size_t got = fread(content, 1, TEXT_MOST + 1, file);
    if (ferror(file) || got > TEXT_MOST) {
        free(content);
        return ferror(file) ? orth_fail(ORTH_ERR_USAGE, "%.1000s: cannot be read: %s; check it",
                                        path, strerror(errno))
                            : orth_fail(ORTH_ERR_USAGE,
                                        "%.1000s: longer than %d bytes, so not a configuration; "
                                        "check the path",
                                        path, TEXT_MOST);
    }
    *text = content;
    *length = (int64_t)got;
    return ORTH_OK;
}

static orth_status read_file(const char *path, char **text, int64_t *length)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return orth_fail(ORTH_ERR_USAGE, "%.1000s: cannot be opened: %s; check the path", path,
                         strerror(errno));
    orth_status status = read_open_file(file, path, text, length);
    fclose(file);
    return status;
}

orth_status orth_config_load(const char *path, const char *const *overrides, int64_t n_override,
                             orth_config *out)
{
    char *text = NULL;
    int64_t length = 0;
    if (path)
        ORTH_TRY(read_file(path, &text, &length));
    orth_status status = orth_config_parse(text, length, path, overrides, n_override, out);
    free(text);
    return status;
}

void orth_config_free(orth_config *config)
{
    orth_strings *lists[] = {&config->data_files, &config->data_eval_files};
    for (size_t l = 0; l < sizeof lists / sizeof *lists; l++) {
        for (int64_t i = 0; i < lists[l]->count; i++)
            free(lists[l]->items[i]);
        free(lists[l]->items);
    }
    free(config->run_dir);
    free(config->data_dataset);
    free(config->init_file);
    *config = (orth_config){0};
}
