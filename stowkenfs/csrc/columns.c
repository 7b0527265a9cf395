/*
 * Columns of blocks to numbers and positions.
 */

#include "kernels.h"

const char varints32_doc[] =
"varints32(buffer)\n"
"\n"
"The numbers of frames/varints.py as uint32 in bytes; None where it would raise.";

PyObject *varints32(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t given)
{
    Py_buffer view;
    if (!has_arguments("varints32", given, 1) || !lock_array(arguments[0], 1, &view))
        return NULL;
    Heap numbers = {NULL, 0, 0};
    const uint8_t *at = view.buf, *end = at + view.len;
    Outcome outcome = FINE;
    Py_BEGIN_ALLOW_THREADS
    while (at < end && outcome == FINE) {
        uint32_t number = 0;
        size_t length = varint_u32(at, end, &number);
        if (!length)
            outcome = ODD;
        else if (!push_u32(&numbers, number))
            outcome = NO_MEMORY;
        at += length;
    }
    Py_END_ALLOW_THREADS
    PyObject *found = outcome == FINE  ? heap_bytes(&numbers)
                      : outcome == ODD ? Py_NewRef(Py_None)
                                       : PyErr_NoMemory();
    PyMem_RawFree(numbers.bytes);
    PyBuffer_Release(&view);
    return found;
}

const char varints56_doc[] =
"varints56(buffer)\n"
"\n"
"The numbers of documents/dense_streams.py as int64 in a bytearray; None where it would raise.";

PyObject *varints56(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t given)
{
    Py_buffer view;
    if (!has_arguments("varints56", given, 1) || !lock_array(arguments[0], 1, &view))
        return NULL;
    Heap numbers = {NULL, 0, 0};
    const uint8_t *at = view.buf, *end = at + view.len;
    Outcome outcome = FINE;
    Py_BEGIN_ALLOW_THREADS
    while (at < end && outcome == FINE) {
        uint64_t number = 0;
        size_t length = varint_u64(at, end, &number);
        if (!length || length > 8)
            outcome = ODD;
        else if (!push_i64(&numbers, (int64_t)number))
            outcome = NO_MEMORY;
        at += length;
    }
    Py_END_ALLOW_THREADS
    PyObject *found;
    if (outcome == FINE)
        found = PyByteArray_FromStringAndSize((const char *)numbers.bytes,
                                              (Py_ssize_t)numbers.used);
    else
        found = outcome == ODD ? Py_NewRef(Py_None) : PyErr_NoMemory();
    PyMem_RawFree(numbers.bytes);
    PyBuffer_Release(&view);
    return found;
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
