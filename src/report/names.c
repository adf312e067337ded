/* What the models are called: as many last parts of their paths as tell them apart. */
#include "report_parts.h"

#include <orthant/base/memory.h>
#include <orthant/base/path.h>

#include <stdlib.h>
#include <string.h>

typedef struct name {
    const char *path;
    size_t begin, end; ///< the part of the path that it is
    bool shared;       ///< another model is called so as well
} name;

static void lengthen(name *n)
{
    while (n->begin > 0 && n->path[n->begin - 1] == '/')
        n->begin--;
    while (n->begin > 0 && n->path[n->begin - 1] != '/')
        n->begin--;
}

static name start(const char *path)
{
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        length--;
    name n = {.path = path, .begin = length, .end = length};
    lengthen(&n);
    return n;
}

static bool same(const name *a, const name *b)
{
    return a->end - a->begin == b->end - b->begin &&
           strncmp(a->path + a->begin, b->path + b->begin, a->end - a->begin) == 0;
}

/* All that are called alike get one more part of their paths, as far as these go. */
static bool lengthen_shared(name *names, size_t count)
{
    bool changed = false;
    for (size_t i = 0; i < count; i++) {
        names[i].shared = false;
        for (size_t k = 0; k < count; k++)
            names[i].shared = names[i].shared || (i != k && same(&names[i], &names[k]));
    }
    for (size_t i = 0; i < count; i++)
        if (names[i].shared && names[i].begin > 0) {
            lengthen(&names[i]);
            changed = true;
        }
    return changed;
}

/* A path that is given twice is numbered. */
static orth_status set_name(const name *names, size_t i, json_t *model)
{
    size_t before = 0;
    char number[32] = "", *text = NULL;
    for (size_t k = 0; k < i; k++)
        before += same(&names[k], &names[i]);
    if (before > 0)
        snprintf(number, sizeof number, " (%zu)", before + 1);
    ORTH_TRY(orth_path_format(&text, "%.*s%s", (int)(names[i].end - names[i].begin),
                              names[i].path + names[i].begin, number));
    orth_json_set_text(model, "name", text);
    free(text);
    return ORTH_OK;
}

orth_status orth_report_names(json_t *models)
{
    size_t count = json_array_size(models);
    orth_status status = ORTH_OK;
    name *names = orth_calloc(count > 0 ? count : 1, sizeof *names);
    if (!names)
        return orth_fail(ORTH_ERR_ENVIRONMENT, "report: out of memory; free memory");
    for (size_t i = 0; i < count; i++)
        names[i] = start(json_string_value(json_object_get(json_array_get(models, i), "path")));
    while (lengthen_shared(names, count))
        continue;
    for (size_t i = 0; status == ORTH_OK && i < count; i++)
        status = set_name(names, i, json_array_get(models, i));
    free(names);
    return status;
}
