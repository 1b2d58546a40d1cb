#include "nets.h"

#include <base/half.h>

static void a_net_is_built_and_asked(void **state) {
    (void)state;
    uint64_t seed = 1;
    gs_net *net = gs_new_net("block");
    gs_edge *x = gs_new_input(net, "x", 6, 0, 0);
    gs_node *q = gs_new_linear(net, "b.q", x, 4, 6, &seed);
    gs_node *k = gs_new_linear(net, "b.k", x, 4, 6, &seed);
    gs_node *sum = gs_new_node(net, GS_OP_ADD, "b.sum", NULL, q->output, k->output, NULL);
    gs_finish_net(net, sum->output);

    assert_string_equal(gs_net_name(net), "block");
    assert_int_equal(gs_net_node_count(net), 3);
    assert_int_equal(gs_net_edge_count(net), 4);
    assert_ptr_equal(gs_net_node(net, 1), k);
    assert_ptr_equal(gs_net_edge(net, 2), k->output);
    assert_ptr_equal(gs_net_find(net, "b.k"), k);
    assert_null(gs_net_find(net, "b"));
    assert_int_equal(gs_net_input_count(net), 1);
    assert_ptr_equal(gs_net_input_at(net, 0), x);
    assert_int_equal(gs_net_output_count(net), 1);
    assert_ptr_equal(gs_net_output_at(net, 0), sum->output);
    assert_ptr_equal(gs_net_consumer(net, x, 0), q);
    assert_ptr_equal(gs_net_consumer(net, x, 1), k);
    assert_null(gs_net_consumer(net, x, 2));
    assert_int_equal(x->consumers, 2);
    assert_int_equal(sum->output->consumers, 1);
    assert_true(sum->output->is_output);
    assert_string_equal(sum->output->name, "b.sum");
    assert_int_equal(sum->output->dims.ndim, 1);
    assert_int_equal(sum->output->dims.dim[0], 4);
    gs_assert_net_is_sound(net);
    gs_net_destroy(net);
}

static void a_node_that_reads_an_edge_twice_is_one_consumer_of_two_uses(void **state) {
    (void)state;
    gs_net *net = gs_new_net("n");
    gs_edge *x = gs_new_input(net, "x", 3, 0, 0);
    gs_node *twice = gs_new_node(net, GS_OP_ADD, "twice", NULL, x, x, NULL);
    assert_int_equal(x->consumers, 2);
    assert_ptr_equal(gs_net_consumer(net, x, 0), twice);
    assert_null(gs_net_consumer(net, x, 1));
    gs_net_destroy(net);
}

static void a_taken_name_is_refused(void **state) {
    (void)state;
    gs_error err = {0};
    gs_net *net = gs_new_net("n");
    gs_edge *x = gs_new_input(net, "x", 3, 0, 0), *edge;
    gs_node *relu = gs_new_node(net, GS_OP_RELU, "relu", NULL, x, NULL, NULL), *node;
    assert_fails(gs_net_add(net, GS_OP_RELU, "relu", 1, &relu->output, NULL, &node, &err), GS_E_INVALID, &err);
    assert_non_null(strstr(err.text, "'relu' is taken"));
    assert_fails(gs_net_add(net, GS_OP_RELU, "x", 1, &relu->output, NULL, &node, &err), GS_E_INVALID, &err);
    assert_fails(gs_net_add(net, GS_OP_RELU, "", 1, &relu->output, NULL, &node, &err), GS_E_INVALID, &err);
    assert_fails(gs_net_input(net, "relu", (gs_dims){0}, &edge, &err), GS_E_INVALID, &err);
    assert_int_equal(gs_net_node_count(net), 1);
    assert_int_equal(gs_net_edge_count(net), 2);
    gs_net_destroy(net);
}

static void a_wrong_number_of_inputs_is_refused(void **state) {
    (void)state;
    gs_error err = {0};
    gs_net *net = gs_new_net("n");
    gs_edge *x = gs_new_input(net, "x", 3, 0, 0), *two[2] = {x, x};
    gs_node *node;
    assert_fails(gs_net_add(net, GS_OP_RELU, "r", 2, two, NULL, &node, &err), GS_E_INVALID, &err);
    assert_string_equal(err.text, "'r': relu takes 1 inputs, not 2");
    assert_fails(gs_net_add(net, GS_OP_ADD, "a", 1, two, NULL, &node, &err), GS_E_INVALID, &err);
    assert_fails(gs_net_add(net, GS_OP_COUNT, "c", 1, two, NULL, &node, &err), GS_E_INVALID, &err);
    assert_int_equal(x->consumers, 0);
    gs_net_destroy(net);
}

static void an_edge_of_another_net_is_refused(void **state) {
    (void)state;
    gs_error err = {0};
    gs_net *net = gs_new_net("n"), *other = gs_new_net("other");
    gs_new_input(net, "x", 3, 0, 0);
    gs_edge *foreign = gs_new_input(other, "x", 3, 0, 0);
    gs_node *node;
    assert_fails(gs_net_add(net, GS_OP_RELU, "r", 1, &foreign, NULL, &node, &err), GS_E_INVALID, &err);
    assert_fails(gs_net_output(net, foreign, &err), GS_E_INVALID, &err);
    assert_int_equal(foreign->consumers, 0);
    gs_net_destroy(net);
    gs_net_destroy(other);
}

static void an_edge_is_an_output_once(void **state) {
    (void)state;
    gs_error err = {0};
    gs_net *net = gs_new_net("n");
    gs_edge *x = gs_new_input(net, "x", 3, 0, 0);
    assert_ok(gs_net_output(net, x, &err), &err);
    assert_fails(gs_net_output(net, x, &err), GS_E_INVALID, &err);
    assert_int_equal(gs_net_output_count(net), 1);
    gs_net_destroy(net);
}

static void shapes_that_do_not_fit_are_named(void **state) {
    (void)state;
    uint64_t seed = 1;
    gs_error err = {0};
    gs_net *net = gs_new_net("n");
    gs_edge *x = gs_new_input(net, "x", 512, 0, 0), *image = gs_new_input(net, "image", 3, 8, 8);
    gs_new_linear(net, "model.layers.0.self_attn.q_proj", x, 576, 576, &seed);
    assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
    assert_string_equal(err.text, "model.layers.0.self_attn.q_proj: weight [576, 576] does not fit an "
                                  "input of 512");
    gs_net_destroy(net);

    net = gs_new_net("n");
    x = gs_new_input(net, "x", 512, 0, 0);
    gs_node *norm = gs_new_node(net, GS_OP_RMSNORM, "norm", NULL, x, NULL, NULL);
    gs_new_param(net, norm, GS_ROLE_WEIGHT, 1, 576, 0, 0, 0, 1, 0, &seed);
    assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
    assert_string_equal(err.text, "norm: weight [576] does not fit an input of 512");
    gs_net_destroy(net);

    net = gs_new_net("n");
    x = gs_new_input(net, "x", 512, 0, 0);
    image = gs_new_input(net, "image", 3, 8, 8);
    gs_new_node(net, GS_OP_ADD, "sum", NULL, x, image, NULL);
    assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
    assert_string_equal(err.text, "sum: inputs of 512 and [3, 8, 8] differ");
    gs_net_destroy(net);

    net = gs_new_net("n");
    image = gs_new_input(net, "image", 3, 8, 8);
    gs_attr attr = {.conv = {.stride = 1, .dilation = 1, .groups = 1}};
    gs_node *conv = gs_new_node(net, GS_OP_CONV2D, "conv", &attr, image, NULL, NULL);
    gs_new_param(net, conv, GS_ROLE_WEIGHT, 4, 4, 2, 3, 3, 0, 1, &seed);
    assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
    assert_string_equal(err.text, "conv: weight [4, 2, 3, 3] does not fit an input of [3, 8, 8]");
    gs_new_param(net, conv, GS_ROLE_WEIGHT, 4, 4, 3, 9, 9, 0, 1, &seed);
    assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err); /* larger than the image */
    gs_new_param(net, conv, GS_ROLE_WEIGHT, 4, 4, 3, 3, 3, 0, 1, &seed);
    gs_new_param(net, conv, GS_ROLE_BIAS, 1, 5, 0, 0, 0, 0, 1, &seed);
    assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
    assert_string_equal(err.text, "conv: bias [5] is not [4]");
    gs_new_param(net, conv, GS_ROLE_BIAS, 1, 4, 0, 0, 0, 0, 1, &seed);
    assert_ok(gs_net_infer(net, &err), &err);
    assert_int_equal(conv->output->dims.dim[2], 6);
    gs_net_destroy(net);
}

static void heads_must_fit_their_inputs(void **state) {
    (void)state;
    gs_error err = {0};
    gs_net *net = gs_new_net("n");
    gs_edge *q = gs_new_input(net, "q", 24, 0, 0), *k = gs_new_input(net, "k", 8, 0, 0);
    gs_attr attr = {.attention = {.heads = 6, .kv_heads = 2, .head_dim = 4, .scale = 0.5f}};
    gs_node *node = gs_new_node(net, GS_OP_ATTENTION, "attention", &attr, q, k, k);
    assert_ok(gs_net_infer(net, &err), &err);
    assert_int_equal(node->output->dims.dim[0], 24);
    node->attr.attention.kv_heads = 4; /* does not divide 6 */
    assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
    node->attr.attention.kv_heads = 3;
    assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
    node->attr.attention.heads = INT64_MAX;
    assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
    node->attr = attr;
    node->attr.attention.softcap = -1;
    assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
    assert_string_equal(err.text, "attention: attention with a soft cap of -1");
    node->attr.attention.softcap = 50;
    node->attr.attention.alibi = true;
    assert_ok(gs_net_infer(net, &err), &err);
    char *dump = gs_net_text(net);
    assert_non_null(strstr(dump, " softcap 50 alibi ->"));
    free(dump);
    gs_net_destroy(net);

    gs_attr equal = {.attention = {.heads = 6, .kv_heads = 6, .head_dim = 4, .scale = 0.5f}};
    for (int wrong = 0; wrong < 3; wrong++) { /* one of the three is too narrow */
        net = gs_new_net("n");
        q = gs_new_input(net, "q", 24, 0, 0);
        k = gs_new_input(net, "k", 8, 0, 0);
        gs_new_node(net, GS_OP_ATTENTION, "attention", &equal, wrong == 0 ? k : q, wrong == 1 ? k : q,
                    wrong == 2 ? k : q);
        char text[64];
        snprintf(text, sizeof text, "attention: 6 heads of 4 do not fit input %d of 8", wrong);
        assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
        assert_string_equal(err.text, text);
        gs_net_destroy(net);
    }

    net = gs_new_net("n");
    q = gs_new_input(net, "q", 24, 0, 0);
    gs_attr rope = {.rope = {.heads = 6, .head_dim = 4, .theta = 1e4}};
    node = gs_new_node(net, GS_OP_ROPE, "rope", &rope, q, NULL, NULL);
    assert_ok(gs_net_infer(net, &err), &err);
    node->attr.rope.heads = 5;
    assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
    node->attr.rope.heads = 8;
    node->attr.rope.head_dim = 3; /* odd */
    assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
    gs_net_destroy(net);
}

static void params_are_there_when_and_only_when_the_operation_uses_them(void **state) {
    (void)state;
    uint64_t seed = 1;
    gs_error err = {0};
    gs_net *net = gs_new_net("n");
    gs_edge *x = gs_new_input(net, "x", 4, 0, 0);
    gs_node *norm = gs_new_node(net, GS_OP_RMSNORM, "norm", NULL, x, NULL, NULL);
    assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
    assert_string_equal(err.text, "norm: rmsnorm without a weight");
    gs_new_param(net, norm, GS_ROLE_WEIGHT, 1, 4, 0, 0, 0, 1, 0, &seed);
    assert_ok(gs_net_infer(net, &err), &err);
    gs_new_param(net, norm, GS_ROLE_MEAN, 1, 4, 0, 0, 0, 1, 0, &seed);
    assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
    gs_net_destroy(net);
}

static void a_slip_of_the_caller_in_the_public_structs_is_told(void **state) {
    (void)state;
    gs_error err = {0};
    gs_net *net = gs_new_net("n");
    gs_edge *x = gs_new_input(net, "x", 4, 0, 0);
    gs_node *a = gs_new_node(net, GS_OP_RELU, "a", NULL, x, NULL, NULL);
    gs_node *b = gs_new_node(net, GS_OP_RELU, "b", NULL, a->output, NULL, NULL);
    a->input[0] = b->output; /* a cycle */
    x->consumers = 0;
    b->output->consumers = 1;
    assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
    assert_string_equal(err.text, "a: 'b' is read before it is computed");
    a->input[0] = x;
    b->output->consumers = 0;
    x->consumers = 7;
    assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
    x->consumers = 1;
    a->ninputs = 2;
    assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
    a->ninputs = 1;
    assert_ok(gs_net_infer(net, &err), &err);
    gs_net_destroy(net);
}

static void absurd_param_shapes_are_refused(void **state) {
    (void)state;
    gs_error err = {0};
    gs_net *net = gs_new_net("n");
    gs_edge *x = gs_new_input(net, "x", 4, 0, 0);
    gs_node *node = gs_new_node(net, GS_OP_LINEAR, "l", NULL, x, NULL, NULL);
    const struct {
        gs_dtype dtype;
        int ndim;
        int64_t shape[3];
    } bad[] = {
        {GS_F32, 2, {-1, 4}},
        {GS_F32, 3, {INT64_MAX, 4, 4}},
        {GS_F32, 2, {(int64_t)1 << 32, (int64_t)1 << 32}}, /* 2^64 elements, which wraps to none */
        {GS_F64, 2, {INT64_MAX / 4, 1}},
        {GS_Q8_0, 2, {1, 31}},
        {GS_DTYPE_NONE, 1, {4}},
        {GS_F32, -1, {0}},
        {GS_F32, GS_MAX_DIMS + 1, {0}},
    };
    for (size_t i = 0; i < GS_COUNTOF(bad); i++)
        assert_fails(gs_net_param_new(net, node, GS_ROLE_WEIGHT, "w", bad[i].dtype, bad[i].ndim,
                                      bad[i].shape, NULL, &err), GS_E_INVALID, &err);
    assert_fails(gs_net_param_new(net, node, GS_ROLE_COUNT, "w", GS_F32, 1, bad[4].shape, NULL, &err),
                 GS_E_INVALID, &err);
    assert_null(node->param[GS_ROLE_WEIGHT]);
    gs_net_destroy(net);
}

static void a_param_is_read_back(void **state) {
    (void)state;
    gs_error err = {0};
    gs_net *net = gs_new_net("n");
    gs_edge *x = gs_new_input(net, "x", 2, 0, 0);
    gs_node *node = gs_new_node(net, GS_OP_LINEAR, "l", NULL, x, NULL, NULL);
    const float values[6] = {1, -2, 0.333333f, 4, 5, -6};
    const int64_t shape[2] = {3, 2};
    assert_ok(gs_net_param_new(net, node, GS_ROLE_WEIGHT, "l.weight", GS_F32, 2, shape, values, &err), &err);
    const gs_param *p = node->param[GS_ROLE_WEIGHT];
    float back[6];
    uint16_t half[4];
    assert_int_equal(gs_param_count(p), 6);
    assert_int_equal(gs_param_bytes(p), 24);
    assert_ok(gs_param_read_f32(p, 0, 3, back, &err), &err);
    assert_memory_equal(back, values, sizeof values);
    assert_ok(gs_param_read_16(p, GS_BF16, 1, 2, half, &err), &err);
    for (int i = 0; i < 4; i++) assert_int_equal(half[i], gs_f32_to_bf16(values[2 + i]));
    assert_fails(gs_param_read_f32(p, 2, 2, back, &err), GS_E_INVALID, &err);

    /* a view of a tensor replaces it, and its bytes are not copied */
    const uint16_t stored[4] = {0x3f80, 0x4000, 0xbf80, 0};
    const gs_tensor view = {.name = "w", .dtype = GS_BF16, .ndim = 2, .shape = {2, 2},
                            .data = (const uint8_t *)stored, .bytes = sizeof stored};
    assert_ok(gs_net_param_view(net, node, GS_ROLE_WEIGHT, &view, &err), &err);
    p = node->param[GS_ROLE_WEIGHT];
    assert_string_equal(p->name, "w");
    assert_ptr_equal(p->source, &view);
    assert_null(p->data);
    assert_ok(gs_param_read_f32(p, 1, 1, back, &err), &err);
    assert_true(back[0] == -1.0f && back[1] == 0.0f);
    gs_net_destroy(net);
}

static void a_planned_param_has_no_values_until_it_is_allocated(void **state) {
    (void)state;
    gs_error err = {0};
    gs_net *net = gs_new_net("n");
    gs_edge *x = gs_new_input(net, "x", 2, 0, 0);
    gs_node *node = gs_new_node(net, GS_OP_LINEAR, "l", NULL, x, NULL, NULL);
    const int64_t shape[2] = {3, 2};
    float back[6];
    assert_ok(gs_net_param_new(net, node, GS_ROLE_WEIGHT, "l.weight", GS_F32, 2, shape, NULL, &err), &err);
    gs_param *p = node->param[GS_ROLE_WEIGHT];
    assert_ok(gs_net_infer(net, &err), &err); /* shapes suffice */
    assert_fails(gs_param_read_f32(p, 0, 3, back, &err), GS_E_INVALID, &err);
    assert_fails(gs_param_read_16(p, GS_BF16, 0, 1, (uint16_t *)back, &err), GS_E_INVALID, &err);
    assert_ok(gs_param_allocate(p, &err), &err);
    void *data = p->data;
    assert_non_null(data);
    memset(data, 0, gs_param_bytes(p));
    assert_ok(gs_param_allocate(p, &err), &err); /* again: nothing */
    assert_ptr_equal(p->data, data);
    assert_ok(gs_param_read_f32(p, 0, 3, back, &err), &err);

    /* taken out, it outlives the net */
    assert_ptr_equal(gs_node_param_detach(node, GS_ROLE_WEIGHT), p);
    assert_null(node->param[GS_ROLE_WEIGHT]);
    assert_null(gs_node_param_detach(node, GS_ROLE_WEIGHT));
    assert_null(gs_node_param_detach(node, GS_ROLE_COUNT));
    gs_net_destroy(net);
    assert_ok(gs_param_read_f32(p, 2, 1, back, &err), &err);
    gs_param_destroy(p);
    gs_param_destroy(NULL);
}

static void names_go_there_and_back(void **state) {
    (void)state;
    assert_string_equal(gs_op_name(GS_OP_GLOBAL_AVGPOOL), "global_avgpool");
    assert_string_equal(gs_op_name(GS_OP_COUNT), "?");
    assert_string_equal(gs_role_name(GS_ROLE_VARIANCE), "running_var");
    assert_string_equal(gs_role_name((gs_role)-1), "?");
    for (int s = 0; s < GS_SCHEME_COUNT; s++)
        assert_int_equal(gs_scheme_from_name(gs_scheme_name((gs_scheme)s)), s);
    assert_int_equal(gs_scheme_from_name("w8a16"), GS_SCHEME_COUNT);
}

static void the_dump_is_one_line_a_node(void **state) {
    (void)state;
    uint64_t seed = 1;
    gs_net *net = gs_new_net("block");
    gs_edge *x = gs_new_input(net, "x", 576, 0, 0);
    gs_attr norm = {.eps = 1e-5f}, rope = {.rope = {.heads = 24, .head_dim = 64, .theta = 1e4}};
    gs_node *n = gs_new_node(net, GS_OP_RMSNORM, "norm", &norm, x, NULL, NULL);
    gs_new_param(net, n, GS_ROLE_WEIGHT, 1, 576, 0, 0, 0, 1, 0, &seed);
    gs_node *up = gs_new_linear(net, "mlp.up_proj", n->output, 1536, 576, &seed);
    gs_node *r = gs_new_node(net, GS_OP_ROPE, "rope", &rope, up->output, NULL, NULL);
    gs_finish_net(net, r->output);
    char *text = gs_net_text(net);
    assert_string_equal(text, "net \"block\"\n"
                              "%0 = input \"x\" -> [576]\n"
                              "%1 = rmsnorm(%0) \"norm\" eps 1e-05 weight F32[576] -> [576]\n"
                              "%2 = linear(%1) \"mlp.up_proj\" weight F32[1536, 576] -> [1536]\n"
                              "%3 = rope(%2) \"rope\" heads 24 head_dim 64 theta 10000 -> [1536]\n"
                              "output %3\n");
    free(text);
    gs_net_destroy(net);
}

/* All of a small net's building; stops at the first failure. */
static gs_status build(gs_net **net, gs_error *err) {
    gs_edge *x;
    gs_node *node;
    const int64_t shape[2] = {2, 2};
    const float w[4] = {1, 2, 3, 4};
    *net = NULL;
    GS_TRY(gs_net_create("n", net, err));
    GS_TRY(gs_net_input(*net, "x", (gs_dims){.ndim = 1, .dim = {2}}, &x, err));
    for (int i = 0; i < 20; i++) { /* the lists have to grow */
        char name[16];
        snprintf(name, sizeof name, "l%d", i);
        GS_TRY(gs_net_add(*net, GS_OP_LINEAR, name, 1, &x, NULL, &node, err));
        GS_TRY(gs_net_param_new(*net, node, GS_ROLE_WEIGHT, name, GS_F32, 2, shape, w, err));
        x = node->output;
    }
    GS_TRY(gs_net_output(*net, x, err));
    return gs_net_infer(*net, err);
}

static void building_survives_every_failing_allocation(void **state) {
    (void)state;
    int64_t k = 0;
    for (;; k++) {
        gs_net *net;
        gs_error err = {0};
        gs_mem_fail_after(k);
        gs_status status = build(&net, &err);
        gs_mem_fail_after(-1);
        if (net) gs_assert_net_is_sound(net);
        gs_net_destroy(net);
        if (status == GS_OK) break;
        assert_int_equal(status, GS_E_NOMEM);
        assert_true(err.text[0] != 0);
    }
    assert_true(k > 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_net_is_built_and_asked),
        cmocka_unit_test(a_node_that_reads_an_edge_twice_is_one_consumer_of_two_uses),
        cmocka_unit_test(a_taken_name_is_refused),
        cmocka_unit_test(a_wrong_number_of_inputs_is_refused),
        cmocka_unit_test(an_edge_of_another_net_is_refused),
        cmocka_unit_test(an_edge_is_an_output_once),
        cmocka_unit_test(shapes_that_do_not_fit_are_named),
        cmocka_unit_test(heads_must_fit_their_inputs),
        cmocka_unit_test(params_are_there_when_and_only_when_the_operation_uses_them),
        cmocka_unit_test(a_slip_of_the_caller_in_the_public_structs_is_told),
        cmocka_unit_test(absurd_param_shapes_are_refused),
        cmocka_unit_test(a_param_is_read_back),
        cmocka_unit_test(a_planned_param_has_no_values_until_it_is_allocated),
        cmocka_unit_test(names_go_there_and_back),
        cmocka_unit_test(the_dump_is_one_line_a_node),
        cmocka_unit_test(building_survives_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
