#include <deploy/bundle_format.h>

#include <base/nearest.h>

#include <string.h>

gs_status gs_bundle_format_find(const char *name, const gs_bundle_format **out, gs_error *err) {
    static const gs_bundle_format *const formats[] = {
#define X(format) &gs_bundle_##format,
        GS_BUNDLE_FORMAT_LIST(X)
#undef X
    };
    const char *known[GS_COUNTOF(formats)];
    for (size_t i = 0; i < GS_COUNTOF(formats); i++) {
        if (strcmp(formats[i]->name, name) == 0) {
            *out = formats[i];
            return GS_OK;
        }
        known[i] = formats[i]->name;
    }
    gs_status status = GS_FAIL(err, GS_E_INVALID, "unknown bundle format '%s'", name);
    gs_error_hint(err, "did you mean '%s'?", gs_nearest(name, known, GS_COUNTOF(known)));
    return status;
}
