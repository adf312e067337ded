#include <orthant/io/shuffle.h>

#include <orthant/base/random.h>

enum { BLOCK = 64, WINDOW = 1024 * BLOCK, ROUNDS = 6 };

/*
 * A keyed permutation of [0, size): a Feistel network on just enough bits for `size`, whose halves
 * may differ by a bit, walked again from a value outside until one is inside. The power of two is
 * less than twice `size`, so that is less than two walks on average.
 */
typedef struct permutation {
    uint64_t seed;
    uint64_t key; ///< counter word of the generator, round number in the low 4 bits
    int64_t size;
    int low_bits;
    int high_bits;
} permutation;

/* One for the blocks of an epoch (unit 0) and one for each window (unit 1 + window). 28 bits are
 * left for the epoch. */
static permutation make_permutation(const orth_shuffle *shuffle, int64_t unit, int64_t size)
{
    int bits = 0;
    while (((int64_t)1 << bits) < size)
        bits++;
    return (permutation){.seed = shuffle->seed,
                         .key = ((uint64_t)shuffle->epoch << 36) | ((uint64_t)unit << 4),
                         .size = size,
                         .low_bits = bits - bits / 2,
                         .high_bits = bits / 2};
}

/* Even rounds change the high half by a random function of the low one, odd rounds the reverse. */
static uint64_t apply_round(const permutation *p, int round, uint64_t value)
{
    uint64_t low_mask = ((uint64_t)1 << p->low_bits) - 1;
    uint64_t high_mask = ((uint64_t)1 << p->high_bits) - 1;
    uint64_t low = value & low_mask, high = value >> p->low_bits;
    uint64_t random = orth_random_bits(p->seed, ORTH_RANDOM_SHUFFLE, p->key | (uint64_t)round,
                                       round % 2 ? high : low);
    if (round % 2)
        low ^= random & low_mask;
    else
        high ^= random & high_mask;
    return (high << p->low_bits) | low;
}

static int64_t permute(const permutation *p, int64_t index)
{
    uint64_t value = (uint64_t)index;
    do
        for (int round = 0; round < ROUNDS; round++)
            value = apply_round(p, round, value);
    while (value >= (uint64_t)p->size);
    return (int64_t)value;
}

/* Every round is its own inverse. */
static int64_t permute_back(const permutation *p, int64_t index)
{
    uint64_t value = (uint64_t)index;
    do
        for (int round = ROUNDS - 1; round >= 0; round--)
            value = apply_round(p, round, value);
    while (value >= (uint64_t)p->size);
    return (int64_t)value;
}

static permutation block_order(const orth_shuffle *shuffle)
{
    return make_permutation(shuffle, 0, (shuffle->rows + BLOCK - 1) / BLOCK);
}

orth_shuffle orth_shuffle_create(int64_t rows, int64_t seed, int64_t epoch, bool shuffled)
{
    orth_shuffle shuffle = {
        .rows = rows, .seed = (uint64_t)seed, .epoch = epoch, .shuffled = shuffled};
    if (shuffled && rows > 0) {
        permutation blocks = block_order(&shuffle);
        shuffle.short_slot = permute_back(&blocks, blocks.size - 1);
    }
    return shuffle;
}

int64_t orth_shuffle_row(const orth_shuffle *shuffle, int64_t position)
{
    if (!shuffle->shuffled)
        return position;
    int64_t window = position / WINDOW, begin = window * WINDOW;
    int64_t size = shuffle->rows - begin < WINDOW ? shuffle->rows - begin : WINDOW;
    permutation inside = make_permutation(shuffle, 1 + window, size);
    int64_t at = begin + permute(&inside, position - begin);

    /* `at` counts rows along the shuffled blocks, all full but the one in short_slot. */
    permutation blocks = block_order(shuffle);
    int64_t missing = blocks.size * BLOCK - shuffle->rows;
    if (at >= (shuffle->short_slot + 1) * BLOCK - missing)
        at += missing;
    return permute(&blocks, at / BLOCK) * BLOCK + at % BLOCK;
}
