/*
 * Any bytes to a skeleton and values.
 */

#include "kernels.h"

#define KEY_BYTES_MAX 127 /* documents/lexer.py has the same */

/* The start of a word or number: where the skeleton may end, and nowhere else outside quotes. */
static const uint8_t stops[256] = {
    ['"'] = 1, ['-'] = 1, ['t'] = 1, ['f'] = 1, ['n'] = 1, ['N'] = 1, ['I'] = 1,
    ['0'] = 1, ['1'] = 1, ['2'] = 1, ['3'] = 1, ['4'] = 1, ['5'] = 1, ['6'] = 1, ['7'] = 1,
    ['8'] = 1, ['9'] = 1,
};

/* What follows the first digit of a number. */
static const uint8_t in_numbers[256] = {
    ['.'] = 1, ['e'] = 1, ['E'] = 1, ['+'] = 1, ['-'] = 1,
    ['0'] = 1, ['1'] = 1, ['2'] = 1, ['3'] = 1, ['4'] = 1, ['5'] = 1, ['6'] = 1, ['7'] = 1,
    ['8'] = 1, ['9'] = 1,
};

/* Skeleton: bytes; values: pairs of int64, where each starts and ends. */
typedef struct {
    const uint8_t *content;
    Heap skeleton, values;
    size_t count, count_max;
} Lexing;

/* The next quote or backslash, or `end`. */
static const uint8_t *string_stop(const uint8_t *at, const uint8_t *end)
{
    for (; end - at >= 8; at += 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        if (HAS_ZERO(word ^ ONES * '"') || HAS_ZERO(word ^ ONES * '\\'))
            break;
    }
    while (at < end && *at != '"' && *at != '\\')
        at++;
    return at;
}

static const uint8_t *after_blank(const uint8_t *at, const uint8_t *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n'))
        at++;
    return at;
}

/* The end of the key that begins with the quote `at`, behind its colon; NULL if it is none. */
static const uint8_t *key_end(const uint8_t *at, const uint8_t *end)
{
    const uint8_t *start = at + 1;
    const uint8_t *limit = end - start > KEY_BYTES_MAX + 1 ? start + KEY_BYTES_MAX + 1 : end;
    at = string_stop(start, limit);
    if (at == limit || *at != '"')
        return NULL;
    at = after_blank(at + 1, end);
    return at < end && *at == ':' ? at + 1 : NULL;
}

static int begins(const uint8_t *at, const uint8_t *end, const char *word, size_t length)
{
    return (size_t)(end - at) >= length && !memcmp(at, word, length);
}

/* The end of the number or word that begins `at`; `at` itself if none does. */
static const uint8_t *bare_end(const uint8_t *at, const uint8_t *end)
{
    const uint8_t *digits = at + (*at == '-');
    if (digits < end && *digits >= '0' && *digits <= '9') {
        for (digits++; digits < end && in_numbers[*digits]; digits++)
            ;
        return digits;
    }
    if (begins(digits, end, "Infinity", 8))
        return digits + 8;
    if (begins(at, end, "true", 4) || begins(at, end, "null", 4))
        return at + 4;
    if (begins(at, end, "false", 5))
        return at + 5;
    return begins(at, end, "NaN", 3) ? at + 3 : at;
}

static const uint8_t *string_end(const uint8_t *at, const uint8_t *end)
{
    while ((at = string_stop(at, end)) < end && *at == '\\')
        at += end - at > 1 ? 2 : 1;
    return at;
}

/* Bytes of the skeleton; ODD where there is a NUL byte among them. */
static Outcome put_skeleton(Lexing *lexing, const uint8_t *from, const uint8_t *to)
{
    const size_t count = (size_t)(to - from);
    if (!heap_has(&lexing->skeleton, count + 1))
        return NO_MEMORY;
    uint8_t *into = lexing->skeleton.bytes + lexing->skeleton.used;
    uint8_t has_nul = 0;
    for (size_t at = 0; at < count; at++) {
        into[at] = from[at];
        has_nul |= !from[at];
    }
    lexing->skeleton.used += count;
    return has_nul ? ODD : FINE;
}

/* The skeleton from `from` on, and behind it a value. */
static Outcome put_value(Lexing *lexing, const uint8_t *from, const uint8_t *start,
                         const uint8_t *end)
{
    const Outcome outcome = put_skeleton(lexing, from, start);
    if (outcome != FINE)
        return outcome;
    if (++lexing->count > lexing->count_max)
        return ODD;
    lexing->skeleton.bytes[lexing->skeleton.used++] = 0;
    return push_i64(&lexing->values, start - lexing->content) &&
                   push_i64(&lexing->values, end - lexing->content)
               ? FINE
               : NO_MEMORY;
}

/* Bytes without wholes. `from` is where the skeleton begins that is not yet put. */
static Outcome lex_plain(Lexing *lexing, const uint8_t *from, const uint8_t *end)
{
    const uint8_t *at = from;
    while (1) {
        while (at < end && !stops[*at])
            at++;
        if (at == end)
            return put_skeleton(lexing, from, end);
        const uint8_t *start = at, *next, *behind;
        if (*at == '"') {
            next = key_end(at, end);
            if (next != NULL) {
                at = next;
                continue;
            }
            start = at + 1;
            next = string_end(start, end);
            behind = next + (next < end); /* the quote that ends a string opens none */
        } else {
            next = behind = bare_end(at, end);
            if (next == at) {
                at++;
                continue;
            }
        }
        const Outcome outcome = put_value(lexing, from, start, next);
        if (outcome != FINE)
            return outcome;
        from = next;
        at = behind;
    }
}

static Outcome lex_all(Lexing *lexing, const int64_t *wholes, Py_ssize_t count, Py_ssize_t length)
{
    const uint8_t *at = lexing->content;
    for (Py_ssize_t which = 0; which < count; which++) {
        const uint8_t *start = lexing->content + wholes[2 * which];
        const uint8_t *end = lexing->content + wholes[2 * which + 1];
        Outcome outcome = lex_plain(lexing, at, start);
        if (outcome == FINE)
            outcome = put_value(lexing, start, start, end);
        if (outcome != FINE)
            return outcome;
        at = end;
    }
    return lex_plain(lexing, at, lexing->content + length);
}

static int append_number(PyObject *list, Py_ssize_t number)
{
    PyObject *object = PyLong_FromSsize_t(number);
    const int fits = object != NULL && PyList_Append(list, object) == 0;
    Py_XDECREF(object);
    return fits;
}

/* Skeleton, values, and the places of those of `long_bytes` and more, and of wholes. */
static PyObject *found_of(const Lexing *lexing, Py_ssize_t long_bytes, const int64_t *wholes,
                          Py_ssize_t whole_count)
{
    PyObject *skeleton = heap_bytes(&lexing->skeleton), *longs = PyList_New(0);
    PyObject *values = PyList_New((Py_ssize_t)lexing->count), *whole_places = PyList_New(0);
    if (skeleton == NULL || values == NULL || longs == NULL || whole_places == NULL)
        goto failed;
    const int64_t *places = (const int64_t *)lexing->values.bytes;
    for (Py_ssize_t at = 0; at < (Py_ssize_t)lexing->count; at++) {
        const Py_ssize_t length = (Py_ssize_t)(places[2 * at + 1] - places[2 * at]);
        PyObject *value =
            PyBytes_FromStringAndSize((const char *)lexing->content + places[2 * at], length);
        if (value == NULL)
            goto failed;
        PyList_SET_ITEM(values, at, value);
        if (length >= long_bytes && !append_number(longs, at))
            goto failed;
        if (whole_count && places[2 * at] == wholes[0] && places[2 * at + 1] == wholes[1]) {
            if (!append_number(whole_places, at))
                goto failed;
            wholes += 2;
            whole_count--;
        }
    }
    return Py_BuildValue("NNNN", skeleton, values, longs, whole_places);
failed:
    Py_XDECREF(skeleton);
    Py_XDECREF(values);
    Py_XDECREF(longs);
    Py_XDECREF(whole_places);
    return NULL;
}

const char lex_doc[] =
"lex(content, wholes, values_max, long_bytes)\n"
"\n"
"As documents/lexer.py: skeleton, values, the places among them of those of at least long_bytes,\n"
"and of wholes. None where there is a NUL byte outside of values, or more than values_max.\n"
"\n"
"wholes: int64, starts and ends in turns, ascending.";

PyObject *lex(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t given)
{
    static const Py_ssize_t sizes[] = {1, 8};
    Py_buffer views[2];
    if (!has_arguments("lex", given, 4))
        return NULL;
    const Py_ssize_t values_max = PyLong_AsSsize_t(arguments[2]);
    const Py_ssize_t long_bytes = PyLong_AsSsize_t(arguments[3]);
    if (PyErr_Occurred() || !lock_all(arguments, sizes, views, 2))
        return NULL;
    const int64_t *wholes = views[1].buf;
    const Py_ssize_t count = items_of(&views[1]) / 2;
    int fits = values_max >= 0 && items_of(&views[1]) % 2 == 0;
    int64_t before = 0;
    for (Py_ssize_t at = 0; fits && at < 2 * count; at++) {
        fits = wholes[at] >= before && wholes[at] <= views[0].len;
        before = wholes[at];
    }
    PyObject *found = NULL;
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "wholes that do not fit their content");
    } else {
        Lexing lexing = {.content = views[0].buf, .count_max = (size_t)values_max};
        Outcome outcome;
        Py_BEGIN_ALLOW_THREADS
        outcome = lex_all(&lexing, wholes, count, views[0].len);
        Py_END_ALLOW_THREADS
        if (outcome == FINE)
            found = found_of(&lexing, long_bytes, wholes, count);
        else
            found = without_result(outcome);
        PyMem_RawFree(lexing.skeleton.bytes);
        PyMem_RawFree(lexing.values.bytes);
    }
    release_all(views, 2);
    return found;
}
