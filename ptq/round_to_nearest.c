#include <ptq/round_to_nearest.h>

#include <base/mem.h>
#include <ptq/linear_batch.h>

#include <math.h>
#include <string.h>

typedef struct rtn {
    gs_comp_algo base;
    const gs_ptq_config *config;
    gs_layer_rules *rules;
    gs_linear_batch *batch;
} rtn;

static gs_status apply_linear(rtn *a, gs_net *net, gs_node *node, gs_error *err) {
    const gs_ptq_config *c;
    gs_linear_decision d = {.compute = a->config->compute, .alpha = NAN, .output_error = NAN};
    GS_TRY(gs_layer_rules_find_linear(a->rules, net, node, &c, d.reason, err));
    if (c) {
        int64_t rows, cols;
        gs_param_matrix(node->param[GS_ROLE_WEIGHT], &rows, &cols);
        gs_linear_decision_from(c, cols, &d);
        d.compat = a->config->compat;
    }
    return gs_linear_batch_plan(a->batch, net, node, &d, err);
}

static gs_status apply(gs_comp_algo *algo, gs_net *net, gs_error *err) {
    rtn *a = (rtn *)algo;
    gs_linear_batch_reset(a->batch);
    for (int i = 0; i < gs_net_node_count(net); i++) {
        gs_node *node = gs_net_node(net, i);
        if (node->op == GS_OP_LINEAR) GS_TRY(apply_linear(a, net, node, err));
    }
    return GS_OK;
}

static gs_status convert(gs_comp_algo *algo, gs_context *cx, gs_net *net, gs_error *err) {
    (void)net; /* the nodes were found by apply */
    return gs_linear_batch_convert(((rtn *)algo)->batch, algo, cx, NULL, NULL, err);
}

static void destroy(gs_comp_algo *algo) {
    rtn *a = (rtn *)algo;
    gs_linear_batch_destroy(a->batch);
    gs_layer_rules_destroy(a->rules);
    gs_free(a);
}

static const gs_comp_algo_class round_to_nearest = {
    .name = "RoundToNearest",
    .apply = apply,
    .convert = convert,
    .destroy = destroy,
};

/* What needs no data: weights alone, or activations whose scales are found at run time. */
static gs_status check_needs_no_data(const gs_ptq_config *c, gs_error *err) {
    bool act = c->act_quant_dtype != GS_QUANT_NONE;
    if ((!act || c->act_quant_granularity == GS_PER_TOKEN) && c->outliers_suppression == GS_OUTLIERS_NONE) return GS_OK;
    return GS_FAIL(err, GS_E_INVALID,
                   "RoundToNearest quantizes weights to int8 per channel, with float or per-token "
                   "activations, not %s", gs_ptq_config_tag(c));
}

gs_status gs_round_to_nearest_create(const gs_ptq_config *config, gs_comp_algo **out, gs_error *err) {
    GS_TRY(gs_ptq_config_check(config, err));
    GS_TRY(gs_ptq_config_check_done(config, err));
    GS_TRY(check_needs_no_data(config, err));
    for (size_t i = 0; i < config->layer_policy_count; i++)
        if (config->layer_policies[i].config) GS_TRY(check_needs_no_data(config->layer_policies[i].config, err));
    rtn *a = gs_calloc(1, sizeof *a);
    if (!a) return gs_error_nomem(err, sizeof *a);
    a->base = (gs_comp_algo){.class = &round_to_nearest, .save = true};
    a->config = config;
    gs_status status = gs_layer_rules_create(config, &a->rules, err);
    if (status == GS_OK) status = gs_linear_batch_create(&a->batch, err);
    if (status != GS_OK) {
        destroy(&a->base);
        return status;
    }
    *out = &a->base;
    return GS_OK;
}
