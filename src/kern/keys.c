#include <orthant/kern/keys.h>

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

uint64_t orth_keys_kth(uint64_t *keys, int64_t n, int64_t k)
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

int64_t orth_keys_filter(uint64_t *keys, int64_t n, uint64_t cut)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++) {
        uint64_t key = keys[i];
        keys[kept] = key;
        kept += key >= cut;
    }
    return kept;
}
