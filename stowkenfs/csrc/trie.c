/*
 * A trie over runs of ids: predict/trie.py says what its columns are, predict/observing.py has
 * the same in Python.
 */

#include "kernels.h"

#define HASH_FACTOR 0x9E3779B97F4A7C15u
#define CEILING 65536u
#define NODE_SHIFT 5
#define DEPTH_MAX 15
#define FROZEN 1
#define NO_NODE (-1)

typedef struct {
    uint32_t *parent, *token, *credibility, *observations, *node_credibility, *child, *sibling;
    uint8_t *depth, *flags;
    uint32_t *buckets;
    int64_t used, capacity;
    size_t bucket_count;
    int bits;
} Trie;

static inline size_t bucket_of(uint64_t parent, uint32_t token, int bits)
{
    uint64_t mixed = (parent << 32 | token) * HASH_FACTOR;
    mixed ^= mixed >> 29;
    return (size_t)((mixed * HASH_FACTOR) >> (64 - bits));
}

/* The exponent of a power of two from 2 to 2**32; 0 for other numbers. */
static int bits_of(Py_ssize_t count)
{
    for (int bits = 1; bits <= 32; bits++)
        if ((uint64_t)count == (uint64_t)1 << bits)
            return bits;
    return 0;
}

const char trie_index_doc[] =
"trie_index(parent, token, buckets)\n"
"\n"
"Puts the slots of all nodes but the first (uint32 columns) into empty buckets (uint32).";

PyObject *trie_index(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t given)
{
    static const Py_ssize_t sizes[] = {4, 4, 4};
    Py_buffer views[3];
    if (!has_arguments("trie_index", given, 3) || !lock_all(arguments, sizes, views, 3))
        return NULL;
    const Py_ssize_t count = items_of(&views[0]), buckets = items_of(&views[2]);
    const int bits = bits_of(buckets);
    PyObject *found = NULL;
    if (items_of(&views[1]) != count || !bits || count > buckets || views[2].readonly) {
        PyErr_SetString(PyExc_ValueError, "columns of different lengths, or odd buckets");
    } else {
        const uint32_t *parent = views[0].buf, *token = views[1].buf;
        uint32_t *bucket = views[2].buf;
        const size_t last = (size_t)buckets - 1;
        Py_BEGIN_ALLOW_THREADS
        memset(bucket, 0, (size_t)views[2].len);
        for (Py_ssize_t slot = 1; slot < count; slot++) {
            size_t at = bucket_of(parent[slot], token[slot], bits);
            while (bucket[at])
                at = (at + 1) & last;
            bucket[at] = (uint32_t)slot;
        }
        Py_END_ALLOW_THREADS
        found = Py_NewRef(Py_None);
    }
    release_all(views, 3);
    return found;
}

/* Has the machine fetch what `follow` looks at first, for all contexts at once. */
static inline void fetch(const Trie *trie, const int64_t *live, int64_t depth, uint32_t token,
                         size_t *at)
{
    for (int64_t of = 0; of <= depth; of++) {
        at[of] = live[of] < 0 ? 0 : bucket_of((uint64_t)live[of], token, trie->bits);
        __builtin_prefetch(trie->buckets + at[of], 1);
    }
    for (int64_t of = 0; of <= depth; of++) {
        const uint32_t slot = trie->buckets[at[of]];
        if (slot < trie->used) {
            __builtin_prefetch(trie->parent + slot);
            __builtin_prefetch(trie->token + slot);
            __builtin_prefetch(trie->credibility + slot, 1);
            /* It is the context of the id after this one. */
            __builtin_prefetch(trie->observations + slot, 1);
            __builtin_prefetch(trie->node_credibility + slot, 1);
        }
    }
}

/* The slot of a child, or 0; moves `at`, the bucket to begin with, to where it is or would be. */
static inline uint32_t find(const Trie *trie, int64_t node, uint32_t token, size_t *at)
{
    const size_t last = trie->bucket_count - 1;
    uint32_t slot;
    while ((slot = trie->buckets[*at]) != 0) {
        if (slot < trie->used && trie->token[slot] == token && trie->parent[slot] == node)
            break;
        *at = (*at + 1) & last;
    }
    return slot;
}

static inline int64_t follow(Trie *trie, int64_t node, uint32_t token, size_t at)
{
    uint32_t slot = find(trie, node, token, &at);
    const uint32_t old = trie->node_credibility[node];
    if (slot != 0 && trie->credibility[slot] != 0)
        trie->node_credibility[node] = old + ((CEILING - old) >> NODE_SHIFT);
    else
        trie->node_credibility[node] = old - (old >> NODE_SHIFT);
    if (trie->observations[node] != UINT32_MAX)
        trie->observations[node]++;
    if (slot == 0) {
        slot = (uint32_t)trie->used++;
        trie->parent[slot] = (uint32_t)node;
        trie->token[slot] = token;
        trie->credibility[slot] = 1;
        trie->sibling[slot] = trie->child[node];
        trie->child[node] = slot;
        trie->depth[slot] = (uint8_t)(trie->depth[node] + 1);
        trie->buckets[at] = slot;
    } else if (trie->credibility[slot] != UINT32_MAX) {
        trie->credibility[slot]++;
    }
    return slot;
}

enum { IDS, STATE, LIVE, PARENT, TOKEN, CREDIBILITY, OBSERVATIONS, NODE_CREDIBILITY, CHILD,
       SIBLING, DEPTH, FLAGS, BUCKETS, EVENTS, VIEWS };

static int trie_fits(const Py_buffer *views, Trie *trie)
{
    const Py_ssize_t capacity = items_of(&views[PARENT]), live = items_of(&views[LIVE]);
    int fits = items_of(&views[STATE]) == 3 && live >= 2 && live <= DEPTH_MAX + 1;
    for (int at = PARENT; at <= FLAGS; at++)
        fits = fits && items_of(&views[at]) == capacity && !views[at].readonly;
    fits = fits && !views[STATE].readonly && !views[LIVE].readonly && !views[EVENTS].readonly &&
           !views[BUCKETS].readonly;
    trie->bucket_count = (size_t)items_of(&views[BUCKETS]);
    trie->bits = bits_of(items_of(&views[BUCKETS]));
    if (!fits || !trie->bits || capacity > INT32_MAX)
        return 0;
    const int64_t *state = views[STATE].buf, *nodes = views[LIVE].buf;
    trie->used = state[1];
    trie->capacity = capacity;
    if (state[1] < 2 || state[1] > capacity || state[2] < 0 ||
        state[2] > items_of(&views[EVENTS]) / 2)
        return 0;
    for (Py_ssize_t at = 0; at < live; at++)
        if (nodes[at] < NO_NODE || nodes[at] >= state[1])
            return 0;
    return 1;
}

const char trie_observe_doc[] =
"trie_observe(ids, end, state, live, parent, token, credibility, observations,\n"
"             node_credibility, child, sibling, depth, flags, buckets, events)\n"
"\n"
"Feeds ids to a trie: predict/observing.py. state (int64): ids taken, slots used, events so far.\n"
"live, events: int64; depth, flags: uint8; the others uint32.";

PyObject *trie_observe(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t given)
{
    static const Py_ssize_t sizes[VIEWS] = {4, 8, 8, 4, 4, 4, 4, 4, 4, 4, 1, 1, 4, 8};
    Py_buffer views[VIEWS];
    PyObject *objects[VIEWS];
    if (!has_arguments("trie_observe", given, VIEWS + 1))
        return NULL;
    const unsigned long end = PyLong_AsUnsignedLong(arguments[1]);
    if (end == (unsigned long)-1 && PyErr_Occurred())
        return NULL;
    for (int at = 0; at < VIEWS; at++)
        objects[at] = arguments[at ? at + 1 : 0];
    if (!lock_all(objects, sizes, views, VIEWS))
        return NULL;
    Trie trie = {
        views[PARENT].buf, views[TOKEN].buf, views[CREDIBILITY].buf, views[OBSERVATIONS].buf,
        views[NODE_CREDIBILITY].buf, views[CHILD].buf, views[SIBLING].buf, views[DEPTH].buf,
        views[FLAGS].buf, views[BUCKETS].buf, 0, 0, 0, 0,
    };
    PyObject *found = NULL;
    if (!trie_fits(views, &trie)) {
        PyErr_SetString(PyExc_ValueError, "columns that are no trie");
    } else {
        const uint32_t *ids = views[IDS].buf;
        const Py_ssize_t count = items_of(&views[IDS]);
        int64_t *state = views[STATE].buf, *live = views[LIVE].buf, *events = views[EVENTS].buf;
        const int64_t depth = items_of(&views[LIVE]) - 1, room = items_of(&views[EVENTS]) / 2;
        int64_t seen = state[2];
        Py_ssize_t taken = 0;
        Py_BEGIN_ALLOW_THREADS
        for (; taken < count; taken++) {
            const int64_t most = trie.used + depth + 1;
            if (most > trie.capacity || most * 4 > (int64_t)trie.bucket_count * 3 ||
                room - seen <= depth)
                break;
            const uint32_t token = ids[taken];
            int64_t longer[DEPTH_MAX + 2] = {0};
            size_t buckets[DEPTH_MAX + 1];
            fetch(&trie, live, depth, token, buckets);
            for (int64_t at = 0; at <= depth; at++) {
                const int64_t node = live[at];
                longer[at + 1] = NO_NODE;
                if (node == NO_NODE)
                    continue;
                if (trie.flags[node] & FROZEN) {
                    events[2 * seen] = node;
                    events[2 * seen + 1] = token;
                    seen++;
                    const uint32_t slot = find(&trie, node, token, &buckets[at]);
                    longer[at + 1] = slot ? (int64_t)slot : NO_NODE;
                } else {
                    longer[at + 1] = follow(&trie, node, token, buckets[at]);
                }
            }
            if (token == end)
                for (int64_t at = 2; at <= depth; at++)
                    longer[at] = NO_NODE;
            memcpy(live, longer, (size_t)(depth + 1) * sizeof *live);
        }
        Py_END_ALLOW_THREADS
        state[0] = taken;
        state[1] = trie.used;
        state[2] = seen;
        found = Py_NewRef(Py_None);
    }
    release_all(views, VIEWS);
    return found;
}
