/* The header of a safetensors file: the tensors of an accepted one fill its data exactly, and each
 * has the bytes of its type and shape. */
#include "fuzz.h"

#include <orthant/foreign/safetensors.h>

#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return 0;
}

static void check_tensor(const orth_safetensors *file, const orth_tensor *tensor, int64_t at)
{
    int64_t bytes = orth_tensor_type_size(tensor->type);
    fuzz_check(tensor->rank >= 0 && tensor->rank <= ORTH_TENSOR_RANK_MOST);
    for (int i = 0; i < ORTH_TENSOR_RANK_MOST; i++) {
        fuzz_check(tensor->shape[i] >= 0 && (i < tensor->rank || tensor->shape[i] == 1));
        bytes *= tensor->shape[i];
    }
    fuzz_check(tensor->begin == at && tensor->end - tensor->begin == bytes);
    fuzz_check(orth_safetensors_find(file, tensor->name) == tensor);
}

/* The first byte gives how many more bytes the file has than are given, times 16. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    int64_t more = 16 * (int64_t)fuzz_byte(&input), length = (int64_t)input.size;
    orth_safetensors file;
    orth_status status = orth_safetensors_parse((const char *)input.data, length, length + more,
                                                "fuzz.safetensors", &file);
    /* Internal: the header is said to reach into what was not given. */
    fuzz_outcome(status, ORTH_ERR_CORRUPT, more ? ORTH_ERR_INTERNAL : ORTH_ERR_CORRUPT);
    if (status != ORTH_OK)
        return 0;
    int64_t at = 8;
    for (int i = 0; i < 8; i++)
        at += (int64_t)input.data[i] << (8 * i);
    for (int64_t i = 0; i < file.count; i++) {
        check_tensor(&file, &file.tensors[i], at);
        at = file.tensors[i].end;
    }
    fuzz_check(at == length + more);
    orth_safetensors_free(&file);
    return 0;
}
