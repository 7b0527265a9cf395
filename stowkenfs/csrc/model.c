/*
 * Ids under a frozen model, and back: predict/coder.py has the same in Python and says how it is
 * done. Integers only: what one machine encodes another decodes.
 */

#include "kernels.h"

#define HASH_FACTOR 0x9E3779B97F4A7C15u
#define ID_BITS 18
#define END ((1u << ID_BITS) - 1)
#define ORDERS_MAX 3
#define WINDOW_BITS 48
#define WINDOW (((uint64_t)1 << WINDOW_BITS) - 1)
#define RANGE_MIN ((uint64_t)1 << 40)
#define MATCH_BITS 16
#define LENGTHS 16
#define PLACE_BITS 14
#define NONE (-1)

/* The most that one id takes: four escapes and a raw id, each below 24 bits, and a flag. */
#define ID_BYTES_MAX 32

typedef struct {
    int orders;
    const uint32_t *match;
    const uint64_t *keys;
    const uint32_t *slots, *first, *tokens, *starts, *totals;
    Py_ssize_t contexts, entries;
    size_t last_slot;
    int slot_bits;
} Model;

typedef struct {
    const uint8_t *from, *end; /* of a decoder */
    Heap *out;                 /* of an encoder; NULL of a decoder */
    size_t began;
    uint64_t low, range, code;
} Coder;

static inline void carry(Coder *coder)
{
    uint8_t *byte = coder->out->bytes + coder->out->used;
    while (*--byte == 0xFF)
        *byte = 0;
    (*byte)++;
}

static inline uint64_t next_byte(Coder *coder)
{
    return coder->from++ < coder->end ? coder->from[-1] : 0;
}

/* Narrows to `size` from `start` of `unit`s. */
static inline void narrow(Coder *coder, uint64_t unit, uint64_t start, uint64_t size)
{
    coder->low += start * unit;
    coder->range = size * unit;
    if (coder->low > WINDOW) {
        if (coder->out != NULL)
            carry(coder);
        coder->low &= WINDOW;
    }
    coder->code -= start * unit;
    while (coder->range < RANGE_MIN) {
        if (coder->out != NULL)
            coder->out->bytes[coder->out->used++] = (uint8_t)(coder->low >> 40);
        else
            coder->code = coder->code << 8 | next_byte(coder);
        coder->low = coder->low << 8 & WINDOW;
        coder->range <<= 8;
    }
}

/* The number that the shortest bytes within the range are; above WINDOW with a carry. */
static uint64_t shortest(const Coder *coder)
{
    for (int bits = WINDOW_BITS; bits > 0; bits -= 8) {
        const uint64_t ones = ((uint64_t)1 << bits) - 1, number = (coder->low + ones) & ~ones;
        if (number - coder->low < coder->range)
            return number;
    }
    return coder->low;
}

static void finish_encoding(Coder *coder)
{
    Heap *out = coder->out;
    uint64_t number = shortest(coder);
    if (number > WINDOW)
        carry(coder);
    for (int bits = 40; bits >= 0; bits -= 8)
        out->bytes[out->used++] = (uint8_t)(number >> bits);
    while (out->used > coder->began && out->bytes[out->used - 1] == 0)
        out->used--;
}

typedef struct {
    int length; /* of the match; 0 for none */
    size_t at;
    uint32_t places[1 << PLACE_BITS]; /* where the hash of the last two ids was seen last */
} Matcher;

static inline void advance(Matcher *match, const uint32_t *ids, size_t count, uint32_t token,
                           uint32_t predicted)
{
    if (match->length && predicted == token) {
        match->length++;
        match->at++;
    } else {
        match->length = 0;
    }
    if (count < 2)
        return;
    const uint64_t pair = (uint64_t)ids[count - 2] << ID_BITS | ids[count - 1];
    uint32_t *place = match->places + ((pair * HASH_FACTOR) >> (64 - PLACE_BITS));
    const size_t at = *place;
    if (!match->length && at && ids[at - 1] == ids[count - 1] && ids[at - 2] == ids[count - 2]) {
        size_t length = 2;
        while (length < LENGTHS - 1 && at > length && ids[at - 1 - length] == ids[count - 1 - length])
            length++;
        match->at = at;
        match->length = (int)length;
    }
    *place = (uint32_t)count;
}

static inline Py_ssize_t context_of(const Model *model, uint64_t key)
{
    size_t at = (size_t)((key * HASH_FACTOR) >> (64 - model->slot_bits));
    for (uint32_t slot; (slot = model->slots[at]) != 0; at = (at + 1) & model->last_slot)
        if (slot <= model->contexts && model->keys[slot - 1] == key)
            return (Py_ssize_t)slot - 1;
    return NONE;
}

/* The entry of a token in a context; that of the escape where it has none. */
static inline Py_ssize_t entry_of(const Model *model, Py_ssize_t context, uint32_t token)
{
    Py_ssize_t low = (Py_ssize_t)model->first[context] + 1, high = model->first[context + 1];
    const Py_ssize_t end = high;
    while (low < high) {
        const Py_ssize_t middle = (low + high) / 2;
        if (model->tokens[middle] < token)
            low = middle + 1;
        else
            high = middle;
    }
    return low < end && model->tokens[low] == token ? low : (Py_ssize_t)model->first[context];
}

static inline Py_ssize_t entry_at(const Model *model, Py_ssize_t context, uint64_t number)
{
    Py_ssize_t low = model->first[context], high = model->first[context + 1];
    while (high - low > 1) {
        const Py_ssize_t middle = (low + high) / 2;
        if (model->starts[middle] <= number)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static Outcome code_flag(Coder *coder, uint32_t hits, int *is_hit)
{
    const uint64_t unit = coder->range >> MATCH_BITS;
    if (coder->out == NULL) {
        const uint64_t number = coder->code / unit;
        if (number >> MATCH_BITS)
            return ODD;
        *is_hit = number < hits;
    }
    narrow(coder, unit, *is_hit ? 0 : hits, *is_hit ? hits : (1u << MATCH_BITS) - hits);
    return FINE;
}

/* Codes `token` in a context, or that it is not there, with `is_found` 0. */
static Outcome code_in(const Model *model, Coder *coder, Py_ssize_t context, uint32_t *token,
                       int *is_found)
{
    const uint32_t first = model->first[context], end = model->first[context + 1];
    const uint64_t total = model->totals[context];
    if (first >= end || end > model->entries || !total || total >> 24)
        return ODD;
    const uint64_t unit = coder->range / total;
    Py_ssize_t entry;
    if (coder->out != NULL) {
        entry = entry_of(model, context, *token);
    } else {
        const uint64_t number = coder->code / unit;
        if (number >= total)
            return ODD;
        entry = entry_at(model, context, number);
    }
    const uint64_t start = model->starts[entry];
    const uint64_t stop = entry + 1 < end ? model->starts[entry + 1] : total;
    if (start >= stop || stop > total)
        return ODD;
    narrow(coder, unit, start, stop - start);
    *is_found = entry != first;
    if (*is_found)
        *token = model->tokens[entry];
    return FINE;
}

static Outcome code_raw(Coder *coder, uint32_t *token)
{
    const uint64_t unit = coder->range >> ID_BITS;
    if (coder->out == NULL) {
        const uint64_t number = coder->code / unit;
        if (number > END)
            return ODD;
        *token = (uint32_t)number;
    }
    narrow(coder, unit, *token, 1);
    return FINE;
}

/* Codes one id after `count` others, which `ids` has. */
static Outcome code_id(const Model *model, Coder *coder, const Matcher *match,
                       const uint32_t *ids, size_t count, uint32_t *token, uint32_t *predicted)
{
    if (match->length) {
        *predicted = ids[match->at];
        const int bucket = match->length < LENGTHS ? match->length : LENGTHS - 1;
        int is_hit = *token == *predicted;
        const uint32_t hits = model->match[bucket];
        if (!hits || hits >> MATCH_BITS || code_flag(coder, hits, &is_hit) != FINE)
            return ODD;
        if (is_hit) {
            *token = *predicted;
            return FINE;
        }
    }
    Py_ssize_t escaped[ORDERS_MAX + 1];
    int escapes = 0, is_found = 0;
    uint64_t last[ORDERS_MAX];
    for (size_t at = 0; at < ORDERS_MAX; at++)
        last[at] = at < count ? ids[count - 1 - at] : END;
    for (int order = count + 1 < (size_t)model->orders ? (int)count + 1 : model->orders;
         order >= 0 && !is_found; order--) {
        uint64_t key = (uint64_t)order << 3 * ID_BITS;
        for (int at = 0; at < order; at++)
            key |= last[at] << (2 - at) * ID_BITS;
        const Py_ssize_t context = context_of(model, key);
        if (context == NONE)
            continue;
        if (code_in(model, coder, context, token, &is_found) != FINE)
            return ODD;
        if (!is_found)
            escaped[escapes++] = context;
    }
    if (!is_found && code_raw(coder, token) != FINE)
        return ODD;
    if (coder->out != NULL)
        return FINE;
    /* No encoder escapes from where the id is, or misses what it is. */
    if (match->length && *token == *predicted)
        return ODD;
    for (int at = 0; at < escapes; at++)
        if (entry_of(model, escaped[at], *token) != (Py_ssize_t)model->first[escaped[at]])
            return ODD;
    return FINE;
}

static Outcome encode(const Model *model, Matcher *match, const uint32_t *ids, size_t count,
                      Heap *out)
{
    Coder coder = {NULL, NULL, out, out->used, 0, WINDOW + 1, 0};
    memset(match, 0, sizeof *match);
    for (size_t at = 0; at <= count; at++) {
        if (!heap_has(out, ID_BYTES_MAX))
            return NO_MEMORY;
        uint32_t token = at < count ? ids[at] : END, predicted = END;
        if (at < count && token >= END)
            return ODD;
        if (code_id(model, &coder, match, ids, at, &token, &predicted) != FINE)
            return ODD;
        if (at < count)
            advance(match, ids, at + 1, token, predicted);
    }
    finish_encoding(&coder);
    return FINE;
}

static Outcome decode(const Model *model, Matcher *match, const uint8_t *bytes, size_t length,
                      size_t limit, Heap *out)
{
    Coder coder = {bytes, bytes + length, NULL, 0, 0, WINDOW + 1, 0};
    if (length && bytes[length - 1] == 0)
        return ODD;
    for (int at = 0; at < WINDOW_BITS / 8; at++)
        coder.code = coder.code << 8 | next_byte(&coder);
    memset(match, 0, sizeof *match);
    for (size_t count = 0;; count++) {
        uint32_t token = END, predicted = END;
        if (code_id(model, &coder, match, (const uint32_t *)out->bytes, count, &token,
                    &predicted) != FINE)
            return ODD;
        if (token == END)
            break;
        if (count == limit)
            return ODD;
        if (!push_u32(out, token))
            return NO_MEMORY;
        advance(match, (const uint32_t *)out->bytes, count + 1, token, predicted);
    }
    const int is_shortest = shortest(&coder) - coder.low == coder.code;
    return coder.from >= coder.end && is_shortest ? FINE : ODD;
}

enum { MATCH, KEYS, SLOTS, FIRST, TOKENS, STARTS, TOTALS, MODEL_VIEWS };

/* Locks the arrays of a model: predict/model.py, Arrays; false with an exception. */
static int lock_model(PyObject *const *arguments, Py_buffer *views, Model *model)
{
    static const Py_ssize_t sizes[MODEL_VIEWS] = {4, 8, 4, 4, 4, 4, 4};
    const long orders = PyLong_AsLong(arguments[0]);
    if (orders == -1 && PyErr_Occurred())
        return 0;
    if (!lock_all(arguments + 1, sizes, views, MODEL_VIEWS))
        return 0;
    const Py_ssize_t slots = items_of(&views[SLOTS]);
    *model = (Model){
        (int)orders, views[MATCH].buf, views[KEYS].buf, views[SLOTS].buf, views[FIRST].buf,
        views[TOKENS].buf, views[STARTS].buf, views[TOTALS].buf, items_of(&views[KEYS]),
        items_of(&views[TOKENS]), (size_t)slots - 1, 0,
    };
    for (int bits = 1; bits <= 32; bits++)
        if ((uint64_t)slots == (uint64_t)1 << bits)
            model->slot_bits = bits;
    if (orders < 0 || orders > ORDERS_MAX || items_of(&views[MATCH]) != LENGTHS ||
        !model->slot_bits || model->contexts >= slots ||
        items_of(&views[FIRST]) != model->contexts + 1 ||
        items_of(&views[TOTALS]) != model->contexts || items_of(&views[STARTS]) != model->entries) {
        PyErr_SetString(PyExc_ValueError, "arrays that are no model");
        release_all(views, MODEL_VIEWS);
        return 0;
    }
    return 1;
}

const char model_encode_doc[] =
"model_encode(ids, ends, orders, match, keys, slots, first, tokens, starts, totals)\n"
"\n"
"Segments under a model: a list of bytes for the ids (uint32) up to each of ends (int64); None\n"
"for one with an id that cannot be coded.";

PyObject *model_encode(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t given)
{
    static const Py_ssize_t sizes[] = {4, 8};
    Py_buffer views[2], arrays[MODEL_VIEWS];
    Model model;
    if (!has_arguments("model_encode", given, 10) || !lock_all(arguments, sizes, views, 2))
        return NULL;
    if (!lock_model(arguments + 2, arrays, &model)) {
        release_all(views, 2);
        return NULL;
    }
    const Py_ssize_t count = items_of(&views[1]), all = items_of(&views[0]);
    const int64_t *ends = views[1].buf;
    Matcher *match = PyMem_RawMalloc(sizeof *match);
    PyObject *found = match == NULL ? PyErr_NoMemory() : PyList_New(count);
    Heap out = {NULL, 0, 0};
    for (Py_ssize_t at = 0; found != NULL && at < count; at++) {
        const int64_t start = at ? ends[at - 1] : 0;
        PyObject *one = NULL;
        if (start < 0 || start > ends[at] || ends[at] > all) {
            PyErr_SetString(PyExc_ValueError, "ends that do not ascend within their buffer");
        } else {
            Outcome outcome;
            out.used = 0;
            Py_BEGIN_ALLOW_THREADS
            outcome = encode(&model, match, (const uint32_t *)views[0].buf + start,
                             (size_t)(ends[at] - start), &out);
            Py_END_ALLOW_THREADS
            one = outcome == FINE ? heap_bytes(&out) : without_result(outcome);
        }
        if (one == NULL)
            Py_CLEAR(found);
        else
            PyList_SET_ITEM(found, at, one);
    }
    PyMem_RawFree(match);
    PyMem_RawFree(out.bytes);
    release_all(arrays, MODEL_VIEWS);
    release_all(views, 2);
    return found;
}

const char model_decode_doc[] =
"model_decode(source, starts, ends, limit, orders, match, keys, slots, first, tokens, starts,\n"
"             totals)\n"
"\n"
"Inverse of model_encode, of what lies in source from starts to ends (int64): a list of the ids,\n"
"as the bytes of uint32. None for what model_encode does not give, or more than limit ids.";

PyObject *model_decode(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t given)
{
    static const Py_ssize_t sizes[] = {1, 8, 8};
    Py_buffer views[3], arrays[MODEL_VIEWS];
    Model model;
    if (!has_arguments("model_decode", given, 12))
        return NULL;
    const Py_ssize_t limit = PyLong_AsSsize_t(arguments[3]);
    if ((limit == -1 && PyErr_Occurred()) || !lock_all(arguments, sizes, views, 3))
        return NULL;
    if (!lock_model(arguments + 4, arrays, &model)) {
        release_all(views, 3);
        return NULL;
    }
    const Py_ssize_t count = items_of(&views[1]);
    const int64_t *starts = views[1].buf, *ends = views[2].buf;
    PyObject *found = NULL;
    Matcher *match = PyMem_RawMalloc(sizeof *match);
    if (match == NULL)
        PyErr_NoMemory();
    else if (limit < 0 || items_of(&views[2]) != count)
        PyErr_SetString(PyExc_ValueError, "arrays of different lengths, or a limit below 0");
    else if (ranges_fit(starts, ends, count, views[0].len))
        found = PyList_New(count);
    Heap out = {NULL, 0, 0};
    for (Py_ssize_t at = 0; found != NULL && at < count; at++) {
        Outcome outcome;
        out.used = 0;
        Py_BEGIN_ALLOW_THREADS
        outcome = decode(&model, match, (const uint8_t *)views[0].buf + starts[at],
                         (size_t)(ends[at] - starts[at]), (size_t)limit, &out);
        Py_END_ALLOW_THREADS
        PyObject *one = outcome == FINE ? heap_bytes(&out) : without_result(outcome);
        if (one == NULL)
            Py_CLEAR(found);
        else
            PyList_SET_ITEM(found, at, one);
    }
    PyMem_RawFree(match);
    PyMem_RawFree(out.bytes);
    release_all(arrays, MODEL_VIEWS);
    release_all(views, 3);
    return found;
}
