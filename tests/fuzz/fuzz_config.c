/* A YAML configuration: accepted, and then its resolved text gives the same configuration, or
 * refused as a mistake of usage. */
#include "fuzz.h"

#include <orthant/run/config.h>

#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    orth_config first, second;
    char *text = NULL, *again = NULL;
    orth_status status =
        orth_config_parse((const char *)data, (int64_t)size, "fuzz.yaml", NULL, 0, &first);
    fuzz_outcome(status, ORTH_ERR_USAGE);
    if (status != ORTH_OK)
        return 0;
    fuzz_check(orth_config_text(&first, &text) == ORTH_OK);
    fuzz_check(orth_config_parse(text, (int64_t)strlen(text), "again.yaml", NULL, 0, &second) ==
               ORTH_OK);
    fuzz_check(orth_config_text(&second, &again) == ORTH_OK);
    fuzz_check(strcmp(text, again) == 0);
    fuzz_check(orth_config_compatible(&first, &second, "fuzz.yaml") == ORTH_OK);
    fuzz_check(first.data_files.count == second.data_files.count);
    for (int64_t i = 0; i < first.data_files.count; i++)
        fuzz_check(strcmp(first.data_files.items[i], second.data_files.items[i]) == 0);
    free(text);
    free(again);
    orth_config_free(&first);
    orth_config_free(&second);
    return 0;
}
