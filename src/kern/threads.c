#include <orthant/kern/threads.h>

#include <omp.h>

int orth_threads_count(void)
{
    return omp_get_max_threads();
}

void orth_threads_set(int count)
{
    omp_set_num_threads(count);
}
