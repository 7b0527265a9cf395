/*
 * What the files of this directory share; module.c says what they are.
 */

#ifndef STOWKENFS_KERNELS_H
#define STOWKENFS_KERNELS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

/* A function of the module, and its documentation. */
#define DECLARE(name)                                                                         \
    PyObject *name(PyObject *module, PyObject *const *arguments, Py_ssize_t given);           \
    extern const char name##_doc[]

DECLARE(spell_ranked);
DECLARE(spell_varints);
DECLARE(scan_bodies);
DECLARE(fill);
DECLARE(varints32);
DECLARE(varints56);
DECLARE(places_of);
DECLARE(identifiers);
DECLARE(spell_texts);
DECLARE(pack_varints);
DECLARE(names_in_bodies);
DECLARE(rename_bodies);
DECLARE(lex);
DECLARE(unescape);
DECLARE(escape);
DECLARE(occurring);
DECLARE(is_filled);
DECLARE(encode_body);
DECLARE(trie_index);
DECLARE(trie_observe);
DECLARE(model_encode);
DECLARE(model_decode);

/* Whether a function was given `wanted` arguments; false with an exception. */
static inline int has_arguments(const char *name, Py_ssize_t given, Py_ssize_t wanted)
{
    if (given != wanted)
        PyErr_Format(PyExc_TypeError, "%s takes %zd arguments, not %zd", name, wanted, given);
    return given == wanted;
}

/* Locks an array of items of `item_bytes`; false with an exception. */
static inline int lock_array(PyObject *object, Py_ssize_t item_bytes, Py_buffer *view)
{
    if (PyObject_GetBuffer(object, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) < 0)
        return 0;
    if (view->itemsize != item_bytes) {
        PyErr_Format(PyExc_TypeError, "items of %zd bytes, not %zd", item_bytes, view->itemsize);
        PyBuffer_Release(view);
        return 0;
    }
    return 1;
}

static inline Py_ssize_t items_of(const Py_buffer *view)
{
    return view->len / view->itemsize;
}

/* Styles of payloads: those up to STYLE_MAX, and TOKENS. */
#define STYLE_MAX 9

static inline void release_all(Py_buffer *views, int count)
{
    for (int at = 0; at < count; at++)
        PyBuffer_Release(&views[at]);
}

/* Locks `count` arrays, all or none; false with an exception. */
static inline int lock_all(PyObject *const *objects, const Py_ssize_t *item_bytes, Py_buffer *views,
                    int count)
{
    for (int at = 0; at < count; at++) {
        if (!lock_array(objects[at], item_bytes[at], &views[at])) {
            release_all(views, at);
            return 0;
        }
    }
    return 1;
}

/* Memory that grows. May be used without the interpreter's lock. */
typedef struct {
    uint8_t *bytes;
    size_t used, room;
} Heap;

static inline int heap_grow(Heap *heap, size_t more)
{
    size_t room = heap->room ? heap->room : 4096;
    while (room - heap->used < more) {
        if (room > SIZE_MAX / 2)
            return 0;
        room *= 2;
    }
    uint8_t *bytes = PyMem_RawRealloc(heap->bytes, room);
    if (bytes == NULL)
        return 0;
    heap->bytes = bytes;
    heap->room = room;
    return 1;
}

static inline int heap_has(Heap *heap, size_t more)
{
    return heap->room - heap->used >= more || heap_grow(heap, more);
}

static inline int push_i64(Heap *heap, int64_t number)
{
    if (!heap_has(heap, sizeof number))
        return 0;
    memcpy(heap->bytes + heap->used, &number, sizeof number);
    heap->used += sizeof number;
    return 1;
}

static inline int push_u32(Heap *heap, uint32_t number)
{
    if (!heap_has(heap, sizeof number))
        return 0;
    memcpy(heap->bytes + heap->used, &number, sizeof number);
    heap->used += sizeof number;
    return 1;
}

static inline int push_bytes(Heap *heap, const void *from, size_t count)
{
    if (!heap_has(heap, count))
        return 0;
    if (count)
        memcpy(heap->bytes + heap->used, from, count);
    heap->used += count;
    return 1;
}

static inline int push_varint(Heap *heap, uint64_t number)
{
    if (!heap_has(heap, 10))
        return 0;
    for (; number > 0x7F; number >>= 7)
        heap->bytes[heap->used++] = (uint8_t)(number | 0x80);
    heap->bytes[heap->used++] = (uint8_t)number;
    return 1;
}

static inline PyObject *heap_bytes(const Heap *heap)
{
    return PyBytes_FromStringAndSize((const char *)heap->bytes, (Py_ssize_t)heap->used);
}

/* A list of bytes: the consecutive parts of `content` that end where `ends` say. */
static inline PyObject *parts_of(const uint8_t *content, const int64_t *ends, Py_ssize_t count)
{
    PyObject *parts = PyList_New(count);
    int64_t start = 0;
    for (Py_ssize_t at = 0; parts != NULL && at < count; at++) {
        PyObject *part =
            PyBytes_FromStringAndSize((const char *)content + start, ends[at] - start);
        start = ends[at];
        if (part == NULL)
            Py_CLEAR(parts);
        else
            PyList_SET_ITEM(parts, at, part);
    }
    return parts;
}

/* Whether all pairs are ranges of `length` items; false with an exception. */
static inline int ranges_fit(const int64_t *starts, const int64_t *ends, Py_ssize_t count,
                      Py_ssize_t length)
{
    for (Py_ssize_t at = 0; at < count; at++) {
        if (starts[at] < 0 || starts[at] > ends[at] || ends[at] > length) {
            PyErr_SetString(PyExc_ValueError, "a range outside of its buffer");
            return 0;
        }
    }
    return 1;
}

/* Eight bytes at once: whether one of them is 0, or, below 0x80, less than `byte`. */
#define ONES 0x0101010101010101u
#define HAS_ZERO(word) (((word) - ONES) & ~(word) & (ONES * 0x80))
#define HAS_LESS(word, byte) (((word) - ONES * (byte)) & ~(word) & (ONES * 0x80))

typedef enum { FINE, ODD, NO_MEMORY } Outcome;

/* What is returned in place of a result, of an outcome that is not FINE. */
static inline PyObject *without_result(Outcome outcome)
{
    return outcome == ODD ? Py_NewRef(Py_None) : PyErr_NoMemory();
}

/* One varint of at most 32 bits in its shortest form; 0 bytes if there is none. */
static inline size_t varint_u32(const uint8_t *at, const uint8_t *end, uint32_t *number)
{
    uint64_t value = 0;
    for (size_t length = 0; length < 5 && at + length < end; length++) {
        uint64_t byte = at[length];
        value |= (byte & 0x7F) << (7 * length);
        if (byte < 0x80) {
            if (value > UINT32_MAX || (length && !byte))
                return 0;
            *number = (uint32_t)value;
            return length + 1;
        }
    }
    return 0;
}

/* One varint of at most 64 bits in any form; 0 bytes if there is none. */
static inline size_t varint_u64(const uint8_t *at, const uint8_t *end, uint64_t *number)
{
    uint64_t value = 0;
    for (size_t length = 0; length < 10 && at + length < end; length++) {
        const uint64_t byte = at[length];
        if (length == 9 && byte > 1)
            return 0;
        value |= (byte & 0x7F) << (7 * length);
        if (byte < 0x80) {
            *number = value;
            return length + 1;
        }
    }
    return 0;
}

/* Reads a number below 2**63 from `at`, which it moves; from there on no place of ours has room. */
#define READ(number)                                                                          \
    do {                                                                                      \
        uint64_t read_number = 0;                                                             \
        const size_t read_bytes = varint_u64(at, end, &read_number);                          \
        if (!read_bytes || read_number > INT64_MAX)                                           \
            return ODD;                                                                       \
        at += read_bytes;                                                                     \
        (number) = (int64_t)read_number;                                                      \
    } while (0)

#endif
