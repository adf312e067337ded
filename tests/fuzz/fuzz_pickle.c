/* The pickle of a .pt: nothing but data comes out, and every tensor of an accepted one lies within
 * its storage, in whatever order it is read. */
#include "fuzz.h"

#include "../../src/foreign/tensor_parts.h"

#include <string.h>
#include <unistd.h>

enum { STORAGE_BYTES = 256, READ_MOST = 512 };

static orth_source source;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    static char path[256];
    unsigned char bytes[STORAGE_BYTES];
    for (int i = 0; i < STORAGE_BYTES; i++)
        bytes[i] = (unsigned char)i;
    snprintf(path, sizeof path, "%s/storage", fuzz_folder());
    FILE *file = fopen(path, "wb");
    fuzz_check(file && fwrite(bytes, 1, sizeof bytes, file) == sizeof bytes && fclose(file) == 0);
    fuzz_check(orth_source_open(path, false, &source) == ORTH_OK);
    return 0;
}

/* All storages are one file, but that of the key "00", which is missing. */
static bool find(void *context, const char *key, int64_t *member, int64_t *bytes)
{
    (void)context;
    *member = -1;
    *bytes = STORAGE_BYTES;
    return strcmp(key, "00") != 0;
}

/* Where an element, by its index in C order, is in the storage. */
static int64_t place_of(const orth_record *record, int64_t index)
{
    int64_t at = 0;
    for (int i = record->entry.rank - 1; i >= 0; i--) {
        at += index % record->entry.shape[i] * record->place.stride[i];
        index /= record->entry.shape[i];
    }
    return record->place.offset + at * orth_tensor_type_size(record->entry.type);
}

static void check_tensor(const orth_record *record)
{
    static double values[READ_MOST];
    int64_t count = record->entry.count, size = orth_tensor_type_size(record->entry.type);
    int64_t product = 1;
    fuzz_check(record->entry.rank >= 0 && record->entry.rank <= ORTH_TENSOR_RANK_MOST);
    for (int i = 0; i < record->entry.rank; i++) {
        fuzz_check(record->entry.shape[i] >= 0 && record->place.stride[i] >= 0);
        product = record->entry.shape[i] ? product * record->entry.shape[i] : 0;
        if (!product)
            break;
    }
    fuzz_check(count == product);
    if (count == 0)
        return;
    fuzz_check(place_of(record, count - 1) + size <= STORAGE_BYTES);
    int64_t end = count < READ_MOST ? count : READ_MOST, begin = end / 3;
    fuzz_check(orth_elements_read(&source, record, begin, end, ORTH_TENSOR_F64, values) == ORTH_OK);
    for (int64_t i = begin; record->entry.type == ORTH_TENSOR_U8 && i < end; i++)
        fuzz_check((int64_t)values[i - begin] == place_of(record, i));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    orth_table table = {0};
    orth_status status = orth_pickle_table(data, (int64_t)size, "fuzz.pt", find, NULL, &table);
    fuzz_outcome(status, ORTH_ERR_CORRUPT);
    if (status == ORTH_OK) {
        orth_table_finish(&table);
        for (int64_t i = 0; i < table.count; i++) {
            const orth_tensor_entry *entry = &table.records[i].entry;
            fuzz_check(entry->name != NULL && (entry->kind == ORTH_ENTRY_TEXT) == !!entry->text);
            if (entry->kind == ORTH_ENTRY_TENSOR)
                check_tensor(&table.records[i]);
        }
    }
    orth_table_free(&table);
    return 0;
}
