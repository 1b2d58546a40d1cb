/* The architecture as a list: every node of the blueprint that has a weight. */
#include <verify/subject.h>

#include <base/mem.h>
#include <llm/regroup.h>
#include <network/routing.h>

#include <stdio.h>
#include <string.h>

/* A file of a hundred bytes can ask for millions of modules; each but a tied head has a tensor. */
enum { MOST_MISSING = 100000 };

static gs_module *add_module(gs_subject *s) {
    if (s->modules == s->module_room) {
        int room = s->module_room ? 2 * s->module_room : 64;
        gs_module *grown = gs_realloc(s->module, (size_t)room, sizeof *grown);
        if (!grown) return NULL;
        s->module = grown;
        s->module_room = room;
    }
    gs_module *m = &s->module[s->modules];
    *m = (gs_module){.norm = -1, .mixture = -1, .group = s->modules};
    return m;
}

/* Which module among those of this segment is that node; -1: none. */
static int module_of(const gs_subject *s, int segment, const gs_net *net, const gs_node *node) {
    for (int i = s->modules - 1; i >= 0 && s->module[i].segment == segment; i--)
        if (gs_net_node(net, s->module[i].node) == node) return i;
    return -1;
}

static int first_reader(const gs_subject *s, int segment, const gs_net *net, const gs_edge *edge) {
    const gs_node *reader;
    for (int i = 0; (reader = gs_net_consumer(net, edge, i)); i++) {
        int at = reader->op == GS_OP_LINEAR ? module_of(s, segment, net, reader) : -1;
        if (at >= 0) return at;
    }
    return s->modules;
}

/* Experts of one mixture follow each other. */
static int mixture_of(gs_subject *s, const gs_node *linear, const gs_edge **last) {
    const gs_node *select = gs_routed_select(linear->input[0]);
    if (!select) return -1;
    if (select->input[1] != *last) s->mixtures++;
    *last = select->input[1];
    return s->mixtures - 1;
}

static void take_linear(gs_subject *s, const gs_net *net, const gs_node *node, gs_module *m, const gs_edge **mixture) {
    const gs_node *maker = node->input[0]->producer;
    const char *weight = node->param[GS_ROLE_WEIGHT]->name;
    size_t k = strlen(node->name);
    m->tied = strncmp(weight, node->name, k) != 0 || weight[k] != '.';
    m->group = first_reader(s, m->segment, net, node->input[0]);
    m->norm = maker && maker->op == GS_OP_RMSNORM ? module_of(s, m->segment, net, maker) : -1;
    m->mixture = mixture_of(s, node, mixture);
}

/* mixture: that of the linear before */
static gs_status take_node(gs_subject *s, int segment, const gs_net *net, int n, const gs_edge **mixture, gs_error *err) {
    const gs_node *node = gs_net_node(net, n);
    const gs_param *weight = node->param[GS_ROLE_WEIGHT];
    if (!weight) return GS_OK;
    gs_module *m = add_module(s);
    if (!m) return gs_error_nomem(err, sizeof *m);
    m->op = node->op;
    m->segment = segment;
    m->node = n;
    m->bias = node->param[GS_ROLE_BIAS] != NULL;
    gs_param_matrix(weight, &m->rows, &m->cols);
    m->name = gs_strdup(node->name);
    if (!m->name) return gs_error_nomem(err, 256);
    if (node->op == GS_OP_RMSNORM) m->plus_one = node->attr.norm.plus_one;
    if (node->op == GS_OP_LINEAR) take_linear(s, net, node, m, mixture);
    s->modules++;
    return GS_OK;
}

gs_status gs_verify_modules(gs_subject *s, gs_module_check *check, const void *ctx, gs_error *err) {
    for (int i = 0; i < s->modules; i++) {
        GS_TRY(gs_cancel_check(err));
        GS_TRY(check(s, &s->module[i], ctx, err));
    }
    return GS_OK;
}

void gs_verify_rest(gs_subject *s) {
    gs_verify_unclaimed(s);
    gs_verify_finite(s);
    gs_verify_tied(s);
}

/* With projections as the bundle's names have them: MindFormers' fuse none. */
static gs_status blueprint(const gs_subject *s, int segment, gs_net **out, int *segments, gs_error *err) {
    const gs_network_helper *helper;
    GS_TRY(gs_model_blueprint_as(s->cx->helper, &s->config, segment, out, segments, err));
    if (s->kind != GS_KIND_CKPT) return GS_OK;
    gs_status status = gs_network_helper_find(&s->config, s->cx->helper, &helper, err);
    if (status == GS_OK) status = gs_regroup(helper, true, NULL, *out, err);
    if (status == GS_OK) return GS_OK;
    gs_net_destroy(*out);
    *out = NULL;
    return status;
}

gs_status gs_subject_net(const gs_subject *s, int segment, gs_net **out, gs_error *err) {
    return blueprint(s, segment, out, NULL, err);
}

static gs_status take_net(gs_subject *s, int segment, const gs_net *net, gs_error *err) {
    const gs_edge *mixture = NULL;
    for (int n = 0; n < gs_net_node_count(net); n++) GS_TRY(take_node(s, segment, net, n, &mixture, err));
    return GS_OK;
}

/* *known: whether the segment can be told; *segments: how many there are. */
static gs_status take_segment(gs_subject *s, int i, bool *known, int *segments, gs_error *err) {
    gs_error why = {0};
    gs_net *net = NULL;
    gs_status status = blueprint(s, i, &net, segments, &why);
    if (status == GS_E_NOMEM) return gs_error_nomem(err, 1 << 16);
    *known = gs_report_that(&s->report, GS_CHECK_CONFIG, status == GS_OK, "config.json", "%s", why.text);
    if (!*known) return GS_OK;
    status = take_net(s, i, net, err);
    gs_net_destroy(net);
    return status;
}

/* Half an architecture is none. */
static void forget_modules(gs_subject *s) {
    for (int i = 0; i < s->modules; i++) gs_free(s->module[i].name);
    s->modules = s->segments = 0;
}

gs_status gs_subject_modules(gs_subject *s, gs_error *err) {
    bool known = true;
    int segments = 1;
    if (!s->has_config) return GS_OK;
    for (int i = 0; i < segments && known; i++) {
        GS_TRY(gs_cancel_check(err));
        GS_TRY(take_segment(s, i, &known, &segments, err));
        bool plausible = (size_t)s->modules <= s->tensors + MOST_MISSING;
        known = known && gs_report_that(&s->report, GS_CHECK_TENSOR_MISSING, plausible, "config.json",
                                        "it asks for %d modules and more, and %zu tensors are stored", s->modules, s->tensors);
    }
    s->segments = segments;
    if (!known) forget_modules(s);
    return GS_OK;
}
