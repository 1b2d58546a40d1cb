#include <loaders/zip_archive.h>

#include <base/little.h>
#include <base/map.h>
#include <base/mem.h>
#include <base/utf8.h>

#include <stdlib.h>
#include <string.h>

enum {
    END_BYTES = 22,
    END64_BYTES = 56,
    LOCATOR_BYTES = 20,
    ENTRY_BYTES = 46,
    LOCAL_BYTES = 30,
    STORED = 0,
    DEFLATED = 8,
    FLAG_ENCRYPTED = 1,
    FLAG_SIZES_FOLLOW = 8,
    FLAGS_UNREADABLE = FLAG_ENCRYPTED | 1 << 5 | 1 << 6 | 1 << 13 /* patches, strong encryption, hidden headers */
};

static const uint32_t end_mark = 0x06054b50, end64_mark = 0x06064b50, locator_mark = 0x07064b50,
                      entry_mark = 0x02014b50, local_mark = 0x04034b50;

struct gs_zip {
    const uint8_t *data;
    size_t size;
    gs_zip_member *members;
    size_t count;
    char *names; /* all of them, each NUL-terminated */
    gs_map by_name;
};

/* Where the central directory lies; limit: where it must end. */
typedef struct directory {
    uint64_t offset, size, entries, limit;
} directory;

/* What a member occupies, its local header included. */
typedef struct span {
    uint64_t begin, end;
    size_t member;
} span;

/* One entry while it is checked: what the directory says, with zip64's numbers in place. */
typedef struct entry {
    const char *name; /* in the archive, not terminated */
    size_t name_length;
    uint64_t size, packed_size, header;
    uint32_t crc;
    unsigned method;
} entry;

void gs_zip_close(gs_zip *zip) {
    if (!zip) return;
    gs_map_clear(&zip->by_name);
    gs_free(zip->members);
    gs_free(zip->names);
    gs_free(zip);
}

/* The last end record whose comment reaches exactly the end of the file. */
static bool find_end(const gs_zip *zip, size_t *at) {
    if (zip->size < END_BYTES) return false;
    size_t last = zip->size - END_BYTES, first = last > UINT16_MAX ? last - UINT16_MAX : 0;
    for (size_t i = last + 1; i-- > first;) {
        if (gs_le32(zip->data + i) != end_mark || gs_le16(zip->data + i + 20) != last - i) continue;
        *at = i;
        return true;
    }
    return false;
}

/* The zip64 record states the wide numbers; those of the end record that fit must agree. */
static gs_status widen(const gs_zip *zip, size_t end, directory *d, gs_error *err) {
    const uint8_t *locator = zip->data + end - LOCATOR_BYTES;
    uint64_t at = gs_le64(locator + 8), limit = end - LOCATOR_BYTES;
    if (gs_le32(locator + 4) != 0 || gs_le32(locator + 16) > 1)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "the archive is one of several parts");
    if (limit < END64_BYTES || at > limit - END64_BYTES || gs_le32(zip->data + at) != end64_mark)
        return GS_FAIL(err, GS_E_FORMAT, "the zip64 record is not at byte %llu, where its locator puts it",
                       (unsigned long long)at);
    const uint8_t *p = zip->data + at;
    if (gs_le64(p + 4) != limit - at - 12)
        return GS_FAIL(err, GS_E_FORMAT, "the zip64 record does not end at its locator");
    if (gs_le32(p + 16) != 0 || gs_le32(p + 20) != 0 || gs_le64(p + 24) != gs_le64(p + 32))
        return GS_FAIL(err, GS_E_UNSUPPORTED, "the archive is one of several parts");
    directory wide = {.offset = gs_le64(p + 48), .size = gs_le64(p + 40), .entries = gs_le64(p + 32), .limit = at};
    if ((d->entries != UINT16_MAX && d->entries != wide.entries) || (d->size != UINT32_MAX && d->size != wide.size)
        || (d->offset != UINT32_MAX && d->offset != wide.offset))
        return GS_FAIL(err, GS_E_FORMAT, "the zip64 record and the end record disagree");
    *d = wide;
    return GS_OK;
}

static gs_status find_directory(const gs_zip *zip, directory *d, gs_error *err) {
    size_t at = 0;
    if (!find_end(zip, &at)) {
        GS_FAIL(err, GS_E_FORMAT, "%zu bytes without the end record of a zip archive (cut off?)", zip->size);
        gs_error_hint(err, "fetch or copy the file again");
        return GS_E_FORMAT;
    }
    const uint8_t *p = zip->data + at;
    if (gs_le16(p + 4) != 0 || gs_le16(p + 6) != 0 || gs_le16(p + 8) != gs_le16(p + 10))
        return GS_FAIL(err, GS_E_UNSUPPORTED, "the archive is one of several parts");
    *d = (directory){.offset = gs_le32(p + 16), .size = gs_le32(p + 12), .entries = gs_le16(p + 10), .limit = at};
    if (at >= LOCATOR_BYTES && gs_le32(p - LOCATOR_BYTES) == locator_mark) GS_TRY(widen(zip, at, d, err));
    if (d->offset > d->limit || d->size != d->limit - d->offset)
        return GS_FAIL(err, GS_E_FORMAT,
                       "the directory's %llu bytes at %llu do not end at byte %llu, where its end record is",
                       (unsigned long long)d->size, (unsigned long long)d->offset, (unsigned long long)d->limit);
    if (d->entries > d->size / ENTRY_BYTES)
        return GS_FAIL(err, GS_E_FORMAT, "%llu members do not fit a directory of %llu bytes",
                       (unsigned long long)d->entries, (unsigned long long)d->size);
    return GS_OK;
}

/* Finds zip64's field among an entry's extra ones. False when lengths lie; *wide stays NULL when it is not there. */
static bool find_wide(const uint8_t *extra, size_t length, const uint8_t **wide, size_t *wide_length) {
    *wide = NULL;
    *wide_length = 0;
    while (length >= 4) { /* fewer bytes are padding, as some archivers leave it */
        size_t n = gs_le16(extra + 2);
        if (n > length - 4) return false;
        if (gs_le16(extra) == 1) {
            *wide = extra + 4;
            *wide_length = n;
            return true;
        }
        extra += 4 + n;
        length -= 4 + n;
    }
    return true;
}

/* A 32-bit field, or the next 8 bytes of zip64's where it is saturated. */
static bool take_wide(uint64_t *field, const uint8_t **wide, size_t *left) {
    if (*field != UINT32_MAX) return true;
    if (*left < 8) return false;
    *field = gs_le64(*wide);
    *wide += 8;
    *left -= 8;
    return true;
}

static gs_status check_name(const char *name, size_t length, gs_error *err) {
    if (length && gs_utf8_is_plain(name, length)) return GS_OK;
    return GS_FAIL(err, GS_E_FORMAT, "its name is empty, not UTF-8 or has control characters");
}

/* One entry of `left` bytes at p; *taken: its own. */
static gs_status read_entry(const uint8_t *p, uint64_t left, entry *e, uint64_t *taken, gs_error *err) {
    if (left < ENTRY_BYTES || gs_le32(p) != entry_mark) return GS_FAIL(err, GS_E_FORMAT, "it is no directory entry");
    size_t name = gs_le16(p + 28), extra = gs_le16(p + 30), comment = gs_le16(p + 32), wide_length;
    const uint8_t *wide;
    *taken = ENTRY_BYTES + (uint64_t)name + extra + comment;
    if (*taken > left) return GS_FAIL(err, GS_E_FORMAT, "it reaches beyond the directory");
    *e = (entry){.name = (const char *)p + ENTRY_BYTES, .name_length = name, .size = gs_le32(p + 24),
                 .packed_size = gs_le32(p + 20), .header = gs_le32(p + 42), .crc = gs_le32(p + 16),
                 .method = gs_le16(p + 10)};
    GS_TRY(check_name(e->name, name, err));
    if (gs_le16(p + 8) & FLAGS_UNREADABLE)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%.*s' is encrypted or patched", (int)(name < 200 ? name : 200), e->name);
    if (!find_wide(p + ENTRY_BYTES + name, extra, &wide, &wide_length) || !take_wide(&e->size, &wide, &wide_length)
        || !take_wide(&e->packed_size, &wide, &wide_length) || !take_wide(&e->header, &wide, &wide_length))
        return GS_FAIL(err, GS_E_FORMAT, "its extra fields are cut off");
    if (gs_le16(p + 34) != 0 && gs_le16(p + 34) != UINT16_MAX)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "it is in another part of the archive");
    return GS_OK;
}

static gs_status check_sizes(const entry *e, gs_error *err) {
    unsigned long long size = e->size, packed = e->packed_size;
    if (e->method != STORED && e->method != DEFLATED)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "compression method %u is not read, only stored (0) and deflated (8) ones are",
                       e->method);
    if (e->method == STORED && e->size != e->packed_size)
        return GS_FAIL(err, GS_E_FORMAT, "stored in %llu bytes, but %llu long", packed, size);
    if (e->method == DEFLATED && e->size / 1032 > e->packed_size)
        return GS_FAIL(err, GS_E_FORMAT, "%llu bytes cannot be deflated to %llu", size, packed);
    return GS_OK;
}

/* A size of the local header: the directory's, or 0 where sizes follow the data. */
static bool agrees(uint64_t local, uint64_t stated, bool follows) { return local == stated || (follows && local == 0); }

static bool local_agrees(const uint8_t *p, const entry *e, bool *cut) {
    size_t name = gs_le16(p + 26), extra = gs_le16(p + 28), wide_length;
    bool follows = gs_le16(p + 6) & FLAG_SIZES_FOLLOW;
    uint64_t size = gs_le32(p + 22), packed = gs_le32(p + 18);
    const uint8_t *wide;
    *cut = !find_wide(p + LOCAL_BYTES + name, extra, &wide, &wide_length) || !take_wide(&size, &wide, &wide_length)
           || !take_wide(&packed, &wide, &wide_length);
    return !*cut && !(gs_le16(p + 6) & FLAGS_UNREADABLE) && gs_le16(p + 8) == e->method
           && agrees(size, e->size, follows) && agrees(packed, e->packed_size, follows)
           && agrees(gs_le32(p + 14), e->crc, follows);
}

/* Where the content begins, once the local header has said the same as the directory. */
static gs_status check_local(const gs_zip *zip, const entry *e, uint64_t limit, span *where, gs_error *err) {
    bool cut;
    if (limit < LOCAL_BYTES || e->header > limit - LOCAL_BYTES || gs_le32(zip->data + e->header) != local_mark)
        return GS_FAIL(err, GS_E_FORMAT, "there is no local header at byte %llu", (unsigned long long)e->header);
    const uint8_t *p = zip->data + e->header;
    size_t name = gs_le16(p + 26), extra = gs_le16(p + 28);
    uint64_t left = limit - e->header - LOCAL_BYTES;
    if (name + extra > left || e->packed_size > left - name - extra)
        return GS_FAIL(err, GS_E_FORMAT, "its %llu bytes at %llu reach beyond byte %llu, where the directory begins",
                       (unsigned long long)e->packed_size, (unsigned long long)e->header, (unsigned long long)limit);
    if (name != e->name_length || memcmp(p + LOCAL_BYTES, e->name, name) != 0)
        return GS_FAIL(err, GS_E_FORMAT, "the local header has another name");
    if (!local_agrees(p, e, &cut))
        return GS_FAIL(err, GS_E_FORMAT, cut ? "the local header's extra fields are cut off"
                                             : "the local header has another method, size or CRC than the directory");
    where->begin = e->header;
    where->end = e->header + LOCAL_BYTES + name + extra + e->packed_size;
    return GS_OK;
}

static int by_begin(const void *left, const void *right) {
    const span *a = left, *b = right;
    if (a->begin != b->begin) return a->begin < b->begin ? -1 : 1;
    return (a->member > b->member) - (a->member < b->member);
}

static gs_status check_overlaps(const gs_zip *zip, span *spans, gs_error *err) {
    if (zip->count) qsort(spans, zip->count, sizeof *spans, by_begin);
    for (size_t i = 1; i < zip->count; i++) {
        if (spans[i].begin < spans[i - 1].end)
            return GS_FAIL(err, GS_E_FORMAT, "members '%.200s' and '%.200s' overlap", zip->members[spans[i - 1].member].name,
                           zip->members[spans[i].member].name);
    }
    return GS_OK;
}

static gs_status add_member(gs_zip *zip, const entry *e, char *name, const span *where, gs_error *err) {
    bool twice;
    memcpy(name, e->name, e->name_length);
    name[e->name_length] = 0;
    zip->members[zip->count] = (gs_zip_member){.name = name, .packed = zip->data + (where->end - e->packed_size),
                                               .packed_size = e->packed_size, .size = e->size, .crc = e->crc,
                                               .deflated = e->method == DEFLATED};
    GS_TRY(gs_map_put(&zip->by_name, name, e->name_length, (int64_t)zip->count, &twice, err));
    zip->count++;
    return twice ? GS_FAIL(err, GS_E_FORMAT, "two members have this name") : GS_OK;
}

static gs_status read_members(gs_zip *zip, const directory *d, span *spans, gs_error *err) {
    const uint8_t *p = zip->data + d->offset;
    uint64_t left = d->size, taken = 0;
    char *name = zip->names;
    for (uint64_t i = 0; i < d->entries; i++, p += taken, left -= taken) {
        entry e = {0};
        gs_status status = read_entry(p, left, &e, &taken, err);
        if (status != GS_OK) {
            gs_error_at(err, "member %llu", (unsigned long long)i);
            return status;
        }
        status = check_sizes(&e, err);
        if (status == GS_OK) status = check_local(zip, &e, d->offset, &spans[i], err);
        if (status == GS_OK) status = add_member(zip, &e, name, &spans[i], err);
        if (status != GS_OK) {
            gs_error_at(err, "member '%.*s'", (int)(e.name_length < 200 ? e.name_length : 200), e.name);
            return status;
        }
        spans[i].member = (size_t)i;
        name += e.name_length + 1;
    }
    if (left) return GS_FAIL(err, GS_E_FORMAT, "%llu bytes of the directory belong to no member", (unsigned long long)left);
    return check_overlaps(zip, spans, err);
}

static gs_status read_directory(gs_zip *zip, span **spans, gs_error *err) {
    directory d = {0};
    GS_TRY(find_directory(zip, &d, err));
    size_t entries = (size_t)d.entries, names = (size_t)d.size + 1; /* an entry is longer than its name's end */
    zip->members = gs_calloc(entries + 1, sizeof *zip->members);
    zip->names = gs_alloc(names);
    *spans = gs_calloc(entries + 1, sizeof **spans);
    if (!zip->members || !zip->names || !*spans)
        return gs_error_nomem(err, names + entries * (sizeof *zip->members + sizeof **spans));
    GS_TRY(gs_map_reserve(&zip->by_name, entries, err));
    return read_members(zip, &d, *spans, err);
}

gs_status gs_zip_open(const uint8_t *data, size_t size, gs_zip **out, gs_error *err) {
    *out = NULL;
    span *spans = NULL;
    gs_zip *zip = gs_calloc(1, sizeof *zip);
    if (!zip) return gs_error_nomem(err, sizeof *zip);
    zip->data = data;
    zip->size = size;
    gs_status status = read_directory(zip, &spans, err);
    gs_free(spans);
    if (status == GS_OK) *out = zip;
    else gs_zip_close(zip);
    return status;
}

size_t gs_zip_count(const gs_zip *zip) { return zip->count; }

const gs_zip_member *gs_zip_at(const gs_zip *zip, size_t i) { return i < zip->count ? &zip->members[i] : NULL; }

const gs_zip_member *gs_zip_find(const gs_zip *zip, const char *name) {
    int64_t i;
    return gs_map_get(&zip->by_name, name, strlen(name), &i) ? &zip->members[i] : NULL;
}
