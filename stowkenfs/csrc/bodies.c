/*
 * Bodies of records to columns.
 */

#include "kernels.h"

#define LITERAL 255

/* The columns that scan_bodies returns, in order. */
enum { TEMPLATES, TEMPLATE_ENDS, STYLES, STARTS, ENDS, VALUE_ENDS, PARTS, ALONE, COLUMNS };

#define PUSH(column, number)                                                                  \
    do {                                                                                      \
        if (!push_i64(&columns[column], number))                                              \
            return NO_MEMORY;                                                                 \
    } while (0)

static Outcome scan_body(Heap *columns, const uint8_t *source, const uint8_t *at,
                         const uint8_t *end, const uint8_t *types)
{
    int64_t count, number, previous = -1;
    READ(count);
    if (count > end - at)
        return ODD;
    for (; count; count--) {
        READ(number);
        PUSH(TEMPLATES, number);
    }
    while (at < end) {
        int64_t head;
        READ(head);
        if (!heap_has(&columns[STYLES], 1))
            return NO_MEMORY;
        if (!(head & 1)) {
            if (head >> 1 > end - at)
                return ODD;
            columns[STYLES].bytes[columns[STYLES].used++] = LITERAL;
            PUSH(STARTS, at - source);
            at += head >> 1;
            PUSH(ENDS, at - source);
            continue;
        }
        const int64_t style = head >> 1 & 15;
        count = head >> 5;
        /* Styles from 0 to 9 exist, and TOKENS, whose parts are no text. */
        if (style > STYLE_MAX || count > end - at)
            return ODD;
        columns[STYLES].bytes[columns[STYLES].used++] = (uint8_t)style;
        PUSH(STARTS, (int64_t)(columns[PARTS].used / sizeof number));
        for (; count; count--) {
            uint64_t zigzag = 0;
            READ(number);
            const size_t zigzag_bytes = varint_u64(at, end, &zigzag);
            const int64_t delta = (int64_t)(zigzag >> 1) ^ -(int64_t)(zigzag & 1);
            at += zigzag_bytes;
            if (!zigzag_bytes || number > 255 || !types[number] || delta == INT64_MAX ||
                __builtin_add_overflow(previous, delta + 1, &previous) || previous < 0)
                return ODD;
            PUSH(PARTS, previous);
        }
        PUSH(ENDS, (int64_t)(columns[PARTS].used / sizeof number));
    }
    return FINE;
}

const char scan_bodies_doc[] =
"scan_bodies(source, starts, ends, types)\n"
"\n"
"Record bodies (documents/body.py) as the columns of documents/pieces.py, which are bytes:\n"
"templates, template_ends, styles, starts, ends, value_ends, parts, and alone, uint8, 1 for\n"
"each record that is left out: damaged, or with what has no columns.\n"
"\n"
"source: bytes; starts, ends: int64, where each body lies. types: uint8, shape (256,), 1 for\n"
"each type of segment.";

PyObject *scan_bodies(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t given)
{
    static const Py_ssize_t sizes[] = {1, 8, 8, 1};
    Py_buffer views[4];
    if (!has_arguments("scan_bodies", given, 4))
        return NULL;
    if (!lock_all(arguments, sizes, views, 4))
        return NULL;
    const Py_ssize_t count = items_of(&views[1]);
    const int64_t *starts = views[1].buf, *ends = views[2].buf;
    PyObject *found = NULL;
    if (items_of(&views[2]) != count || views[3].len != 256) {
        PyErr_SetString(PyExc_ValueError, "arrays of different lengths");
    } else if (ranges_fit(starts, ends, count, views[0].len)) {
        const uint8_t *source = views[0].buf;
        Heap columns[COLUMNS] = {{NULL, 0, 0}};
        Outcome outcome = FINE;
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t at = 0; at < count && outcome != NO_MEMORY; at++) {
            Heap before[COLUMNS];
            memcpy(before, columns, sizeof before);
            outcome = scan_body(columns, source, source + starts[at], source + ends[at],
                                views[3].buf);
            if (outcome == ODD) {
                for (int column = 0; column < COLUMNS; column++)
                    columns[column].used = before[column].used;
            }
            if (!push_i64(&columns[TEMPLATE_ENDS],
                          (int64_t)(columns[TEMPLATES].used / sizeof(int64_t))) ||
                !push_i64(&columns[VALUE_ENDS], (int64_t)columns[STYLES].used) ||
                !heap_has(&columns[ALONE], 1))
                outcome = NO_MEMORY;
            else
                columns[ALONE].bytes[columns[ALONE].used++] = outcome == ODD;
        }
        Py_END_ALLOW_THREADS
        found = outcome == NO_MEMORY ? PyErr_NoMemory() : PyTuple_New(COLUMNS);
        for (int column = 0; column < COLUMNS; column++) {
            PyObject *item = found == NULL ? NULL : heap_bytes(&columns[column]);
            if (item == NULL)
                Py_CLEAR(found);
            else
                PyTuple_SET_ITEM(found, column, item);
            PyMem_RawFree(columns[column].bytes);
        }
    }
    release_all(views, 4);
    return found;
}
