#include <orthant/kern/keys.h>

#include <orthant/kern/table.h>

/* Keys that are ordered one by one; more are halved, by whole vectors, until as few are left. */
enum { FEW = 24 };

static inline void swap_keys(uint64_t *a, uint64_t *b)
{
    uint64_t t = *a;
    *a = *b;
    *b = t;
}

static uint64_t median_of_three(uint64_t a, uint64_t b, uint64_t c)
{
    if (a < b)
        return b < c ? b : a < c ? c : a;
    return a < c ? a : b < c ? c : b;
}

static uint64_t kth_of_few(uint64_t *keys, int64_t n, int64_t k)
{
    int64_t low = 0, high = n - 1, wanted = k - 1;
    while (low < high) {
        uint64_t pivot = median_of_three(keys[low], keys[low + (high - low) / 2], keys[high]);
        int64_t i = low, j = high;
        while (i <= j) {
            while (keys[i] > pivot)
                i++;
            while (keys[j] < pivot)
                j--;
            if (i <= j)
                swap_keys(keys + i++, keys + j--);
        }
        if (wanted <= j)
            high = j;
        else if (wanted >= i)
            low = i;
        else
            break;
    }
    return keys[wanted];
}

uint64_t orth_keys_kth(uint64_t *keys, int64_t n, int64_t k)
{
    const orth_key_kernels *kernels = orth_kernels_get()->keys;
    while (n > FEW) {
        uint64_t a = median_of_three(keys[0], keys[n / 8], keys[n / 4]);
        uint64_t b = median_of_three(keys[3 * n / 8], keys[n / 2], keys[5 * n / 8]);
        uint64_t c = median_of_three(keys[3 * n / 4], keys[7 * n / 8], keys[n - 1]);
        uint64_t pivot = median_of_three(a, b, c);
        int64_t equal, above = kernels->count(keys, n, pivot, &equal);
        if (k <= above) {
            n = kernels->keep_from(keys, n, pivot + 1);
        } else if (k <= above + equal) {
            return pivot;
        } else {
            n = kernels->keep_below(keys, n, pivot);
            k -= above + equal;
        }
    }
    return kth_of_few(keys, n, k);
}

int64_t orth_keys_filter(uint64_t *keys, int64_t n, uint64_t cut)
{
    return orth_kernels_get()->keys->keep_from(keys, n, cut);
}
