/* Overrides as the command line gives them (--set): one a line. What they make reads back. */
#include "fuzz.h"

#include <orthant/run/config.h>

#include <string.h>

enum { MOST = 16 };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *lines = fuzz_text(data, size), *rest = lines;
    const char *overrides[MOST];
    int64_t count = 0;
    for (char *line; count < MOST && (line = strsep(&rest, "\n"));)
        overrides[count++] = line;
    orth_config config, again;
    orth_status status = orth_config_parse(NULL, 0, NULL, overrides, count, &config);
    fuzz_outcome(status, ORTH_ERR_USAGE);
    if (status == ORTH_OK) {
        char *text = NULL;
        fuzz_check(orth_config_text(&config, &text) == ORTH_OK);
        fuzz_check(orth_config_parse(text, (int64_t)strlen(text), "again", NULL, 0, &again) ==
                   ORTH_OK);
        fuzz_check(orth_config_compatible(&config, &again, "again") == ORTH_OK);
        free(text);
        orth_config_free(&again);
        orth_config_free(&config);
    }
    free(lines);
    return 0;
}
