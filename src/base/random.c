#include <orthant/base/random.h>

#include <Random123/philox.h>
#include <math.h>

static philox4x32_ctr_t philox(uint64_t seed, orth_random_stream stream, uint64_t i, uint64_t j)
{
    /* The stream shares a counter word with the top of j, which never needs its upper 8 bits. */
    philox4x32_ctr_t counter = {{(uint32_t)i, (uint32_t)(i >> 32), (uint32_t)j,
                                 (uint32_t)((j >> 32) & 0xffffffu) | ((uint32_t)stream << 24)}};
    philox4x32_key_t key = {{(uint32_t)seed, (uint32_t)(seed >> 32)}};
    return philox4x32(counter, key);
}

static double to_unit(uint32_t low, uint32_t high)
{
    return (double)((((uint64_t)high << 32) | low) >> 11) * 0x1p-53;
}

uint64_t orth_random_bits(uint64_t seed, orth_random_stream stream, uint64_t i, uint64_t j)
{
    philox4x32_ctr_t r = philox(seed, stream, i, j);
    return ((uint64_t)r.v[1] << 32) | r.v[0];
}

double orth_random_uniform(uint64_t seed, orth_random_stream stream, uint64_t i, uint64_t j)
{
    philox4x32_ctr_t r = philox(seed, stream, i, j);
    return to_unit(r.v[0], r.v[1]);
}

double orth_random_normal(uint64_t seed, orth_random_stream stream, uint64_t i, uint64_t j)
{
    philox4x32_ctr_t r = philox(seed, stream, i, j);
    double radius = sqrt(-2.0 * log(1.0 - to_unit(r.v[0], r.v[1])));
    return radius * cos(6.283185307179586476925 * to_unit(r.v[2], r.v[3]));
}
