#include <network/net_private.h>

#include <network/ops/op.h>

static void put_shape(gs_strbuf *out, int ndim, const int64_t *shape) {
    char text[256];
    gs_strbuf_puts(out, gs_shape_text(ndim, shape, text, sizeof text));
}

static void dump_param(const gs_param *p, gs_strbuf *out) {
    gs_strbuf_printf(out, " %s %s", gs_role_name(p->role), gs_dtype_name(p->dtype));
    put_shape(out, p->ndim, p->shape);
    if (!gs_param_ready(p)) gs_strbuf_puts(out, " (planned)");
}

static void dump_node(const gs_node *node, gs_strbuf *out) {
    gs_strbuf_printf(out, "%%%d = %s(", node->output->index, gs_op_name(node->op));
    for (int i = 0; i < node->ninputs; i++)
        gs_strbuf_printf(out, "%s%%%d", i ? ", " : "", node->input[i]->index);
    gs_strbuf_printf(out, ") \"%s\"", node->name);
    const gs_op_class *class = gs_op_class_get(node->op);
    if (class->describe) class->describe(&node->attr, out);
    for (int r = 0; r < GS_ROLE_COUNT; r++)
        if (node->param[r]) dump_param(node->param[r], out);
    gs_strbuf_puts(out, " -> ");
    put_shape(out, node->output->dims.ndim, node->output->dims.dim);
    gs_strbuf_putc(out, '\n');
}

void gs_net_dump(const gs_net *net, gs_strbuf *out) {
    gs_strbuf_printf(out, "net \"%s\"\n", net->name);
    for (int i = 0; i < net->inputs.count; i++) {
        const gs_edge *edge = net->inputs.at[i];
        gs_strbuf_printf(out, "%%%d = input \"%s\" -> ", edge->index, edge->name);
        put_shape(out, edge->dims.ndim, edge->dims.dim);
        gs_strbuf_putc(out, '\n');
    }
    for (int i = 0; i < net->nodes.count; i++) dump_node(net->nodes.at[i], out);
    gs_strbuf_puts(out, "output");
    for (int i = 0; i < net->outputs.count; i++)
        gs_strbuf_printf(out, "%s%%%d", i ? ", " : " ", ((const gs_edge *)net->outputs.at[i])->index);
    gs_strbuf_putc(out, '\n');
}
