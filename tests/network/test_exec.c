/* What the executor promises about values, whatever the operations. */
#include "nets.h"

#include <math.h>

typedef struct seen {
    int count;
    char name[16][32];
    float first[16];
    int fail_at; /* 0: never */
} seen;

static gs_status see(void *ctx, const gs_edge *edge, const gs_batch *batch, const float *data, gs_error *err) {
    seen *s = ctx;
    assert_true(s->count < 16);
    assert_int_equal(batch->rows, 2);
    snprintf(s->name[s->count], sizeof s->name[0], "%s", edge->name);
    s->first[s->count++] = data[0];
    if (s->count == s->fail_at) return GS_FAIL(err, GS_E_CHECK, "seen enough");
    return GS_OK;
}

/* x -> a = x + x, b = relu(a), c = b + a (a output too), d = relu(c), output d; unused = relu(x) */
static gs_net *make_net(void) {
    gs_error err = {0};
    gs_net *net = gs_new_net("n");
    gs_edge *x = gs_new_input(net, "x", 3, 0, 0);
    gs_node *a = gs_new_node(net, GS_OP_ADD, "a", NULL, x, x, NULL);
    gs_node *b = gs_new_node(net, GS_OP_RELU, "b", NULL, a->output, NULL, NULL);
    gs_node *c = gs_new_node(net, GS_OP_ADD, "c", NULL, b->output, a->output, NULL);
    gs_new_node(net, GS_OP_RELU, "unused", NULL, x, NULL, NULL);
    gs_node *d = gs_new_node(net, GS_OP_RELU, "d", NULL, c->output, NULL, NULL);
    assert_ok(gs_net_output(net, a->output, &err), &err);
    gs_finish_net(net, d->output);
    return net;
}

static const float input[6] = {1, -2, 3, -4, 5, -6};

static void values_survive_as_long_as_they_are_read(void **state) {
    (void)state;
    gs_error err = {0};
    gs_net *net = make_net();
    gs_batch batch = {.rows = 2};
    float x[6], a[6], d[6];
    memcpy(x, input, sizeof x);
    const float *in = x;
    float *out[2] = {a, d};
    assert_ok(gs_try_net(net, GS_GEMM_F32, 1, &batch, &in, out, &err), &err);
    assert_memory_equal(x, input, sizeof x);
    for (int i = 0; i < 6; i++) {
        float sum = 2 * input[i], relu = sum > 0 ? sum : 0;
        assert_true(a[i] == sum);
        assert_true(d[i] == (relu + sum > 0 ? relu + sum : 0));
    }
    gs_net_destroy(net);
}

static void the_hook_sees_every_value_in_order(void **state) {
    (void)state;
    gs_error err = {0};
    gs_net *net = make_net();
    gs_batch batch = {.rows = 2};
    float a[6], d[6], *out[2] = {a, d};
    const float *in = input;
    gs_exec *ex;
    seen s = {0};
    assert_ok(gs_exec_create(NULL, GS_GEMM_F32, &ex, &err), &err);
    gs_exec_set_hook(ex, see, &s);
    assert_ok(gs_exec_prepare(ex, net, &err), &err);
    assert_ok(gs_exec_run(ex, net, &batch, &in, out, &err), &err);
    static const char *const names[] = {"x", "a", "b", "c", "unused", "d"};
    static const float first[] = {1, 2, 2, 4, 1, 4};
    assert_int_equal(s.count, 6);
    for (int i = 0; i < 6; i++) {
        assert_string_equal(s.name[i], names[i]);
        assert_true(s.first[i] == first[i]);
    }
    for (int stop = 1; stop <= 6; stop++) {
        s = (seen){.fail_at = stop};
        assert_fails(gs_exec_run(ex, net, &batch, &in, out, &err), GS_E_CHECK, &err);
        assert_int_equal(s.count, stop);
    }
    gs_exec_release(ex, net);
    gs_exec_destroy(ex);
    gs_net_destroy(net);
}

/* Notes the different places that values lie at. */
typedef struct places {
    const float *at[64];
    int count;
} places;

static gs_status note_place(void *ctx, const gs_edge *edge, const gs_batch *batch, const float *data,
                            gs_error *err) {
    places *p = ctx;
    (void)batch;
    (void)err;
    if (!edge->producer || edge->is_output) return GS_OK;
    for (int i = 0; i < p->count; i++)
        if (p->at[i] == data) return GS_OK;
    assert_true(p->count < 64);
    p->at[p->count++] = data;
    return GS_OK;
}

static int count_places(gs_net *net) {
    gs_error err = {0};
    gs_exec *ex;
    places p = {.count = 0};
    float y[6], *out = y;
    const float *in = input;
    gs_batch batch = {.rows = 2};
    assert_ok(gs_exec_create(NULL, GS_GEMM_F32, &ex, &err), &err);
    gs_exec_set_hook(ex, note_place, &p);
    assert_ok(gs_exec_prepare(ex, net, &err), &err);
    for (int i = 0; i < 2; i++) assert_ok(gs_exec_run(ex, net, &batch, &in, &out, &err), &err);
    gs_exec_release(ex, net);
    gs_exec_destroy(ex);
    return p.count;
}

static void memory_is_used_again(void **state) {
    (void)state;
    uint64_t seed = 1;
    gs_net *net = gs_new_net("linears");
    gs_edge *x = gs_new_input(net, "x", 3, 0, 0);
    for (int i = 0; i < 20; i++) {
        char name[8];
        snprintf(name, sizeof name, "l%d", i);
        x = gs_new_linear(net, name, x, 3, 3, &seed)->output;
    }
    gs_finish_net(net, x);
    assert_int_equal(count_places(net), 2); /* one is read while the other is written */
    gs_net_destroy(net);

    net = gs_new_net("relus");
    x = gs_new_input(net, "x", 3, 0, 0);
    for (int i = 0; i < 20; i++) {
        char name[8];
        snprintf(name, sizeof name, "r%d", i);
        x = gs_new_node(net, GS_OP_RELU, name, NULL, x, NULL, NULL)->output;
    }
    gs_finish_net(net, x);
    assert_int_equal(count_places(net), 1);
    gs_net_destroy(net);
}

static void an_input_may_be_an_output(void **state) {
    (void)state;
    gs_net *net = gs_new_net("n");
    gs_edge *x = gs_new_input(net, "x", 3, 0, 0);
    gs_finish_net(net, x);
    float y[6];
    gs_run_rows(net, GS_GEMM_F32, 2, input, y);
    assert_memory_equal(y, input, sizeof y);
    gs_net_destroy(net);
}

static void a_net_runs_only_as_it_was_prepared(void **state) {
    (void)state;
    uint64_t seed = 1;
    gs_error err = {0};
    gs_net *net = gs_new_net("n");
    gs_edge *x = gs_new_input(net, "x", 3, 0, 0);
    gs_node *l = gs_new_linear(net, "l", x, 3, 3, &seed), *other;
    gs_finish_net(net, l->output);
    gs_batch batch = {.rows = 2};
    float y[6], *out = y;
    const float *in = input;
    gs_exec *ex, *ex2;
    assert_ok(gs_exec_create(NULL, GS_GEMM_F32, &ex, &err), &err);
    assert_ok(gs_exec_create(NULL, GS_GEMM_BF16, &ex2, &err), &err);
    assert_fails(gs_exec_run(ex, net, &batch, &in, &out, &err), GS_E_INVALID, &err);
    assert_ok(gs_exec_prepare(ex, net, &err), &err);
    assert_non_null(l->prepared);
    assert_fails(gs_exec_run(ex2, net, &batch, &in, &out, &err), GS_E_INVALID, &err);
    gs_exec_release(ex2, net); /* not its own */
    assert_ok(gs_exec_run(ex, net, &batch, &in, &out, &err), &err);
    /* another param, another node: what was prepared is stale */
    gs_param_destroy(gs_node_param_detach(l, GS_ROLE_WEIGHT));
    assert_fails(gs_exec_run(ex, net, &batch, &in, &out, &err), GS_E_INVALID, &err);
    assert_fails(gs_exec_prepare(ex, net, &err), GS_E_INVALID, &err);
    gs_new_param(net, l, GS_ROLE_WEIGHT, 2, 3, 3, 0, 0, 0, 1, &seed);
    assert_ok(gs_exec_prepare(ex, net, &err), &err);
    assert_ok(gs_net_add(net, GS_OP_RELU, "r", 1, &x, NULL, &other, &err), &err);
    assert_fails(gs_exec_run(ex, net, &batch, &in, &out, &err), GS_E_INVALID, &err);
    assert_ok(gs_exec_prepare(ex, net, &err), &err);
    assert_ok(gs_exec_prepare(ex, net, &err), &err); /* again: afresh */
    assert_ok(gs_exec_run(ex, net, &batch, &in, &out, &err), &err);
    gs_exec_destroy(ex);
    gs_exec_destroy(ex2);
    gs_exec_destroy(NULL);
    gs_net_destroy(net); /* drops what is still prepared */
}

static void a_batch_must_hold_together(void **state) {
    (void)state;
    gs_error err = {0};
    gs_net *net = make_net();
    float a[6], d[6], *out[2] = {a, d};
    const float *in = input;
    const int64_t late[2] = {1, 2}, falling[4] = {0, 2, 1, 2}, far[2] = {0, 3}, fine[4] = {0, 1, 1, 2};
    const gs_batch bad[] = {{.rows = -1}, {.rows = 2, .sequences = 1}, {.rows = 2, .sequences = -1},
                            {2, 1, late}, {2, 3, falling}, {2, 1, far}, {.rows = INT64_MAX / 4}};
    for (size_t i = 0; i < GS_COUNTOF(bad); i++) {
        gs_status status = gs_try_net(net, GS_GEMM_F32, 1, &bad[i], &in, out, &err);
        assert_true(status == GS_E_INVALID || status == GS_E_NOMEM);
    }
    gs_batch good = {2, 3, fine}, empty = {0};
    assert_ok(gs_try_net(net, GS_GEMM_F32, 1, &good, &in, out, &err), &err);
    assert_ok(gs_try_net(net, GS_GEMM_F32, 1, &empty, &in, out, &err), &err);
    gs_net_destroy(net);
}

static void a_value_of_unknown_size_cannot_be_run(void **state) {
    (void)state;
    uint64_t seed = 1;
    gs_error err = {0};
    gs_net *net = gs_new_net("n");
    gs_edge *x;
    assert_ok(gs_net_input(net, "x", (gs_dims){.ndim = 3, .dim = {3, 0, 0}}, &x, &err), &err);
    gs_attr attr = {.conv = {.stride = 1, .dilation = 1, .groups = 1}};
    gs_node *conv = gs_new_node(net, GS_OP_CONV2D, "conv", &attr, x, NULL, NULL);
    gs_new_param(net, conv, GS_ROLE_WEIGHT, 4, 8, 3, 3, 3, 0, 1, &seed);
    gs_node *pool = gs_new_node(net, GS_OP_GLOBAL_AVGPOOL, "pool", NULL, conv->output, NULL, NULL);
    gs_finish_net(net, pool->output);
    assert_int_equal(conv->output->dims.dim[0], 8);
    assert_int_equal(conv->output->dims.dim[1], 0);
    assert_int_equal(pool->output->dims.dim[1], 1); /* known all the same */
    gs_batch batch = {.rows = 1};
    float y[8], *out = y;
    const float *in = input;
    assert_fails(gs_try_net(net, GS_GEMM_F32, 1, &batch, &in, &out, &err), GS_E_INVALID, &err);
    gs_net_destroy(net);
}

static void tokens_without_sequences_are_refused(void **state) {
    (void)state;
    gs_error err = {0};
    gs_net *net = gs_new_net("n");
    gs_edge *x = gs_new_input(net, "x", 4, 0, 0);
    gs_attr attr = {.rope = {.heads = 1, .head_dim = 4, .theta = 1e4}};
    gs_finish_net(net, gs_new_node(net, GS_OP_ROPE, "rope", &attr, x, NULL, NULL)->output);
    gs_batch batch = {.rows = 1};
    float y[4], *out = y;
    const float *in = input;
    assert_fails(gs_try_net(net, GS_GEMM_F32, 1, &batch, &in, &out, &err), GS_E_INVALID, &err);
    assert_string_equal(err.text, "rope: rope needs sequences, the batch has rows alone");
    gs_net_destroy(net);
}

static void an_embedding_looks_rows_up(void **state) {
    (void)state;
    uint64_t seed = 3;
    gs_error err = {0};
    enum { VOCAB = 300, WIDTH = 7, ROWS = 100 };
    gs_net *net = gs_new_net("embedding");
    gs_edge *x = gs_new_input(net, "ids", 0, 0, 0);
    gs_node *e = gs_new_node(net, GS_OP_EMBEDDING, "embed", NULL, x, NULL, NULL);
    const float *table = gs_new_param(net, e, GS_ROLE_WEIGHT, 2, VOCAB, WIDTH, 0, 0, 0, 1, &seed);
    gs_finish_net(net, e->output);
    assert_int_equal(e->output->dims.dim[0], WIDTH);
    float ids[ROWS], y[ROWS * WIDTH], *out = y;
    for (int i = 0; i < ROWS; i++) ids[i] = (float)(gs_test_rand(&seed) % VOCAB);
    ids[5] = VOCAB - 1;
    ids[6] = 0;
    gs_run_rows(net, GS_GEMM_F32, ROWS, ids, y);
    for (int i = 0; i < ROWS; i++)
        assert_memory_equal(y + i * WIDTH, table + (int)ids[i] * WIDTH, WIDTH * sizeof(float));

    const float bad[] = {-1, VOCAB, 0.5f, NAN, INFINITY, 1e20f};
    gs_batch batch = {.rows = ROWS};
    const float *in = ids;
    ids[90] = -3; /* the first is told */
    for (size_t i = 0; i < GS_COUNTOF(bad); i++) {
        ids[17] = bad[i];
        assert_fails(gs_try_net(net, GS_GEMM_F32, 2, &batch, &in, &out, &err), GS_E_INVALID, &err);
        assert_non_null(strstr(err.text, "of row 17 is not in [0, 300)"));
    }
    gs_net_destroy(net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_survive_as_long_as_they_are_read),
        cmocka_unit_test(the_hook_sees_every_value_in_order),
        cmocka_unit_test(memory_is_used_again),
        cmocka_unit_test(an_input_may_be_an_output),
        cmocka_unit_test(a_net_runs_only_as_it_was_prepared),
        cmocka_unit_test(a_batch_must_hold_together),
        cmocka_unit_test(a_value_of_unknown_size_cannot_be_run),
        cmocka_unit_test(tokens_without_sequences_are_refused),
        cmocka_unit_test(an_embedding_looks_rows_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
