#include <loaders/torch_file.h>

#include <base/map.h>
#include <base/mem.h>
#include <base/utf8.h>
#include <loaders/torch_views.h>

#include <stdio.h>
#include <string.h>

/* Most scratch space that a file of so many bytes may ask for. */
enum { SCRATCH_FACTOR = 16, SCRATCH_FREE = 16 << 20 };

struct gs_torch_file {
    gs_filemap file; /* zeroed when the bytes are the caller's */
    gs_zip *zip;
    gs_scratch_file scratch;
    gs_tensor *tensors;
    size_t count;
    char *names; /* all tensor names, each NUL-terminated */
    gs_map by_name;
    const char *nested;
};

/* What is needed while a file is opened. */
typedef struct opening {
    gs_torch_file *f;
    const gs_zip_member *pickle_member;
    uint8_t *bytes; /* of the pickle */
    gs_pickle *pickle;
    const gs_pickled *state; /* the dict of tensors */
    char *top;               /* "<top>/" of the archive; room for a member's name behind it */
    size_t top_length, top_room;
    gs_torch_view *views; /* [entries of state] */
} opening;

void gs_torch_file_close(gs_torch_file *f) {
    if (!f) return;
    gs_map_clear(&f->by_name);
    gs_free(f->tensors);
    gs_free(f->names);
    gs_scratch_file_close(&f->scratch);
    gs_zip_close(f->zip);
    gs_filemap_close(&f->file);
    gs_free(f);
}

/* --- the archive --- */

static gs_status no_archive(const uint8_t *data, size_t size, gs_error *err) {
    if (size >= 2 && data[0] == 0x80) {
        GS_FAIL(err, GS_E_UNSUPPORTED, "a bare pickle, as torch.save wrote it before PyTorch 1.6, is not read");
        gs_error_hint(err, "if you trust it, load it in Python and save its state dict as safetensors");
        return GS_E_UNSUPPORTED;
    }
    GS_FAIL(err, GS_E_FORMAT, "this is no zip archive, as torch.save writes them");
    if (size > 7 && memcmp(data, "version", 7) == 0)
        gs_error_hint(err, "it looks like a Git LFS pointer: fetch the file itself (git lfs pull)");
    return GS_E_FORMAT;
}

/* "<top>/data.pkl", the only one. */
static gs_status find_pickle(opening *o, gs_error *err) {
    static const char tail[] = "/data.pkl";
    const gs_zip_member *m, *found = NULL;
    for (size_t i = 0; (m = gs_zip_at(o->f->zip, i)) != NULL; i++) {
        size_t n = strlen(m->name), at = n - (sizeof tail - 1);
        if (n < sizeof tail || strcmp(m->name + at, tail) != 0 || memchr(m->name, '/', at)) continue;
        if (found) return GS_FAIL(err, GS_E_FORMAT, "both '%.200s' and '%.200s' are there", found->name, m->name);
        found = m;
        o->top_length = at + 1;
    }
    if (!found) return GS_FAIL(err, GS_E_FORMAT, "the archive has no data.pkl: torch.save did not write it");
    o->pickle_member = found;
    o->top_room = o->top_length + 64;
    o->top = gs_alloc(o->top_room);
    if (!o->top) return gs_error_nomem(err, o->top_room);
    memcpy(o->top, found->name, o->top_length);
    return GS_OK;
}

/* The member "<top>/<name>", or NULL; what is too long for the buffer is the name of none that torch writes. */
static const gs_zip_member *member_of(opening *o, const char *name, size_t n) {
    if (n >= o->top_room - o->top_length || memchr(name, 0, n)) return NULL;
    memcpy(o->top + o->top_length, name, n);
    o->top[o->top_length + n] = 0;
    return gs_zip_find(o->f->zip, o->top);
}

static gs_status check_byte_order(opening *o, gs_error *err) {
    uint8_t *text = NULL;
    const gs_zip_member *m = member_of(o, "byteorder", 9);
    if (member_of(o, "constants.pkl", 13)) {
        GS_FAIL(err, GS_E_UNSUPPORTED, "a TorchScript archive, which holds a program, is not read");
        gs_error_hint(err, "save the model's state dict instead");
        return GS_E_UNSUPPORTED;
    }
    if (!m) return GS_OK; /* older writers do not say it, and were little-endian */
    GS_TRY(gs_zip_read(m, 64, &text, err));
    bool little = m->size == 6 && memcmp(text, "little", 6) == 0;
    gs_free(text);
    if (little) return GS_OK;
    return GS_FAIL(err, GS_E_UNSUPPORTED, "'%.200s' does not say 'little': big-endian files are not read", m->name);
}

/* --- the state dict --- */

static size_t count_tensors(const gs_pickled *dict) {
    size_t n = 0;
    for (size_t i = 1; i < dict->count; i += 2) n += dict->items[i]->kind == GS_PICKLED_TENSOR;
    return n;
}

/* Where training scripts keep it. */
static const char *const nests[] = {"state_dict", "model_state_dict", "model", "module"};

static size_t find_nest(const gs_pickled *key) {
    size_t i = 0;
    while (i < GS_COUNTOF(nests) && !gs_pickled_is(key, nests[i])) i++;
    return i;
}

static gs_status find_nested(opening *o, const gs_pickled *root, gs_error *err) {
    bool seen[GS_COUNTOF(nests)] = {false};
    for (size_t i = 0; i < root->count; i += 2) {
        const gs_pickled *value = root->items[i + 1];
        size_t k = find_nest(root->items[i]);
        if (k == GS_COUNTOF(nests)) continue;
        /* a short pickle can name one long dict many times; each name is looked into once */
        if (seen[k]) return GS_FAIL(err, GS_E_FORMAT, "the key '%s' is there twice", nests[k]);
        seen[k] = true;
        if (value->kind != GS_PICKLED_DICT || count_tensors(value) == 0) continue;
        if (o->f->nested)
            return GS_FAIL(err, GS_E_UNSUPPORTED, "both '%s' and '%s' hold tensors: which is meant?", o->f->nested,
                           nests[k]);
        o->f->nested = nests[k];
        o->state = value;
    }
    if (o->state) return GS_OK;
    GS_FAIL(err, GS_E_UNSUPPORTED, "the dict holds no tensors");
    gs_error_hint(err, "a state dict is read, or one below 'state_dict', 'model_state_dict', 'model' or 'module'");
    return GS_E_UNSUPPORTED;
}

static gs_status find_state(opening *o, gs_error *err) {
    const gs_pickled *root = gs_pickle_root(o->pickle);
    if (root->kind != GS_PICKLED_DICT)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "the pickle holds %s, not a dict of tensors",
                       gs_pickled_kind_name(root->kind));
    if (root->count == 0 || count_tensors(root)) o->state = root;
    return o->state ? GS_OK : find_nested(o, root, err);
}

static gs_status check_entry(const gs_pickled *key, const gs_pickled *value, gs_error *err) {
    char name[100];
    if (key->kind != GS_PICKLED_TEXT)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "a key of the state dict is %s", gs_pickled_kind_name(key->kind));
    gs_pickle_printable(key->text, key->count, name, sizeof name);
    if (key->count == 0 || !gs_utf8_is_plain(key->text, key->count))
        return GS_FAIL(err, GS_E_FORMAT, "the tensor name '%s' is empty, not UTF-8 or has control characters", name);
    if (value->kind == GS_PICKLED_TENSOR) return GS_OK;
    return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s' is no tensor but %s", name, gs_pickled_kind_name(value->kind));
}

static gs_status find_storage(opening *o, gs_torch_view *v, gs_error *err) {
    const gs_pickled *key = v->from->storage->key;
    char name[64], shown[64];
    size_t n = 0;
    if (key->count < sizeof name - 5) {
        memcpy(name, "data/", 5);
        memcpy(name + 5, key->text, key->count);
        n = key->count + 5;
    }
    v->member = n ? member_of(o, name, n) : NULL;
    if (!v->member)
        return GS_FAIL(err, GS_E_FORMAT, "its storage 'data/%s' is not in the archive",
                       gs_pickle_printable(key->text, key->count, shown, sizeof shown));
    v->place = (size_t)(v->member - gs_zip_at(o->f->zip, 0));
    return GS_OK;
}

/* The entry i; *name is where its name goes, and moves on. */
static gs_status read_tensor(opening *o, size_t i, char **name, gs_error *err) {
    const gs_pickled *key = o->state->items[2 * i], *value = o->state->items[2 * i + 1];
    gs_torch_file *f = o->f;
    gs_tensor *t = &f->tensors[i];
    bool twice;
    GS_TRY(check_entry(key, value, err));
    memcpy(*name, key->text, key->count);
    (*name)[key->count] = 0;
    t->name = *name;
    *name += key->count + 1;
    GS_TRY(gs_map_put(&f->by_name, t->name, key->count, (int64_t)i, &twice, err));
    if (twice) return GS_FAIL(err, GS_E_FORMAT, "tensor '%.200s' is there twice", t->name);
    o->views[i].from = value->tensor;
    gs_status status = find_storage(o, &o->views[i], err);
    if (status == GS_OK) status = gs_torch_view_check(&o->views[i], t, err);
    if (status != GS_OK) gs_error_at(err, "tensor '%.200s'", t->name);
    return status;
}

static gs_status read_tensors(opening *o, gs_error *err) {
    gs_torch_file *f = o->f;
    size_t n = o->state->count / 2, bytes = 1;
    /* by way of the memo a short pickle can name one long string many times */
    for (size_t i = 0; i < n; i++) {
        const gs_pickled *key = o->state->items[2 * i];
        if (key->kind == GS_PICKLED_TEXT && key->count < GS_PICKLE_MAX_BYTES) bytes += key->count + 1;
        if (bytes > GS_PICKLE_MAX_MEMORY)
            return GS_FAIL(err, GS_E_UNSUPPORTED, "names of more than %d bytes", GS_PICKLE_MAX_MEMORY);
    }
    f->tensors = gs_calloc(n + 1, sizeof *f->tensors);
    f->names = gs_alloc(bytes);
    o->views = gs_calloc(n + 1, sizeof *o->views);
    if (!f->tensors || !f->names || !o->views)
        return gs_error_nomem(err, bytes + n * (sizeof *f->tensors + sizeof *o->views));
    GS_TRY(gs_map_reserve(&f->by_name, n, err));
    char *name = f->names;
    for (size_t i = 0; i < n; i++) GS_TRY(read_tensor(o, i, &name, err));
    f->count = n;
    return GS_OK;
}

/* --- opening --- */

static gs_status read_pickle(opening *o, gs_error *err) {
    const gs_zip_member *m = o->pickle_member;
    GS_TRY(gs_zip_read(m, GS_PICKLE_MAX_BYTES, &o->bytes, err));
    gs_status status = gs_pickle_open(o->bytes, (size_t)m->size, &o->pickle, err);
    if (status == GS_OK) status = find_state(o, err);
    if (status == GS_OK) status = read_tensors(o, err);
    if (status != GS_OK) gs_error_at(err, "data.pkl");
    return status;
}

static uint64_t scratch_limit(size_t size) {
    uint64_t limit;
    if (__builtin_mul_overflow((uint64_t)size, SCRATCH_FACTOR, &limit)) return INT64_MAX;
    return limit < INT64_MAX - SCRATCH_FREE ? limit + SCRATCH_FREE : INT64_MAX;
}

static gs_status open_bytes(opening *o, const uint8_t *data, size_t size, gs_error *err) {
    gs_torch_file *f = o->f;
    if (size < 4 || memcmp(data, "PK\3\4", 4) != 0) return no_archive(data, size, err);
    GS_TRY(gs_zip_open(data, size, &f->zip, err));
    GS_TRY(find_pickle(o, err));
    GS_TRY(check_byte_order(o, err));
    GS_TRY(read_pickle(o, err));
    return gs_torch_views_place(o->views, f->tensors, f->count, gs_zip_count(f->zip), scratch_limit(size), &f->file,
                                &f->scratch, err);
}

/* f, with or without its map, is closed on failure. */
static gs_status open_file(gs_torch_file *f, const uint8_t *data, size_t size, gs_torch_file **out, gs_error *err) {
    opening o = {.f = f};
    gs_status status = open_bytes(&o, data, size, err);
    gs_pickle_close(o.pickle);
    gs_free(o.bytes);
    gs_free(o.top);
    gs_free(o.views);
    if (status == GS_OK) *out = f;
    else gs_torch_file_close(f);
    return status;
}

gs_status gs_torch_file_open_memory(const uint8_t *data, size_t size, gs_torch_file **out, gs_error *err) {
    *out = NULL;
    gs_torch_file *f = gs_calloc(1, sizeof *f);
    return f ? open_file(f, data, size, out, err) : gs_error_nomem(err, sizeof *f);
}

gs_status gs_torch_file_open(const char *path, gs_torch_file **out, gs_error *err) {
    *out = NULL;
    gs_torch_file *f = gs_calloc(1, sizeof *f);
    if (!f) return gs_error_nomem(err, sizeof *f);
    gs_status status = gs_filemap_open(&f->file, path, err);
    if (status != GS_OK) {
        gs_torch_file_close(f);
        return status;
    }
    status = open_file(f, f->file.data, f->file.size, out, err);
    if (status != GS_OK) gs_error_at(err, "%s", path);
    return status;
}

size_t gs_torch_file_count(const gs_torch_file *f) { return f->count; }

const gs_tensor *gs_torch_file_at(const gs_torch_file *f, size_t i) { return i < f->count ? &f->tensors[i] : NULL; }

const gs_tensor *gs_torch_file_find(const gs_torch_file *f, const char *name) {
    int64_t i;
    return gs_map_get(&f->by_name, name, strlen(name), &i) ? &f->tensors[i] : NULL;
}

const char *gs_torch_file_nested(const gs_torch_file *f) { return f->nested; }

uint64_t gs_torch_file_scratch(const gs_torch_file *f) { return f->scratch.map.size; }

bool gs_torch_file_drop(const gs_torch_file *f, const gs_tensor *t) {
    return gs_filemap_drop_bytes(&f->file, t->data, t->bytes) || gs_filemap_drop_bytes(&f->scratch.map, t->data, t->bytes);
}
