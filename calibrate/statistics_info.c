#include <calibrate/statistics_info.h>

#include <base/mem.h>

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Counts in JSON are doubles for many readers. */
#define MOST ((int64_t)1 << 53)

void gs_statistics_parts(const gs_observer *o, gs_statistics_part parts[GS_STATISTICS_PARTS]) {
    gs_statistics_part *p = parts;
#define X(member, type, dims, first)                                           \
    *p++ = (gs_statistics_part){#member, type, dims, {first, o->width}, o->member, 0};
    GS_STATISTICS_PART_LIST(X)
#undef X
    for (p = parts; p < parts + GS_STATISTICS_PARTS; p++) {
        int64_t count = p->ndim == 2 ? p->shape[0] * p->shape[1] : p->shape[0];
        p->bytes = (size_t)count * (size_t)gs_dtype_block_bytes(p->dtype);
    }
}

char *gs_statistics_tensor(const char *edge, const char *ending) {
    gs_strbuf name = {0};
    gs_strbuf_printf(&name, "%s.%s", edge, ending);
    return gs_strbuf_take(&name, NULL);
}

static bool one_of(const char *word, size_t cap, const char *a, const char *b) {
    return memchr(word, 0, cap) && (strcmp(word, a) == 0 || strcmp(word, b) == 0);
}

gs_status gs_statistics_info_check(const gs_statistics_info *info, gs_status status, gs_error *err) {
    const int64_t counts[] = {info->sequences, info->tokens, info->length, info->skip_tokens, info->sample_rows};
    for (size_t i = 0; i < GS_COUNTOF(counts); i++) {
        if (counts[i] < 0 || counts[i] > MOST)
            return GS_FAIL(err, status, "settings of statistics: a count of %lld", (long long)counts[i]);
    }
    if (!one_of(info->compute, sizeof info->compute, "f32", "bf16"))
        return GS_FAIL(err, status, "settings of statistics: compute is neither f32 nor bf16");
    if (!one_of(info->store, sizeof info->store, "f32", "bf16"))
        return GS_FAIL(err, status, "settings of statistics: store is neither f32 nor bf16");
    if (!one_of(info->feed, sizeof info->feed, "float", "sequential"))
        return GS_FAIL(err, status, "settings of statistics: feed is neither float nor sequential");
    return GS_OK;
}

void gs_statistics_info_print(const gs_statistics_info *info, gs_strbuf *out) {
    /* 64 bits as hexadecimal strings: beyond 2^53 a JSON number would lose some */
    gs_strbuf_printf(out, "  \"model_hash\": \"%016llx\",\n  \"set_hash\": \"%016llx\",\n  \"settings\": {\n",
                     (unsigned long long)info->model_hash, (unsigned long long)info->set_hash);
    gs_strbuf_printf(out, "    \"sequences\": %lld,\n    \"tokens\": %lld,\n    \"length\": %lld,\n",
                     (long long)info->sequences, (long long)info->tokens, (long long)info->length);
    gs_strbuf_printf(out, "    \"skip_tokens\": %lld,\n    \"sample_rows\": %lld,\n    \"seed\": \"%016llx\",\n",
                     (long long)info->skip_tokens, (long long)info->sample_rows,
                     (unsigned long long)info->seed);
    gs_strbuf_printf(out, "    \"compute\": \"%s\",\n    \"store\": \"%s\",\n    \"feed\": \"%s\"\n  },\n",
                     info->compute, info->store, info->feed);
}

static gs_status read_hex(const cJSON *object, const char *key, uint64_t *out, gs_error *err) {
    const char *text = "";
    GS_TRY(gs_json_string(object, key, &text, err));
    if (strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
        return GS_FAIL(err, GS_E_FORMAT, "'%s' is not 16 hexadecimal digits", key);
    unsigned long long value;
    if (sscanf(text, "%16llx", &value) != 1) return GS_FAIL(err, GS_E_FORMAT, "'%s' is no number", key);
    *out = value;
    return GS_OK;
}

static gs_status read_count(const cJSON *object, const char *key, int64_t *out, gs_error *err) {
    *out = -1;
    GS_TRY(gs_json_int(object, key, out, err));
    return *out >= 0 ? GS_OK : GS_FAIL(err, GS_E_FORMAT, "'%s' is missing or negative", key);
}

static gs_status read_word(const cJSON *object, const char *key, char *out, size_t cap, gs_error *err) {
    const char *text = "";
    GS_TRY(gs_json_string(object, key, &text, err));
    if (!*text || strlen(text) >= cap) return GS_FAIL(err, GS_E_FORMAT, "'%s' is missing or too long", key);
    memcpy(out, text, strlen(text) + 1);
    return GS_OK;
}

gs_status gs_statistics_info_read(const cJSON *json, gs_statistics_info *out, gs_error *err) {
    const cJSON *settings = gs_json_get(json, "settings");
    *out = (gs_statistics_info){0};
    GS_TRY(read_hex(json, "model_hash", &out->model_hash, err));
    GS_TRY(read_hex(json, "set_hash", &out->set_hash, err));
    if (!cJSON_IsObject(settings)) return GS_FAIL(err, GS_E_FORMAT, "'settings' is not an object");
    GS_TRY(read_count(settings, "sequences", &out->sequences, err));
    GS_TRY(read_count(settings, "tokens", &out->tokens, err));
    GS_TRY(read_count(settings, "length", &out->length, err));
    GS_TRY(read_count(settings, "skip_tokens", &out->skip_tokens, err));
    GS_TRY(read_count(settings, "sample_rows", &out->sample_rows, err));
    GS_TRY(read_hex(settings, "seed", &out->seed, err));
    GS_TRY(read_word(settings, "compute", out->compute, sizeof out->compute, err));
    GS_TRY(read_word(settings, "store", out->store, sizeof out->store, err));
    GS_TRY(read_word(settings, "feed", out->feed, sizeof out->feed, err));
    return gs_statistics_info_check(out, GS_E_FORMAT, err);
}

void gs_statistics_row_print(const gs_statistics_row *row, gs_strbuf *out) {
    gs_strbuf_puts(out, "{\"name\": ");
    gs_strbuf_json(out, row->name, strlen(row->name));
    gs_strbuf_printf(out, ", \"width\": %lld, \"rows\": %lld, \"sample_rows\": %lld", (long long)row->width,
                     (long long)row->rows, (long long)row->sample_rows);
    /* digits enough to read the same double and float back */
    gs_strbuf_printf(out, ", \"token_absmax_sum\": %.17g, \"token_absmax_max\": %.9g}", row->token_absmax_sum,
                     (double)row->token_absmax_max);
}

static gs_status read_sizes(const cJSON *json, gs_statistics_row *row, gs_error *err) {
    row->width = row->rows = row->sample_rows = -1;
    GS_TRY(gs_json_int(json, "width", &row->width, err));
    GS_TRY(gs_json_int(json, "rows", &row->rows, err));
    GS_TRY(gs_json_int(json, "sample_rows", &row->sample_rows, err));
    if (row->width >= 1 && row->width <= INT32_MAX && row->rows >= 0 && row->sample_rows >= 0
        && row->sample_rows <= INT32_MAX)
        return GS_OK;
    return GS_FAIL(err, GS_E_FORMAT, "%lld channels, %lld rows, %lld sample rows", (long long)row->width,
                   (long long)row->rows, (long long)row->sample_rows);
}

static gs_status read_tokens(const cJSON *json, gs_statistics_row *row, gs_error *err) {
    double sum = NAN, most = NAN;
    GS_TRY(gs_json_double(json, "token_absmax_sum", &sum, err));
    GS_TRY(gs_json_double(json, "token_absmax_max", &most, err));
    row->token_absmax_sum = sum;
    row->token_absmax_max = most >= 0 && most <= (double)FLT_MAX ? (float)most : NAN;
    return GS_OK;
}

gs_status gs_statistics_row_read(const cJSON *json, gs_statistics_row *out, gs_error *err) {
    const char *name = NULL;
    *out = (gs_statistics_row){0};
    if (!cJSON_IsObject(json)) return GS_FAIL(err, GS_E_FORMAT, "an edge is not an object");
    GS_TRY(gs_json_string(json, "name", &name, err));
    if (!name || !*name) return GS_FAIL(err, GS_E_FORMAT, "an edge has no name");
    gs_status status = read_sizes(json, out, err);
    if (status == GS_OK) status = read_tokens(json, out, err);
    if (status != GS_OK) {
        gs_error_at(err, "'%.200s'", name);
        return status;
    }
    out->name = gs_strdup(name);
    return out->name ? GS_OK : gs_error_nomem(err, strlen(name) + 1);
}
