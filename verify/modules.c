/* The architecture as a list: every node of the blueprint that has a weight. */
#include <verify/subject.h>

#include <base/mem.h>
#include <llm/regroup.h>

#include <stdio.h>
#include <string.h>

static gs_module *add_module(gs_subject *s) {
    if (s->modules == s->module_room) {
        int room = s->module_room ? 2 * s->module_room : 64;
        gs_module *grown = gs_realloc(s->module, (size_t)room, sizeof *grown);
        if (!grown) return NULL;
        s->module = grown;
        s->module_room = room;
    }
    gs_module *m = &s->module[s->modules];
    *m = (gs_module){.norm = -1, .group = s->modules};
    return m;
}

/* Which module among those of this segment is that node; -1: none. */
static int module_of(const gs_subject *s, int segment, const gs_node *node) {
    for (int i = s->modules - 1; i >= 0 && s->module[i].segment == segment; i--)
        if (node && strcmp(s->module[i].name, node->name) == 0) return i;
    return -1;
}

static int first_reader(const gs_subject *s, int segment, const gs_net *net, const gs_edge *edge) {
    const gs_node *reader;
    for (int i = 0; (reader = gs_net_consumer(net, edge, i)); i++) {
        int at = reader->op == GS_OP_LINEAR ? module_of(s, segment, reader) : -1;
        if (at >= 0) return at;
    }
    return s->modules;
}

static gs_status take_node(gs_subject *s, int segment, int n, gs_error *err) {
    const gs_net *net = s->segment[segment];
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
    if (node->op == GS_OP_LINEAR) {
        size_t k = strlen(node->name);
        m->tied = strncmp(weight->name, node->name, k) != 0 || weight->name[k] != '.';
        m->group = first_reader(s, segment, net, node->input[0]);
        const gs_node *maker = node->input[0]->producer;
        m->norm = maker && maker->op == GS_OP_RMSNORM ? module_of(s, segment, maker) : -1;
    }
    s->modules++;
    return GS_OK;
}

/* MindFormers' names have no fused projections. */
static gs_status as_parts(const gs_subject *s, gs_net *segment, gs_error *err) {
    const gs_network_helper *helper;
    GS_TRY(gs_network_helper_find(&s->config, s->cx->helper, &helper, err));
    return gs_regroup(helper, true, NULL, segment, err);
}

static gs_status take_segment(gs_subject *s, int i, gs_error *err) {
    GS_TRY(gs_model_blueprint_as(s->cx->helper, &s->config, i, &s->segment[i], NULL, err));
    if (s->kind == GS_KIND_CKPT) GS_TRY(as_parts(s, s->segment[i], err));
    for (int n = 0; n < gs_net_node_count(s->segment[i]); n++) GS_TRY(take_node(s, i, n, err));
    return GS_OK;
}

gs_status gs_subject_modules(gs_subject *s, gs_error *err) {
    gs_error why = {0};
    gs_net *first = NULL;
    if (!s->has_config) return GS_OK;
    gs_status status = gs_model_blueprint_as(s->cx->helper, &s->config, 0, &first, &s->segments, &why);
    gs_net_destroy(first);
    if (status == GS_E_NOMEM) return gs_error_nomem(err, 1 << 16);
    if (!gs_report_that(&s->report, GS_CHECK_CONFIG, status == GS_OK, "config.json", "%s", why.text)) return GS_OK;
    s->segment = gs_calloc((size_t)s->segments, sizeof *s->segment);
    if (!s->segment) return gs_error_nomem(err, (size_t)s->segments * sizeof *s->segment);
    for (int i = 0; i < s->segments; i++) GS_TRY(take_segment(s, i, err));
    return GS_OK;
}
