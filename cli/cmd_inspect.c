#include <api/opened.h>
#include <base/mem.h>
#include <cli/ui.h>
#include <loaders/tokenizer.h>
#include <network/routing.h>

#include <stdio.h>
#include <string.h>

/* Sums over the network. */
typedef struct survey {
    int64_t linears, linear_params, quantized; /* without routers */
    int64_t experts, routers, top_k;           /* in all; layers with experts; experts of a token */
    int64_t dtype_tensors[GS_DTYPE_COUNT];
    uint64_t dtype_bytes[GS_DTYPE_COUNT];
} survey;

static gs_status take(const gs_model *m, survey *s, gs_error *err) {
    const gs_checkpoint *c = gs_model_checkpoint(m);
    for (size_t i = 0; i < gs_checkpoint_count(c); i++) {
        const gs_tensor *t = gs_checkpoint_at(c, i);
        s->dtype_tensors[t->dtype]++;
        s->dtype_bytes[t->dtype] += t->bytes;
    }
    for (int i = 0; i < gs_model_segments(m); i++) {
        gs_net *net;
        GS_TRY(gs_model_segment(m, i, &net, err));
        for (int n = 0; n < gs_net_node_count(net); n++) {
            const gs_node *node = gs_net_node(net, n);
            if (node->op == GS_OP_ROUTE) {
                s->routers++;
                s->experts += node->output->dims.dim[0];
                s->top_k = node->attr.route.top_k;
            }
            if (gs_is_router(net, node)) continue;
            if (!gs_node_is_linear(node)) continue;
            s->linears++;
            s->quantized += node->op == GS_OP_QLINEAR;
            s->linear_params += gs_param_count(node->param[GS_ROLE_WEIGHT]);
        }
        gs_net_destroy(net);
    }
    return GS_OK;
}

/* What the tokenizer is, or why there is none. */
static void tokenizer_text(const char *path, char out[256]) {
    gs_tokenizer *t;
    gs_error err = {0};
    if (gs_tokenizer_open(path, &t, &err) == GS_OK) {
        snprintf(out, 256, "%s, %lld tokens%s", gs_tokenizer_kind(t), (long long)gs_tokenizer_vocab(t),
                 gs_tokenizer_adds_bos(t) ? ", BOS first" : "");
        gs_tokenizer_destroy(t);
    } else {
        snprintf(out, 256, "none (%.200s)", err.text);
    }
}

static void container_text(const gs_opened *o, char out[64]) {
    if (o->bundle) snprintf(out, 64, "%s bundle", gs_bundle_format_name(o->bundle));
    else snprintf(out, 64, "%s", gs_container_title(gs_checkpoint_container(gs_model_checkpoint(o->model))));
}

static const char *dtype_text(const gs_model_config *c) {
    return c->dtype == GS_DTYPE_NONE ? "unstated" : gs_dtype_torch_name(c->dtype);
}

static void put_table(gs_strbuf *out, const gs_opened *o, const survey *s, const char *path) {
    const gs_model *m = o->model;
    const gs_model_config *c = gs_model_settings(m);
    char tokenizer[256], container[64];
    tokenizer_text(path, tokenizer);
    container_text(o, container);
    gs_strbuf_printf(out, "family       %s (%s), %s%s%s\n", gs_model_helper(m)->family, c->architecture, container,
                     o->bundle ? " " : "", o->bundle ? gs_bundle_type(o->bundle) : "");
    gs_strbuf_printf(out, "shape        %lld layers, hidden %lld, intermediate %lld, heads %lld/%lld of %lld, vocabulary %lld%s\n",
                     (long long)c->layers, (long long)c->hidden, (long long)c->intermediate, (long long)c->heads,
                     (long long)c->kv_heads, (long long)c->head_dim, (long long)c->vocab, c->tied ? ", tied head" : "");
    gs_strbuf_printf(out, "positions    %lld, rope base %.9g\n", (long long)c->max_positions, c->rope_theta);
    gs_strbuf_printf(out, "dtype        %s;", dtype_text(c));
    for (int t = 0; t < GS_DTYPE_COUNT; t++)
        if (s->dtype_tensors[t])
            gs_strbuf_printf(out, " %lld tensors %s (%s)", (long long)s->dtype_tensors[t], gs_dtype_name((gs_dtype)t),
                             gs_ui_bytes(s->dtype_bytes[t]));
    gs_strbuf_printf(out, "\nparameters   %lld\nbytes        %s in %zu tensors\ntokenizer    %s\n",
                     (long long)gs_model_parameters(m), gs_ui_bytes(gs_checkpoint_bytes(gs_model_checkpoint(m))),
                     gs_checkpoint_count(gs_model_checkpoint(m)), tokenizer);
    if (s->routers)
        gs_strbuf_printf(out, "experts      %lld in %lld layers, %lld a token; their routers stay float\n", (long long)s->experts,
                         (long long)s->routers, (long long)s->top_k);
    if (o->bundle)
        gs_strbuf_printf(out, "quantized    %lld of %lld linears\n", (long long)s->quantized, (long long)s->linears);
    else
        gs_strbuf_printf(out, "quantizable  %lld linears, %lld parameters (the head stays float unless --blacklist says otherwise)\n",
                         (long long)s->linears, (long long)s->linear_params);
}

static void put_json(gs_strbuf *out, const gs_opened *o, const survey *s, const char *path) {
    const gs_model *m = o->model;
    const gs_model_config *c = gs_model_settings(m);
    char tokenizer[256], container[64];
    tokenizer_text(path, tokenizer);
    container_text(o, container);
    gs_strbuf_puts(out, "{\"family\": ");
    gs_strbuf_json(out, gs_model_helper(m)->family, strlen(gs_model_helper(m)->family));
    gs_strbuf_printf(out, ", \"container\": \"%s\", \"type\": \"%s\", \"layers\": %lld, \"hidden\": %lld, "
                          "\"intermediate\": %lld, \"heads\": %lld, \"kv_heads\": %lld, \"head_dim\": %lld, \"vocab\": %lld, "
                          "\"tied\": %s, \"max_positions\": %lld, \"rope_theta\": %.17g, \"dtype\": \"%s\", ",
                     container, o->bundle ? gs_bundle_type(o->bundle) : "FLOAT",
                     (long long)c->layers, (long long)c->hidden, (long long)c->intermediate, (long long)c->heads,
                     (long long)c->kv_heads, (long long)c->head_dim, (long long)c->vocab, c->tied ? "true" : "false",
                     (long long)c->max_positions, c->rope_theta, dtype_text(c));
    gs_strbuf_puts(out, "\"architecture\": ");
    gs_strbuf_json(out, c->architecture, strlen(c->architecture));
    gs_strbuf_printf(out, ", \"parameters\": %lld, \"tensors\": %zu, \"bytes\": %llu, \"linears\": %lld, "
                          "\"linear_parameters\": %lld, \"quantized_linears\": %lld, \"experts\": %lld, \"tokenizer\": ",
                     (long long)gs_model_parameters(m), gs_checkpoint_count(gs_model_checkpoint(m)),
                     (unsigned long long)gs_checkpoint_bytes(gs_model_checkpoint(m)), (long long)s->linears,
                     (long long)s->linear_params, (long long)s->quantized, (long long)s->experts);
    gs_strbuf_json(out, tokenizer, strlen(tokenizer));
    gs_strbuf_puts(out, ", \"dtypes\": {");
    bool first = true;
    for (int t = 0; t < GS_DTYPE_COUNT; t++) {
        if (!s->dtype_tensors[t]) continue;
        gs_strbuf_printf(out, "%s\"%s\": %llu", first ? "" : ", ", gs_dtype_name((gs_dtype)t),
                         (unsigned long long)s->dtype_bytes[t]);
        first = false;
    }
    gs_strbuf_puts(out, "}}\n");
}

static gs_status dump_segment(const gs_model *m, int64_t i, gs_strbuf *out, gs_error *err) {
    if (i >= gs_model_segments(m))
        return GS_FAIL(err, GS_E_INVALID, "there are %d segments, 0 to %d", gs_model_segments(m), gs_model_segments(m) - 1);
    gs_net *net;
    GS_TRY(gs_model_segment(m, (int)i, &net, err));
    gs_net_dump(net, out);
    gs_net_destroy(net);
    return GS_OK;
}

int gs_cmd_inspect(int argc, char **argv) {
    gs_ui ui;
    int64_t segment = -1;
    gs_bundle_open_options options = {0};
    gs_ui_init(&ui);
    const gs_arg args[] = {
        {"--helper", "FILE.json", GS_ARG_STRING, &ui.helper, "a model family that is not built in (docs/adding-a-model.md)"},
        {"--config", "MODEL_DIR", GS_ARG_STRING, &options.config, "where config.json of a bundle is that has none"},
        {"--segment", "I", GS_ARG_INT, &segment, "print the network of segment I (0: embedding, 1..: blocks, last: head)"},
        {"--json", NULL, GS_ARG_FLAG, &ui.json, "print one JSON object"},
    };
    const gs_command command = {"gstick inspect MODEL|BUNDLE [options]",
                                "What a model or bundle is: family, shapes, dtypes, parameters, tokenizer, and what can be\n"
                                "quantized. Reads headers only.",
                                GS_EXIT_CODES, args, GS_COUNTOF(args)};
    const char *model = NULL;
    size_t words;
    bool help;
    gs_error err = {0};
    if (gs_args_parse(&command, argc, argv, &model, 1, &words, &help, &err) != GS_OK) return gs_ui_fail(&ui, &err);
    if (help) {
        gs_args_help(&command);
        return GS_EXIT_OK;
    }
    if (!model) {
        gs_error_set(&err, GS_E_INVALID, "no model is given");
        gs_error_hint(&err, "%s", command.usage);
        return gs_ui_fail(&ui, &err);
    }
    gs_opened opened = {0};
    gs_network_helper *helper = NULL;
    survey s = {0};
    gs_strbuf out = {0};
    gs_status status = ui.helper ? gs_network_helper_load(ui.helper, &helper, &err) : GS_OK;
    if (status == GS_OK) status = gs_opened_open(helper, model, &options, &opened, &err);
    if (status == GS_OK && segment >= 0)
        status = dump_segment(opened.model, segment, &out, &err);
    else if (status == GS_OK)
        status = take(opened.model, &s, &err);
    if (status == GS_OK && segment < 0) {
        if (ui.json)
            put_json(&out, &opened, &s, model);
        else
            put_table(&out, &opened, &s, model);
    }
    gs_opened_close(&opened);
    gs_network_helper_free(helper);
    if (status == GS_OK) return gs_ui_print(&ui, &out);
    gs_strbuf_clear(&out);
    return gs_ui_fail(&ui, &err);
}
