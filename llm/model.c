#include <llm/model.h>

#include <base/affix.h>
#include <base/map.h>
#include <base/mem.h>
#include <llm/decoder.h>
#include <llm/names.h>

#include <stdio.h>
#include <string.h>

struct gs_model {
    gs_checkpoint *checkpoint;
    gs_model_config config; /* the checkpoint's, with what the family adds; its document is borrowed */
    gs_decoder_settings settings;
    gs_model_rewrite *rewrite;
    void *rewrite_ctx;
    bool head_is_embedding;
    int64_t parameters;
};

void gs_model_close(gs_model *m) {
    if (!m) return;
    gs_checkpoint_close(m->checkpoint);
    gs_free(m);
}

const gs_checkpoint *gs_model_checkpoint(const gs_model *m) { return m->checkpoint; }
const gs_model_config *gs_model_settings(const gs_model *m) { return &m->config; }
const gs_network_helper *gs_model_helper(const gs_model *m) { return m->settings.helper; }
int64_t gs_model_parameters(const gs_model *m) { return m->parameters; }

int gs_model_segments(const gs_model *m) { return (int)gs_model_settings(m)->layers + 2; }

gs_segment_kind gs_model_segment_kind(const gs_model *m, int i) {
    if (i == 0) return GS_SEGMENT_EMBED;
    return i == gs_model_segments(m) - 1 ? GS_SEGMENT_HEAD : GS_SEGMENT_BLOCK;
}

static gs_status build_segment(const gs_decoder_source *s, int i, bool tied, gs_net **out, gs_error *err) {
    if (i == 0) return gs_decoder_embed(s, out, err);
    if (i == (int)s->settings->config->layers + 1) return gs_decoder_head(s, tied, out, err);
    return gs_decoder_block(s, i - 1, out, err);
}

/* config: a copy, which gets what the family says where the file is silent. */
static gs_status settle(const gs_network_helper *extra, gs_model_config *config, gs_decoder_settings *out,
                        gs_error *err) {
    const gs_network_helper *helper;
    GS_TRY(gs_network_helper_find(config, extra, &helper, err));
    if (!config->tied_is_said) config->tied = helper->tied;
    return gs_decoder_settle(helper, config, out, err);
}

gs_status gs_model_blueprint_as(const gs_network_helper *extra, const gs_model_config *config, int i, gs_net **out,
                                int *segments, gs_error *err) {
    gs_decoder_settings settings;
    gs_decoder_source s = {.settings = &settings};
    gs_model_config copy = *config;
    GS_TRY(settle(extra, &copy, &settings, err));
    if (segments) *segments = (int)config->layers + 2;
    if (i < 0 || i > config->layers + 1)
        return GS_FAIL(err, GS_E_INVALID, "segment %d of %lld", i, (long long)config->layers + 2);
    return build_segment(&s, i, copy.tied, out, err);
}

gs_status gs_model_blueprint(const gs_model_config *config, int i, gs_net **out, int *segments, gs_error *err) {
    return gs_model_blueprint_as(NULL, config, i, out, segments, err);
}

gs_status gs_model_segment(const gs_model *m, int i, gs_net **out, gs_error *err) {
    gs_decoder_source s = {&m->settings, m->checkpoint};
    gs_net *net = NULL;
    gs_status status = build_segment(&s, i, m->head_is_embedding, &net, err);
    if (status == GS_OK && m->rewrite) {
        status = m->rewrite(m->rewrite_ctx, net, err);
        if (status == GS_OK) status = gs_net_infer(net, err);
    }
    if (status != GS_OK) {
        gs_net_destroy(net);
        return status;
    }
    *out = net;
    return GS_OK;
}

/* The projection of a tied model is the embedding, whether or not the file repeats it under
 * the head's name; a repeated copy is used (and so carried into bundles) only if it is equal. */
static bool head_is_embedding(const gs_model *m) {
    if (!gs_model_settings(m)->tied) return false;
    char name[128];
    snprintf(name, sizeof name, "%s.weight", m->settings.helper->name.head);
    const gs_tensor *head = gs_checkpoint_find(m->checkpoint, name);
    snprintf(name, sizeof name, "%s.weight", m->settings.helper->name.embed);
    const gs_tensor *embed = gs_checkpoint_find(m->checkpoint, name);
    bool copy = head && embed && head->bytes == embed->bytes && head->dtype == embed->dtype &&
                memcmp(head->data, embed->data, head->bytes) == 0;
    if (copy) {
        gs_checkpoint_drop(m->checkpoint, head);
        gs_checkpoint_drop(m->checkpoint, embed);
    }
    return !copy;
}

static bool is_redundant(const gs_model *m, const char *name) {
    for (size_t i = 0; i < GS_COUNTOF(m->settings.helper->redundant) && m->settings.helper->redundant[i]; i++)
        if (gs_ends_with(name, m->settings.helper->redundant[i])) return true;
    if (!m->head_is_embedding) return false;
    size_t k = strlen(m->settings.helper->name.head);
    return strncmp(name, m->settings.helper->name.head, k) == 0 && strcmp(name + k, ".weight") == 0;
}

/* Notes which tensors the net reads, counting each once. */
static gs_status note_params(gs_model *m, const gs_net *net, gs_map *used, gs_error *err) {
    for (int i = 0; i < gs_net_node_count(net); i++) {
        const gs_node *node = gs_net_node(net, i);
        for (int r = 0; r < GS_ROLE_COUNT; r++) {
            const gs_param *p = node->param[r];
            if (!p || !p->source) continue;
            bool seen;
            GS_TRY(gs_map_put(used, p->source->name, strlen(p->source->name), 1, &seen, err));
            if (!seen) m->parameters += gs_param_count(p);
        }
    }
    return GS_OK;
}

/* Where config.json and the tensors count layers differently, that is the fact behind whatever was found first. */
static void explain_layers(const gs_model *m, gs_error *err) {
    const gs_network_helper *h = m->settings.helper;
    int64_t said = gs_model_settings(m)->layers, there = gs_names_layers(&h->name, m->checkpoint);
    if (said != there)
        gs_error_hint(err, "config.json says num_hidden_layers %lld, the tensors have %lld", (long long)said, (long long)there);
}

static gs_status refuse_tensor(const gs_model *m, const gs_tensor *t, gs_error *err) {
    const gs_network_helper *h = m->settings.helper;
    char shape[128];
    gs_status status = GS_FAIL(err, GS_E_UNSUPPORTED, "tensor '%s' %s is no part of a '%s' model with %lld layers", t->name,
                               gs_tensor_shape_text(t, shape, sizeof shape), h->family,
                               (long long)gs_model_settings(m)->layers);
    gs_error_hint(err, "what it does would be lost; --helper FILE.json describes a family with it (docs/adding-a-model.md)");
    explain_layers(m, err);
    return status;
}

static gs_status check_segment(gs_model *m, int i, gs_map *used, gs_error *err) {
    gs_net *net;
    gs_status status = gs_model_segment(m, i, &net, err);
    if (status != GS_OK) {
        if (status == GS_E_FORMAT) explain_layers(m, err);
        return status;
    }
    status = note_params(m, net, used, err);
    gs_net_destroy(net);
    return status;
}

static gs_status check_tensors(gs_model *m, gs_map *used, gs_error *err) {
    GS_TRY(gs_map_reserve(used, gs_checkpoint_count(m->checkpoint), err));
    for (int i = 0; i < gs_model_segments(m); i++) GS_TRY(check_segment(m, i, used, err));
    for (size_t i = 0; i < gs_checkpoint_count(m->checkpoint); i++) {
        const char *name = gs_checkpoint_at(m->checkpoint, i)->name;
        int64_t one;
        if (gs_map_get(used, name, strlen(name), &one) || is_redundant(m, name)) continue;
        return refuse_tensor(m, gs_checkpoint_at(m->checkpoint, i), err);
    }
    return GS_OK;
}

gs_status gs_model_take_as(const gs_network_helper *extra, gs_checkpoint *checkpoint, gs_model_rewrite *rewrite,
                           void *rewrite_ctx, gs_model **out, gs_error *err) {
    gs_model *m = gs_calloc(1, sizeof *m);
    if (!m) {
        gs_checkpoint_close(checkpoint);
        return gs_error_nomem(err, sizeof *m);
    }
    m->checkpoint = checkpoint;
    m->config = *gs_checkpoint_config(checkpoint);
    m->rewrite = rewrite;
    m->rewrite_ctx = rewrite_ctx;
    gs_map used = {0};
    gs_status status;
    GS_TRY_GOTO(status, done, settle(extra, &m->config, &m->settings, err));
    GS_TRY_GOTO(status, done, gs_names_settle(checkpoint, &m->settings, err));
    m->head_is_embedding = head_is_embedding(m);
    status = check_tensors(m, &used, err);
done:
    gs_map_clear(&used);
    if (status != GS_OK) {
        gs_error_at(err, "%s", gs_checkpoint_path(checkpoint));
        gs_model_close(m);
        return status;
    }
    *out = m;
    return GS_OK;
}

gs_status gs_model_rename(const gs_network_helper *extra, gs_checkpoint *checkpoint, const gs_network_helper **helper,
                          gs_error *err) {
    gs_decoder_settings settings;
    gs_model_config config = *gs_checkpoint_config(checkpoint);
    gs_status status = settle(extra, &config, &settings, err);
    if (status == GS_OK) status = gs_names_settle(checkpoint, &settings, err);
    if (status != GS_OK) return gs_error_at(err, "%s", gs_checkpoint_path(checkpoint));
    *helper = settings.helper;
    return GS_OK;
}

gs_status gs_model_take(gs_checkpoint *checkpoint, gs_model_rewrite *rewrite, void *rewrite_ctx,
                        gs_model **out, gs_error *err) {
    return gs_model_take_as(NULL, checkpoint, rewrite, rewrite_ctx, out, err);
}
