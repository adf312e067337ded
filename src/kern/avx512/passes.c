#include "../passes.h"
#include "../sets.h"

const orth_passes orth_passes_avx512 = PASS_TABLE;
