/* Rows of 16-bit floats: the fast and the portable conversion agree, and every value that is no NaN
 * comes back from float as it was. */
#include "fuzz.h"

#include <orthant/base/half.h>

#include <math.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return 0;
}

static void check_back(const uint16_t *in, const uint16_t *back, const float *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        fuzz_check(isnan(values[i]) || back[i] == in[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t count = (int64_t)(size / 2);
    size_t room = (size_t)count + 1;
    uint16_t *in = calloc(room, sizeof *in), *back = calloc(room, sizeof *back);
    float *fast = malloc(room * sizeof *fast), *plain = malloc(room * sizeof *plain);
    fuzz_check(in && back && fast && plain);
    if (count)
        memcpy(in, data, (size_t)count * sizeof *in);
    orth_f16_to_f32(in, count, fast);
    orth_f16_to_f32_portable(in, count, plain);
    fuzz_check(memcmp(fast, plain, (size_t)count * sizeof *fast) == 0);
    orth_f32_to_f16(fast, count, back);
    check_back(in, back, fast, count);
    orth_bf16_to_f32(in, count, fast);
    orth_f32_to_bf16(fast, count, back);
    check_back(in, back, fast, count);
    free(in);
    free(back);
    free(fast);
    free(plain);
    return 0;
}
