#include "block_reference.h"

#include <math.h>

enum {
    HIDDEN = GS_BLOCK_HIDDEN, HEADS = GS_BLOCK_HEADS, KV = GS_BLOCK_KV, HEAD_DIM = GS_BLOCK_HEAD_DIM,
    INNER = GS_BLOCK_INNER
};

static const double theta = 10000, eps = 1e-5f;

static gs_edge *norm(gs_net *net, const char *name, gs_edge *x, uint64_t *seed) {
    gs_attr attr = {.eps = (float)eps};
    gs_node *node = gs_new_node(net, GS_OP_RMSNORM, name, &attr, x, NULL, NULL);
    gs_new_param(net, node, GS_ROLE_WEIGHT, 1, HIDDEN, 0, 0, 0, 1, 0.5f, seed);
    return node->output;
}

static gs_edge *linear(gs_net *net, const char *name, gs_edge *x, int out, int in, bool bias, uint64_t *seed) {
    gs_node *node = gs_new_node(net, GS_OP_LINEAR, name, NULL, x, NULL, NULL);
    gs_new_param(net, node, GS_ROLE_WEIGHT, 2, out, in, 0, 0, 0, 0.3f, seed);
    if (bias) gs_new_param(net, node, GS_ROLE_BIAS, 1, out, 0, 0, 0, 0, 0.3f, seed);
    return node->output;
}

static gs_edge *rope(gs_net *net, const char *name, gs_edge *x, int heads) {
    gs_attr attr = {.rope = {.heads = heads, .head_dim = HEAD_DIM, .theta = theta}};
    return gs_new_node(net, GS_OP_ROPE, name, &attr, x, NULL, NULL)->output;
}

gs_net *gs_block_net(uint64_t seed) {
    gs_net *net = gs_new_net("block");
    gs_edge *x = gs_new_input(net, "x", HIDDEN, 0, 0);
    gs_edge *n = norm(net, "norm1", x, &seed);
    gs_edge *q = linear(net, "q", n, HEADS * HEAD_DIM, HIDDEN, true, &seed);
    gs_edge *k = linear(net, "k", n, KV * HEAD_DIM, HIDDEN, true, &seed);
    gs_edge *v = linear(net, "v", n, KV * HEAD_DIM, HIDDEN, true, &seed);
    q = rope(net, "rope_q", q, HEADS);
    k = rope(net, "rope_k", k, KV);
    gs_attr attr = {.attention = {.heads = HEADS, .kv_heads = KV, .head_dim = HEAD_DIM,
                                  .scale = (float)(1 / sqrt(HEAD_DIM))}};
    gs_edge *heads = gs_new_node(net, GS_OP_ATTENTION, "attention", &attr, q, k, v)->output;
    gs_edge *o = linear(net, "o", heads, HIDDEN, HEADS * HEAD_DIM, false, &seed);
    x = gs_new_node(net, GS_OP_ADD, "add1", NULL, x, o, NULL)->output;
    n = norm(net, "norm2", x, &seed);
    gs_edge *gate = linear(net, "gate", n, INNER, HIDDEN, false, &seed);
    gs_edge *up = linear(net, "up", n, INNER, HIDDEN, false, &seed);
    gs_edge *inner = gs_new_node(net, GS_OP_SWIGLU, "swiglu", NULL, gate, up, NULL)->output;
    gs_edge *down = linear(net, "down", inner, HIDDEN, INNER, false, &seed);
    gs_finish_net(net, gs_new_node(net, GS_OP_ADD, "add2", NULL, x, down, NULL)->output);
    return net;
}

static const float *values(const gs_net *net, const char *name, gs_role role) {
    const gs_node *node = gs_net_find(net, name);
    return node->param[role] ? node->param[role]->data : NULL;
}

static void do_linear(const gs_net *net, const char *name, int64_t tokens, int out, int in, const double *x,
                      double *y) {
    const float *w = values(net, name, GS_ROLE_WEIGHT), *b = values(net, name, GS_ROLE_BIAS);
    for (int64_t t = 0; t < tokens; t++)
        for (int i = 0; i < out; i++) {
            double sum = b ? (double)b[i] : 0;
            for (int k = 0; k < in; k++) sum += (double)w[i * in + k] * x[t * in + k];
            y[t * out + i] = sum;
        }
}

static void do_norm(const gs_net *net, const char *name, int64_t tokens, const double *x, double *y) {
    const float *w = values(net, name, GS_ROLE_WEIGHT);
    for (int64_t t = 0; t < tokens; t++) {
        double sum = 0;
        for (int i = 0; i < HIDDEN; i++) sum += x[t * HIDDEN + i] * x[t * HIDDEN + i];
        double r = 1 / sqrt(sum / HIDDEN + eps);
        for (int i = 0; i < HIDDEN; i++) y[t * HIDDEN + i] = x[t * HIDDEN + i] * r * (double)w[i];
    }
}

static void do_rope(int64_t tokens, int heads, double *x) {
    for (int64_t t = 0; t < tokens; t++)
        for (int h = 0; h < heads; h++)
            for (int j = 0; j < HEAD_DIM / 2; j++) {
                double *a = x + (t * heads + h) * HEAD_DIM + j, *b = a + HEAD_DIM / 2;
                double angle = (double)t * pow(theta, -2.0 * j / HEAD_DIM), p = *a, q = *b;
                *a = p * cos(angle) - q * sin(angle);
                *b = q * cos(angle) + p * sin(angle);
            }
}

/* One query of one head. */
static void attend(int64_t t, int h, const double *q, const double *k, const double *v, double *out) {
    int g = h / (HEADS / KV);
    double scores[1024], sum = 0;
    assert_true(t < 1024);
    for (int64_t s = 0; s <= t; s++) {
        double dot = 0;
        for (int i = 0; i < HEAD_DIM; i++)
            dot += q[(t * HEADS + h) * HEAD_DIM + i] * k[(s * KV + g) * HEAD_DIM + i];
        sum += scores[s] = exp(dot / sqrt(HEAD_DIM));
    }
    for (int i = 0; i < HEAD_DIM; i++) {
        double y = 0;
        for (int64_t s = 0; s <= t; s++) y += scores[s] / sum * v[(s * KV + g) * HEAD_DIM + i];
        out[(t * HEADS + h) * HEAD_DIM + i] = y;
    }
}

static double *room(int64_t tokens, int width) {
    double *x = malloc((size_t)(tokens * width) * sizeof *x);
    assert_non_null(x);
    return x;
}

void gs_block_reference(const gs_net *net, int64_t tokens, const float *x, float *out) {
    double *h = room(tokens, HIDDEN), *n = room(tokens, HIDDEN), *o = room(tokens, HIDDEN);
    double *q = room(tokens, HEADS * HEAD_DIM), *k = room(tokens, KV * HEAD_DIM), *v = room(tokens, KV * HEAD_DIM);
    double *heads = room(tokens, HEADS * HEAD_DIM), *gate = room(tokens, INNER), *up = room(tokens, INNER);
    for (int64_t i = 0; i < tokens * HIDDEN; i++) h[i] = (double)x[i];
    do_norm(net, "norm1", tokens, h, n);
    do_linear(net, "q", tokens, HEADS * HEAD_DIM, HIDDEN, n, q);
    do_linear(net, "k", tokens, KV * HEAD_DIM, HIDDEN, n, k);
    do_linear(net, "v", tokens, KV * HEAD_DIM, HIDDEN, n, v);
    do_rope(tokens, HEADS, q);
    do_rope(tokens, KV, k);
    for (int64_t t = 0; t < tokens; t++)
        for (int i = 0; i < HEADS; i++) attend(t, i, q, k, v, heads);
    do_linear(net, "o", tokens, HIDDEN, HEADS * HEAD_DIM, heads, o);
    for (int64_t i = 0; i < tokens * HIDDEN; i++) h[i] += o[i];
    do_norm(net, "norm2", tokens, h, n);
    do_linear(net, "gate", tokens, INNER, HIDDEN, n, gate);
    do_linear(net, "up", tokens, INNER, HIDDEN, n, up);
    for (int64_t i = 0; i < tokens * INNER; i++) gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
    do_linear(net, "down", tokens, HIDDEN, INNER, gate, o);
    for (int64_t i = 0; i < tokens * HIDDEN; i++) out[i] = (float)(h[i] + o[i]);
    double *all[] = {h, n, o, q, k, v, heads, gate, up};
    for (size_t i = 0; i < GS_COUNTOF(all); i++) free(all[i]);
}
