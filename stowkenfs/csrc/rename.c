/*
 * Other numbers for what bodies of records refer to.
 */

#include "kernels.h"

#define TOKENS 15

/* Numbers of one kind: what each is to become, or, without that, all as they come. */
typedef struct {
    const int64_t *others;
    Py_ssize_t count;
    Heap seen;
} Names;

/* What `number` is to become; it is noted where nothing is said of that. */
static Outcome rename_one(Names *names, int64_t *number)
{
    if (names->others == NULL)
        return push_i64(&names->seen, *number) ? FINE : NO_MEMORY;
    if (*number >= names->count || names->others[*number] < 0)
        return ODD;
    *number = names->others[*number];
    return FINE;
}

#define TRY(condition, failure)                                                               \
    do {                                                                                      \
        if (!(condition))                                                                     \
            return failure;                                                                   \
    } while (0)

static Outcome rename_parts(Heap *out, const uint8_t **from, const uint8_t *end, int64_t count,
                            const uint8_t *types, Names *segments, int64_t previous[2])
{
    const uint8_t *at = *from;
    for (; count; count--) {
        int64_t type;
        uint64_t zigzag = 0;
        READ(type);
        const size_t zigzag_bytes = varint_u64(at, end, &zigzag);
        const int64_t delta = (int64_t)(zigzag >> 1) ^ -(int64_t)(zigzag & 1);
        at += zigzag_bytes;
        if (!zigzag_bytes || type > 255 || !types[type] || delta == INT64_MAX ||
            __builtin_add_overflow(previous[0], delta + 1, &previous[0]) || previous[0] < 0)
            return ODD;
        int64_t number = previous[0];
        const Outcome outcome = rename_one(segments, &number);
        if (outcome != FINE)
            return outcome;
        const int64_t step = number - previous[1] - 1;
        previous[1] = number;
        TRY(push_varint(out, (uint64_t)type), NO_MEMORY);
        TRY(push_varint(out, step < 0 ? ((uint64_t)-(step + 1) << 1) + 1 : (uint64_t)step << 1),
            NO_MEMORY);
    }
    *from = at;
    return FINE;
}

/* Appends the body from `at` to `end` with other numbers to `out`. */
static Outcome rename_body(Heap *out, const uint8_t *at, const uint8_t *end, const uint8_t *types,
                           Names *templates, Names *segments)
{
    int64_t count, number, previous[2] = {-1, -1};
    READ(count);
    TRY(count <= end - at, ODD);
    TRY(push_varint(out, (uint64_t)count), NO_MEMORY);
    for (; count; count--) {
        READ(number);
        const Outcome outcome = rename_one(templates, &number);
        TRY(outcome == FINE, outcome);
        TRY(push_varint(out, (uint64_t)number), NO_MEMORY);
    }
    while (at < end) {
        int64_t head;
        READ(head);
        TRY(push_varint(out, (uint64_t)head), NO_MEMORY);
        if (!(head & 1)) {
            TRY(head >> 1 <= end - at, ODD);
            TRY(push_bytes(out, at, (size_t)(head >> 1)), NO_MEMORY);
            at += head >> 1;
            continue;
        }
        const int64_t style = head >> 1 & 15;
        TRY(style <= STYLE_MAX || style == TOKENS, ODD);
        if (style == TOKENS) {
            READ(number);
            TRY(number <= end - at, ODD);
            TRY(push_varint(out, (uint64_t)number), NO_MEMORY);
            TRY(push_bytes(out, at, (size_t)number), NO_MEMORY);
            at += number;
        }
        count = head >> 5;
        TRY(count <= end - at, ODD);
        const Outcome outcome = rename_parts(out, &at, end, count, types, segments, previous);
        TRY(outcome == FINE, outcome);
    }
    return FINE;
}

/* All of `bodies`, a tuple, into `out`; in `out_ends` (int64) where each ends. */
static Outcome rename_all(PyObject *bodies, const uint8_t *types, Names *templates,
                          Names *segments, Heap *out, Heap *out_ends)
{
    for (Py_ssize_t which = 0; which < PyTuple_GET_SIZE(bodies); which++) {
        PyObject *body = PyTuple_GET_ITEM(bodies, which);
        const uint8_t *from = (const uint8_t *)PyBytes_AS_STRING(body);
        const Outcome outcome = rename_body(out, from, from + PyBytes_GET_SIZE(body), types,
                                            templates, segments);
        if (outcome != FINE)
            return outcome;
        if (!push_i64(out_ends, (int64_t)out->used))
            return NO_MEMORY;
    }
    return FINE;
}

/* `object` as a tuple of bytes; NULL with an exception. */
static PyObject *tuple_of_bytes(PyObject *object)
{
    PyObject *tuple = PySequence_Tuple(object);
    for (Py_ssize_t at = 0; tuple != NULL && at < PyTuple_GET_SIZE(tuple); at++) {
        if (!PyBytes_Check(PyTuple_GET_ITEM(tuple, at))) {
            PyErr_SetString(PyExc_TypeError, "bodies are bytes");
            Py_CLEAR(tuple);
        }
    }
    return tuple;
}

/* Locks the array of types; false with an exception. */
static int lock_types(PyObject *object, Py_buffer *types)
{
    if (!lock_array(object, 1, types))
        return 0;
    if (types->len == 256)
        return 1;
    PyErr_SetString(PyExc_ValueError, "types has not 256 items");
    PyBuffer_Release(types);
    return 0;
}

const char names_in_bodies_doc[] =
"names_in_bodies(bodies, types)\n"
"\n"
"The numbers of templates and those of segments in record bodies (documents/body.py), each as\n"
"they come, as two times the bytes of int64; None if one of the bodies is damaged.\n"
"\n"
"bodies: a sequence of bytes; types: uint8, shape (256,), 1 for each type of segment.";

PyObject *names_in_bodies(PyObject *Py_UNUSED(module), PyObject *const *arguments,
                          Py_ssize_t given)
{
    Py_buffer types;
    if (!has_arguments("names_in_bodies", given, 2) || !lock_types(arguments[1], &types))
        return NULL;
    PyObject *bodies = tuple_of_bytes(arguments[0]), *found = NULL;
    if (bodies != NULL) {
        Names templates = {NULL, 0, {NULL, 0, 0}}, segments = {NULL, 0, {NULL, 0, 0}};
        Heap out = {NULL, 0, 0}, out_ends = {NULL, 0, 0};
        Outcome outcome;
        Py_BEGIN_ALLOW_THREADS
        outcome = rename_all(bodies, types.buf, &templates, &segments, &out, &out_ends);
        Py_END_ALLOW_THREADS
        if (outcome == FINE)
            found = Py_BuildValue("NN", heap_bytes(&templates.seen), heap_bytes(&segments.seen));
        else
            found = without_result(outcome);
        PyMem_RawFree(templates.seen.bytes);
        PyMem_RawFree(segments.seen.bytes);
        PyMem_RawFree(out.bytes);
        PyMem_RawFree(out_ends.bytes);
        Py_DECREF(bodies);
    }
    PyBuffer_Release(&types);
    return found;
}

const char rename_bodies_doc[] =
"rename_bodies(bodies, types, templates, segments)\n"
"\n"
"Bodies with other numbers: templates and segments (int64) have for each number the other one,\n"
"-1 where there is none. None if one of the bodies is damaged, or has a number without another.";

PyObject *rename_bodies(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t given)
{
    static const Py_ssize_t sizes[] = {8, 8};
    Py_buffer types, views[2];
    if (!has_arguments("rename_bodies", given, 4) || !lock_types(arguments[1], &types))
        return NULL;
    if (!lock_all(arguments + 2, sizes, views, 2)) {
        PyBuffer_Release(&types);
        return NULL;
    }
    PyObject *bodies = tuple_of_bytes(arguments[0]), *found = NULL;
    if (bodies != NULL) {
        Names templates = {views[0].buf, items_of(&views[0]), {NULL, 0, 0}};
        Names segments = {views[1].buf, items_of(&views[1]), {NULL, 0, 0}};
        Heap out = {NULL, 0, 0}, out_ends = {NULL, 0, 0};
        Outcome outcome;
        Py_BEGIN_ALLOW_THREADS
        outcome = rename_all(bodies, types.buf, &templates, &segments, &out, &out_ends);
        Py_END_ALLOW_THREADS
        if (outcome == FINE)
            found = parts_of(out.bytes, (const int64_t *)out_ends.bytes, PyTuple_GET_SIZE(bodies));
        else
            found = without_result(outcome);
        PyMem_RawFree(out.bytes);
        PyMem_RawFree(out_ends.bytes);
        Py_DECREF(bodies);
    }
    release_all(views, 2);
    PyBuffer_Release(&types);
    return found;
}
