/* The page: a template in whose {{places}} the embedded files and the document go. */
#include "report_parts.h"

#include <orthant/base/embedded.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* src/report/page/ and Chart.js (OrthEmbed.cmake). */
extern const struct orth_file orth_page_files[];

/* Scripts and styles run that carry it; nothing that data may smuggle in does. */
typedef struct nonce {
    char text[33];
} nonce;

static orth_status make_nonce(nonce *out)
{
    uint64_t random[2];
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return orth_fail(ORTH_ERR_ENVIRONMENT, "report: no random numbers: %s; see to /dev/urandom",
                         strerror(errno));
    snprintf(out->text, sizeof out->text, "%016" PRIx64 "%016" PRIx64, random[0], random[1]);
    return ORTH_OK;
}

static const struct orth_file *find_file(const char *name, size_t length)
{
    for (const struct orth_file *file = orth_page_files; file->name; file++)
        if (strlen(file->name) == length && strncmp(file->name, name, length) == 0)
            return file;
    return NULL;
}

/* In a script element "<" may begin its end, or a comment. JSON has it in strings alone. */
static void write_document(const char *json, FILE *out)
{
    for (const char *next; (next = strchr(json, '<')); json = next + 1) {
        fwrite(json, 1, (size_t)(next - json), out);
        fputs("\\u003c", out);
    }
    fputs(json, out);
}

/* What stands in {{name}}: a file, the document or the nonce; without Chart.js its place is empty.
 */
static void write_place(const char *name, size_t length, const char *json, const nonce *key,
                        FILE *out)
{
    const struct orth_file *file = find_file(name, length);
    if (file)
        fwrite(file->begin, 1, (size_t)(file->end - file->begin), out);
    else if (length == 4 && strncmp(name, "data", 4) == 0)
        write_document(json, out);
    else if (length == 5 && strncmp(name, "nonce", 5) == 0)
        fputs(key->text, out);
}

static void write_page(const char *json, const nonce *key, FILE *out)
{
    const struct orth_file *template = find_file("page.html", strlen("page.html"));
    const char *text = template->begin;
    for (const char *place; (place = strstr(text, "{{"));) {
        const char *end = strstr(place, "}}");
        fwrite(text, 1, (size_t)(place - text), out);
        write_place(place + 2, (size_t)(end - place - 2), json, key, out);
        text = end + 2;
    }
    fputs(text, out);
}

orth_status orth_report_page(const json_t *document, char **out, size_t *length)
{
    nonce key;
    ORTH_TRY(make_nonce(&key));
    char *json = json_dumps(document, JSON_REAL_PRECISION(17) | JSON_COMPACT), *page = NULL;
    FILE *stream = json ? open_memstream(&page, length) : NULL;
    bool failed = !stream;
    if (stream) {
        write_page(json, &key, stream);
        failed = ferror(stream) != 0;
        failed = fclose(stream) != 0 || failed;
    }
    free(json);
    if (failed) {
        free(page);
        return orth_fail(ORTH_ERR_ENVIRONMENT,
                         "report: out of memory for the page; lower --latents or free memory");
    }
    *out = page;
    return ORTH_OK;
}
