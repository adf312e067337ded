#ifndef ORTHANT_APP_BLAS_CORE_H
#define ORTHANT_APP_BLAS_CORE_H

/**
 * Where OpenBLAS chose kernels that are slow on this processor, start the program again with better
 * ones: it chooses only when it is loaded. Does not return then. At most once, told by
 * ORTH_BLAS_CORE_CHOSEN in the environment, and never where the user set OPENBLAS_CORETYPE. To be
 * called first in main. Signals that ask a run to stop are kept for the new start. Local.
 */
void orth_blas_core_restart(char **argv);

/** Let in the signals that orth_blas_core_restart kept; to be called when their handlers are set.
 * Local. */
void orth_blas_core_release_signals(void);

#endif
