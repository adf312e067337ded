#include "pickle_machine.h"

#include <orthant/base/memory.h>

#include <string.h>

/* ---- values in the bytes ---- */

static orth_status push_integer(pickle_machine *m, orth_pickle_kind kind, int64_t integer)
{
    return pickle_push(m, &(orth_pickle_value){.kind = kind, .integer = integer});
}

/* A text whose length is written in `bytes` bytes. */
static orth_status push_text(pickle_machine *m, int bytes)
{
    uint64_t size = 0;
    const unsigned char *from = NULL;
    ORTH_TRY(pickle_take_number(m, bytes, &size));
    ORTH_TRY(pickle_take(m, size > INT64_MAX ? -1 : (int64_t)size, &from));
    if (memchr(from, 0, size))
        return pickle_bad(m, "a text with a zero byte");
    char *text = m->out->texts + m->text_bytes;
    memcpy(text, from, size);
    text[size] = '\0';
    m->text_bytes += (int64_t)size + 1;
    return pickle_push(m, &(orth_pickle_value){.kind = ORTH_PICKLE_TEXT, .text = text});
}

static orth_status push_long(pickle_machine *m, int bytes)
{
    uint64_t size = 0, value = 0;
    const unsigned char *from = NULL;
    ORTH_TRY(pickle_take_number(m, bytes, &size));
    if (size > 8)
        return pickle_bad(m, "an integer of more than 64 bits");
    ORTH_TRY(pickle_take(m, (int64_t)size, &from));
    for (uint64_t i = 0; i < 8; i++) {
        bool negative = size > 0 && from[size - 1] & 0x80;
        value |= (uint64_t)(i < size ? from[i] : negative ? 0xFF : 0) << (8 * i);
    }
    return push_integer(m, ORTH_PICKLE_INTEGER, (int64_t)value);
}

static orth_status push_real(pickle_machine *m)
{
    const unsigned char *from = NULL;
    uint64_t bits = 0;
    orth_pickle_value value = {.kind = ORTH_PICKLE_REAL};
    ORTH_TRY(pickle_take(m, 8, &from));
    for (int i = 0; i < 8; i++)
        bits = bits << 8 | from[i];
    memcpy(&value.real, &bits, sizeof bits);
    return pickle_push(m, &value);
}

/* ---- the memo ---- */

static orth_status put(pickle_machine *m, uint64_t index)
{
    ORTH_TRY(pickle_need(m, 1));
    if (index >= (uint64_t)m->length)
        return pickle_bad(m, "remembers a value under a number beyond all it can have");
    while (m->memo.count <= (int64_t)index)
        ORTH_TRY(pickle_append(&m->memo, PICKLE_NO_VALUE));
    m->memo.items[index] = m->stack.items[m->stack.count - 1];
    return ORTH_OK;
}

static orth_status get(pickle_machine *m, uint64_t index)
{
    if (index >= (uint64_t)m->memo.count || m->memo.items[index] == PICKLE_NO_VALUE)
        return pickle_bad(m, "recalls a value that it has not remembered");
    return pickle_append(&m->stack, m->memo.items[index]);
}

/* ---- operations ---- */

static orth_status pop(pickle_machine *m)
{
    if (m->marks.count && m->marks.items[m->marks.count - 1] == m->stack.count) {
        m->marks.count--;
        return ORTH_OK;
    }
    ORTH_TRY(pickle_need(m, 1));
    m->stack.count--;
    return ORTH_OK;
}

static orth_status since_mark(pickle_machine *m, unsigned char operation)
{
    int64_t count = 0;
    ORTH_TRY(pickle_take_mark(m, &count));
    switch (operation) {
    case 't':
        return pickle_collect(m, ORTH_PICKLE_TUPLE, count);
    case 'l':
    case 0x91: /* frozenset */
        return pickle_collect(m, ORTH_PICKLE_LIST, count);
    case 'd':
        return pickle_collect(m, ORTH_PICKLE_DICT, count);
    case 'e':
    case 0x90: /* items of a set */
        return pickle_extend(m, ORTH_PICKLE_LIST, count);
    case 'u':
        return pickle_extend(m, ORTH_PICKLE_DICT, count);
    default: /* '1' */
        m->stack.count -= count;
        return ORTH_OK;
    }
}

/* Operations on what is on the stack; `known` is false where it is none of them. */
static orth_status work(pickle_machine *m, unsigned char operation, bool *known)
{
    switch (operation) {
    case '(':
        return pickle_append(&m->marks, m->stack.count);
    case '0':
        return pop(m);
    case '2':
        ORTH_TRY(pickle_need(m, 1));
        return pickle_append(&m->stack, m->stack.items[m->stack.count - 1]);
    case 't':
    case 'l':
    case 'd':
    case 'e':
    case 'u':
    case '1':
    case 0x90:
    case 0x91:
        return since_mark(m, operation);
    case ')':
        return pickle_push_kind(m, ORTH_PICKLE_TUPLE);
    case ']':
    case 0x8F: /* set */
        return pickle_push_kind(m, ORTH_PICKLE_LIST);
    case '}':
        return pickle_push_kind(m, ORTH_PICKLE_DICT);
    case 0x85:
    case 0x86:
    case 0x87:
        ORTH_TRY(pickle_need(m, operation - 0x84));
        return pickle_collect(m, ORTH_PICKLE_TUPLE, operation - 0x84);
    case 'a':
        return pickle_extend(m, ORTH_PICKLE_LIST, 1);
    case 's':
        return pickle_extend(m, ORTH_PICKLE_DICT, 2);
    case 'R':
    case 0x81: /* of a class: the same for those that are known */
        return pickle_call(m);
    case 'b':
        return pickle_set_state(m);
    case 'Q':
        return pickle_take_storage(m);
    case 0x93:
        return pickle_take_stack_global(m);
    case 0x94:
        return put(m, (uint64_t)m->memo.count);
    default:
        *known = false;
        return ORTH_OK;
    }
}

static orth_status use_memo(pickle_machine *m, unsigned char operation)
{
    uint64_t index = 0;
    ORTH_TRY(pickle_take_number(m, operation == 'q' || operation == 'h' ? 1 : 4, &index));
    return operation == 'q' || operation == 'r' ? put(m, index) : get(m, index);
}

static orth_status push_number(pickle_machine *m, unsigned char operation)
{
    uint64_t number = 0;
    ORTH_TRY(pickle_take_number(m, operation == 'J' ? 4 : operation == 'M' ? 2 : 1, &number));
    return push_integer(m, ORTH_PICKLE_INTEGER,
                        operation == 'J' ? (int32_t)(uint32_t)number : (int64_t)number);
}

/* Operations that push what their bytes say, and the rest. */
static orth_status step(pickle_machine *m, unsigned char operation)
{
    const unsigned char *ignored;
    switch (operation) {
    case 'N':
        return pickle_push_kind(m, ORTH_PICKLE_NONE);
    case 0x88:
    case 0x89:
        return push_integer(m, ORTH_PICKLE_BOOL, operation == 0x88);
    case 'J':
    case 'K':
    case 'M':
        return push_number(m, operation);
    case 0x8A:
    case 0x8B:
        return push_long(m, operation == 0x8A ? 1 : 4);
    case 'G':
        return push_real(m);
    case 0x8C:
    case 'U':
    case 'C':
        return push_text(m, 1);
    case 'X':
    case 'T':
    case 'B':
        return push_text(m, 4);
    case 0x8D:
    case 0x8E:
    case 0x96:
        return push_text(m, 8);
    case 'q':
    case 'r':
    case 'h':
    case 'j':
        return use_memo(m, operation);
    case 'c':
        return pickle_take_global(m);
    case 0x95: /* frame: its length does not matter here */
        return pickle_take(m, 8, &ignored);
    default: {
        bool known = true;
        ORTH_TRY(work(m, operation, &known));
        return known ? ORTH_OK : pickle_bad(m, "an operation that data do not need");
    }
    }
}

static orth_status run(pickle_machine *m)
{
    const unsigned char *next;
    ORTH_TRY(pickle_take(m, 2, &next));
    if (next[0] != 0x80 || next[1] < 2 || next[1] > 5)
        return pickle_bad(m, "is no pickle of protocol 2 to 5");
    for (;;) {
        ORTH_TRY(pickle_take(m, 1, &next));
        if (*next == '.')
            break;
        ORTH_TRY(step(m, *next));
    }
    if (m->stack.count != 1 || m->marks.count)
        return pickle_bad(m, "does not end with one value");
    m->out->root = m->stack.items[0];
    return ORTH_OK;
}

orth_status orth_pickle_parse(const unsigned char *bytes, int64_t length, const char *path,
                              orth_pickle *out)
{
    pickle_machine m = {.path = path, .bytes = bytes, .length = length, .out = out};
    *out = (orth_pickle){0};
    orth_status status = ORTH_ALLOCATE(length + 1, "texts of a pickle", &out->texts);
    if (status == ORTH_OK)
        status = run(&m);
    orth_free(m.stack.items);
    orth_free(m.marks.items);
    orth_free(m.memo.items);
    return status;
}

void orth_pickle_free(orth_pickle *pickle)
{
    for (int64_t i = 0; i < pickle->count; i++)
        orth_free(pickle->values[i].items);
    orth_free(pickle->values);
    orth_free(pickle->texts);
    *pickle = (orth_pickle){0};
}
