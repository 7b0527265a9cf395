/*
 * Bits to identifiers.
 */

#include "kernels.h"

#define POSITIONS_MAX 64
#define ALPHABET_BYTES 64 /* room for each in the table */
#define CONSTANT 0x20     /* alphabets from here on are the one character that there is */
#define WORD_MAX ((uint64_t)1 << 63)

/* A number of `bits` bits, of which the positions from `first` on to before `end` are digits. */
typedef struct {
    uint64_t product;
    int bits, first, end;
} DigitWord;

/* As documents/dense_families.py describes them. */
typedef struct {
    DigitWord words[POSITIONS_MAX];
    int word_count, width;
    const uint8_t *numbers, *characters, *sizes; /* of alphabets: by position, by number twice */
    size_t bits;
} IdentifierFamily;

static void end_word(IdentifierFamily *family, uint64_t product, int first, int end)
{
    DigitWord *word = &family->words[family->word_count++];
    word->product = product;
    word->first = first;
    word->end = end;
    for (word->bits = 0; word->bits < 64 && (product - 1) >> word->bits; word->bits++)
        ;
    family->bits += (size_t)word->bits;
}

/* Fills in the words; false for an alphabet that there is not. */
static int find_words(IdentifierFamily *family, Py_ssize_t alphabet_count)
{
    uint64_t product = 1;
    int first = 0, varying = 0;
    for (int at = 0; at < family->width; at++) {
        if (family->numbers[at] >= CONSTANT)
            continue;
        if (family->numbers[at] >= alphabet_count)
            return 0;
        const uint64_t size = family->sizes[family->numbers[at]];
        if (size < 1 || size > ALPHABET_BYTES)
            return 0;
        if (product > WORD_MAX / size) {
            end_word(family, product, first, at);
            first = at;
            product = 1;
        }
        product *= size;
        varying = 1;
    }
    if (varying)
        end_word(family, product, first, family->width);
    return 1;
}

static uint64_t read_bits(const uint8_t *bytes, size_t at, int count)
{
    uint64_t number = 0;
    while (count > 0) {
        const int used = (int)(at & 7), taken = count < 8 - used ? count : 8 - used;
        const unsigned byte = bytes[at >> 3];
        number = number << taken | ((byte >> (8 - used - taken)) & ((1u << taken) - 1));
        at += (size_t)taken;
        count -= taken;
    }
    return number;
}

/* One identifier, whose bits begin at `at`; false for a word outside of its alphabets. */
static int put_identifier(const IdentifierFamily *family, const uint8_t *packed, size_t at,
                          uint8_t *out)
{
    memcpy(out, family->numbers, (size_t)family->width);
    for (int which = 0; which < family->word_count; which++) {
        const DigitWord *word = &family->words[which];
        uint64_t number = read_bits(packed, at, word->bits);
        at += (size_t)word->bits;
        if (number >= word->product)
            return 0;
        for (int position = word->end - 1; position >= word->first; position--) {
            const size_t alphabet = family->numbers[position];
            if (alphabet >= CONSTANT)
                continue;
            const uint64_t size = family->sizes[alphabet];
            out[position] = family->characters[alphabet * ALPHABET_BYTES + number % size];
            number /= size;
        }
    }
    return 1;
}

const char identifiers_doc[] =
"identifiers(packed, count, numbers, characters, sizes)\n"
"\n"
"The identifiers of a family (documents/dense_families.py) as a list of bytes; None where one is\n"
"outside of its alphabets.\n"
"\n"
"packed: bytes, their bits; numbers: bytes, the alphabet of each position; characters: bytes, 64\n"
"for each alphabet; sizes: bytes, how many of them count.";

PyObject *identifiers(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t given)
{
    static const Py_ssize_t sizes[] = {1, 1, 1, 1};
    Py_buffer views[4];
    if (!has_arguments("identifiers", given, 5))
        return NULL;
    const Py_ssize_t count = PyLong_AsSsize_t(arguments[1]);
    if (count == -1 && PyErr_Occurred())
        return NULL;
    PyObject *const arrays[] = {arguments[0], arguments[2], arguments[3], arguments[4]};
    if (!lock_all(arrays, sizes, views, 4))
        return NULL;
    PyObject *found = NULL;
    IdentifierFamily family = {.width = (int)views[1].len, .numbers = views[1].buf,
                               .characters = views[2].buf, .sizes = views[3].buf};
    if (count < 0 || views[1].len > POSITIONS_MAX ||
        views[2].len != views[3].len * ALPHABET_BYTES || !find_words(&family, views[3].len) ||
        (family.bits && (size_t)count > (size_t)views[0].len * 8 / family.bits)) {
        PyErr_SetString(PyExc_ValueError, "a family without alphabets, or too few bits");
    } else {
        found = PyList_New(count);
        for (Py_ssize_t at = 0; found != NULL && at < count; at++) {
            PyObject *item = PyBytes_FromStringAndSize(NULL, family.width);
            if (item == NULL) {
                Py_CLEAR(found);
                break;
            }
            PyList_SET_ITEM(found, at, item);
            if (!put_identifier(&family, views[0].buf, (size_t)at * family.bits,
                                (uint8_t *)PyBytes_AS_STRING(item))) {
                Py_SETREF(found, Py_NewRef(Py_None));
                break;
            }
        }
    }
    release_all(views, 4);
    return found;
}
