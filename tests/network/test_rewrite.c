#include "nets.h"

#include <network/rewrite.h>

/* x -> a -> {b, c}, d = b + c, output d; all values [4]. */
typedef struct diamond {
    gs_net *net;
    gs_edge *x;
    gs_node *a, *b, *c, *d;
} diamond;

static diamond make_diamond(void) {
    diamond m = {.net = gs_new_net("diamond")};
    m.x = gs_new_input(m.net, "x", 4, 0, 0);
    m.a = gs_new_node(m.net, GS_OP_RELU, "a", NULL, m.x, NULL, NULL);
    m.b = gs_new_node(m.net, GS_OP_RELU, "b", NULL, m.a->output, NULL, NULL);
    m.c = gs_new_node(m.net, GS_OP_RELU, "c", NULL, m.a->output, NULL, NULL);
    m.d = gs_new_node(m.net, GS_OP_ADD, "d", NULL, m.b->output, m.c->output, NULL);
    gs_finish_net(m.net, m.d->output);
    return m;
}

static void infer_again(gs_net *net) {
    gs_error err = {0};
    gs_assert_net_is_sound(net);
    assert_ok(gs_net_infer(net, &err), &err);
}

static void a_node_is_inserted_before_all_consumers(void **state) {
    (void)state;
    gs_error err = {0};
    diamond m = make_diamond();
    gs_node *node;
    assert_ok(gs_net_insert(m.net, m.a->output, NULL, GS_OP_RELU, "new", NULL, &node, &err), &err);
    infer_again(m.net);
    assert_ptr_equal(node->input[0], m.a->output);
    assert_ptr_equal(m.b->input[0], node->output);
    assert_ptr_equal(m.c->input[0], node->output);
    assert_int_equal(m.a->output->consumers, 1);
    assert_int_equal(node->output->consumers, 2);
    assert_ptr_equal(gs_net_node(m.net, 1), node);
    gs_net_destroy(m.net);
}

static void a_node_is_inserted_before_one_consumer(void **state) {
    (void)state;
    gs_error err = {0};
    diamond m = make_diamond();
    gs_node *node;
    assert_ok(gs_net_insert(m.net, m.a->output, m.c, GS_OP_RELU, "new", NULL, &node, &err), &err);
    infer_again(m.net);
    assert_ptr_equal(m.b->input[0], m.a->output);
    assert_ptr_equal(m.c->input[0], node->output);
    assert_int_equal(m.a->output->consumers, 2);
    assert_int_equal(node->output->consumers, 1);
    gs_net_destroy(m.net);
}

static void a_node_is_inserted_behind_an_input_and_before_an_output(void **state) {
    (void)state;
    gs_error err = {0};
    diamond m = make_diamond();
    gs_node *first, *last;
    assert_ok(gs_net_insert(m.net, m.x, NULL, GS_OP_RELU, "first", NULL, &first, &err), &err);
    assert_ok(gs_net_insert(m.net, m.d->output, NULL, GS_OP_RELU, "last", NULL, &last, &err), &err);
    infer_again(m.net);
    assert_ptr_equal(gs_net_node(m.net, 0), first);
    assert_ptr_equal(m.a->input[0], first->output);
    assert_ptr_equal(gs_net_output_at(m.net, 0), last->output);
    assert_false(m.d->output->is_output);
    assert_int_equal(m.d->output->consumers, 1);
    gs_net_destroy(m.net);
}

static void a_node_that_reads_the_edge_twice_moves_with_both(void **state) {
    (void)state;
    gs_error err = {0};
    gs_net *net = gs_new_net("n");
    gs_edge *x = gs_new_input(net, "x", 4, 0, 0);
    gs_node *twice = gs_new_node(net, GS_OP_ADD, "twice", NULL, x, x, NULL), *node;
    gs_finish_net(net, twice->output);
    assert_ok(gs_net_insert(net, x, twice, GS_OP_RELU, "new", NULL, &node, &err), &err);
    infer_again(net);
    assert_ptr_equal(twice->input[0], node->output);
    assert_ptr_equal(twice->input[1], node->output);
    assert_int_equal(x->consumers, 1);
    gs_net_destroy(net);
}

static void an_impossible_insertion_changes_nothing(void **state) {
    (void)state;
    gs_error err = {0};
    diamond m = make_diamond();
    gs_node *node;
    char *before = gs_net_text(m.net);
    assert_fails(gs_net_insert(m.net, m.x, NULL, GS_OP_ADD, "new", NULL, &node, &err), GS_E_INVALID, &err);
    assert_fails(gs_net_insert(m.net, m.x, NULL, GS_OP_RELU, "b", NULL, &node, &err), GS_E_INVALID, &err);
    assert_fails(gs_net_insert(m.net, m.x, m.d, GS_OP_RELU, "new", NULL, &node, &err), GS_E_INVALID, &err);
    char *after = gs_net_text(m.net);
    assert_string_equal(before, after);
    free(before);
    free(after);
    infer_again(m.net);
    gs_net_destroy(m.net);
}

static void a_replaced_node_keeps_its_place_name_and_params(void **state) {
    (void)state;
    uint64_t seed = 1;
    gs_error err = {0};
    gs_net *net = gs_new_net("n");
    gs_edge *x = gs_new_input(net, "x", 4, 0, 0);
    gs_node *node = gs_new_linear(net, "l", x, 4, 4, &seed), *same;
    const float *bias = gs_new_param(net, node, GS_ROLE_BIAS, 1, 4, 0, 0, 0, 0, 1, &seed);
    gs_finish_net(net, node->output);
    gs_edge *output = node->output;
    gs_attr attr = {.quant = {.scheme = GS_SCHEME_W8A16, .compute = GS_BF16}};
    assert_ok(gs_net_replace(net, node, GS_OP_QLINEAR, &attr, &same, &err), &err);
    assert_ptr_equal(same, node);
    assert_int_equal(node->op, GS_OP_QLINEAR);
    assert_string_equal(node->name, "l");
    assert_ptr_equal(node->output, output);
    assert_ptr_equal(node->input[0], x);
    assert_int_equal(node->attr.quant.compute, GS_BF16);
    assert_ptr_equal(node->param[GS_ROLE_BIAS]->data, bias);
    gs_assert_net_is_sound(net);
    assert_fails(gs_net_replace(net, node, GS_OP_ADD, NULL, &same, &err), GS_E_INVALID, &err);
    assert_int_equal(node->op, GS_OP_QLINEAR);
    assert_ok(gs_net_replace(net, node, GS_OP_LINEAR, NULL, &same, &err), &err);
    assert_int_equal(node->attr.quant.compute, 0);
    infer_again(net);
    gs_net_destroy(net);
}

static void an_erased_node_leaves_its_input_to_its_consumers(void **state) {
    (void)state;
    gs_error err = {0};
    diamond m = make_diamond();
    assert_ok(gs_net_erase(m.net, m.a, &err), &err);
    infer_again(m.net);
    assert_ptr_equal(m.b->input[0], m.x);
    assert_ptr_equal(m.c->input[0], m.x);
    assert_int_equal(m.x->consumers, 2);
    assert_int_equal(gs_net_node_count(m.net), 3);
    assert_int_equal(gs_net_edge_count(m.net), 4);
    assert_null(gs_net_find(m.net, "a"));
    /* the name is free again */
    gs_node *node;
    assert_ok(gs_net_insert(m.net, m.x, m.b, GS_OP_RELU, "a", NULL, &node, &err), &err);
    infer_again(m.net);
    gs_net_destroy(m.net);
}

static void erasing_at_an_output_moves_the_output(void **state) {
    (void)state;
    gs_error err = {0};
    gs_net *net = gs_new_net("n");
    gs_edge *x = gs_new_input(net, "x", 4, 0, 0);
    gs_node *a = gs_new_node(net, GS_OP_RELU, "a", NULL, x, NULL, NULL);
    gs_node *b = gs_new_node(net, GS_OP_RELU, "b", NULL, a->output, NULL, NULL);
    gs_finish_net(net, b->output);
    assert_ok(gs_net_erase(net, b, &err), &err);
    infer_again(net);
    assert_ptr_equal(gs_net_output_at(net, 0), a->output);
    assert_true(a->output->is_output);
    assert_ok(gs_net_erase(net, a, &err), &err);
    infer_again(net);
    assert_ptr_equal(gs_net_output_at(net, 0), x); /* an input that is an output */
    gs_net_destroy(net);
}

static void what_cannot_be_erased_stays(void **state) {
    (void)state;
    gs_error err = {0};
    diamond m = make_diamond();
    char *before = gs_net_text(m.net);
    assert_fails(gs_net_erase(m.net, m.d, &err), GS_E_INVALID, &err);
    char *after = gs_net_text(m.net);
    assert_string_equal(before, after);
    free(before);
    free(after);
    /* both ends outputs: the net would lose one */
    gs_node *last;
    assert_ok(gs_net_insert(m.net, m.d->output, NULL, GS_OP_RELU, "last", NULL, &last, &err), &err);
    assert_ok(gs_net_output(m.net, m.d->output, &err), &err);
    assert_fails(gs_net_erase(m.net, last, &err), GS_E_INVALID, &err);
    assert_int_equal(gs_net_output_count(m.net), 2);
    infer_again(m.net);
    gs_net_destroy(m.net);
}

static void a_failing_allocation_leaves_the_net_unchanged(void **state) {
    (void)state;
    for (int64_t k = 0;; k++) {
        gs_error err = {0};
        diamond m = make_diamond();
        /* fill the lists to their capacity, so that inserting has to grow them */
        gs_edge *tail = m.d->output;
        for (int i = gs_net_node_count(m.net); i < 16; i++) {
            char name[16];
            snprintf(name, sizeof name, "n%d", i);
            tail = gs_new_node(m.net, GS_OP_RELU, name, NULL, tail, NULL, NULL)->output;
        }
        char *before = gs_net_text(m.net);
        gs_node *node;
        gs_mem_fail_after(k);
        gs_status status = gs_net_insert(m.net, m.a->output, NULL, GS_OP_RELU, "new", NULL, &node, &err);
        gs_mem_fail_after(-1);
        gs_assert_net_is_sound(m.net);
        char *after = gs_net_text(m.net);
        int unchanged = strcmp(before, after) == 0;
        free(before);
        free(after);
        gs_net_destroy(m.net);
        assert_int_equal(unchanged, status != GS_OK);
        if (status == GS_OK) {
            assert_true(k >= 5);
            return;
        }
        assert_int_equal(status, GS_E_NOMEM);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_is_inserted_before_all_consumers),
        cmocka_unit_test(a_node_is_inserted_before_one_consumer),
        cmocka_unit_test(a_node_is_inserted_behind_an_input_and_before_an_output),
        cmocka_unit_test(a_node_that_reads_the_edge_twice_moves_with_both),
        cmocka_unit_test(an_impossible_insertion_changes_nothing),
        cmocka_unit_test(a_replaced_node_keeps_its_place_name_and_params),
        cmocka_unit_test(an_erased_node_leaves_its_input_to_its_consumers),
        cmocka_unit_test(erasing_at_an_output_moves_the_output),
        cmocka_unit_test(what_cannot_be_erased_stays),
        cmocka_unit_test(a_failing_allocation_leaves_the_net_unchanged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
