#include "../passes.h"
#include "../sets.h"

const orth_passes orth_passes_avx2 = PASS_TABLE;
