#include <deploy/bundle_format.h>

#include <base/nearest.h>

gs_status gs_bundle_format_find(const char *name, const gs_bundle_format **out, gs_error *err) {
    static const gs_bundle_format *const formats[] = {
#define X(format) &gs_bundle_##format,
        GS_BUNDLE_FORMAT_LIST(X)
#undef X
    };
    const char *known[GS_COUNTOF(formats)];
    int i;
    for (size_t f = 0; f < GS_COUNTOF(formats); f++) known[f] = formats[f]->name;
    GS_TRY(gs_choose("bundle format", name, known, GS_COUNTOF(known), &i, err));
    *out = formats[i];
    return GS_OK;
}
