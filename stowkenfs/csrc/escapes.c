/*
 * Strings of JSON to their texts, and back in each style.
 */

#include "kernels.h"

enum { MINIMAL = 1, ASCII, ASCII_UPPER, HTML_SAFE, MINIMAL_SLASH, ASCII_SLASH };

/* The character at `at`; 0 bytes if it is not UTF-8. */
static size_t read_character(const uint8_t *at, const uint8_t *end, uint32_t *character)
{
    const uint32_t first = *at;
    if (first < 0x80) {
        *character = first;
        return 1;
    }
    const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC2 || first > 0xF4 || (size_t)(end - at) < length)
        return 0;
    uint32_t value = first & (0x7Fu >> length);
    for (size_t which = 1; which < length; which++) {
        if ((at[which] & 0xC0) != 0x80)
            return 0;
        value = value << 6 | (at[which] & 0x3F);
    }
    if ((length == 3 && (value < 0x800 || (value >= 0xD800 && value < 0xE000))) ||
        (length == 4 && (value < 0x10000 || value > 0x10FFFF)))
        return 0;
    *character = value;
    return length;
}

static size_t write_character(uint8_t *out, uint32_t character)
{
    if (character < 0x80) {
        out[0] = (uint8_t)character;
        return 1;
    }
    const size_t length = character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;
    for (size_t which = length - 1; which; which--) {
        out[which] = (uint8_t)(0x80 | (character & 0x3F));
        character >>= 6;
    }
    out[0] = (uint8_t)((0xF00 >> length & 0xFF) | character);
    return length;
}

/* Behind the bytes from `at` on, by eight, that a string of JSON always has as they are. */
static const uint8_t *plain_end(const uint8_t *at, const uint8_t *end)
{
    for (; end - at >= 8; at += 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        if ((word & ONES * 0x80) || HAS_LESS(word, ' ') || HAS_ZERO(word ^ ONES * '"') ||
            HAS_ZERO(word ^ ONES * '\\'))
            break;
    }
    return at;
}

/* What a backslash and a letter stand for, 0 for other letters. */
static const uint8_t plain_of[256] = {
    ['"'] = '"', ['\\'] = '\\', ['/'] = '/', ['b'] = '\b',
    ['f'] = '\f', ['n'] = '\n', ['r'] = '\r', ['t'] = '\t',
};

/* And the letters of what is written so. */
static const uint8_t letter_of[128] = {
    ['"'] = '"', ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't',
};

/* The number of four digits behind backslash and u, which begin `at`; -1 if they are none. */
static int32_t read_unit(const uint8_t *at, const uint8_t *end)
{
    if (end - at < 6 || at[0] != '\\' || at[1] != 'u')
        return -1;
    int32_t unit = 0;
    for (at += 2, end = at + 4; at < end; at++) {
        const int digit = *at >= '0' && *at <= '9'   ? *at - '0'
                          : *at >= 'a' && *at <= 'f' ? *at - 'a' + 10
                          : *at >= 'A' && *at <= 'F' ? *at - 'A' + 10
                                                     : -1;
        if (digit < 0)
            return -1;
        unit = unit << 4 | digit;
    }
    return unit;
}

/* The text of a literal, which is never longer; -1 if it is not JSON, or no UTF-8. */
static Py_ssize_t read_literal(const uint8_t *at, const uint8_t *end, uint8_t *out)
{
    uint8_t *const start = out;
    while (at < end) {
        if (*at >= 0x80) {
            uint32_t character;
            const size_t length = read_character(at, end, &character);
            if (!length)
                return -1;
            for (const uint8_t *behind = at + length; at < behind;)
                *out++ = *at++;
        } else if (*at != '\\') {
            if (*at < ' ' || *at == '"')
                return -1;
            const uint8_t *plain = plain_end(at, end);
            memcpy(out, at, (size_t)(plain - at));
            out += plain - at;
            at = plain;
            while (at < end && *at < 0x80 && *at >= ' ' && *at != '"' && *at != '\\')
                *out++ = *at++;
        } else if (end - at > 1 && plain_of[at[1]]) {
            *out++ = plain_of[at[1]];
            at += 2;
        } else {
            int32_t unit = read_unit(at, end);
            if (unit < 0 || (unit >= 0xDC00 && unit < 0xE000))
                return -1;
            at += 6;
            if (unit >= 0xD800 && unit < 0xDC00) {
                const int32_t low = read_unit(at, end);
                if (low < 0xDC00 || low >= 0xE000)
                    return -1;
                at += 6;
                unit = 0x10000 + (unit - 0xD800) * 0x400 + low - 0xDC00;
            }
            out += write_character(out, (uint32_t)unit);
        }
    }
    return out - start;
}

const char unescape_doc[] =
"unescape(literal)\n"
"\n"
"The text of a string of JSON without its quotes, both UTF-8. None for what is not JSON, or not\n"
"UTF-8, as half a surrogate pair is not.";

PyObject *unescape(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t given)
{
    Py_buffer view;
    if (!has_arguments("unescape", given, 1) || !lock_array(arguments[0], 1, &view))
        return NULL;
    PyObject *text = PyBytes_FromStringAndSize(NULL, view.len);
    if (text != NULL) {
        const uint8_t *at = view.buf;
        uint8_t *out = (uint8_t *)PyBytes_AS_STRING(text);
        Py_ssize_t length;
        Py_BEGIN_ALLOW_THREADS
        length = read_literal(at, at + view.len, out);
        Py_END_ALLOW_THREADS
        if (length < 0)
            Py_SETREF(text, Py_NewRef(Py_None));
        else
            _PyBytes_Resize(&text, length);
    }
    PyBuffer_Release(&view);
    return text;
}

static size_t write_unit(uint8_t *out, uint32_t unit, const char *digits)
{
    *out++ = '\\';
    *out++ = 'u';
    for (int shift = 12; shift >= 0; shift -= 4)
        *out++ = (uint8_t)digits[unit >> shift & 15];
    return 6;
}

/* Which bytes a style writes as they are. */
static void find_kept(long style, uint8_t kept[256])
{
    const int ascii = style == ASCII || style == ASCII_UPPER || style == ASCII_SLASH;
    for (int byte = 0; byte < 256; byte++)
        kept[byte] = byte >= ' ' && byte < 0x80 && !letter_of[byte];
    if (ascii)
        kept[0x7F] = 0;
    if (style == MINIMAL_SLASH || style == ASCII_SLASH)
        kept['/'] = 0;
    if (style == HTML_SAFE)
        kept['<'] = kept['>'] = kept['&'] = 0;
}

static Outcome write_text(Heap *out, const uint8_t *at, const uint8_t *end, long style)
{
    const int ascii = style == ASCII || style == ASCII_UPPER || style == ASCII_SLASH;
    const char *digits = style == ASCII_UPPER ? "0123456789ABCDEF" : "0123456789abcdef";
    uint8_t kept[256];
    find_kept(style, kept);
    const int keeps_all = style == MINIMAL;
    while (at < end) {
        const uint8_t *from = at;
        if (keeps_all)
            at = plain_end(at, end);
        while (at < end && kept[*at])
            at++;
        /* Besides, room for what is not kept: two units. */
        if (!heap_has(out, (size_t)(at - from) + 12))
            return NO_MEMORY;
        memcpy(out->bytes + out->used, from, (size_t)(at - from));
        out->used += (size_t)(at - from);
        if (at == end)
            break;
        uint32_t character;
        const size_t length = read_character(at, end, &character);
        if (!length)
            return ODD;
        uint8_t *into = out->bytes + out->used;
        if (character < 0x80 && (letter_of[character] || character == '/')) {
            into[0] = '\\';
            into[1] = character == '/' ? '/' : letter_of[character];
            out->used += 2;
        } else if (character >= 0x80 && !ascii &&
                   !(style == HTML_SAFE && (character == 0x2028 || character == 0x2029))) {
            memcpy(into, at, length);
            out->used += length;
        } else if (character < 0x10000) {
            out->used += write_unit(into, character, digits);
        } else {
            out->used += write_unit(into, 0xD7C0 + (character >> 10), digits);
            out->used += write_unit(into + 6, 0xDC00 + (character & 0x3FF), digits);
        }
        at += length;
    }
    return FINE;
}

const char escape_doc[] =
"escape(text, style)\n"
"\n"
"UTF-8 as a string of JSON without its quotes, in a style that escapes (documents/values.py).\n"
"None for what is not UTF-8.";

PyObject *escape(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t given)
{
    Py_buffer view;
    if (!has_arguments("escape", given, 2))
        return NULL;
    const long style = PyLong_AsLong(arguments[1]);
    if (style == -1 && PyErr_Occurred())
        return NULL;
    if (style < MINIMAL || style > ASCII_SLASH) {
        PyErr_SetString(PyExc_ValueError, "no style that escapes");
        return NULL;
    }
    if (!lock_array(arguments[0], 1, &view))
        return NULL;
    Heap out = {NULL, 0, 0};
    Outcome outcome;
    Py_BEGIN_ALLOW_THREADS
    const uint8_t *at = view.buf;
    outcome = heap_has(&out, (size_t)view.len + (size_t)view.len / 8 + 12)
                  ? write_text(&out, at, at + view.len, style)
                  : NO_MEMORY;
    Py_END_ALLOW_THREADS
    PyObject *written;
    if (outcome == FINE)
        written = heap_bytes(&out);
    else
        written = without_result(outcome);
    PyMem_RawFree(out.bytes);
    PyBuffer_Release(&view);
    return written;
}
