/*
 * Columns of blocks to numbers and positions.
 */

#include "kernels.h"

/* The numbers of a buffer, by what reads one of them and returns its length, 0 for an odd one. */
typedef size_t Take(const uint8_t *at, const uint8_t *end, Heap *numbers, Outcome *outcome);

static Outcome take_all(const Py_buffer *view, Take *take, Heap *numbers)
{
    const uint8_t *at = view->buf, *end = at + view->len;
    Outcome outcome = FINE;
    Py_BEGIN_ALLOW_THREADS
    while (at < end && outcome == FINE)
        at += take(at, end, numbers, &outcome);
    Py_END_ALLOW_THREADS
    return outcome;
}

typedef PyObject *Wrap(const char *bytes, Py_ssize_t length);

static PyObject *varints(const char *name, PyObject *const *arguments, Py_ssize_t given, Take *take,
                         Wrap *wrap)
{
    Py_buffer view;
    if (!has_arguments(name, given, 1) || !lock_array(arguments[0], 1, &view))
        return NULL;
    Heap numbers = {NULL, 0, 0};
    Outcome outcome = take_all(&view, take, &numbers);
    PyObject *found;
    if (outcome == FINE)
        found = wrap((const char *)numbers.bytes, (Py_ssize_t)numbers.used);
    else
        found = without_result(outcome);
    PyMem_RawFree(numbers.bytes);
    PyBuffer_Release(&view);
    return found;
}

static size_t take_u32(const uint8_t *at, const uint8_t *end, Heap *numbers, Outcome *outcome)
{
    uint32_t number = 0;
    size_t length = varint_u32(at, end, &number);
    if (!length)
        *outcome = ODD;
    else if (!push_u32(numbers, number))
        *outcome = NO_MEMORY;
    return length;
}

static size_t take_u56(const uint8_t *at, const uint8_t *end, Heap *numbers, Outcome *outcome)
{
    uint64_t number = 0;
    size_t length = varint_u64(at, end, &number);
    if (!length || length > 8)
        *outcome = ODD;
    else if (!push_i64(numbers, (int64_t)number))
        *outcome = NO_MEMORY;
    return length;
}

const char varints32_doc[] =
"varints32(buffer)\n"
"\n"
"The numbers of frames/varints.py as uint32 in bytes; None where it would raise.";

PyObject *varints32(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t given)
{
    return varints("varints32", arguments, given, take_u32, PyBytes_FromStringAndSize);
}

const char varints56_doc[] =
"varints56(buffer)\n"
"\n"
"The numbers of documents/dense_streams.py as int64 in a bytearray; None where it would raise.";

PyObject *varints56(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t given)
{
    return varints("varints56", arguments, given, take_u56, PyByteArray_FromStringAndSize);
}

const char places_of_doc[] =
"places_of(buffer, byte)\n"
"\n"
"Where `byte` stands in a buffer of less than 2**32 bytes: uint32 in a bytearray.";

PyObject *places_of(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t given)
{
    Py_buffer view;
    if (!has_arguments("places_of", given, 2))
        return NULL;
    const long byte = PyLong_AsLong(arguments[1]);
    if (byte == -1 && PyErr_Occurred())
        return NULL;
    if (!lock_array(arguments[0], 1, &view))
        return NULL;
    PyObject *found = NULL;
    if (byte < 0 || byte > 255 || (uint64_t)view.len > UINT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "no byte, or too long a buffer");
    } else {
        Heap places = {NULL, 0, 0};
        const uint8_t *start = view.buf, *at = start, *end = start + view.len;
        int fits = 1;
        Py_BEGIN_ALLOW_THREADS
        while (fits && at < end && (at = memchr(at, (int)byte, (size_t)(end - at))) != NULL) {
            fits = push_u32(&places, (uint32_t)(at - start));
            at++;
        }
        Py_END_ALLOW_THREADS
        found = fits ? PyByteArray_FromStringAndSize((const char *)places.bytes,
                                                     (Py_ssize_t)places.used)
                     : PyErr_NoMemory();
        PyMem_RawFree(places.bytes);
    }
    PyBuffer_Release(&view);
    return found;
}
