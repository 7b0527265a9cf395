/*
 * Records on their way in: what occurs in their content, their check, their bodies.
 */

#include "kernels.h"

#define TOKENS 15
#define NEEDLES_MAX 8

const char occurring_doc[] =
"occurring(content, needles)\n"
"\n"
"Which of up to eight byte strings, none empty and all with the same first byte, occur: a bit for\n"
"each, the lowest for the first.";

PyObject *occurring(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t given)
{
    const uint8_t *needles[NEEDLES_MAX];
    size_t lengths[NEEDLES_MAX];
    Py_buffer view;
    if (!has_arguments("occurring", given, 2))
        return NULL;
    const Py_ssize_t count = PyTuple_Check(arguments[1]) ? PyTuple_GET_SIZE(arguments[1]) : 0;
    int fits = count >= 1 && count <= NEEDLES_MAX;
    for (Py_ssize_t at = 0; fits && at < count; at++) {
        PyObject *needle = PyTuple_GET_ITEM(arguments[1], at);
        fits = PyBytes_Check(needle) && PyBytes_GET_SIZE(needle) > 0;
        if (fits) {
            needles[at] = (const uint8_t *)PyBytes_AS_STRING(needle);
            lengths[at] = (size_t)PyBytes_GET_SIZE(needle);
            fits = needles[at][0] == needles[0][0];
        }
    }
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "needles that do not begin alike");
        return NULL;
    }
    if (!lock_array(arguments[0], 1, &view))
        return NULL;
    long found = 0;
    Py_BEGIN_ALLOW_THREADS
    const long all = (1L << count) - 1;
    const uint8_t *at = view.buf, *end = at + view.len;
    while (found != all && at < end &&
           (at = memchr(at, needles[0][0], (size_t)(end - at))) != NULL) {
        for (Py_ssize_t which = 0; which < count; which++) {
            if ((size_t)(end - at) >= lengths[which] &&
                !memcmp(at, needles[which], lengths[which]))
                found |= 1L << which;
        }
        at++;
    }
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&view);
    return PyLong_FromLong(found);
}

/* Whether the bytes of `piece` begin at `*at`, which moves behind them. */
static int passes(const uint8_t **at, const uint8_t *end, const uint8_t *piece, size_t length)
{
    if ((size_t)(end - *at) < length || memcmp(*at, piece, length))
        return 0;
    *at += length;
    return 1;
}

/* Whether a template with its values begins at `*at`; `*value` moves behind those. */
static int passes_template(const uint8_t **at, const uint8_t *end, PyObject *template,
                           PyObject *written, Py_ssize_t *value)
{
    const uint8_t *from = (const uint8_t *)PyBytes_AS_STRING(template);
    const uint8_t *behind = from + PyBytes_GET_SIZE(template);
    while (1) {
        const uint8_t *slot = memchr(from, 0, (size_t)(behind - from));
        if (!passes(at, end, from, (size_t)((slot == NULL ? behind : slot) - from)))
            return 0;
        if (slot == NULL)
            return 1;
        if (*value == PyTuple_GET_SIZE(written))
            return 0;
        PyObject *one = PyTuple_GET_ITEM(written, (*value)++);
        if (!passes(at, end, (const uint8_t *)PyBytes_AS_STRING(one),
                    (size_t)PyBytes_GET_SIZE(one)))
            return 0;
        from = slot + 1;
    }
}

static int is_tuple_of_bytes(PyObject *object)
{
    if (!PyTuple_Check(object))
        return 0;
    for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(object); at++) {
        if (!PyBytes_Check(PyTuple_GET_ITEM(object, at)))
            return 0;
    }
    return 1;
}

const char is_filled_doc[] =
"is_filled(content, templates, written)\n"
"\n"
"Whether content is the templates, two tuples of bytes, with what is written in their slots.";

PyObject *is_filled(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t given)
{
    Py_buffer view;
    if (!has_arguments("is_filled", given, 3))
        return NULL;
    if (!is_tuple_of_bytes(arguments[1]) || !is_tuple_of_bytes(arguments[2])) {
        PyErr_SetString(PyExc_TypeError, "no tuples of bytes");
        return NULL;
    }
    if (!lock_array(arguments[0], 1, &view))
        return NULL;
    PyObject *templates = arguments[1], *written = arguments[2];
    const uint8_t *at = view.buf, *end = at + view.len;
    Py_ssize_t value = 0;
    int same = 1;
    for (Py_ssize_t which = 0; same && which < PyTuple_GET_SIZE(templates); which++)
        same = passes_template(&at, end, PyTuple_GET_ITEM(templates, which), written, &value);
    same = same && at == end && value == PyTuple_GET_SIZE(written);
    PyBuffer_Release(&view);
    return PyBool_FromLong(same);
}

/* True, or false with an exception. */
static int has_memory(int pushed)
{
    if (!pushed)
        PyErr_NoMemory();
    return pushed;
}

/* Appends a number; false with an exception. */
static int add_number(Heap *out, uint64_t number)
{
    return has_memory(push_varint(out, number));
}

/* A number below 2**62, so that differences fit; false with an exception. */
static int number_of(PyObject *object, int64_t *number)
{
    if (!PyLong_Check(object)) {
        PyErr_SetString(PyExc_TypeError, "no number");
        return 0;
    }
    *number = PyLong_AsLongLong(object);
    if (*number == -1 && PyErr_Occurred())
        return 0;
    if (*number < 0 || *number >> 62) {
        PyErr_SetString(PyExc_OverflowError, "a number below 0, or of 63 bits and more");
        return 0;
    }
    return 1;
}

static int add_number_of(Heap *out, PyObject *object)
{
    int64_t number;
    return number_of(object, &number) && add_number(out, (uint64_t)number);
}

static int add_bytes(Heap *out, PyObject *bytes)
{
    return has_memory(push_bytes(out, PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes)));
}

/* A payload: (style, types, segments, separator). */
static int add_references(Heap *out, PyObject *value, int64_t *previous)
{
    int style;
    PyObject *types, *segments, *separator;
    if (!PyTuple_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "a value that is neither bytes nor a tuple");
        return 0;
    }
    if (!PyArg_ParseTuple(value, "iO!O!S", &style, &PyTuple_Type, &types, &PyTuple_Type, &segments,
                          &separator))
        return 0;
    const Py_ssize_t count = PyTuple_GET_SIZE(segments);
    if (style < 0 || style > TOKENS || PyTuple_GET_SIZE(types) != count) {
        PyErr_SetString(PyExc_ValueError, "no style, or not as many types as segments");
        return 0;
    }
    if (!add_number(out, (uint64_t)count << 5 | (uint64_t)style << 1 | 1))
        return 0;
    if (style == TOKENS && (!add_number(out, (uint64_t)PyBytes_GET_SIZE(separator)) ||
                            !add_bytes(out, separator)))
        return 0;
    for (Py_ssize_t at = 0; at < count; at++) {
        int64_t segment;
        if (!add_number_of(out, PyTuple_GET_ITEM(types, at)) ||
            !number_of(PyTuple_GET_ITEM(segments, at), &segment))
            return 0;
        const int64_t step = segment - *previous - 1;
        *previous = segment;
        if (!add_number(out, step < 0 ? ((uint64_t)-(step + 1) << 1) + 1 : (uint64_t)step << 1))
            return 0;
    }
    return 1;
}

static int add_body(Heap *out, PyObject *templates, PyObject *values)
{
    if (!add_number(out, (uint64_t)PyList_GET_SIZE(templates)))
        return 0;
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(templates); at++) {
        if (!add_number_of(out, PyList_GET_ITEM(templates, at)))
            return 0;
    }
    int64_t previous = -1;
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(values); at++) {
        PyObject *value = PyList_GET_ITEM(values, at);
        if (!PyBytes_Check(value)) {
            if (!add_references(out, value, &previous))
                return 0;
        } else if (!add_number(out, (uint64_t)PyBytes_GET_SIZE(value) << 1) ||
                   !add_bytes(out, value)) {
            return 0;
        }
    }
    return 1;
}

const char encode_body_doc[] =
"encode_body(template_nos, values)\n"
"\n"
"As documents/body.py, of two lists; References are tuples here. OverflowError for numbers of 63\n"
"bits and more.";

PyObject *encode_body(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t given)
{
    if (!has_arguments("encode_body", given, 2))
        return NULL;
    if (!PyList_Check(arguments[0]) || !PyList_Check(arguments[1])) {
        PyErr_SetString(PyExc_TypeError, "no lists");
        return NULL;
    }
    Heap out = {NULL, 0, 0};
    PyObject *body = add_body(&out, arguments[0], arguments[1]) ? heap_bytes(&out) : NULL;
    PyMem_RawFree(out.bytes);
    return body;
}
