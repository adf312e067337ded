/* Cutting metrics.jsonl back: what is kept are whole good lines, in their order, of steps up to the
 * given one, and a second look at them keeps all. */
#include "fuzz.h"

#include <orthant/run/metrics.h>

#include <jansson.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return 0;
}

static orth_metrics_kept keep(const char *text, size_t size, int64_t step, int64_t rollbacks,
                              char **out, size_t *out_size)
{
    FILE *copy = open_memstream(out, out_size);
    FILE *lines = size ? fmemopen((void *)(uintptr_t)text, size, "r") : fopen("/dev/null", "r");
    fuzz_check(lines && copy);
    orth_metrics_kept kept = orth_metrics_keep(lines, step, rollbacks, copy);
    fuzz_check(!ferror(lines) && !ferror(copy));
    fclose(lines);
    fclose(copy);
    return kept;
}

/* What should be kept, by an own reading: adds up the lines' lengths and counts them. */
static void expect(const char *text, size_t size, int64_t step, int64_t rollbacks, int64_t *lines,
                   size_t *bytes)
{
    *lines = 0;
    *bytes = 0;
    for (const char *end; (end = size ? memchr(text, '\n', size) : NULL); text = end + 1) {
        size_t length = (size_t)(end - text) + 1;
        json_t *object = json_loadb(text, length, 0, NULL);
        json_t *value = json_object_get(object, "step");
        json_int_t found = json_is_integer(value) ? json_integer_value(value) : -1;
        json_t *rollback = json_object_get(object, "rollback");
        json_int_t number = json_integer_value(json_object_get(rollback, "number"));
        json_decref(object);
        size -= length;
        if (found > step || (found >= 0 && number > rollbacks))
            return;
        *lines += found >= 0;
        *bytes += found >= 0 ? length : 0;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    int64_t step = (int64_t)fuzz_word(&input, 4), rollbacks = fuzz_byte(&input);
    const char *text = (const char *)input.data;
    char *once = NULL, *twice = NULL;
    size_t once_size = 0, twice_size = 0;
    orth_metrics_kept kept = keep(text, input.size, step, rollbacks, &once, &once_size);
    fuzz_check(kept.end >= 0 && kept.end <= (int64_t)input.size && kept.bad >= 0);
    fuzz_check((int64_t)once_size <= kept.end);
    int64_t lines;
    size_t bytes;
    expect(text, input.size, step, rollbacks, &lines, &bytes);
    fuzz_check(lines == kept.lines && bytes == once_size);
    if (kept.bad == 0)
        fuzz_check((int64_t)once_size == kept.end && memcmp(once, text, once_size) == 0);
    orth_metrics_kept again = keep(once, once_size, step, rollbacks, &twice, &twice_size);
    fuzz_check(again.bad == 0 && again.lines == kept.lines && twice_size == once_size);
    free(once);
    free(twice);
    return 0;
}
