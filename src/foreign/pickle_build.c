#include "pickle_machine.h"

#include "tensor_parts.h"

#include <stdio.h>
#include <string.h>

enum { NAME_MOST = 120 };

/* ---- globals ---- */

static const struct {
    const char *name;
    orth_pickle_global global;
    int64_t type;
} globals[] = {
    {"collections OrderedDict", ORTH_GLOBAL_DICT, 0},
    {"__builtin__ dict", ORTH_GLOBAL_DICT, 0},
    {"builtins dict", ORTH_GLOBAL_DICT, 0},
    {"__builtin__ set", ORTH_GLOBAL_LIST, 0},
    {"builtins set", ORTH_GLOBAL_LIST, 0},
    {"torch Size", ORTH_GLOBAL_TUPLE, 0},
    {"torch device", ORTH_GLOBAL_DEVICE, 0},
    {"torch._utils _rebuild_tensor", ORTH_GLOBAL_TENSOR, 0},
    {"torch._utils _rebuild_tensor_v2", ORTH_GLOBAL_TENSOR, 0},
    {"torch._utils _rebuild_tensor_v3", ORTH_GLOBAL_TENSOR_V3, 0},
    {"torch._utils _rebuild_parameter", ORTH_GLOBAL_PARAMETER, 0},
    {"torch._utils _rebuild_parameter_with_state", ORTH_GLOBAL_PARAMETER, 0},
    {"torch FloatStorage", ORTH_GLOBAL_TYPE, ORTH_TENSOR_F32},
    {"torch DoubleStorage", ORTH_GLOBAL_TYPE, ORTH_TENSOR_F64},
    {"torch HalfStorage", ORTH_GLOBAL_TYPE, ORTH_TENSOR_F16},
    {"torch BFloat16Storage", ORTH_GLOBAL_TYPE, ORTH_TENSOR_BF16},
    {"torch LongStorage", ORTH_GLOBAL_TYPE, ORTH_TENSOR_I64},
    {"torch IntStorage", ORTH_GLOBAL_TYPE, ORTH_TENSOR_I32},
    {"torch ShortStorage", ORTH_GLOBAL_TYPE, ORTH_TENSOR_I16},
    {"torch CharStorage", ORTH_GLOBAL_TYPE, ORTH_TENSOR_I8},
    {"torch ByteStorage", ORTH_GLOBAL_TYPE, ORTH_TENSOR_U8},
    {"torch BoolStorage", ORTH_GLOBAL_TYPE, ORTH_TENSOR_BOOL},
    {"torch.storage UntypedStorage", ORTH_GLOBAL_TYPE, -1},
    {"torch UntypedStorage", ORTH_GLOBAL_TYPE, -1},
    {"torch float32", ORTH_GLOBAL_TYPE, ORTH_TENSOR_F32},
    {"torch float64", ORTH_GLOBAL_TYPE, ORTH_TENSOR_F64},
    {"torch float16", ORTH_GLOBAL_TYPE, ORTH_TENSOR_F16},
    {"torch bfloat16", ORTH_GLOBAL_TYPE, ORTH_TENSOR_BF16},
    {"torch int64", ORTH_GLOBAL_TYPE, ORTH_TENSOR_I64},
    {"torch int32", ORTH_GLOBAL_TYPE, ORTH_TENSOR_I32},
    {"torch int16", ORTH_GLOBAL_TYPE, ORTH_TENSOR_I16},
    {"torch int8", ORTH_GLOBAL_TYPE, ORTH_TENSOR_I8},
    {"torch uint8", ORTH_GLOBAL_TYPE, ORTH_TENSOR_U8},
    {"torch uint16", ORTH_GLOBAL_TYPE, ORTH_TENSOR_U16},
    {"torch uint32", ORTH_GLOBAL_TYPE, ORTH_TENSOR_U32},
    {"torch uint64", ORTH_GLOBAL_TYPE, ORTH_TENSOR_U64},
    {"torch bool", ORTH_GLOBAL_TYPE, ORTH_TENSOR_BOOL},
};

static orth_status push_global(pickle_machine *m, const char *name)
{
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++)
        if (strcmp(globals[i].name, name) == 0)
            return pickle_push(m, &(orth_pickle_value){.kind = ORTH_PICKLE_GLOBAL,
                                                       .global = globals[i].global,
                                                       .integer = globals[i].type,
                                                       .text = globals[i].name});
    const char *blank = strchr(name, ' ');
    return orth_fail(ORTH_ERR_CORRUPT,
                     "%.1000s: asks for the Python object %.*s.%s, and Orthant reads data alone "
                     "and runs no code; save a dictionary of tensors, numbers and texts",
                     m->path, (int)(blank - name), name, blank + 1);
}

/* "c": the lines module and name. */
orth_status pickle_take_global(pickle_machine *m)
{
    char name[2 * NAME_MOST];
    int64_t n = 0;
    for (int lines = 0; lines < 2;) {
        const unsigned char *c;
        ORTH_TRY(pickle_take(m, 1, &c));
        lines += *c == '\n';
        name[n++] = (char)(*c == '\n' ? ' ' : *c);
        if (n == (int64_t)sizeof name || *c == '\0' || (*c == ' '))
            return pickle_bad(m, "a name of a Python object that is none");
    }
    name[n - 1] = '\0';
    return push_global(m, name);
}

orth_status pickle_take_stack_global(pickle_machine *m)
{
    char name[2 * NAME_MOST];
    ORTH_TRY(pickle_need(m, 2));
    const orth_pickle_value *module = pickle_from_top(m, 1), *object = pickle_from_top(m, 0);
    if (module->kind != ORTH_PICKLE_TEXT || object->kind != ORTH_PICKLE_TEXT ||
        strlen(module->text) >= NAME_MOST || strlen(object->text) >= NAME_MOST - 1)
        return pickle_bad(m, "a name of a Python object that is none");
    snprintf(name, sizeof name, "%s %s", module->text, object->text);
    m->stack.count -= 2;
    return push_global(m, name);
}

/* ---- what is called ---- */

/* Replace callable and arguments by the value `result`. */
static orth_status give(pickle_machine *m, int64_t result)
{
    m->stack.count -= 2;
    return pickle_append(&m->stack, result);
}

static orth_status build_tensor(pickle_machine *m, const orth_pickle_value *arguments,
                                bool has_type)
{
    int64_t type = has_type && arguments->count > 6 ? arguments->items[6] : PICKLE_NO_VALUE,
            items[5];
    if (arguments->count < 4 || (has_type && type == PICKLE_NO_VALUE))
        return pickle_bad(m, "a tensor without storage, offset, shape and strides");
    memcpy(items, arguments->items, 4 * sizeof *items);
    items[4] = type;
    m->stack.count -= 2;
    ORTH_TRY(pickle_push_kind(m, ORTH_PICKLE_TENSOR));
    int64_t made = m->stack.items[m->stack.count - 1];
    for (int i = 0; i < 5; i++)
        ORTH_TRY(pickle_append_item(m, &m->out->values[made], items[i]));
    return ORTH_OK;
}

/* A dictionary from nothing or from one list of pairs. */
static orth_status build_dict(pickle_machine *m, const orth_pickle_value *arguments)
{
    int64_t from = arguments->count ? arguments->items[0] : PICKLE_NO_VALUE;
    m->stack.count -= 2;
    ORTH_TRY(pickle_push_kind(m, ORTH_PICKLE_DICT));
    if (from == PICKLE_NO_VALUE)
        return ORTH_OK;
    const orth_pickle_value *values = m->out->values, *pairs = &values[from];
    orth_pickle_value *made = pickle_from_top(m, 0);
    if (pairs->kind != ORTH_PICKLE_LIST)
        return pickle_bad(m, "a dictionary made of what is no list of pairs");
    for (int64_t i = 0; i < pairs->count; i++) {
        const orth_pickle_value *pair = &values[pairs->items[i]];
        if ((pair->kind != ORTH_PICKLE_LIST && pair->kind != ORTH_PICKLE_TUPLE) || pair->count != 2)
            return pickle_bad(m, "a dictionary made of what is no list of pairs");
        ORTH_TRY(pickle_append_item(m, made, pair->items[0]));
        ORTH_TRY(pickle_append_item(m, made, pair->items[1]));
    }
    return ORTH_OK;
}

orth_status pickle_call(pickle_machine *m)
{
    ORTH_TRY(pickle_need(m, 2));
    const orth_pickle_value *function = pickle_from_top(m, 1), *arguments = pickle_from_top(m, 0);
    if (function->kind != ORTH_PICKLE_GLOBAL || arguments->kind != ORTH_PICKLE_TUPLE)
        return pickle_bad(m, "calls what is no function");
    switch (function->global) {
    case ORTH_GLOBAL_DICT:
        return build_dict(m, arguments);
    case ORTH_GLOBAL_TENSOR:
    case ORTH_GLOBAL_TENSOR_V3:
        return build_tensor(m, arguments, function->global == ORTH_GLOBAL_TENSOR_V3);
    case ORTH_GLOBAL_LIST:
    case ORTH_GLOBAL_TUPLE:
    case ORTH_GLOBAL_DEVICE:
    case ORTH_GLOBAL_PARAMETER:
        if (arguments->count < 1)
            return pickle_bad(m, "calls a function without an argument");
        return give(m, arguments->items[0]);
    default:
        return pickle_bad(m, "calls what is no function");
    }
}

/* "b": the state of an object. Of a dictionary it is what PyTorch notes beside the entries. */
orth_status pickle_set_state(pickle_machine *m)
{
    ORTH_TRY(pickle_need(m, 2));
    if (pickle_from_top(m, 1)->kind != ORTH_PICKLE_DICT)
        return pickle_bad(m, "sets the state of what is no dictionary");
    m->stack.count--;
    return ORTH_OK;
}

orth_status pickle_take_storage(pickle_machine *m)
{
    ORTH_TRY(pickle_need(m, 1));
    orth_pickle_value *value = pickle_from_top(m, 0);
    const orth_pickle_value *values = m->out->values;
    if (value->kind != ORTH_PICKLE_TUPLE || value->count < 5 ||
        values[value->items[0]].kind != ORTH_PICKLE_TEXT ||
        strcmp(values[value->items[0]].text, "storage") != 0 ||
        values[value->items[1]].kind != ORTH_PICKLE_GLOBAL ||
        values[value->items[1]].global != ORTH_GLOBAL_TYPE ||
        values[value->items[2]].kind != ORTH_PICKLE_TEXT ||
        values[value->items[4]].kind != ORTH_PICKLE_INTEGER)
        return pickle_bad(m, "a storage without type, key and length");
    value->kind = ORTH_PICKLE_STORAGE;
    return ORTH_OK;
}
