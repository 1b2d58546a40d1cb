#include <base/json.h>

#include <base/file.h>
#include <base/json_scan.h>
#include <base/map.h>
#include <base/mem.h>

#include <math.h>
#include <string.h>

/* Up to this many keys every pair is compared, which needs no memory. */
enum { SMALL_OBJECT = 8 };

static gs_status duplicate(const char *key, gs_error *err) {
    return GS_FAIL(err, GS_E_FORMAT, "JSON: the key \"%.200s\" appears twice in one object",
                   key);
}

static gs_status check_small(const cJSON *object, gs_error *err) {
    for (const cJSON *a = object->child; a; a = a->next) {
        for (const cJSON *b = a->next; b; b = b->next) {
            if (strcmp(a->string, b->string) == 0) return duplicate(a->string, err);
        }
    }
    return GS_OK;
}

static gs_status check_large(const cJSON *object, size_t count, gs_error *err) {
    gs_map seen = {0};
    const cJSON *item;
    gs_status status = gs_map_reserve(&seen, count, err);
    cJSON_ArrayForEach(item, object) {
        if (status != GS_OK) break;
        bool twice;
        status = gs_map_put(&seen, item->string, strlen(item->string), 0, &twice, err);
        if (status == GS_OK && twice) status = duplicate(item->string, err);
    }
    gs_map_clear(&seen);
    return status;
}

/* Recursion is bounded: the scan has refused deeper nesting. */
static gs_status check_tree(const cJSON *item, gs_error *err) {
    const cJSON *child;
    size_t count = 0;
    if (cJSON_IsNumber(item) && !isfinite(item->valuedouble))
        return GS_FAIL(err, GS_E_FORMAT, "JSON: a number is too large for a double");
    cJSON_ArrayForEach(child, item) {
        count++;
        /* leaves are by far the most, and need no call of their own */
        if (child->child || cJSON_IsNumber(child)) GS_TRY(check_tree(child, err));
    }
    if (!cJSON_IsObject(item)) return GS_OK;
    return count <= SMALL_OBJECT ? check_small(item, err) : check_large(item, count, err);
}

gs_status gs_json_parse(const char *text, size_t len, cJSON **out, gs_error *err) {
    *out = NULL;
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { /* a byte order mark */
        text += 3;
        len -= 3;
    }
    GS_TRY(gs_json_scan(text, len, err));
    cJSON *tree = cJSON_ParseWithLength(text, len);
    /* the text is known to be good, so only memory can have failed */
    if (!tree) return GS_FAIL(err, GS_E_NOMEM, "no memory for JSON of %zu bytes", len);
    gs_status status = check_tree(tree, err);
    if (status == GS_OK) *out = tree;
    else cJSON_Delete(tree);
    return status;
}

gs_status gs_json_load(const char *path, size_t max_bytes, cJSON **out, gs_error *err) {
    char *text;
    size_t len;
    *out = NULL;
    GS_TRY(gs_file_read(path, max_bytes, &text, &len, err));
    gs_status status = gs_json_parse(text, len, out, err);
    gs_free(text);
    if (status != GS_OK) gs_error_at(err, "%s", path);
    return status;
}

const cJSON *gs_json_get(const cJSON *object, const char *key) {
    return cJSON_IsObject(object) ? cJSON_GetObjectItemCaseSensitive(object, key) : NULL;
}

bool gs_json_is_int(const cJSON *item, int64_t *value) {
    if (!cJSON_IsNumber(item)) return false;
    double v = item->valuedouble;
    if (!(fabs(v) <= 0x1p53) || v != trunc(v)) return false;
    if (value) *value = (int64_t)v;
    return true;
}

/* The member, or NULL when it is absent or null. */
static const cJSON *present(const cJSON *object, const char *key) {
    const cJSON *item = gs_json_get(object, key);
    return cJSON_IsNull(item) ? NULL : item;
}

static gs_status wrong_type(const char *key, const char *wanted, gs_error *err) {
    return GS_FAIL(err, GS_E_FORMAT, "\"%s\" is not %s", key, wanted);
}

gs_status gs_json_int(const cJSON *object, const char *key, int64_t *out, gs_error *err) {
    const cJSON *item = present(object, key);
    if (!item || gs_json_is_int(item, out)) return GS_OK;
    return wrong_type(key, "an integer", err);
}

gs_status gs_json_double(const cJSON *object, const char *key, double *out, gs_error *err) {
    const cJSON *item = present(object, key);
    if (item && !cJSON_IsNumber(item)) return wrong_type(key, "a number", err);
    if (item) *out = item->valuedouble;
    return GS_OK;
}

gs_status gs_json_bool(const cJSON *object, const char *key, bool *out, gs_error *err) {
    const cJSON *item = present(object, key);
    if (item && !cJSON_IsBool(item)) return wrong_type(key, "true or false", err);
    if (item) *out = cJSON_IsTrue(item);
    return GS_OK;
}

gs_status gs_json_string(const cJSON *object, const char *key, const char **out,
                         gs_error *err) {
    const cJSON *item = present(object, key);
    if (item && !cJSON_IsString(item)) return wrong_type(key, "a string", err);
    if (item) *out = item->valuestring;
    return GS_OK;
}
