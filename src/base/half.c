#include <orthant/base/half.h>

#include <string.h>

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float f16_value(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, rest = half & 0x7fffu;
    if (rest >= 0x7c00u) /* infinity, or a NaN that becomes quiet */
        return float_of(sign | 0x7f800000u | ((rest & 0x3ffu) << 13) |
                        (rest > 0x7c00u ? 0x400000u : 0u));
    if (rest >= 0x400u) /* normal: the exponent's bias goes from 15 to 127 */
        return float_of(sign | ((rest << 13) + (112u << 23)));
    return float_of(sign | bits_of((float)rest * 0x1p-24f));
}

void orth_f16_to_f32_portable(const uint16_t *in, int64_t count, float *out)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = f16_value(in[i]);
}

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("avx,f16c"))) static void f16_to_f32_f16c(const uint16_t *in, int64_t count,
                                                                float *out)
{
    int64_t i = 0;
    for (; i + 8 <= count; i += 8)
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const void *)(in + i))));
    for (; i < count; i++)
        out[i] = f16_value(in[i]);
}

void orth_f16_to_f32(const uint16_t *in, int64_t count, float *out)
{
    /* Every processor with AVX2 has F16C, a name that not every compiler knows in this question;
     * cpuid itself would cost microseconds in a virtual machine. */
    if (__builtin_cpu_supports("avx2"))
        f16_to_f32_f16c(in, count, out);
    else
        orth_f16_to_f32_portable(in, count, out);
}
#else
void orth_f16_to_f32(const uint16_t *in, int64_t count, float *out)
{
    orth_f16_to_f32_portable(in, count, out);
}
#endif

void orth_bf16_to_f32(const uint16_t *in, int64_t count, float *out)
{
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits = (uint32_t)in[i] << 16;
        out[i] = float_of((bits & 0x7fffffffu) > 0x7f800000u ? bits | 0x400000u : bits);
    }
}

static uint16_t f16_of(float value)
{
    uint32_t bits = bits_of(value), sign = (bits >> 16) & 0x8000u, rest = bits & 0x7fffffffu;
    if (rest > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | ((rest >> 13) & 0x3ffu));
    if (rest >= 0x47800000u) /* 65536 and above; 65520 to there overflow by rounding below */
        return (uint16_t)(sign | 0x7c00u);
    if (rest < 0x38800000u) {
        /* Below 2^-14 the unit is 2^-24. Adding 1/2, whose own unit that is, rounds to it. */
        return (uint16_t)(sign | (bits_of(float_of(rest) + 0.5f) - 0x3f000000u));
    }
    rest -= 112u << 23;
    return (uint16_t)(sign | ((rest + 0xfffu + ((rest >> 13) & 1u)) >> 13));
}

void orth_f32_to_f16(const float *in, int64_t count, uint16_t *out)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = f16_of(in[i]);
}

void orth_f32_to_bf16(const float *in, int64_t count, uint16_t *out)
{
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits = bits_of(in[i]);
        if ((bits & 0x7fffffffu) > 0x7f800000u)
            out[i] = (uint16_t)((bits >> 16) | 0x40u);
        else
            out[i] = (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
    }
}
