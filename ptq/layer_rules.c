/* Blacklists and layer policies: which config serves a layer. */
#include <ptq/ptq_config.h>

#include <base/mem.h>
#include <network/routing.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <string.h>

struct gs_layer_rules {
    const gs_ptq_config *config;
    pcre2_code **pattern; /* one a policy */
    pcre2_match_data *match;
};

void gs_layer_rules_destroy(gs_layer_rules *r) {
    if (!r) return;
    for (size_t i = 0; r->pattern && i < r->config->layer_policy_count; i++) pcre2_code_free(r->pattern[i]);
    pcre2_match_data_free(r->match);
    gs_free(r->pattern);
    gs_free(r);
}

gs_status gs_layer_rules_create(const gs_ptq_config *c, gs_layer_rules **out, gs_error *err) {
    gs_layer_rules *r = gs_calloc(1, sizeof *r);
    if (!r) return gs_error_nomem(err, sizeof *r);
    r->config = c;
    r->match = pcre2_match_data_create(1, NULL);
    r->pattern = gs_calloc(c->layer_policy_count + 1, sizeof *r->pattern);
    if (!r->match || !r->pattern) {
        gs_layer_rules_destroy(r);
        return gs_error_nomem(err, sizeof *r);
    }
    for (size_t i = 0; i < c->layer_policy_count; i++) {
        const char *text = c->layer_policies[i].pattern;
        int code;
        PCRE2_SIZE offset;
        r->pattern[i] = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, PCRE2_ANCHORED, &code,
                                      &offset, NULL);
        if (r->pattern[i]) continue;
        unsigned char why[128] = "";
        pcre2_get_error_message(code, why, sizeof why);
        gs_layer_rules_destroy(r);
        return GS_FAIL(err, GS_E_INVALID, "layer policy '%s' is no regular expression: %s at %zu", text,
                       (const char *)why, (size_t)offset);
    }
    *out = r;
    return GS_OK;
}

static const char *blacklisted(const gs_ptq_config *c, const char *name) {
    for (size_t i = 0; i < c->opname_blacklist_count; i++)
        if (strstr(name, c->opname_blacklist[i])) return c->opname_blacklist[i];
    return NULL;
}

/* The policy that matches, -1 for none. */
static gs_status find_policy(const gs_layer_rules *r, const char *name, int64_t *found, gs_error *err) {
    const gs_ptq_config *c = r->config;
    *found = -1;
    for (size_t i = 0; i < c->layer_policy_count; i++) {
        int hit = pcre2_match(r->pattern[i], (PCRE2_SPTR)name, strlen(name), 0, 0, r->match, NULL);
        if (hit == PCRE2_ERROR_NOMATCH) continue;
        if (hit < 0)
            return GS_FAIL(err, GS_E_INVALID, "layer policy '%s' cannot be matched against '%s' (PCRE2 error %d)",
                           c->layer_policies[i].pattern, name, hit);
        if (*found >= 0)
            return GS_FAIL(err, GS_E_INVALID, "layer '%s' matches two policies, '%s' and '%s'", name,
                           c->layer_policies[*found].pattern, c->layer_policies[i].pattern);
        *found = (int64_t)i;
    }
    return GS_OK;
}

gs_status gs_layer_rules_find(const gs_layer_rules *r, const char *name, const gs_ptq_config **config,
                              char reason[64], gs_error *err) {
    int64_t policy;
    reason[0] = 0;
    GS_TRY(find_policy(r, name, &policy, err));
    *config = policy < 0 ? r->config : r->config->layer_policies[policy].config;
    if (!*config) {
        snprintf(reason, 64, "policy '%.40s'", r->config->layer_policies[policy].pattern);
        return GS_OK;
    }
    const char *word = blacklisted(*config, name);
    if (word) {
        snprintf(reason, 64, "blacklist '%.40s'", word);
        *config = NULL;
    } else if ((*config)->weight_quant_dtype == GS_QUANT_NONE) {
        snprintf(reason, 64, "weights stay float");
        *config = NULL;
    }
    return GS_OK;
}

gs_status gs_layer_rules_find_linear(const gs_layer_rules *r, const gs_net *net, const gs_node *linear,
                                     const gs_ptq_config **config, char reason[64], gs_error *err) {
    if (!gs_is_router(net, linear)) return gs_layer_rules_find(r, linear->name, config, reason, err);
    *config = NULL;
    snprintf(reason, 64, "router");
    return GS_OK;
}
