/*
 * Templates, values and texts to the bytes of records.
 */

#include "kernels.h"

typedef struct {
    const uint8_t *bytes;
    Py_ssize_t length;
} Text;

/* The byte strings of a sequence, which the returned tuple keeps; NULL with an exception. */
static PyObject *texts_of(PyObject *sequence, Text **texts)
{
    PyObject *owner = PySequence_Tuple(sequence);
    if (owner == NULL)
        return NULL;
    const Py_ssize_t count = PyTuple_GET_SIZE(owner);
    *texts = PyMem_New(Text, count + 1);
    if (*texts == NULL) {
        Py_DECREF(owner);
        return PyErr_NoMemory();
    }
    for (Py_ssize_t at = 0; at < count; at++) {
        PyObject *item = PyTuple_GET_ITEM(owner, at);
        if (!PyBytes_Check(item)) {
            PyErr_SetString(PyExc_TypeError, "templates and texts are bytes");
            PyMem_Free(*texts);
            Py_DECREF(owner);
            return NULL;
        }
        (*texts)[at].bytes = (const uint8_t *)PyBytes_AS_STRING(item);
        (*texts)[at].length = PyBytes_GET_SIZE(item);
    }
    return owner;
}

typedef struct {
    const Text *templates, *texts;
    Py_ssize_t template_count, text_count, part_count, source_bytes;
    const uint8_t *source, *is_parts;
    const int64_t *places, *starts, *ends, *parts;
} Filling;

/* Bytes of value `at`, or -1; written to `out` if that is not NULL. */
static inline Py_ssize_t fill_value(const Filling *all, Py_ssize_t at, uint8_t *out)
{
    const int64_t start = all->starts[at], end = all->ends[at];
    if (start < 0 || start > end)
        return -1;
    if (!all->is_parts[at]) {
        if (end > all->source_bytes)
            return -1;
        if (out != NULL)
            memcpy(out, all->source + start, (size_t)(end - start));
        return end - start;
    }
    if (end > all->part_count)
        return -1;
    Py_ssize_t length = 0;
    for (int64_t part = start; part < end; part++) {
        const int64_t place = all->parts[part];
        if (place < 0 || place >= all->text_count)
            return -1;
        const Text *text = &all->texts[place];
        if (out != NULL)
            memcpy(out + length, text->bytes, (size_t)text->length);
        else if (text->length > PY_SSIZE_T_MAX - length)
            return -1;
        length += text->length;
    }
    return length;
}

/* Bytes of a record, or -1 where its values do not fit its slots; written to `out` if that is
   not NULL, in which case they do. */
static Py_ssize_t fill_record(const Filling *all, int64_t place, int64_t places_end,
                              int64_t value, int64_t values_end, uint8_t *out)
{
    Py_ssize_t length = 0;
    for (; place < places_end; place++) {
        const int64_t which = all->places[place];
        if (which < 0 || which >= all->template_count)
            return -1;
        const uint8_t *at = all->templates[which].bytes;
        const uint8_t *end = at + all->templates[which].length;
        while (at < end) {
            const uint8_t *slot = memchr(at, 0, (size_t)(end - at));
            const Py_ssize_t fixed = (slot ? slot : end) - at;
            if (out != NULL)
                memcpy(out + length, at, (size_t)fixed);
            else if (fixed > PY_SSIZE_T_MAX - length)
                return -1;
            length += fixed;
            if (slot == NULL)
                break;
            at = slot + 1;
            if (value == values_end)
                return -1;
            const Py_ssize_t filled = fill_value(all, value++, out ? out + length : NULL);
            if (filled < 0 || filled > PY_SSIZE_T_MAX - length)
                return -1;
            length += filled;
        }
    }
    return value == values_end ? length : -1;
}

/* Whether `ends` ascend from 0 to at most `length`; false with an exception. */
static int ends_fit(const int64_t *ends, Py_ssize_t count, Py_ssize_t length)
{
    int64_t before = 0;
    for (Py_ssize_t at = 0; at < count; at++) {
        if (ends[at] < before || ends[at] > length) {
            PyErr_SetString(PyExc_ValueError, "an end outside of its array");
            return 0;
        }
        before = ends[at];
    }
    return 1;
}

static PyObject *fill_all(const Filling *all, const int64_t *place_ends, const int64_t *value_ends,
                          Py_ssize_t count)
{
    PyObject *records = PyList_New(count);
    uint8_t **outs = PyMem_New(uint8_t *, count + 1);
    Py_ssize_t *lengths = PyMem_New(Py_ssize_t, count + 1);
    if (records == NULL || outs == NULL || lengths == NULL) {
        PyErr_NoMemory();
        Py_CLEAR(records);
        goto done;
    }
#define RECORD(at, out)                                                                       \
    fill_record(all, (at) ? place_ends[(at) - 1] : 0, place_ends[at],                         \
                (at) ? value_ends[(at) - 1] : 0, value_ends[at], out)
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t at = 0; at < count; at++)
        lengths[at] = RECORD(at, NULL);
    Py_END_ALLOW_THREADS
    for (Py_ssize_t at = 0; at < count; at++) {
        PyObject *item = lengths[at] < 0 ? Py_NewRef(Py_None)
                                         : PyBytes_FromStringAndSize(NULL, lengths[at]);
        if (item == NULL) {
            Py_CLEAR(records);
            goto done;
        }
        outs[at] = lengths[at] < 0 ? NULL : (uint8_t *)PyBytes_AS_STRING(item);
        PyList_SET_ITEM(records, at, item);
    }
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t at = 0; at < count; at++) {
        if (lengths[at] > 0)
            RECORD(at, outs[at]);
    }
    Py_END_ALLOW_THREADS
#undef RECORD
done:
    PyMem_Free(outs);
    PyMem_Free(lengths);
    return records;
}

const char fill_doc[] =
"fill(templates, places, place_ends, source, is_parts, starts, ends, value_ends, parts, texts)\n"
"\n"
"The bytes of records, None for each whose values are not as many as its slots.\n"
"\n"
"templates: byte strings; places: int64, which of them each record has, one record after the\n"
"other; place_ends: int64, for each record where its own end. A NUL of a template is a slot.\n"
"is_parts: uint8, starts, ends: int64, for each value, one record after the other;\n"
"value_ends as place_ends. A value is the bytes of source from start to end, or else the texts\n"
"(byte strings) whose places (int64) are the parts from start to end.";

PyObject *fill(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t given)
{
    static const Py_ssize_t sizes[] = {8, 8, 1, 1, 8, 8, 8, 8};
    Py_buffer views[8];
    if (!has_arguments("fill", given, 10))
        return NULL;
    if (!lock_all(arguments + 1, sizes, views, 8))
        return NULL;
    Text *templates = NULL, *texts = NULL;
    PyObject *records = NULL, *text_owner = NULL;
    PyObject *template_owner = texts_of(arguments[0], &templates);
    if (template_owner != NULL)
        text_owner = texts_of(arguments[9], &texts);
    const Py_ssize_t count = items_of(&views[1]), values = items_of(&views[3]);
    if (text_owner == NULL) {
        /* with its exception */
    } else if (items_of(&views[4]) != values || items_of(&views[5]) != values ||
               items_of(&views[6]) != count) {
        PyErr_SetString(PyExc_ValueError, "arrays of different lengths");
    } else if (ends_fit(views[1].buf, count, items_of(&views[0])) &&
               ends_fit(views[6].buf, count, values)) {
        const Filling all = {
            templates, texts, PyTuple_GET_SIZE(template_owner), PyTuple_GET_SIZE(text_owner),
            items_of(&views[7]), views[2].len, views[2].buf, views[3].buf,
            views[0].buf, views[4].buf, views[5].buf, views[7].buf,
        };
        records = fill_all(&all, views[1].buf, views[6].buf, count);
    }
    if (text_owner != NULL)
        PyMem_Free(texts);
    if (template_owner != NULL)
        PyMem_Free(templates);
    Py_XDECREF(text_owner);
    Py_XDECREF(template_owner);
    release_all(views, 8);
    return records;
}
