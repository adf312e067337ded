/* The header of an .npy: the elements of an accepted one fill the rest of the file exactly. */
#include "fuzz.h"

#include "../../src/foreign/tensor_parts.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return 0;
}

/* The first byte gives how many more bytes the file has than are given, times 16. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    int64_t more = 16 * (int64_t)fuzz_byte(&input), length = (int64_t)input.size;
    orth_record record;
    orth_status status =
        orth_npy_parse((const char *)input.data, length, length + more, "fuzz.npy", "", &record);
    fuzz_outcome(status, ORTH_ERR_CORRUPT);
    if (status != ORTH_OK)
        return 0;
    const orth_tensor_entry *entry = &record.entry;
    int64_t bytes = orth_tensor_type_size(entry->type), last = 0;
    fuzz_check(entry->rank >= 0 && entry->rank <= ORTH_TENSOR_RANK_MOST);
    fuzz_check(record.place.offset <= length);
    for (int i = 0; i < entry->rank; i++) {
        fuzz_check(entry->shape[i] >= 0 && record.place.stride[i] >= 0);
        last += entry->count ? (entry->shape[i] - 1) * record.place.stride[i] : 0;
    }
    fuzz_check(record.place.offset + bytes * entry->count == length + more);
    fuzz_check(entry->count == 0 || last == entry->count - 1);
    return 0;
}
