#ifndef ORTHANT_KERN_THREADS_H
#define ORTHANT_KERN_THREADS_H

/** Threads that parallel regions of this process will have. */
int orth_threads_count(void);

/** Set that number; to be called before the first parallel region. */
void orth_threads_set(int count);

#endif
