#include <orthant/io/h5_strings.h>

#include "h5_internal.h"

#include <orthant/base/memory.h>
#include <orthant/base/utf8.h>

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Strings that are read at a time. */
enum { PIECE = 4096 };

/* What HDF5 allocates for the strings of a piece goes into one list, which is freed when they have
 * been copied: after a failure HDF5 has lost track of it. And it is bounded: a file may claim any
 * length. */
typedef struct block {
    struct block *next;
    max_align_t bytes[];
} block;

typedef struct budget {
    int64_t left;
    block *blocks;
} budget;

static void *take(size_t size, void *context)
{
    budget *b = context;
    if ((uint64_t)size > (uint64_t)b->left)
        return NULL;
    block *taken = orth_malloc(sizeof *taken + size);
    if (!taken)
        return NULL;
    b->left -= (int64_t)size;
    taken->next = b->blocks;
    b->blocks = taken;
    return taken->bytes;
}

static void keep(void *bytes, void *context)
{
    (void)bytes;
    (void)context;
}

static void free_blocks(budget *b)
{
    while (b->blocks) {
        block *next = b->blocks->next;
        free(b->blocks);
        b->blocks = next;
    }
}

/* A read of strings under way. */
typedef struct reading {
    orth_h5_dataset *dataset;
    hid_t type;     ///< in memory
    hid_t transfer; ///< with the budget
    bool variable;
    bool padded; ///< with blanks
    size_t size; ///< of an element in memory
    budget room;
    int64_t most_bytes;
    orth_h5_strings *out;
} reading;

static orth_status append(reading *r, const char *text, int64_t length)
{
    orth_h5_strings *s = r->out;
    int64_t needed = s->bytes + 3 * length + 1;
    if (needed > r->most_bytes)
        return orth_fail(r->dataset->file->fault,
                         "%s: dataset '%s' has more than %lld bytes of strings; check the file",
                         r->dataset->file->path, r->dataset->name, (long long)r->most_bytes);
    if (needed > s->room) {
        int64_t room = needed + needed / 2;
        char *larger = orth_realloc(s->text, (size_t)room);
        if (!larger)
            return orth_fail(ORTH_ERR_ENVIRONMENT, "out of memory for strings; free memory");
        s->text = larger;
        s->room = room;
    }
    s->start[s->count++] = s->bytes;
    s->bytes += orth_utf8_repair(text, length, s->text + s->bytes);
    s->text[s->bytes++] = '\0';
    return ORTH_OK;
}

static orth_status append_element(reading *r, const char *element)
{
    if (r->variable) {
        const char *text;
        memcpy(&text, element, sizeof text);
        return append(r, text ? text : "", text ? (int64_t)strlen(text) : 0);
    }
    int64_t length = (int64_t)strnlen(element, r->size);
    while (r->padded && length > 0 && element[length - 1] == ' ')
        length--;
    return append(r, element, length);
}

static orth_status read_piece(reading *r, int64_t begin, int64_t end, char *elements)
{
    hsize_t start = (hsize_t)begin, count = (hsize_t)(end - begin);
    hid_t on_disk = H5Dget_space(r->dataset->id), in_memory = H5Screate_simple(1, &count, NULL);
    orth_status status = ORTH_OK;
    herr_t result = -1;
    r->room.left = r->most_bytes;
    memset(elements, 0, (size_t)count * r->size);
    if (on_disk >= 0 && in_memory >= 0 &&
        H5Sselect_hyperslab(on_disk, H5S_SELECT_SET, &start, NULL, &count, NULL) >= 0)
        result = H5Dread(r->dataset->id, r->type, in_memory, on_disk, r->transfer, elements);
    if (result < 0 || orth_h5_fault("h5.read"))
        status =
            orth_h5_fail(r->dataset->file, "cannot read the strings of dataset", r->dataset->name);
    for (int64_t i = 0; status == ORTH_OK && i < end - begin; i++)
        status = append_element(r, elements + i * (int64_t)r->size);
    free_blocks(&r->room);
    if (on_disk >= 0)
        H5Sclose(on_disk);
    if (in_memory >= 0)
        H5Sclose(in_memory);
    return status;
}

static orth_status prepare(reading *r)
{
    hid_t on_disk = H5Dget_type(r->dataset->id);
    r->transfer = H5Pcopy(r->dataset->transfer);
    r->type = H5Tcopy(H5T_C_S1);
    if (on_disk >= 0) {
        r->variable = H5Tis_variable_str(on_disk) > 0;
        r->padded = H5Tget_strpad(on_disk) == H5T_STR_SPACEPAD;
        r->size = r->variable ? sizeof(char *) : H5Tget_size(on_disk);
    }
    bool good = on_disk >= 0 && r->transfer >= 0 && r->type >= 0 &&
                H5Tset_size(r->type, r->variable ? H5T_VARIABLE : r->size) >= 0 &&
                H5Tset_cset(r->type, H5Tget_cset(on_disk)) >= 0 &&
                (r->variable || H5Tset_strpad(r->type, H5Tget_strpad(on_disk)) >= 0) &&
                H5Pset_vlen_mem_manager(r->transfer, take, &r->room, keep, &r->room) >= 0;
    if (on_disk >= 0)
        H5Tclose(on_disk);
    if (good)
        return ORTH_OK;
    return orth_h5_fail(r->dataset->file, "cannot read the strings of dataset", r->dataset->name);
}

static orth_status read_all(reading *r, int64_t most)
{
    const orth_h5_layout *layout = &r->dataset->layout;
    int64_t count = layout->extent[0];
    char *elements = NULL;
    if (layout->rank != 1 || !orth_h5_holds_strings(r->dataset) || count > most)
        return orth_fail(r->dataset->file->fault,
                         "%s: dataset '%s' is not a list of at most %lld strings; check the file",
                         r->dataset->file->path, r->dataset->name, (long long)most);
    ORTH_TRY(prepare(r));
    if ((int64_t)r->size > r->most_bytes / PIECE)
        return orth_fail(r->dataset->file->fault,
                         "%s: dataset '%s' has strings of %lld bytes each; check the file",
                         r->dataset->file->path, r->dataset->name, (long long)r->size);
    ORTH_TRY(ORTH_ALLOCATE(count, "strings", &r->out->start));
    ORTH_TRY(ORTH_ALLOCATE(PIECE * (int64_t)r->size, "strings", &elements));
    orth_status status = ORTH_OK;
    for (int64_t at = 0; status == ORTH_OK && at < count; at += PIECE)
        status = read_piece(r, at, at + PIECE < count ? at + PIECE : count, elements);
    orth_free(elements);
    return status;
}

bool orth_h5_holds_strings(const orth_h5_dataset *dataset)
{
    return strcmp(dataset->layout.type_name, "string") == 0;
}

orth_status orth_h5_strings_read(orth_h5_dataset *dataset, int64_t most, int64_t most_bytes,
                                 orth_h5_strings *out)
{
    orth_h5_strings strings = {0};
    reading r = {.dataset = dataset,
                 .type = H5I_INVALID_HID,
                 .transfer = H5I_INVALID_HID,
                 .most_bytes = most_bytes,
                 .out = &strings};
    orth_status status = read_all(&r, most);
    if (r.type >= 0)
        H5Tclose(r.type);
    if (r.transfer >= 0)
        H5Pclose(r.transfer);
    if (status == ORTH_OK)
        *out = strings;
    else
        orth_h5_strings_free(&strings);
    return status;
}

void orth_h5_strings_free(orth_h5_strings *strings)
{
    orth_free(strings->start);
    free(strings->text);
    memset(strings, 0, sizeof *strings);
}
