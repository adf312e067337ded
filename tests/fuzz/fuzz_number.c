/* Number expressions: what is accepted prints and reads back as itself, and an exact integer is
 * the same number as a double. */
#include "fuzz.h"

#include <orthant/base/number.h>

#include <math.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return 0;
}

static void check_reason(const char *why)
{
    fuzz_check(strncmp(why, "is ", 3) == 0);
}

static void check_double(const char *text, double *value)
{
    double again = 0;
    char written[ORTH_NUMBER_ROOM];
    const char *why = orth_number_parse(text, value);
    if (why) {
        check_reason(why);
        *value = NAN;
        return;
    }
    fuzz_check(isfinite(*value));
    fuzz_check(orth_number_write(*value, written) == written);
    fuzz_check(strlen(written) < ORTH_NUMBER_ROOM);
    fuzz_check(orth_number_parse(written, &again) == NULL);
    fuzz_check(memcmp(&again, value, sizeof again) == 0);
}

static void check_integer(const char *text, double as_double)
{
    int64_t value = 0, again = 0;
    char written[32];
    const char *why = orth_number_integer(text, &value);
    if (why) {
        check_reason(why);
        return;
    }
    snprintf(written, sizeof written, "%lld", (long long)value);
    fuzz_check(orth_number_integer(written, &again) == NULL && again == value);
    /* The double goes through pow, which may be off in the last bits. */
    if (isfinite(as_double))
        fuzz_check(fabs(as_double - (double)value) <= 1e-12 * fabs((double)value));
}

static void check_time(const char *text)
{
    double seconds = -1, again = -1;
    const char *why = orth_number_time(text, &seconds);
    if (why) {
        check_reason(why);
        return;
    }
    long long whole = (long long)seconds;
    char written[32];
    fuzz_check(seconds >= 0 && seconds == (double)whole);
    snprintf(written, sizeof written, "%02lld:%02lld:%02lld", whole / 3600, whole / 60 % 60,
             whole % 60);
    fuzz_check(orth_number_time(written, &again) == NULL && again == seconds);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    double value;
    check_double(text, &value);
    check_integer(text, value);
    check_time(text);
    free(text);
    return 0;
}
