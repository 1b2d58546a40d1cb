/* Baichuan and Baichuan2, 7B and 13B. */
#include <llm/helpers/common_names.h>
#include <llm/settings.h>

#include <string.h>

/* The published files do not say which of the variants they are: the class name's spelling, the width and the vocabulary
 * do. Two keys say it outright where they exist. Widths: 4096 rotates (7B), 5120 does not (13B); smaller ones, which
 * nobody has published, are taken for relatives of the smaller model. */
enum { WIDTH_7B = 4096, VOCAB_2 = 125696 };

static gs_status read_position(const gs_model_config *c, bool *alibi, gs_error *err) {
    const char *said = NULL;
    *alibi = strncmp(c->architecture, "BaiChuan", 8) != 0 && c->hidden > WIDTH_7B;
    GS_TRY(gs_json_string(c->json, "position_embedding", &said, err));
    if (!said) return GS_OK;
    *alibi = strcmp(said, "alibi") == 0;
    if (*alibi || strcmp(said, "rope") == 0) return GS_OK;
    return GS_FAIL(err, GS_E_UNSUPPORTED, "\"position_embedding\" is '%.40s' (rope and alibi are known)", said);
}

static gs_status settle(const gs_model_config *c, struct gs_decoder_settings *s, gs_error *err) {
    GS_TRY(read_position(c, &s->alibi, err));
    s->normalize_head = c->vocab == VOCAB_2;
    return gs_json_bool(c->json, "norm_head", &s->normalize_head, err);
}

const gs_network_helper gs_helper_baichuan = {
    .family = "baichuan",
    .model_types = {"baichuan"},
    .name = {GS_NAMES_PLAIN, .qkv = "self_attn.W_pack"},
    .alternative = {GS_NAMES_MINDFORMERS},
    .redundant = {"rotary_emb.inv_freq"},
    .settle = settle,
};
