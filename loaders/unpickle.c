#include <loaders/unpickle_private.h>

#include <base/little.h>
#include <base/mem.h>

#include <stddef.h>
#include <string.h>

enum { MAX_STACK = 1 << 20, MAX_MARKS = 1000, MAX_MEMO = 1 << 23, CHUNK = 64 << 10 };

/* A block of the arena. */
typedef struct chunk {
    struct chunk *next;
    size_t used, size;
    _Alignas(max_align_t) char bytes[];
} chunk;

struct gs_pickle {
    chunk *chunks;
    size_t allocated;
    const gs_pickled *root;
};

typedef struct machine {
    gs_pickle *pickle;
    const uint8_t *data;
    size_t size, at;
    gs_pickled **stack;
    size_t depth, cap;
    size_t marks[MAX_MARKS]; /* depths of the stack */
    size_t nmarks;
    gs_pickled **memo;
    size_t memo_cap, memoized; /* places, values put by MEMOIZE or PUT */
    bool stopped;
} machine;

void gs_pickle_close(gs_pickle *p) {
    if (!p) return;
    for (chunk *c = p->chunks, *next; c; c = next) {
        next = c->next;
        gs_free(c);
    }
    gs_free(p);
}

const gs_pickled *gs_pickle_root(const gs_pickle *p) { return p->root; }

static chunk *add_chunk(gs_pickle *p, size_t bytes, gs_error *err) {
    size_t size = bytes > CHUNK ? bytes : CHUNK;
    if (size > GS_PICKLE_MAX_MEMORY - p->allocated) {
        GS_FAIL(err, GS_E_NOMEM, "its values need more than %d MiB", GS_PICKLE_MAX_MEMORY >> 20);
        return NULL;
    }
    chunk *c = gs_calloc(1, sizeof *c + size);
    if (!c) {
        gs_error_nomem(err, size);
        return NULL;
    }
    c->size = size;
    c->next = p->chunks;
    p->chunks = c;
    p->allocated += size;
    return c;
}

void *gs_pickle_alloc(gs_pickle *p, size_t bytes, gs_error *err) {
    size_t align = _Alignof(max_align_t);
    bytes = (bytes + align - 1) / align * align;
    chunk *c = p->chunks;
    if (!c || bytes > c->size - c->used) c = add_chunk(p, bytes, err);
    if (!c) return NULL;
    c->used += bytes;
    return c->bytes + c->used - bytes;
}

gs_pickled *gs_pickle_value(gs_pickle *p, gs_pickled_kind kind, gs_error *err) {
    gs_pickled *v = gs_pickle_alloc(p, sizeof *v, err);
    if (v) v->kind = kind;
    return v;
}

/* --- the machine's parts --- */

/* n bytes of the operation's own, or NULL with an error. */
static const uint8_t *take(machine *m, uint64_t n, gs_error *err) {
    if (n > m->size - m->at) {
        GS_FAIL(err, GS_E_FORMAT, "%llu bytes are announced, %zu are left (cut off?)", (unsigned long long)n,
                m->size - m->at);
        return NULL;
    }
    const uint8_t *p = m->data + m->at;
    m->at += (size_t)n;
    return p;
}

static gs_status push(machine *m, gs_pickled *v, gs_error *err) {
    if (!v) return GS_E_NOMEM; /* and *err says so */
    if (m->depth == MAX_STACK) return GS_FAIL(err, GS_E_UNSUPPORTED, "a stack of more than %d values", MAX_STACK);
    if (m->depth == m->cap) {
        size_t cap = m->cap ? 2 * m->cap : 256;
        gs_pickled **stack = gs_realloc(m->stack, cap, sizeof *stack);
        if (!stack) return gs_error_nomem(err, cap * sizeof *stack);
        m->stack = stack;
        m->cap = cap;
    }
    m->stack[m->depth++] = v;
    return GS_OK;
}

/* The last n values above the last mark; they stay where they are until the next push. */
static gs_status pop(machine *m, size_t n, gs_pickled ***out, gs_error *err) {
    size_t floor = m->nmarks ? m->marks[m->nmarks - 1] : 0;
    *out = NULL;
    if (m->depth - floor < n) return GS_FAIL(err, GS_E_FORMAT, "the stack runs dry");
    m->depth -= n;
    *out = m->stack + m->depth;
    return GS_OK;
}

/* All values above the last mark, and the mark. */
static gs_status pop_mark(machine *m, gs_pickled ***out, size_t *n, gs_error *err) {
    *out = NULL;
    *n = 0;
    if (m->nmarks == 0) return GS_FAIL(err, GS_E_FORMAT, "there is no mark on the stack");
    size_t floor = m->marks[--m->nmarks];
    *n = m->depth - floor;
    m->depth = floor;
    *out = m->stack ? m->stack + floor : NULL; /* a mark may come before the first value */
    return GS_OK;
}

static gs_status top(machine *m, gs_pickled_kind kind, gs_pickled **out, gs_error *err) {
    gs_pickled **v;
    *out = NULL;
    GS_TRY(pop(m, 1, &v, err));
    m->depth++;
    *out = *v;
    if ((*v)->kind == kind) return GS_OK;
    return GS_FAIL(err, GS_E_FORMAT, "adds to %s as if it were %s", gs_pickled_kind_name((*v)->kind),
                   gs_pickled_kind_name(kind));
}

/* A list's or dict's storage grows by doubling; the old half is the arena's. */
static gs_status append(machine *m, gs_pickled *v, gs_pickled *const *items, size_t n, gs_error *err) {
    size_t cap = 4; /* the smallest power of two that held it */
    if (n == 0) return GS_OK;
    while (cap < v->count) cap *= 2;
    if (v->count == 0 || n > cap - v->count) {
        while (cap < v->count + n) cap *= 2;
        gs_pickled **grown = gs_pickle_alloc(m->pickle, cap * sizeof *grown, err);
        if (!grown) return GS_E_NOMEM;
        if (v->count) memcpy(grown, v->items, v->count * sizeof *grown);
        v->items = grown;
    }
    memcpy(v->items + v->count, items, n * sizeof *items);
    v->count += n;
    return GS_OK;
}

static gs_status memoize(machine *m, size_t place, gs_error *err) {
    gs_pickled **v;
    if (place >= m->size || place >= MAX_MEMO)
        return GS_FAIL(err, GS_E_FORMAT, "place %zu in the memo of a pickle of %zu bytes", place, m->size);
    GS_TRY(pop(m, 1, &v, err));
    m->depth++;
    if (place >= m->memo_cap) {
        size_t cap = m->memo_cap ? m->memo_cap : 256;
        while (cap <= place) cap *= 2;
        gs_pickled **memo = gs_realloc(m->memo, cap, sizeof *memo);
        if (!memo) return gs_error_nomem(err, cap * sizeof *memo);
        memset(memo + m->memo_cap, 0, (cap - m->memo_cap) * sizeof *memo);
        m->memo = memo;
        m->memo_cap = cap;
    }
    m->memoized += m->memo[place] == NULL;
    m->memo[place] = *v;
    return GS_OK;
}

static gs_status recall(machine *m, size_t place, gs_error *err) {
    if (place >= m->memo_cap || !m->memo[place])
        return GS_FAIL(err, GS_E_FORMAT, "nothing is at place %zu of the memo", place);
    return push(m, m->memo[place], err);
}

static gs_status push_tuple(machine *m, gs_pickled *const *items, size_t n, gs_error *err) {
    gs_pickled *v = gs_pickle_value(m->pickle, GS_PICKLED_TUPLE, err);
    return v && append(m, v, items, n, err) == GS_OK ? push(m, v, err) : GS_E_NOMEM;
}

static gs_status push_int(machine *m, int64_t n, gs_error *err) {
    gs_pickled *v = gs_pickle_value(m->pickle, GS_PICKLED_INT, err);
    if (v) v->integer = n;
    return push(m, v, err);
}

static gs_status push_bool(machine *m, bool truth, gs_error *err) {
    gs_pickled *v = gs_pickle_value(m->pickle, GS_PICKLED_BOOL, err);
    if (v) v->integer = truth;
    return push(m, v, err);
}

/* An n-byte length, then that many bytes. */
static gs_status push_text(machine *m, gs_pickled_kind kind, size_t length_bytes, gs_error *err) {
    const uint8_t *p = take(m, length_bytes, err);
    if (!p) return GS_E_FORMAT;
    uint64_t n = length_bytes == 1 ? *p : length_bytes == 4 ? gs_le32(p) : gs_le64(p);
    if (!(p = take(m, n, err))) return GS_E_FORMAT;
    gs_pickled *v = gs_pickle_value(m->pickle, kind, err);
    if (v) {
        v->text = (const char *)p;
        v->count = (size_t)n;
    }
    return push(m, v, err);
}

/* A two's complement integer of any length. */
static gs_status push_long(machine *m, size_t length_bytes, gs_error *err) {
    const uint8_t *p = take(m, length_bytes, err);
    if (!p) return GS_E_FORMAT;
    uint32_t n = length_bytes == 1 ? *p : gs_le32(p);
    if (!(p = take(m, n, err))) return GS_E_FORMAT;
    if (n > 8) return push(m, gs_pickle_value(m->pickle, GS_PICKLED_LONG, err), err);
    uint64_t bits = n && p[n - 1] & 0x80 ? UINT64_MAX : 0;
    for (size_t i = n; i-- > 0;) bits = bits << 8 | p[i];
    int64_t value;
    memcpy(&value, &bits, sizeof value);
    return push_int(m, value, err);
}

static gs_status push_float(machine *m, gs_error *err) {
    const uint8_t *p = take(m, 8, err);
    uint64_t bits = 0;
    if (!p) return GS_E_FORMAT;
    for (int i = 0; i < 8; i++) bits = bits << 8 | p[i]; /* the one big-endian operand */
    gs_pickled *v = gs_pickle_value(m->pickle, GS_PICKLED_FLOAT, err);
    if (v) memcpy(&v->real, &bits, sizeof bits);
    return push(m, v, err);
}

/* --- globals and calls --- */

static gs_status push_global(machine *m, const char *module, size_t nmodule, const char *name, size_t nname, gs_error *err) {
    const gs_pickle_global *global;
    GS_TRY(gs_pickle_find_global(module, nmodule, name, nname, &global, err));
    gs_pickled *v = gs_pickle_value(m->pickle, GS_PICKLED_GLOBAL, err);
    if (v) v->global = global;
    return push(m, v, err);
}

static const char *take_line(machine *m, size_t *n, gs_error *err) {
    const char *line = (const char *)m->data + m->at, *end = memchr(line, '\n', m->size - m->at);
    if (!end) {
        GS_FAIL(err, GS_E_FORMAT, "a line without an end (cut off?)");
        return NULL;
    }
    *n = (size_t)(end - line);
    m->at += *n + 1;
    return line;
}

static gs_status global_lines(machine *m, gs_error *err) {
    size_t nmodule, nname;
    const char *module = take_line(m, &nmodule, err);
    const char *name = module ? take_line(m, &nname, err) : NULL;
    return name ? push_global(m, module, nmodule, name, nname, err) : GS_E_FORMAT;
}

static gs_status global_values(machine *m, gs_error *err) {
    gs_pickled **v;
    GS_TRY(pop(m, 2, &v, err));
    if (v[0]->kind != GS_PICKLED_TEXT || v[1]->kind != GS_PICKLED_TEXT)
        return GS_FAIL(err, GS_E_FORMAT, "asks for a global whose name is no string");
    return push_global(m, v[0]->text, v[0]->count, v[1]->text, v[1]->count, err);
}

static gs_status call(machine *m, gs_error *err) {
    gs_pickled **v, *result;
    GS_TRY(pop(m, 2, &v, err));
    if (v[1]->kind != GS_PICKLED_TUPLE) return GS_FAIL(err, GS_E_FORMAT, "calls with %s", gs_pickled_kind_name(v[1]->kind));
    if (v[0]->kind != GS_PICKLED_GLOBAL)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "calls %s, which is not run", gs_pickled_kind_name(v[0]->kind));
    const gs_pickle_global *global = v[0]->global;
    if (!global->call) return GS_FAIL(err, GS_E_UNSUPPORTED, "calls %s.%s, which is not run", global->module, global->name);
    GS_TRY(global->call(m->pickle, v[1], &result, err));
    return push(m, result, err);
}

/* torch keeps a state dict's versions as an attribute of the dict: nothing that its tensors need. */
static gs_status build(machine *m, gs_error *err) {
    gs_pickled **v, *owner;
    GS_TRY(pop(m, 1, &v, err));
    gs_pickled *state = *v;
    GS_TRY(pop(m, 1, &v, err));
    owner = *v;
    m->depth++;
    if (owner->kind == GS_PICKLED_DICT && state->kind == GS_PICKLED_DICT) return GS_OK;
    return GS_FAIL(err, GS_E_UNSUPPORTED, "sets the state of %s from %s, which is not run",
                   gs_pickled_kind_name(owner->kind), gs_pickled_kind_name(state->kind));
}

static gs_status persistent(machine *m, gs_error *err) {
    gs_pickled **v, *storage;
    GS_TRY(pop(m, 1, &v, err));
    GS_TRY(gs_pickle_storage(m->pickle, *v, &storage, err));
    return push(m, storage, err);
}

/* --- collections --- */

static gs_status set_items(machine *m, gs_pickled **items, size_t n, gs_error *err) {
    gs_pickled *dict;
    if (n % 2) return GS_FAIL(err, GS_E_FORMAT, "a key without a value");
    GS_TRY(top(m, GS_PICKLED_DICT, &dict, err));
    return append(m, dict, items, n, err);
}

static gs_status set_marked(machine *m, gs_error *err) {
    gs_pickled **items;
    size_t n;
    GS_TRY(pop_mark(m, &items, &n, err));
    return set_items(m, items, n, err);
}

static gs_status set_one(machine *m, gs_error *err) {
    gs_pickled **items;
    GS_TRY(pop(m, 2, &items, err));
    return set_items(m, items, 2, err);
}

static gs_status append_marked(machine *m, gs_error *err) {
    gs_pickled **items, *list;
    size_t n;
    GS_TRY(pop_mark(m, &items, &n, err));
    GS_TRY(top(m, GS_PICKLED_LIST, &list, err));
    return append(m, list, items, n, err);
}

static gs_status append_one(machine *m, gs_error *err) {
    gs_pickled **items, *list;
    GS_TRY(pop(m, 1, &items, err));
    GS_TRY(top(m, GS_PICKLED_LIST, &list, err));
    return append(m, list, items, 1, err);
}

static gs_status tuple_marked(machine *m, gs_error *err) {
    gs_pickled **items;
    size_t n;
    GS_TRY(pop_mark(m, &items, &n, err));
    return push_tuple(m, items, n, err);
}

static gs_status tuple_of(machine *m, size_t n, gs_error *err) {
    gs_pickled **items;
    GS_TRY(pop(m, n, &items, err));
    return push_tuple(m, items, n, err);
}

/* --- the rest of the stack's operations --- */

static gs_status mark(machine *m, gs_error *err) {
    if (m->nmarks == MAX_MARKS) return GS_FAIL(err, GS_E_UNSUPPORTED, "nested more than %d deep", MAX_MARKS);
    m->marks[m->nmarks++] = m->depth;
    return GS_OK;
}

static gs_status duplicate(machine *m, gs_error *err) {
    gs_pickled **v;
    GS_TRY(pop(m, 1, &v, err));
    m->depth++;
    return push(m, *v, err);
}

static gs_status discard(machine *m, gs_error *err) {
    gs_pickled **v;
    size_t n;
    /* as Python has it: a mark on top is what goes */
    if (m->nmarks && m->marks[m->nmarks - 1] == m->depth) return pop_mark(m, &v, &n, err);
    return pop(m, 1, &v, err);
}

static gs_status frame(machine *m, gs_error *err) {
    const uint8_t *p = take(m, 8, err);
    if (!p) return GS_E_FORMAT;
    if (gs_le64(p) <= m->size - m->at) return GS_OK;
    return GS_FAIL(err, GS_E_FORMAT, "a frame of %llu bytes, %zu are left (cut off?)", (unsigned long long)gs_le64(p),
                   m->size - m->at);
}

static gs_status stop(machine *m, gs_error *err) {
    gs_pickled **v;
    GS_TRY(pop(m, 1, &v, err));
    if (m->depth || m->nmarks) return GS_FAIL(err, GS_E_FORMAT, "ends with values left on the stack");
    m->pickle->root = *v;
    m->stopped = true;
    return GS_OK;
}

/* An operand of 1, 2 or 4 bytes, without a sign. */
static gs_status number(machine *m, size_t bytes, uint32_t *n, gs_error *err) {
    const uint8_t *p = take(m, bytes, err);
    if (!p) return GS_E_FORMAT;
    *n = bytes == 1 ? *p : bytes == 2 ? gs_le16(p) : gs_le32(p);
    return GS_OK;
}

static gs_status push_number(machine *m, size_t bytes, gs_error *err) {
    uint32_t n;
    GS_TRY(number(m, bytes, &n, err));
    /* four bytes have a sign */
    return push_int(m, bytes == 4 && n > INT32_MAX ? (int64_t)n - (INT64_C(1) << 32) : (int64_t)n, err);
}

static gs_status put_at(machine *m, size_t bytes, gs_error *err) {
    uint32_t n;
    GS_TRY(number(m, bytes, &n, err));
    return memoize(m, n, err);
}

static gs_status get_at(machine *m, size_t bytes, gs_error *err) {
    uint32_t n;
    GS_TRY(number(m, bytes, &n, err));
    return recall(m, n, err);
}

/* --- opcodes --- */

/* What is an opcode, and is not run here. */
static const char *refused_name(uint8_t op) {
    switch (op) {
    case 'o': return "OBJ";
    case 'i': return "INST";
    case 'P': return "PERSID";
    case 'I': return "INT";
    case 'L': return "LONG";
    case 'F': return "FLOAT";
    case 'S': return "STRING";
    case 'V': return "UNICODE";
    case 'g': return "GET";
    case 'p': return "PUT";
    case 'l': return "LIST";
    case 'd': return "DICT";
    case 0x81: return "NEWOBJ";
    case 0x82: return "EXT1";
    case 0x83: return "EXT2";
    case 0x84: return "EXT4";
    case 0x8f: return "EMPTY_SET";
    case 0x90: return "ADDITEMS";
    case 0x91: return "FROZENSET";
    case 0x92: return "NEWOBJ_EX";
    case 0x96: return "BYTEARRAY8";
    case 0x97: return "NEXT_BUFFER";
    case 0x98: return "READONLY_BUFFER";
    default: return NULL;
    }
}

static gs_status refuse(uint8_t op, gs_error *err) {
    const char *name = refused_name(op);
    if (name) return GS_FAIL(err, GS_E_UNSUPPORTED, "opcode %s is not run: no state dict needs it", name);
    return GS_FAIL(err, GS_E_FORMAT, "0x%02x is no opcode", op);
}

static gs_status push_operand(machine *m, uint8_t op, gs_error *err) {
    switch (op) {
    case 'J': return push_number(m, 4, err);
    case 'K': return push_number(m, 1, err);
    case 'M': return push_number(m, 2, err);
    case 0x8a: return push_long(m, 1, err);
    case 0x8b: return push_long(m, 4, err);
    case 'G': return push_float(m, err);
    case 'X': return push_text(m, GS_PICKLED_TEXT, 4, err);
    case 0x8c: return push_text(m, GS_PICKLED_TEXT, 1, err);
    case 0x8d: return push_text(m, GS_PICKLED_TEXT, 8, err);
    case 'T': return push_text(m, GS_PICKLED_TEXT, 4, err); /* Python 2's strings */
    case 'U': return push_text(m, GS_PICKLED_TEXT, 1, err);
    case 'B': return push_text(m, GS_PICKLED_BYTES, 4, err);
    case 'C': return push_text(m, GS_PICKLED_BYTES, 1, err);
    case 0x8e: return push_text(m, GS_PICKLED_BYTES, 8, err);
    default: return refuse(op, err);
    }
}

static gs_status collect(machine *m, uint8_t op, gs_error *err) {
    switch (op) {
    case 't': return tuple_marked(m, err);
    case 0x85: return tuple_of(m, 1, err);
    case 0x86: return tuple_of(m, 2, err);
    case 0x87: return tuple_of(m, 3, err);
    case 'a': return append_one(m, err);
    case 'e': return append_marked(m, err);
    case 's': return set_one(m, err);
    case 'u': return set_marked(m, err);
    case 'c': return global_lines(m, err);
    case 0x93: return global_values(m, err);
    case 'R': return call(m, err);
    case 'b': return build(m, err);
    case 'Q': return persistent(m, err);
    default: return push_operand(m, op, err);
    }
}

static gs_status run(machine *m, uint8_t op, gs_error *err) {
    gs_pickled **v;
    size_t n;
    switch (op) {
    case '.': return stop(m, err);
    case '(': return mark(m, err);
    case '0': return discard(m, err);
    case '1': return pop_mark(m, &v, &n, err);
    case '2': return duplicate(m, err);
    case 'N': return push(m, gs_pickle_value(m->pickle, GS_PICKLED_NONE, err), err);
    case 0x88: return push_bool(m, true, err);
    case 0x89: return push_bool(m, false, err);
    case ')': return push(m, gs_pickle_value(m->pickle, GS_PICKLED_TUPLE, err), err);
    case ']': return push(m, gs_pickle_value(m->pickle, GS_PICKLED_LIST, err), err);
    case '}': return push(m, gs_pickle_value(m->pickle, GS_PICKLED_DICT, err), err);
    case 'q': return put_at(m, 1, err);
    case 'r': return put_at(m, 4, err);
    case 'h': return get_at(m, 1, err);
    case 'j': return get_at(m, 4, err);
    case 0x94: return memoize(m, m->memoized, err);
    case 0x95: return frame(m, err);
    default: return collect(m, op, err);
    }
}

static gs_status check_protocol(const machine *m, gs_error *err) {
    if (m->size > GS_PICKLE_MAX_BYTES)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "%zu bytes, more than %d", m->size, GS_PICKLE_MAX_BYTES);
    if (m->size < 2 || m->data[0] != 0x80) return GS_FAIL(err, GS_E_FORMAT, "this is no pickle of protocol 2 or later");
    if (m->data[1] < 2 || m->data[1] > 5)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "pickle protocol %d, known are 2 to 5", m->data[1]);
    return GS_OK;
}

static gs_status run_all(machine *m, gs_error *err) {
    GS_TRY(check_protocol(m, err));
    m->at = 2;
    while (!m->stopped) {
        size_t begin = m->at;
        gs_status status = m->at < m->size ? run(m, m->data[m->at++], err)
                                           : GS_FAIL(err, GS_E_FORMAT, "the pickle ends without its STOP (cut off?)");
        if (status != GS_OK) {
            gs_error_at(err, "byte %zu", begin);
            return status;
        }
    }
    if (m->at == m->size) return GS_OK;
    return GS_FAIL(err, GS_E_FORMAT, "%zu bytes follow the end of the pickle", m->size - m->at);
}

gs_status gs_pickle_open(const uint8_t *data, size_t size, gs_pickle **out, gs_error *err) {
    *out = NULL;
    gs_pickle *pickle = gs_calloc(1, sizeof *pickle);
    machine *m = gs_calloc(1, sizeof *m); /* marks make it large for a stack */
    gs_status status = pickle && m ? GS_OK : gs_error_nomem(err, sizeof *m);
    if (status == GS_OK) {
        *m = (machine){.pickle = pickle, .data = data, .size = size};
        status = run_all(m, err);
        gs_free(m->stack);
        gs_free(m->memo);
    }
    gs_free(m);
    if (status == GS_OK) *out = pickle;
    else gs_pickle_close(pickle);
    return status;
}
