#include <api/manifest.h>

#include <api/recipe.h>
#include <base/mem.h>

#include <math.h>
#include <string.h>

/* JSON has no infinity: an exact layer's ratio is null. */
static void put_number(gs_strbuf *out, const char *key, double v) {
    if (isfinite(v))
        gs_strbuf_printf(out, ", \"%s\": %.9g", key, v);
    else
        gs_strbuf_printf(out, ", \"%s\": null", key);
}

void gs_manifest_layer(const gs_layer_summary *l, gs_strbuf *out) {
    gs_strbuf_puts(out, "{\"name\": ");
    gs_strbuf_json(out, l->name, strlen(l->name));
    gs_strbuf_printf(out, ", \"scheme\": \"%s\", \"out_features\": %lld, \"in_features\": %lld", l->scheme,
                     (long long)l->out_features, (long long)l->in_features);
    if (l->fallback) gs_strbuf_puts(out, ", \"fallback\": true");
    if (l->reason[0]) {
        gs_strbuf_puts(out, ", \"reason\": ");
        gs_strbuf_json(out, l->reason, strlen(l->reason));
    }
    if (strcmp(l->scheme, "FLOAT") != 0) {
        put_number(out, "scale_min", l->scale_min);
        put_number(out, "scale_max", l->scale_max);
        put_number(out, "sqnr_db", l->sqnr_db);
        put_number(out, "max_error", l->max_error);
        gs_strbuf_printf(out, ", \"saturated\": %lld, \"zero_rows\": %lld", (long long)l->saturated,
                         (long long)l->zero_rows);
        if (!isnan(l->alpha)) put_number(out, "alpha", l->alpha);
        if (l->input_scale > 0) {
            put_number(out, "input_scale", l->input_scale);
            put_number(out, "input_offset", l->input_offset);
        }
        if (!isnan(l->output_error)) put_number(out, "output_error", l->output_error);
    }
    gs_strbuf_putc(out, '}');
}

static void put_calibration(const gs_statistics_info *c, gs_strbuf *out) {
    gs_strbuf_printf(out,
                     "  \"calibration\": {\"model_hash\": \"%016llx\", \"set_hash\": \"%016llx\", "
                     "\"sequences\": %lld, \"tokens\": %lld, \"length\": %lld, \"skip_tokens\": %lld, "
                     "\"seed\": %llu, \"compute\": \"%s\", \"store\": \"%s\", \"feed\": \"%s\"},\n",
                     (unsigned long long)c->model_hash, (unsigned long long)c->set_hash, (long long)c->sequences,
                     (long long)c->tokens, (long long)c->length, (long long)c->skip_tokens,
                     (unsigned long long)c->seed, c->compute, c->store, c->feed);
}

gs_status gs_manifest_text(const gs_quantize_options *effective, const gs_model *source,
                           const gs_statistics_info *calibration, double smoothing_change,
                           const gs_summary *summary, gs_strbuf *out, gs_error *err) {
    const gs_checkpoint *c = gs_model_checkpoint(source);
    gs_strbuf_printf(out, "{\n  \"gstick\": \"%s\",\n  \"recipe\": ", gs_version());
    gs_recipe_print(effective, 2, out);
    gs_strbuf_printf(out, ",\n  \"source\": {\"container\": \"%s\", \"tensors\": %zu, \"bytes\": %llu},\n",
                     gs_container_name(gs_checkpoint_container(c)),
                     gs_checkpoint_count(c), (unsigned long long)gs_checkpoint_bytes(c));
    if (calibration) put_calibration(calibration, out);
    if (!isnan(smoothing_change)) gs_strbuf_printf(out, "  \"smoothing_change\": %.3g,\n", smoothing_change);
    gs_strbuf_puts(out, "  \"layers\": [");
    for (size_t i = 0; i < summary->count; i++) {
        gs_strbuf_puts(out, i ? ",\n    " : "\n    ");
        gs_manifest_layer(&summary->layer[i], out);
    }
    gs_strbuf_puts(out, "\n  ]\n}\n");
    return out->failed ? gs_error_nomem(err, out->len) : GS_OK;
}
