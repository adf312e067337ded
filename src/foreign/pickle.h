#ifndef ORTHANT_SRC_FOREIGN_PICKLE_H
#define ORTHANT_SRC_FOREIGN_PICKLE_H

#include <orthant/base/status.h>

#include <stdbool.h>
#include <stdint.h>

/*
 * Private to src/foreign: the data of a pickle (protocols 2 to 5), as PyTorch writes them. Nothing
 * is executed: the few callables that state dictionaries need are known by name and only build
 * data; any other is refused. Every value takes at least one byte of the pickle, so memory is
 * bounded by its length.
 */
typedef enum orth_pickle_kind {
    ORTH_PICKLE_NONE,
    ORTH_PICKLE_BOOL,
    ORTH_PICKLE_INTEGER,
    ORTH_PICKLE_REAL,
    ORTH_PICKLE_TEXT,
    ORTH_PICKLE_TUPLE, ///< items
    ORTH_PICKLE_LIST,  ///< items; sets too
    ORTH_PICKLE_DICT,  ///< items: key, value, key, value, ...
    ORTH_PICKLE_GLOBAL,
    ORTH_PICKLE_STORAGE, ///< items of its tuple: 'storage', class, key, location, elements
    ORTH_PICKLE_TENSOR ///< items: storage, offset, shape, strides, and a global: its type, or none
} orth_pickle_kind;

/** What a GLOBAL stands for. */
typedef enum orth_pickle_global {
    ORTH_GLOBAL_DICT,
    ORTH_GLOBAL_LIST,
    ORTH_GLOBAL_TUPLE,
    ORTH_GLOBAL_DEVICE,
    ORTH_GLOBAL_TENSOR,    ///< _rebuild_tensor, _rebuild_tensor_v2
    ORTH_GLOBAL_TENSOR_V3, ///< _rebuild_tensor_v3
    ORTH_GLOBAL_PARAMETER, ///< _rebuild_parameter
    ORTH_GLOBAL_TYPE       ///< torch.FloatStorage, torch.float32; `integer` is the orth_tensor_type
} orth_pickle_global;

typedef struct orth_pickle_value {
    orth_pickle_kind kind;
    int64_t integer; ///< of BOOL, INTEGER; TYPE's; -1 for TYPE of UntypedStorage
    double real;
    const char *text; ///< of TEXT, with its final NUL
    orth_pickle_global global;
    int64_t *items; ///< indices of values
    int64_t count, capacity;
} orth_pickle_value;

typedef struct orth_pickle {
    orth_pickle_value *values;
    int64_t count, capacity;
    int64_t root;
    char *texts; ///< what the values' texts point into
} orth_pickle;

/** Parse. ORTH_ERR_CORRUPT tells the byte, and what there is wrong or not known. Local. Free with
 * orth_pickle_free, also after a failure. */
orth_status orth_pickle_parse(const unsigned char *bytes, int64_t length, const char *path,
                              orth_pickle *out);

void orth_pickle_free(orth_pickle *pickle);

#endif
