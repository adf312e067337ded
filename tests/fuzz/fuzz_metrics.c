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

static orth_metrics_kept keep(const char *text, size_t size, int64_t step, char **out,
                              size_t *out_size)
{
    FILE *copy = open_memstream(out, out_size);
    FILE *lines = size ? fmemopen((void *)(uintptr_t)text, size, "r") : fopen("/dev/null", "r");
    fuzz_check(lines && copy);
    orth_metrics_kept kept = orth_metrics_keep(lines, step, copy);
    fuzz_check(!ferror(lines) && !ferror(copy));
    fclose(lines);
    fclose(copy);
    return kept;
}

/* Every line of the text, by an own reading. */
static int64_t check_lines(const char *text, size_t size, int64_t step)
{
    int64_t count = 0;
    for (size_t at = 0; at < size; count++) {
        const char *end = memchr(text + at, '\n', size - at);
        fuzz_check(end != NULL);
        json_t *object = json_loadb(text + at, (size_t)(end - text) - at, 0, NULL);
        json_int_t found = json_integer_value(json_object_get(object, "step"));
        fuzz_check(json_is_object(object) && found >= 0 && found <= step);
        json_decref(object);
        at = (size_t)(end - text) + 1;
    }
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    int64_t step = (int64_t)(fuzz_word(&input, 4));
    const char *text = (const char *)input.data;
    char *once = NULL, *twice = NULL;
    size_t once_size = 0, twice_size = 0;
    orth_metrics_kept kept = keep(text, input.size, step, &once, &once_size);
    fuzz_check(kept.end >= 0 && kept.end <= (int64_t)input.size && kept.bad >= 0);
    fuzz_check((int64_t)once_size <= kept.end);
    fuzz_check(check_lines(once, once_size, step) == kept.lines);
    if (kept.bad == 0)
        fuzz_check((int64_t)once_size == kept.end && memcmp(once, text, once_size) == 0);
    orth_metrics_kept again = keep(once, once_size, step, &twice, &twice_size);
    fuzz_check(again.bad == 0 && again.lines == kept.lines && twice_size == once_size);
    free(once);
    free(twice);
    return 0;
}
