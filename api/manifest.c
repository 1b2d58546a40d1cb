#include <api/manifest.h>

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
    if (l->reason[0]) {
        gs_strbuf_puts(out, ", \"reason\": ");
        gs_strbuf_json(out, l->reason, strlen(l->reason));
    } else {
        put_number(out, "scale_min", l->scale_min);
        put_number(out, "scale_max", l->scale_max);
        put_number(out, "sqnr_db", l->sqnr_db);
        put_number(out, "max_error", l->max_error);
        gs_strbuf_printf(out, ", \"saturated\": %lld, \"zero_rows\": %lld", (long long)l->saturated,
                         (long long)l->zero_rows);
    }
    gs_strbuf_putc(out, '}');
}

gs_status gs_manifest_text(const gs_quantize_options *o, const gs_ptq_config *config, const gs_model *source,
                           const gs_summary *summary, gs_strbuf *out, gs_error *err) {
    const gs_checkpoint *c = gs_model_checkpoint(source);
    gs_strbuf_printf(out, "{\n  \"gstick\": \"%s\",\n  \"recipe\": {\n", gs_version());
    gs_strbuf_printf(out, "    \"scheme\": \"%s\",\n    \"format\": \"%s\",\n", o->scheme ? o->scheme : "w8a16",
                     o->format ? o->format : "ascend");
    gs_strbuf_printf(out, "    \"scale_convention\": \"%s\",\n    \"dtype\": \"%s\",\n    \"blacklist\": [",
                     config->scale_convention == GS_SCALE_ASCEND ? "ascend" : "goldenstick",
                     gs_dtype_torch_name(config->compute));
    for (size_t i = 0; i < config->opname_blacklist_count; i++) {
        if (i) gs_strbuf_puts(out, ", ");
        gs_strbuf_json(out, config->opname_blacklist[i], strlen(config->opname_blacklist[i]));
    }
    gs_strbuf_printf(out, "]\n  },\n  \"source\": {\"container\": \"%s\", \"tensors\": %zu, \"bytes\": %llu},\n",
                     gs_checkpoint_container(c) == GS_CONTAINER_GGUF ? "gguf" : "safetensors",
                     gs_checkpoint_count(c), (unsigned long long)gs_checkpoint_bytes(c));
    gs_strbuf_puts(out, "  \"layers\": [");
    for (size_t i = 0; i < summary->count; i++) {
        gs_strbuf_puts(out, i ? ",\n    " : "\n    ");
        gs_manifest_layer(&summary->layer[i], out);
    }
    gs_strbuf_puts(out, "\n  ]\n}\n");
    return out->failed ? gs_error_nomem(err, out->len) : GS_OK;
}
