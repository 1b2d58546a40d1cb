#include "../support.h"

#include <ptq/ptq_config.h>

static void a_blacklisted_word_anywhere_in_the_name_keeps_it_float(void **state) {
    (void)state;
    gs_error err = {0};
    const char *words[] = {"lm_head", "layers.1."};
    gs_ptq_config c = gs_ptq_config_w8a16();
    c.opname_blacklist = words;
    c.opname_blacklist_count = 2;
    gs_layer_rules *rules;
    const gs_ptq_config *found;
    char reason[64];
    assert_ok(gs_layer_rules_create(&c, &rules, &err), &err);
    assert_ok(gs_layer_rules_find(rules, "model.layers.1.mlp.up_proj", &found, reason, &err), &err);
    assert_null(found);
    assert_string_equal(reason, "blacklist 'layers.1.'");
    assert_ok(gs_layer_rules_find(rules, "model.layers.11.mlp.up_proj", &found, reason, &err), &err);
    assert_ptr_equal(found, &c);
    assert_string_equal(reason, "");
    gs_layer_rules_destroy(rules);
}

static void a_policy_matches_at_the_start_and_replaces_the_net_config(void **state) {
    (void)state;
    gs_error err = {0};
    gs_ptq_config c = gs_ptq_config_w8a16(), other = gs_ptq_config_w8a16();
    other.scale_convention = GS_SCALE_GOLDENSTICK;
    gs_layer_policy policies[] = {{"model\\.layers\\.[0-3]\\.mlp", &other}, {".*down_proj$", NULL}};
    c.layer_policies = policies;
    c.layer_policy_count = 2;
    gs_layer_rules *rules;
    const gs_ptq_config *found;
    char reason[64];
    assert_ok(gs_layer_rules_create(&c, &rules, &err), &err);
    assert_ok(gs_layer_rules_find(rules, "model.layers.2.mlp.up_proj", &found, reason, &err), &err);
    assert_ptr_equal(found, &other);
    assert_ok(gs_layer_rules_find(rules, "xmodel.layers.2.mlp.up_proj", &found, reason, &err), &err);
    assert_ptr_equal(found, &c);
    assert_ok(gs_layer_rules_find(rules, "model.layers.7.mlp.down_proj", &found, reason, &err), &err);
    assert_null(found);
    assert_non_null(strstr(reason, "policy"));
    /* two policies on one layer: nobody can say which was meant */
    assert_fails(gs_layer_rules_find(rules, "model.layers.3.mlp.down_proj", &found, reason, &err), GS_E_INVALID, &err);
    assert_non_null(strstr(err.text, "two policies"));
    gs_layer_rules_destroy(rules);
}

static void a_broken_expression_names_itself(void **state) {
    (void)state;
    gs_error err = {0};
    gs_ptq_config c = gs_ptq_config_w8a16();
    gs_layer_policy policy = {"layers.(", NULL};
    c.layer_policies = &policy;
    c.layer_policy_count = 1;
    gs_layer_rules *rules;
    assert_fails(gs_layer_rules_create(&c, &rules, &err), GS_E_INVALID, &err);
    assert_non_null(strstr(err.text, "layers.("));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_blacklisted_word_anywhere_in_the_name_keeps_it_float),
        cmocka_unit_test(a_policy_matches_at_the_start_and_replaces_the_net_config),
        cmocka_unit_test(a_broken_expression_names_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
