/* The lock file of a run directory: what it names as its holder is a host and a single process. */
#include "fuzz.h"

#include <orthant/run/lock.h>

#include <limits.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    orth_lock_holder holder, untouched;
    memset(&holder, 0x5A, sizeof holder);
    untouched = holder;
    if (orth_lock_parse(text, &holder)) {
        fuzz_check(memchr(holder.host, '\0', sizeof holder.host) && holder.host[0]);
        fuzz_check(memchr(holder.job, '\0', sizeof holder.job) && holder.job[0]);
        fuzz_check(holder.pid >= 1 && holder.pid <= INT_MAX);
        /* As it is written: the same holder. */
        char again[512];
        orth_lock_holder second;
        snprintf(again, sizeof again, "host %s\npid %lld\nstart %llu\njob %s\n", holder.host,
                 holder.pid, holder.start, holder.job);
        fuzz_check(orth_lock_parse(again, &second));
        fuzz_check(strcmp(second.host, holder.host) == 0 && second.pid == holder.pid &&
                   second.start == holder.start && strcmp(second.job, holder.job) == 0);
    } else {
        fuzz_check(memcmp(&holder, &untouched, sizeof holder) == 0);
    }
    free(text);
    return 0;
}
