#include <orthant/foreign/safetensors.h>

#include <orthant/base/memory.h>
#include <orthant/par/agree.h>
#include <orthant/par/collective.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PREFIX = 8 }; /* bytes before the header */

/* What to do about any of these files. */
#define AGAIN "download or export it again"

/* ---- the header's length ---- */

/* From the first bytes of a file, of which there are `length`. */
static orth_status header_length(const unsigned char *bytes, int64_t length, int64_t file_bytes,
                                 const char *path, int64_t *out)
{
    if (length < PREFIX)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%.1000s: %lld bytes are too short for a safetensors file; " AGAIN, path,
                         (long long)file_bytes);
    uint64_t size = 0;
    for (int i = PREFIX - 1; i >= 0; i--)
        size = size << 8 | bytes[i];
    if (size > ORTH_SAFETENSORS_HEADER_MOST)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%.1000s: bytes 0 to 7: a header of %" PRIu64 " bytes, at most %d are "
                         "allowed: not a safetensors file, or damaged; " AGAIN,
                         path, size, ORTH_SAFETENSORS_HEADER_MOST);
    if ((int64_t)size > file_bytes - PREFIX)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%.1000s: bytes 0 to 7: a header of %" PRIu64 " bytes in a file of %lld: "
                         "cut off, or not a safetensors file; " AGAIN,
                         path, size, (long long)file_bytes);
    *out = (int64_t)size;
    return ORTH_OK;
}

/* ---- one tensor ---- */

typedef struct header {
    const char *path;
    int64_t data_begin; /* of the tensors, in the file */
    int64_t data_bytes;
} header;

static orth_status bad_tensor(const header *h, const char *name, const char *why)
{
    return orth_fail(ORTH_ERR_CORRUPT, "%.1000s: tensor '%.200s': %s; " AGAIN, h->path, name, why);
}

static orth_status read_type(const header *h, const json_t *entry, orth_tensor *tensor)
{
    const char *name = json_string_value(json_object_get(entry, "dtype"));
    if (!name)
        return bad_tensor(h, tensor->name, "dtype is missing or no text");
    for (int i = 0; i < ORTH_TENSOR_TYPES; i++)
        if (strcmp(orth_tensor_type_name((orth_tensor_type)i), name) == 0) {
            tensor->type = (orth_tensor_type)i;
            return ORTH_OK;
        }
    return orth_fail(ORTH_ERR_CORRUPT,
                     "%.1000s: tensor '%.200s': dtype '%.40s' is unknown; convert it to F32",
                     h->path, tensor->name, name);
}

/* The shape, and the bytes that it asks for. */
static orth_status read_shape(const header *h, const json_t *entry, orth_tensor *tensor,
                              int64_t *bytes)
{
    const json_t *shape = json_object_get(entry, "shape");
    if (!json_is_array(shape))
        return bad_tensor(h, tensor->name, "shape is missing or no list");
    if (json_array_size(shape) > ORTH_TENSOR_RANK_MOST)
        return bad_tensor(h, tensor->name, "shape has more than 8 dimensions");
    tensor->rank = (int)json_array_size(shape);
    *bytes = orth_tensor_type_size(tensor->type);
    for (int i = 0; i < ORTH_TENSOR_RANK_MOST; i++) {
        tensor->shape[i] = 1;
        if (i >= tensor->rank)
            continue;
        const json_t *extent = json_array_get(shape, (size_t)i);
        if (!json_is_integer(extent) || json_integer_value(extent) < 0)
            return bad_tensor(h, tensor->name, "shape holds what is no length");
        tensor->shape[i] = json_integer_value(extent);
        if (__builtin_mul_overflow(*bytes, tensor->shape[i], bytes))
            return bad_tensor(h, tensor->name, "shape is larger than 64 bits count");
    }
    return ORTH_OK;
}

static orth_status read_place(const header *h, const json_t *entry, int64_t bytes,
                              orth_tensor *tensor)
{
    const json_t *place = json_object_get(entry, "data_offsets");
    const json_t *begin = json_array_get(place, 0), *end = json_array_get(place, 1);
    if (json_array_size(place) != 2 || !json_is_integer(begin) || !json_is_integer(end))
        return bad_tensor(h, tensor->name, "data_offsets are missing or no two integers");
    int64_t from = json_integer_value(begin), to = json_integer_value(end);
    if (from < 0 || from > to || to > h->data_bytes)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%.1000s: tensor '%.200s': data_offsets %lld to %lld are not within the "
                         "%lld bytes of data; " AGAIN,
                         h->path, tensor->name, (long long)from, (long long)to,
                         (long long)h->data_bytes);
    if (to - from != bytes)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%.1000s: tensor '%.200s': %lld bytes, its type and shape ask for %lld; "
                         "" AGAIN,
                         h->path, tensor->name, (long long)(to - from), (long long)bytes);
    tensor->begin = h->data_begin + from;
    tensor->end = h->data_begin + to;
    return ORTH_OK;
}

static orth_status read_tensor(const header *h, const char *name, const json_t *entry,
                               orth_tensor *tensor)
{
    int64_t bytes = 0;
    tensor->name = orth_strdup(name);
    if (!tensor->name)
        return orth_fail(ORTH_ERR_ENVIRONMENT, "%.1000s: out of memory for its table; free memory",
                         h->path);
    if (!json_is_object(entry))
        return bad_tensor(h, name, "its entry is no object");
    ORTH_TRY(read_type(h, entry, tensor));
    ORTH_TRY(read_shape(h, entry, tensor, &bytes));
    return read_place(h, entry, bytes, tensor);
}

/* ---- the table ---- */

static const char METADATA[] = "__metadata__";

static orth_status check_metadata(const header *h, json_t *metadata)
{
    const char *key;
    json_t *value;
    bool texts = json_is_object(metadata);
    if (texts)
        json_object_foreach(metadata, key, value) texts = texts && json_is_string(value);
    return texts ? ORTH_OK
                 : orth_fail(ORTH_ERR_CORRUPT, "%.1000s: %s is no object of texts; " AGAIN, h->path,
                             METADATA);
}

static int by_place(const void *a, const void *b)
{
    const orth_tensor *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

/* The tensors, sorted, fill the data exactly. */
static orth_status check_places(const header *h, const orth_safetensors *file)
{
    int64_t at = h->data_begin;
    for (int64_t i = 0; i < file->count; i++) {
        const orth_tensor *tensor = &file->tensors[i];
        if (tensor->begin < at)
            return orth_fail(ORTH_ERR_CORRUPT,
                             "%.1000s: tensors '%.200s' and '%.200s' overlap at byte %lld; " AGAIN,
                             h->path, file->tensors[i - 1].name, tensor->name,
                             (long long)tensor->begin);
        if (tensor->begin > at)
            return orth_fail(ORTH_ERR_CORRUPT,
                             "%.1000s: bytes %lld to %lld, before tensor '%.200s', belong to none; "
                             "" AGAIN,
                             h->path, (long long)at, (long long)tensor->begin - 1, tensor->name);
        at = tensor->end;
    }
    if (at != h->data_begin + h->data_bytes)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%.1000s: bytes %lld to %lld, at the end, belong to no tensor; " AGAIN,
                         h->path, (long long)at, (long long)(h->data_begin + h->data_bytes - 1));
    return ORTH_OK;
}

static orth_status read_table(const header *h, json_t *object, orth_safetensors *out)
{
    const char *name;
    json_t *entry;
    ORTH_TRY(ORTH_ALLOCATE((int64_t)json_object_size(object), "table of tensors", &out->tensors));
    json_object_foreach(object, name, entry)
    {
        if (strcmp(name, METADATA) == 0)
            ORTH_TRY(check_metadata(h, entry));
        else
            ORTH_TRY(read_tensor(h, name, entry, &out->tensors[out->count++]));
    }
    if (out->count > 0)
        qsort(out->tensors, (size_t)out->count, sizeof *out->tensors, by_place);
    return check_places(h, out);
}

orth_status orth_safetensors_parse(const char *bytes, int64_t length, int64_t file_bytes,
                                   const char *path, orth_safetensors *out)
{
    int64_t size = 0;
    ORTH_TRY(header_length((const unsigned char *)bytes, length, file_bytes, path, &size));
    if (size > length - PREFIX)
        return orth_fail(ORTH_ERR_INTERNAL, "%.1000s: the header was not read whole; report it",
                         path);
    header h = {path, PREFIX + size, file_bytes - PREFIX - size};
    json_error_t error = {.line = 1, .column = 1, .text = "expected '{' at its first byte"};
    json_t *object = NULL;
    if (size > 0 && bytes[PREFIX] == '{')
        object = json_loadb(bytes + PREFIX, (size_t)size, JSON_REJECT_DUPLICATES, &error);
    if (!object)
        return orth_fail(ORTH_ERR_CORRUPT,
                         "%.1000s: malformed header, line %d, column %d: %s; " AGAIN, path,
                         error.line, error.column, error.text);
    orth_safetensors table = {0};
    orth_status status = read_table(&h, object, &table);
    json_decref(object);
    if (status == ORTH_OK)
        *out = table;
    else
        orth_safetensors_free(&table);
    return status;
}

void orth_safetensors_free(orth_safetensors *file)
{
    for (int64_t i = 0; i < file->count; i++)
        free(file->tensors[i].name);
    orth_free(file->tensors);
    *file = (orth_safetensors){0};
}

const orth_tensor *orth_safetensors_find(const orth_safetensors *file, const char *name)
{
    for (int64_t i = 0; i < file->count; i++)
        if (strcmp(file->tensors[i].name, name) == 0)
            return &file->tensors[i];
    return NULL;
}

/* ---- from a file ---- */

/** The beginning of a file: its length and its header. */
typedef struct beginning {
    char *bytes; /* owned (orth_free) */
    int64_t length;
    int64_t file_bytes;
} beginning;

static orth_status read_bytes(int fd, const char *path, int64_t begin, int64_t end, char *out)
{
    for (int64_t at = begin; at < end;) {
        ssize_t got = pread(fd, out + at, (size_t)(end - at), (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return orth_fail(ORTH_ERR_CORRUPT, "%.1000s: cannot be read: %s; check the storage",
                             path, got < 0 ? strerror(errno) : "it became shorter");
        at += got;
    }
    return ORTH_OK;
}

static orth_status read_beginning(int fd, const char *path, beginning *out)
{
    unsigned char prefix[PREFIX] = {0};
    struct stat info;
    int64_t size = 0;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
        return orth_fail(ORTH_ERR_USAGE, "%.1000s: is no plain file; name a safetensors file",
                         path);
    out->file_bytes = info.st_size;
    int64_t first = info.st_size < PREFIX ? info.st_size : PREFIX;
    ORTH_TRY(read_bytes(fd, path, 0, first, (char *)prefix));
    ORTH_TRY(header_length(prefix, first, info.st_size, path, &size));
    out->length = PREFIX + size;
    ORTH_TRY(ORTH_ALLOCATE(out->length, "header of a safetensors file", &out->bytes));
    return read_bytes(fd, path, 0, out->length, out->bytes);
}

static orth_status open_and_read(const char *path, beginning *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return orth_fail(ORTH_ERR_USAGE, "%.1000s: cannot be opened: %s; check the path", path,
                         strerror(errno));
    orth_status status = read_beginning(fd, path, out);
    close(fd);
    return status;
}

/* What rank 0 read, on every rank. */
static orth_status share(beginning *b, int rank, MPI_Comm comm)
{
    int64_t sizes[2] = {b->length, b->file_bytes};
    ORTH_TRY(orth_broadcast(sizes, 2, MPI_INT64_T, 0, comm));
    b->length = sizes[0];
    b->file_bytes = sizes[1];
    orth_status status = ORTH_OK;
    if (rank != 0)
        status = ORTH_ALLOCATE(b->length, "header of a safetensors file", &b->bytes);
    ORTH_TRY(orth_agree(comm, status));
    return orth_broadcast(b->bytes, b->length, MPI_CHAR, 0, comm);
}

orth_status orth_safetensors_open(const char *path, MPI_Comm comm, orth_safetensors *out)
{
    int rank;
    beginning b = {0};
    orth_safetensors table = {0};
    ORTH_MPI(MPI_Comm_rank(comm, &rank));
    orth_status status = orth_agree(comm, rank == 0 ? open_and_read(path, &b) : ORTH_OK);
    if (status == ORTH_OK)
        status = share(&b, rank, comm);
    if (status == ORTH_OK)
        status = orth_safetensors_parse(b.bytes, b.length, b.file_bytes, path, &table);
    orth_free(b.bytes);
    status = orth_agree(comm, status);
    if (status == ORTH_OK)
        *out = table;
    else
        orth_safetensors_free(&table);
    return status;
}
