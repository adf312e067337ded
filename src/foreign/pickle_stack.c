#include "pickle_machine.h"

#include "tensor_parts.h"

#include <orthant/base/memory.h>

#include <string.h>

orth_status pickle_bad(const pickle_machine *m, const char *why)
{
    return orth_fail(ORTH_ERR_CORRUPT, "%.1000s: pickle, byte %lld: %s; " ORTH_AGAIN, m->path,
                     (long long)m->at, why);
}

static orth_status grow(void **block, int64_t size, int64_t count, int64_t *capacity)
{
    void *larger = NULL;
    int64_t wanted = *capacity ? 2 * *capacity : 8;
    ORTH_TRY(orth_allocate(wanted, size, "values of a pickle", &larger));
    if (count)
        memcpy(larger, *block, (size_t)(count * size));
    orth_free(*block);
    *block = larger;
    *capacity = wanted;
    return ORTH_OK;
}

orth_status pickle_append(pickle_indices *to, int64_t value)
{
    if (to->count == to->capacity)
        ORTH_TRY(grow((void **)&to->items, sizeof *to->items, to->count, &to->capacity));
    to->items[to->count++] = value;
    return ORTH_OK;
}

/* ---- values and the stack ---- */

orth_status pickle_push(pickle_machine *m, const orth_pickle_value *value)
{
    orth_pickle *p = m->out;
    if (p->count == p->capacity)
        ORTH_TRY(grow((void **)&p->values, sizeof *p->values, p->count, &p->capacity));
    p->values[p->count] = *value;
    return pickle_append(&m->stack, p->count++);
}

orth_status pickle_push_kind(pickle_machine *m, orth_pickle_kind kind)
{
    return pickle_push(m, &(orth_pickle_value){.kind = kind});
}

/* The first place of the stack that belongs to the operations since the last mark. */
static int64_t floor_of(const pickle_machine *m)
{
    return m->marks.count ? m->marks.items[m->marks.count - 1] : 0;
}

/* Whether `count` values are there to take. */
orth_status pickle_need(const pickle_machine *m, int64_t count)
{
    return m->stack.count - floor_of(m) >= count ? ORTH_OK
                                                 : pickle_bad(m, "takes values that are not there");
}

orth_pickle_value *pickle_from_top(const pickle_machine *m, int64_t depth)
{
    return &m->out->values[m->stack.items[m->stack.count - 1 - depth]];
}

orth_status pickle_append_item(pickle_machine *m, orth_pickle_value *to, int64_t value)
{
    if (m->items++ > 2 * m->length)
        return pickle_bad(m, "more items than so few bytes can name");
    pickle_indices items = {to->items, to->count, to->capacity};
    orth_status status = pickle_append(&items, value);
    to->items = items.items;
    to->count = items.count;
    to->capacity = items.capacity;
    return status;
}

/* Move the uppermost `count` values into the one at `place` of the stack. */
static orth_status move_into(pickle_machine *m, int64_t place, int64_t count)
{
    orth_pickle_value *to = &m->out->values[m->stack.items[place]];
    for (int64_t i = m->stack.count - count; i < m->stack.count; i++)
        ORTH_TRY(pickle_append_item(m, to, m->stack.items[i]));
    m->stack.count -= count;
    return ORTH_OK;
}

/* The uppermost `count` values as a new collection. */
orth_status pickle_collect(pickle_machine *m, orth_pickle_kind kind, int64_t count)
{
    if (kind == ORTH_PICKLE_DICT && count % 2)
        return pickle_bad(m, "a key without a value");
    ORTH_TRY(pickle_push_kind(m, kind));
    int64_t made = m->stack.items[--m->stack.count], place = m->stack.count - count;
    orth_pickle_value *to = &m->out->values[made];
    for (int64_t i = place; i < m->stack.count; i++)
        ORTH_TRY(pickle_append_item(m, to, m->stack.items[i]));
    m->stack.count = place;
    return pickle_append(&m->stack, made);
}

/* Take the last mark; the number of values above it. */
orth_status pickle_take_mark(pickle_machine *m, int64_t *count)
{
    if (!m->marks.count)
        return pickle_bad(m, "takes a mark that is not there");
    *count = m->stack.count - m->marks.items[--m->marks.count];
    return ORTH_OK;
}

orth_status pickle_extend(pickle_machine *m, orth_pickle_kind kind, int64_t count)
{
    ORTH_TRY(pickle_need(m, count + 1));
    orth_pickle_kind is = pickle_from_top(m, count)->kind;
    if (is != kind || (kind == ORTH_PICKLE_DICT && count % 2))
        return pickle_bad(m, "adds to what is no list or dictionary");
    return move_into(m, m->stack.count - 1 - count, count);
}

/* ---- bytes ---- */

orth_status pickle_take(pickle_machine *m, int64_t count, const unsigned char **out)
{
    if (count < 0 || count > m->length - m->at)
        return pickle_bad(m, "is cut off");
    *out = m->bytes + m->at;
    m->at += count;
    return ORTH_OK;
}

orth_status pickle_take_number(pickle_machine *m, int bytes, uint64_t *out)
{
    const unsigned char *from = NULL;
    ORTH_TRY(pickle_take(m, bytes, &from));
    *out = 0;
    for (int i = bytes - 1; i >= 0; i--)
        *out = *out << 8 | from[i];
    return ORTH_OK;
}
