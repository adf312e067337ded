#include <orthant/par/partition.h>

orth_range orth_partition(int64_t total, int64_t parts, int64_t index)
{
    int64_t base = total / parts, larger = total % parts;
    int64_t begin = index * base + (index < larger ? index : larger);
    return (orth_range){begin, begin + base + (index < larger ? 1 : 0)};
}

int64_t orth_partition_largest(int64_t total, int64_t parts)
{
    return total / parts + (total % parts != 0);
}

int64_t orth_partition_owner(int64_t total, int64_t parts, int64_t item)
{
    int64_t base = total / parts, larger = total % parts;
    if (item < larger * (base + 1))
        return item / (base + 1);
    return larger + (item - larger * (base + 1)) / base;
}
