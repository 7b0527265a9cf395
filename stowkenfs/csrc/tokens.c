/*
 * Ids on their way in: whether they spell their texts, and their varints.
 */

#include "kernels.h"

#define WORD_BYTES 8

/* Whether `ends` are where consecutive ranges of `length` items end; false with an exception. */
static int ends_fit(const Py_buffer *ends, Py_ssize_t length)
{
    const int64_t *end = ends->buf;
    int64_t before = 0;
    for (Py_ssize_t at = 0; at < items_of(ends); at++) {
        if (end[at] < before || end[at] > length) {
            PyErr_SetString(PyExc_ValueError, "ends that do not ascend within their buffer");
            return 0;
        }
        before = end[at];
    }
    return 1;
}

/* Whether the ids up to `id_end` spell the bytes up to `text_end`; `entries` and `rest` are a
   SpellingTable's, see spell.c. */
static int spells(const uint32_t *id, const uint32_t *id_end, const uint8_t *text,
                  const uint8_t *text_end, const uint64_t *entries, size_t table_ids,
                  const uint8_t *rest, size_t rest_bytes)
{
    for (; id < id_end; id++) {
        if (*id >= table_ids)
            return 0;
        const uint64_t *entry = entries + 2 * (size_t)*id;
        const size_t length = entry[1] & 0xFFFF, first = length < WORD_BYTES ? length : WORD_BYTES;
        if (length == 0 || (size_t)(text_end - text) < length ||
            memcmp(text, &entry[0], first) != 0)
            return 0;
        if (length > WORD_BYTES) {
            const size_t at = entry[1] >> 16, more = length - WORD_BYTES;
            if (at > rest_bytes || rest_bytes - at < more ||
                memcmp(text + WORD_BYTES, rest + at, more) != 0)
                return 0;
        }
        text += length;
    }
    return text == text_end;
}

const char spell_texts_doc[] =
"spell_texts(ids, ends, texts, text_ends, entries, rest)\n"
"\n"
"Whether ids spell texts, uint8 for each, as bytes; 0 also where an id has no entry.\n"
"\n"
"ids: uint32, of all texts; ends: int64, where those of each end. texts: bytes; text_ends: int64,\n"
"where each text ends. entries, rest: uint64, a SpellingTable's.";

PyObject *spell_texts(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t given)
{
    static const Py_ssize_t sizes[] = {4, 8, 1, 8, 8, 8};
    Py_buffer views[6];
    if (!has_arguments("spell_texts", given, 6) || !lock_all(arguments, sizes, views, 6))
        return NULL;
    const Py_ssize_t count = items_of(&views[1]);
    PyObject *found = NULL;
    if (items_of(&views[3]) != count)
        PyErr_SetString(PyExc_ValueError, "arrays of different lengths");
    else if (ends_fit(&views[1], items_of(&views[0])) && ends_fit(&views[3], views[2].len))
        found = PyBytes_FromStringAndSize(NULL, count);
    if (found != NULL) {
        uint8_t *is_same = (uint8_t *)PyBytes_AS_STRING(found);
        const uint32_t *ids = views[0].buf;
        const uint8_t *texts = views[2].buf;
        const int64_t *ends = views[1].buf, *text_ends = views[3].buf;
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t at = 0; at < count; at++) {
            const int64_t start = at ? ends[at - 1] : 0, text = at ? text_ends[at - 1] : 0;
            is_same[at] = (uint8_t)spells(ids + start, ids + ends[at], texts + text,
                                          texts + text_ends[at], views[4].buf,
                                          (size_t)items_of(&views[4]) / 2, views[5].buf,
                                          (size_t)views[5].len);
        }
        Py_END_ALLOW_THREADS
    }
    release_all(views, 6);
    return found;
}

const char pack_varints_doc[] =
"pack_varints(ids, ends)\n"
"\n"
"The varints of ids (uint32), as a list of bytes: the ids of each end where ends (int64) say.";

PyObject *pack_varints(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t given)
{
    static const Py_ssize_t sizes[] = {4, 8};
    Py_buffer views[2];
    if (!has_arguments("pack_varints", given, 2) || !lock_all(arguments, sizes, views, 2))
        return NULL;
    const Py_ssize_t count = items_of(&views[1]), all = items_of(&views[0]);
    PyObject *found = NULL;
    uint8_t *packed = NULL;
    int64_t *packed_ends = NULL;
    if (ends_fit(&views[1], all)) {
        packed = PyMem_RawMalloc((size_t)all * 5 + 1);
        packed_ends = PyMem_RawMalloc((size_t)count * sizeof *packed_ends + 1);
        if (!packed || !packed_ends)
            PyErr_NoMemory();
    }
    if (packed && packed_ends) {
        const uint32_t *id = views[0].buf;
        const int64_t *ends = views[1].buf;
        uint8_t *out = packed;
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t at = 0; at < count; at++) {
            const uint32_t *const end = (const uint32_t *)views[0].buf + ends[at];
            for (; id < end; id++) {
                uint32_t rest = *id;
                for (; rest > 0x7F; rest >>= 7)
                    *out++ = (uint8_t)(rest | 0x80);
                *out++ = (uint8_t)rest;
            }
            packed_ends[at] = out - packed;
        }
        Py_END_ALLOW_THREADS
        found = parts_of(packed, packed_ends, count);
    }
    PyMem_RawFree(packed);
    PyMem_RawFree(packed_ends);
    release_all(views, 2);
    return found;
}
