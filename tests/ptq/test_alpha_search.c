/* How a group's settings are judged: on the half of the data they were not fitted to, and against the value that the
 * outputs end up in. */
#include "smooth_net.h"

#include <ptq/alpha_search.h>

/* Observers of the group's input whose rows alternate between the halves, or are all of the first. */
static gs_observer observe(bool halves, float energy) {
    gs_error err = {0};
    gs_observer o;
    gs_net *net = smooth_net();
    float *x = smooth_input();
    gs_observer all;
    gs_observe(net, "norm", NET_ROWS, x, NET_ROWS, &all);
    assert_ok(gs_observer_init(&o, "norm", NET_IN, NET_ROWS, &err), &err);
    for (int r = 0; r < NET_ROWS; r++) {
        float row[NET_IN];
        for (int j = 0; j < NET_IN; j++) row[j] = gs_bf16_to_f32(all.sample[r * NET_IN + j]);
        /* one half sees the large channels, the other does not */
        if (r % 2 == 0) row[3] = row[17] = 0;
        o.fold = halves && r % 2;
        assert_ok(gs_observer_see(&o, NULL, r, 1, row, &err), &err);
        assert_ok(gs_observer_keep(&o, row, &err), &err);
        o.sample_energy[r] = energy;
    }
    gs_observer_clear(&all);
    free(x);
    gs_net_destroy(net);
    return o;
}

static gs_group_choice choose(gs_scheme scheme, gs_smoothing smoothing, bool halves, float energy) {
    gs_error err = {0};
    gs_context cx = {0};
    gs_net *net = smooth_net();
    gs_edge_groups groups;
    gs_observer o = observe(halves, energy);
    gs_smooth_quant_options options = {.smoothing = smoothing, .alpha = 0.5f};
    gs_group_data data;
    gs_group_choice out;
    assert_ok(gs_edge_groups_find(net, &groups, &err), &err);
    const gs_edge_group *g = gs_group_of(&groups, "norm");
    assert_ok(gs_group_data_init(&data, &cx, g, g->linear, g->count, &o, &options, &(gs_row_rule){.convention = GS_SCALE_ASCEND, .compute = GS_F32}, &err), &err);
    assert_ok(gs_group_choose(&cx, &data, scheme, NULL, NULL, &out, &err), &err);
    gs_group_data_clear(&data);
    gs_edge_groups_clear(&groups);
    gs_observer_clear(&o);
    gs_net_destroy(net);
    return out;
}

static double error_of(gs_scheme scheme, bool halves, float energy) {
    gs_group_choice c = choose(scheme, GS_SMOOTHING_NONE, halves, energy);
    double e = (double)c.error;
    gs_group_choice_clear(&c);
    return e;
}

static void static_settings_are_judged_on_data_they_have_not_seen(void **state) {
    (void)state;
    double same = error_of(GS_SCHEME_W8A8, false, 0), other = error_of(GS_SCHEME_W8A8, true, 0);
    print_message("judged on itself %.4f, on the other half %.4f\n", same, other);
    assert_true(other > same * 1.02);
    /* per-token scales are not fitted to anything */
    assert_true(error_of(GS_SCHEME_W8A8_DYNAMIC, true, 0) == error_of(GS_SCHEME_W8A8_DYNAMIC, false, 0));
}

static void what_is_written_is_fitted_on_all_of_it(void **state) {
    (void)state;
    for (int smoothing = GS_SMOOTHING_NONE; smoothing <= GS_SMOOTHING_FIXED; smoothing++) {
        gs_group_choice a = choose(GS_SCHEME_W8A8, (gs_smoothing)smoothing, false, 0);
        gs_group_choice b = choose(GS_SCHEME_W8A8, (gs_smoothing)smoothing, true, 0);
        assert_true(a.act.scale == b.act.scale && a.act.offset == b.act.offset);
        if (smoothing == GS_SMOOTHING_NONE) assert_null(a.s);
        else assert_memory_equal(a.s, b.s, NET_IN * sizeof *a.s);
        gs_group_choice_clear(&a);
        gs_group_choice_clear(&b);
    }
}

static void errors_are_relative_to_what_the_outputs_end_up_in(void **state) {
    (void)state;
    double own = error_of(GS_SCHEME_W8A8, false, 0), in1 = error_of(GS_SCHEME_W8A8, false, 1e4f),
           in4 = error_of(GS_SCHEME_W8A8, false, 4e4f);
    assert_true(own > 0);
    assert_true(fabs(in1 / in4 - 2) < 1e-5);
    /* the choice does not depend on it */
    gs_group_choice a = choose(GS_SCHEME_W8A8, GS_SMOOTHING_AUTO, true, 0), b = choose(GS_SCHEME_W8A8, GS_SMOOTHING_AUTO, true, 1e4f);
    assert_true(a.alpha == b.alpha || (isnan(a.alpha) && isnan(b.alpha)));
    gs_group_choice_clear(&a);
    gs_group_choice_clear(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(static_settings_are_judged_on_data_they_have_not_seen),
        cmocka_unit_test(what_is_written_is_fitted_on_all_of_it),
        cmocka_unit_test(errors_are_relative_to_what_the_outputs_end_up_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
