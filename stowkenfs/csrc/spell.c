/*
 * Segments to their texts.
 */

#include "kernels.h"

#define WORD_BYTES 8

/* As frames/spelling.py describes them: for each id two words in `entries`, which are its first
   eight bytes, and its length in bytes with the byte of `rest` that it goes on at above it. */
typedef struct {
    const uint64_t *entries;
    const uint8_t *rest;
    size_t ids, rest_bytes;
} Spellings;

/* A codebook of frames/codebook.py; `has_rank` is by id, up to the highest that there is in it.
   `entries` are those of the first ranks, which most codes are of, side by side. */
typedef struct {
    const uint32_t *order;
    const uint8_t *has_rank;
    const uint64_t *entries;
    size_t ranks, known_ids, entry_ranks;
} Ranked;

/* Where texts are written. Kept in variables of its own by each loop, since a byte that is
   written could be part of anything else. */
typedef struct {
    uint8_t *out, *end;
    size_t bytes_max; /* of all texts */
} Room;

/* Room for `more` bytes behind `out`, which is part of `heap` or NULL; ODD if that is too far. */
static Outcome room_grow(Heap *heap, Room *room, size_t more)
{
    heap->used = room->out ? (size_t)(room->out - heap->bytes) : 0;
    if (heap->used > room->bytes_max)
        return ODD;
    if (!heap_grow(heap, more))
        return NO_MEMORY;
    room->out = heap->bytes + heap->used;
    room->end = heap->bytes + heap->room;
    return FINE;
}

static inline Outcome put_entry(Heap *heap, Room *room, Spellings table, const uint64_t *entry)
{
    if (entry == NULL)
        return ODD;
    const uint64_t first = entry[0], more = entry[1];
    const size_t length = more & 0xFFFF;
    if (length == 0)
        return ODD;
    if ((size_t)(room->end - room->out) < length + 2 * WORD_BYTES) {
        const Outcome outcome = room_grow(heap, room, length + 2 * WORD_BYTES);
        if (outcome != FINE)
            return outcome;
    }
    /* Whole words: what is behind a spelling is written over by the next. */
    memcpy(room->out, &first, WORD_BYTES);
    if (length > WORD_BYTES) {
        const size_t at = more >> 16, rest = (length - 1) / WORD_BYTES * WORD_BYTES;
        if (at > table.rest_bytes || table.rest_bytes - at < rest)
            return ODD;
        for (size_t copied = 0; copied < rest; copied += WORD_BYTES)
            memcpy(room->out + WORD_BYTES + copied, table.rest + at + copied, WORD_BYTES);
    }
    room->out += length;
    return FINE;
}

static inline const uint64_t *entry_of(Spellings table, size_t id)
{
    return id < table.ids ? table.entries + 2 * id : NULL;
}

/* What the code at `*at` stands for, which it moves on; NULL where there is none. */
static inline const uint64_t *ranked_entry(Spellings table, Ranked book, const uint8_t **at,
                                           const uint8_t *end)
{
    const uint8_t *next = *at;
    const size_t first = *next++;
    if (first < 240) {
        size_t rank = first;
        if (end - next >= 1) {
            /* Codes of one and of two bytes come in no order that a processor could foresee. */
            const size_t is_two = first >= 160, second = *next;
            const size_t rank_of_two = (first - 160) * 255 + second + 160;
            rank = is_two ? (second == 255 ? SIZE_MAX : rank_of_two) : first;
            next += is_two;
        } else if (first >= 160) {
            return NULL;
        }
        *at = next;
        if (rank < book.entry_ranks)
            return book.entries + 2 * rank;
        return rank < book.ranks ? entry_of(table, book.order[rank]) : NULL;
    }
    if (first == 255 || end - next < 2 || next[0] == 255 || next[1] == 255)
        return NULL;
    const size_t id = ((first - 240) * 255 + next[0]) * 255 + next[1];
    *at = next + 2;
    return id < book.known_ids && book.has_rank[id] ? NULL : entry_of(table, id);
}

/* What the varint at `*at` stands for, which it moves on; NULL where there is none. */
static inline const uint64_t *varint_entry(Spellings table, const uint8_t **at,
                                           const uint8_t *end)
{
    const uint8_t *next = *at;
    if (end - next >= 3) {
        /* Without a branch for each length, which no processor could foresee. */
        const uint32_t second = next[0] >> 7, third = second & (uint32_t)(next[1] >> 7);
        if (!(third & (uint32_t)(next[2] >> 7))) {
            const uint32_t id = (next[0] & 0x7Fu) | (next[1] & 0x7Fu & -second) << 7 |
                                (next[2] & 0x7Fu & -third) << 14;
            *at = next + 1 + second + third;
            /* In its shortest form it needs all of its bytes. */
            return id >> (7 * (second + third)) || !second ? entry_of(table, id) : NULL;
        }
    }
    uint32_t id = 0;
    const size_t length = varint_u32(next, end, &id);
    *at = next + length;
    return length ? entry_of(table, id) : NULL;
}

/* The texts of segments one after another in `heap`; in `text_ends` (int64) where each ends, -1
   for one that is left to the caller. False if there is no memory. */
static int spell_all(Heap *heap, Heap *text_ends, Spellings table, const Ranked *ranked,
                     const Py_buffer *header, const uint8_t *source, const int64_t *starts,
                     const int64_t *ends, Py_ssize_t count, size_t bytes_max)
{
    Room room = {NULL, NULL, bytes_max};
    const Ranked book = ranked ? *ranked : (Ranked){NULL, NULL, NULL, 0, 0, 0};
    const int is_ranked = ranked != NULL;
    for (Py_ssize_t which = 0; which < count; which++) {
        const size_t before = room.out ? (size_t)(room.out - heap->bytes) : 0;
        const uint8_t *at = source + starts[which], *const end = source + ends[which];
        Outcome outcome = ODD;
        if (end - at >= header->len && memcmp(at, header->buf, (size_t)header->len) == 0 &&
            (size_t)(end - at - header->len) <= bytes_max) {
            at += header->len;
            outcome = FINE;
        }
        while (at < end && outcome == FINE) {
            const uint64_t *entry = is_ranked ? ranked_entry(table, book, &at, end)
                                              : varint_entry(table, &at, end);
            outcome = put_entry(heap, &room, table, entry);
        }
        if (outcome == NO_MEMORY)
            return 0;
        int64_t text_end = room.out ? room.out - heap->bytes : 0;
        if (outcome == ODD || (size_t)text_end > bytes_max) {
            if (room.out)
                room.out = heap->bytes + before;
            text_end = -1;
        }
        if (!push_i64(text_ends, text_end))
            return 0;
    }
    return 1;
}

/* `views`: source, starts, ends, header, entries and rest of the spellings. */
static PyObject *spell(const Py_buffer *views, const Ranked *book, Py_ssize_t bytes_max)
{
    const Py_ssize_t count = items_of(&views[1]);
    const Spellings table = {views[4].buf, views[5].buf, (size_t)items_of(&views[4]) / 2,
                             (size_t)views[5].len};
    if (items_of(&views[2]) != count || bytes_max < 0) {
        PyErr_SetString(PyExc_ValueError, "arrays of different lengths");
        return NULL;
    }
    if (!ranges_fit(views[1].buf, views[2].buf, count, views[0].len))
        return NULL;
    Heap text = {NULL, 0, 0}, text_ends = {NULL, 0, 0};
    int fits;
    Py_BEGIN_ALLOW_THREADS
    fits = spell_all(&text, &text_ends, table, book, &views[3], views[0].buf, views[1].buf,
                     views[2].buf, count, (size_t)bytes_max);
    Py_END_ALLOW_THREADS
    PyObject *texts = fits ? PyList_New(count) : PyErr_NoMemory();
    int64_t start = 0;
    for (Py_ssize_t at = 0; texts != NULL && at < count; at++) {
        const int64_t end = ((const int64_t *)text_ends.bytes)[at];
        PyObject *item;
        if (end < 0) {
            item = Py_NewRef(Py_None);
        } else {
            item = PyBytes_FromStringAndSize(end > start ? (const char *)text.bytes + start : "",
                                             end - start);
            start = end;
        }
        if (item == NULL)
            Py_CLEAR(texts);
        else
            PyList_SET_ITEM(texts, at, item);
    }
    PyMem_RawFree(text.bytes);
    PyMem_RawFree(text_ends.bytes);
    return texts;
}

const char spell_ranked_doc[] =
"spell_ranked(source, starts, ends, header, entries, rest, bytes_max, order, has_rank,\n"
"             first_entries)\n"
"\n"
"The texts of segments in ranked codes (frames/codebook.py), None for each that has to be\n"
"decoded alone: damaged, with an id that the table cannot spell, without the header (bytes)\n"
"in front, or beyond bytes_max, which bounds what is behind the header, and all texts together.\n"
"\n"
"source: bytes; starts, ends: int64, where each segment lies in it, without terminator.\n"
"entries, rest: uint64, a SpellingTable's.\n"
"order: uint32, ids by rank; has_rank: uint8, whether an id is among them; first_entries: uint64,\n"
"the entries of as many of the first ranks as there are here.";

PyObject *spell_ranked(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t given)
{
    static const Py_ssize_t sizes[] = {1, 8, 8, 1, 8, 8}, book_sizes[] = {4, 1, 8};
    Py_buffer views[6], book_views[3];
    if (!has_arguments("spell_ranked", given, 10))
        return NULL;
    const Py_ssize_t bytes_max = PyLong_AsSsize_t(arguments[6]);
    if ((bytes_max == -1 && PyErr_Occurred()) || !lock_all(arguments, sizes, views, 6))
        return NULL;
    PyObject *texts = NULL;
    if (lock_all(arguments + 7, book_sizes, book_views, 3)) {
        const Ranked book = {
            book_views[0].buf, book_views[1].buf, book_views[2].buf,
            (size_t)items_of(&book_views[0]), (size_t)items_of(&book_views[1]),
            (size_t)items_of(&book_views[2]) / 2,
        };
        texts = spell(views, &book, bytes_max);
        release_all(book_views, 3);
    }
    release_all(views, 6);
    return texts;
}

const char spell_varints_doc[] =
"spell_varints(source, starts, ends, header, entries, rest, bytes_max)\n"
"\n"
"As spell_ranked, for segments of varints (frames/varints.py).";

PyObject *spell_varints(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t given)
{
    static const Py_ssize_t sizes[] = {1, 8, 8, 1, 8, 8};
    Py_buffer views[6];
    if (!has_arguments("spell_varints", given, 7))
        return NULL;
    const Py_ssize_t bytes_max = PyLong_AsSsize_t(arguments[6]);
    if ((bytes_max == -1 && PyErr_Occurred()) || !lock_all(arguments, sizes, views, 6))
        return NULL;
    PyObject *texts = spell(views, NULL, bytes_max);
    release_all(views, 6);
    return texts;
}
