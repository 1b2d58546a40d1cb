#include "nets.h"

#include <network/rewrite.h>

static const gs_pattern relu_relu = {
    .count = 2,
    .node = {{GS_OP_RELU, {-1}}, {GS_OP_RELU, {0}}},
};
/* both inputs of the sum come from the same relu, once directly */
static const gs_pattern diamond = {
    .count = 3,
    .node = {{GS_OP_RELU, {-1}}, {GS_OP_RELU, {0}}, {GS_OP_ADD, {0, 1}}},
};

static gs_node *relu(gs_net *net, const char *name, gs_edge *x) {
    return gs_new_node(net, GS_OP_RELU, name, NULL, x, NULL, NULL);
}

static void matches_come_in_execution_order(void **state) {
    (void)state;
    gs_net *net = gs_new_net("n");
    gs_edge *x = gs_new_input(net, "x", 4, 0, 0);
    gs_node *a = relu(net, "a", x), *b = relu(net, "b", a->output), *c = relu(net, "c", b->output);
    gs_finish_net(net, c->output);
    int at = 0;
    gs_match m;
    assert_true(gs_net_match(net, &relu_relu, &at, &m));
    assert_ptr_equal(m.node[0], a);
    assert_ptr_equal(m.node[1], b);
    assert_int_equal(at, 2);
    assert_true(gs_net_match(net, &relu_relu, &at, &m));
    assert_ptr_equal(m.node[0], b);
    assert_ptr_equal(m.node[1], c);
    assert_false(gs_net_match(net, &relu_relu, &at, &m));
    assert_int_equal(at, 3);
    gs_net_destroy(net);
}

static void a_value_seen_from_outside_is_no_match(void **state) {
    (void)state;
    gs_error err = {0};
    gs_net *net = gs_new_net("n");
    gs_edge *x = gs_new_input(net, "x", 4, 0, 0);
    gs_node *a = relu(net, "a", x), *b = relu(net, "b", a->output);
    gs_node *sum = gs_new_node(net, GS_OP_ADD, "sum", NULL, a->output, b->output, NULL);
    gs_finish_net(net, sum->output);
    int at = 0;
    gs_match m;
    assert_false(gs_net_match(net, &relu_relu, &at, &m)); /* the sum reads a too */
    at = 0;
    assert_true(gs_net_match(net, &diamond, &at, &m)); /* but here it is inside */
    assert_ptr_equal(m.node[0], a);
    assert_ptr_equal(m.node[2], sum);
    at = 0;
    assert_ok(gs_net_output(net, b->output, &err), &err);
    assert_false(gs_net_match(net, &diamond, &at, &m)); /* b is a net output */
    gs_net_destroy(net);
}

static void inputs_must_be_joined_as_listed(void **state) {
    (void)state;
    gs_net *net = gs_new_net("n");
    gs_edge *x = gs_new_input(net, "x", 4, 0, 0);
    gs_node *a = relu(net, "a", x), *b = relu(net, "b", a->output);
    gs_node *sum = gs_new_node(net, GS_OP_ADD, "sum", NULL, b->output, a->output, NULL);
    gs_finish_net(net, sum->output);
    int at = 0;
    gs_match m;
    assert_false(gs_net_match(net, &diamond, &at, &m)); /* the other way round */
    gs_net_destroy(net);
}

static void one_node_is_not_two_of_the_pattern(void **state) {
    (void)state;
    const gs_pattern two_into_one = {
        .count = 3,
        .node = {{GS_OP_RELU, {-1}}, {GS_OP_RELU, {-1}}, {GS_OP_ADD, {0, 1}}},
    };
    gs_net *net = gs_new_net("n");
    gs_edge *x = gs_new_input(net, "x", 4, 0, 0);
    gs_node *a = relu(net, "a", x);
    gs_node *sum = gs_new_node(net, GS_OP_ADD, "sum", NULL, a->output, a->output, NULL);
    gs_finish_net(net, sum->output);
    int at = 0;
    gs_match m;
    assert_false(gs_net_match(net, &two_into_one, &at, &m));
    gs_net_destroy(net);
}

static void a_malformed_pattern_matches_nothing(void **state) {
    (void)state;
    gs_net *net = gs_new_net("n");
    gs_edge *x = gs_new_input(net, "x", 4, 0, 0);
    gs_finish_net(net, relu(net, "a", x)->output);
    const gs_pattern bad[] = {
        {.count = 0},
        {.count = GS_PATTERN_MAX + 1},
        {.count = 1, .node = {{GS_OP_RELU, {0}}}},  /* its own input */
        {.count = 1, .node = {{GS_OP_COUNT, {-1}}}},
        {.count = 2, .node = {{GS_OP_RELU, {-1}}, {GS_OP_RELU, {-1}}}}, /* not joined */
    };
    gs_match m;
    for (size_t i = 0; i < GS_COUNTOF(bad); i++) {
        int at = 0;
        assert_false(gs_net_match(net, &bad[i], &at, &m));
    }
    gs_net_destroy(net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_come_in_execution_order),
        cmocka_unit_test(a_value_seen_from_outside_is_no_match),
        cmocka_unit_test(inputs_must_be_joined_as_listed),
        cmocka_unit_test(one_node_is_not_two_of_the_pattern),
        cmocka_unit_test(a_malformed_pattern_matches_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
