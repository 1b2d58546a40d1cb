#include <loaders/tokenizer/wire.h>

#include <base/half.h>

static gs_status get_varint(gs_wire *w, uint64_t *out, gs_error *err) {
    uint64_t value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
        if (w->at == w->len) return GS_FAIL(err, GS_E_FORMAT, "protobuf ends inside a number");
        uint8_t b = w->data[w->at++];
        if (shift < 64) value |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80) {
            *out = value;
            return GS_OK;
        }
    }
    return GS_FAIL(err, GS_E_FORMAT, "protobuf number of more than 10 bytes at byte %zu", w->at);
}

static gs_status get_fixed(gs_wire *w, size_t n, uint64_t *out, gs_error *err) {
    if (w->len - w->at < n) return GS_FAIL(err, GS_E_FORMAT, "protobuf ends inside a number");
    *out = 0;
    for (size_t i = 0; i < n; i++) *out |= (uint64_t)w->data[w->at++] << (8 * i);
    return GS_OK;
}

gs_status gs_wire_next(gs_wire *w, gs_wire_field *f, bool *more, gs_error *err) {
    uint64_t tag = 0, len = 0;
    *more = w->at < w->len;
    if (!*more) return GS_OK;
    GS_TRY(get_varint(w, &tag, err));
    f->number = (uint32_t)(tag >> 3);
    f->type = (gs_wire_type)(tag & 7);
    if (tag > UINT32_MAX || f->number == 0)
        return GS_FAIL(err, GS_E_FORMAT, "protobuf field number %llu",
                       (unsigned long long)(tag >> 3));
    switch (f->type) {
    case GS_WIRE_VARINT: return get_varint(w, &f->value, err);
    case GS_WIRE_64: return get_fixed(w, 8, &f->value, err);
    case GS_WIRE_32: return get_fixed(w, 4, &f->value, err);
    case GS_WIRE_BYTES:
        GS_TRY(get_varint(w, &len, err));
        if (len > w->len - w->at)
            return GS_FAIL(err, GS_E_FORMAT, "protobuf field of %llu bytes, %zu are left",
                           (unsigned long long)len, w->len - w->at);
        f->bytes = w->data + w->at;
        f->len = (size_t)len;
        w->at += f->len;
        return GS_OK;
    }
    return GS_FAIL(err, GS_E_FORMAT, "protobuf wire type %u at byte %zu", (unsigned)(tag & 7),
                   w->at);
}

gs_status gs_wire_expect(const gs_wire_field *f, gs_wire_type type, gs_error *err) {
    if (f->type == type) return GS_OK;
    return GS_FAIL(err, GS_E_FORMAT, "protobuf field %u has wire type %u, not %u", f->number,
                   (unsigned)f->type, (unsigned)type);
}

static void put_raw_varint(gs_strbuf *out, uint64_t v) {
    for (; v >= 0x80; v >>= 7) gs_strbuf_putc(out, (char)(v | 0x80));
    gs_strbuf_putc(out, (char)v);
}

static void put_tag(gs_strbuf *out, uint32_t number, gs_wire_type type) {
    put_raw_varint(out, (uint64_t)number << 3 | (uint64_t)type);
}

void gs_wire_put_varint(gs_strbuf *out, uint32_t number, uint64_t value) {
    put_tag(out, number, GS_WIRE_VARINT);
    put_raw_varint(out, value);
}

void gs_wire_put_float(gs_strbuf *out, uint32_t number, float value) {
    put_tag(out, number, GS_WIRE_32);
    uint32_t bits = gs_f32_bits(value);
    for (int i = 0; i < 4; i++) gs_strbuf_putc(out, (char)(bits >> (8 * i)));
}

void gs_wire_put_length(gs_strbuf *out, uint32_t number, uint64_t n) {
    put_tag(out, number, GS_WIRE_BYTES);
    put_raw_varint(out, n);
}

void gs_wire_put_bytes(gs_strbuf *out, uint32_t number, const void *bytes, size_t len) {
    gs_wire_put_length(out, number, len);
    gs_strbuf_append(out, bytes, len);
}
