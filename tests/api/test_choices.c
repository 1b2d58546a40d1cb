/* Options that go together, and those that do not: what gs_choices_read makes of them. */
#include "../support.h"

#include <api/choices.h>

static void read_one(const gs_quantize_options *o, gs_choices *c) {
    gs_error err = {0};
    assert_ok(gs_choices_read(o, c, &err), &err);
}

static void refuse(const gs_quantize_options *o, const char *word) {
    gs_error err = {0};
    gs_choices c;
    assert_fails(gs_choices_read(o, &c, &err), GS_E_INVALID, &err);
    if (!strstr(err.text, word)) fail_msg("'%s' lacks '%s'", err.text, word);
}

static void a_scheme_is_a_word(void **state) {
    (void)state;
    static const struct {
        const char *word;
        gs_scheme scheme;
        bool data;
    } table[] = {{NULL, GS_SCHEME_W8A16, false},          {"w8a16", GS_SCHEME_W8A16, false},
                 {"w8a8", GS_SCHEME_W8A8, true},          {"w8a8-dynamic", GS_SCHEME_W8A8_DYNAMIC, false},
                 {"w8a8-mix", GS_SCHEME_W8A8_MIX, true},  {"float", GS_SCHEME_FLOAT, false}};
    for (size_t i = 0; i < GS_COUNTOF(table); i++) {
        gs_quantize_options o = {.scheme = table[i].word};
        gs_choices c;
        if (table[i].data) refuse(&o, "needs calibration data");
        o.stats = "somewhere";
        read_one(&o, &c);
        assert_int_equal(gs_ptq_config_scheme(&c.config), table[i].scheme);
        gs_quantize_options e = gs_choices_effective(&c, &o, "ascend");
        assert_string_equal(e.scheme, table[i].word ? table[i].word : "w8a16");
        o.scheme = e.scheme; /* the manifest's recipe asks for the same */
        read_one(&o, &c);
    }
    refuse(&(gs_quantize_options){.scheme = "w8a8-mx"}, "unknown scheme");
    refuse(&(gs_quantize_options){.scheme = "float", .stats = "s", .refine = true}, "nothing to refine");
    refuse(&(gs_quantize_options){.scheme = "float", .alpha = "0.5"}, "int8 activations");
}

static void a_cache_needs_data_but_its_linears_may_not(void **state) {
    (void)state;
    gs_quantize_options o = {.calibrate = {.kv_cache = "int8"}};
    gs_choices c;
    refuse(&o, "int8 cache");
    o.stats = "somewhere";
    read_one(&o, &c);
    assert_true(c.needs_data && !c.linears_need_data);
    assert_int_equal(c.config.kvcache_quant_dtype, GS_QUANT_INT8);
    assert_string_equal(gs_choices_effective(&c, &o, "ascend").calibrate.kv_cache, "int8");
    o.calibrate.kv_cache = "none";
    read_one(&o, &c);
    assert_true(!c.needs_data && c.config.kvcache_quant_dtype == GS_QUANT_NONE);
    o.calibrate.kv_cache = "int4";
    refuse(&o, "unknown kv_cache");
}

static void what_needs_data_is_named(void **state) {
    (void)state;
    static const char *const list[] = {"down_proj"};
    gs_quantize_options o = {.scheme = "w8a8-dynamic", .fallback = list, .fallback_count = 1};
    gs_choices c;
    refuse(&o, "w8a8-dynamic with a fallback needs calibration data");
    o.stats = "somewhere";
    read_one(&o, &c);
    assert_int_equal(c.smooth.fallback, GS_FALLBACK_LIST);
    o.fallback_threshold = -1;
    refuse(&o, "-1 is not a number above 0");
    o = (gs_quantize_options){.compat = "msmodelslim-v1", .fallback_count = 1}; /* no list: none is given */
    read_one(&o, &c);
    assert_int_equal(c.smooth.fallback, GS_FALLBACK_NONE);
    o = (gs_quantize_options){.max_shard_size = 7};
    read_one(&o, &c);
    assert_int_equal(c.max_shard_bytes, 7);
    o.max_shard_size = 0;
    read_one(&o, &c);
    assert_int_equal(c.max_shard_bytes, (int64_t)4 << 30);
    assert_int_equal(gs_choices_effective(&c, &o, "ascend").max_shard_size, (int64_t)4 << 30);
    o.max_shard_size = -1;
    refuse(&o, "a file of -1 bytes");
}

static void groups_are_for_weights_alone(void **state) {
    (void)state;
    gs_quantize_options o = {.group_size = 32, .target = "mindie"};
    gs_choices c;
    read_one(&o, &c);
    assert_int_equal(c.config.group_size, 32);
    assert_int_equal(c.config.weight_quant_granularity, GS_PER_GROUP);
    o.target = "both";
    refuse(&o, "one scale a row");
    o.format = "gptq";
    read_one(&o, &c);
    refuse(&(gs_quantize_options){.group_size = 32, .scheme = "w8a8-dynamic"}, "for w8a16");
    refuse(&(gs_quantize_options){.group_size = -1}, "for w8a16");
    refuse(&(gs_quantize_options){.group_size = 32, .target = "mindie", .stats = "s", .refine = true}, "exclude");
}

static void a_format_settles_what_was_left_open(void **state) {
    (void)state;
    gs_error err = {0};
    gs_bundle_format f16 = {.name = "x", .scale_dtype = GS_F16, .group_size = 32, .scale_convention = "goldenstick"};
    gs_quantize_options plain = {0}, asked = {.group_size = 8, .scale_convention = "ascend", .format = "x"};
    gs_choices c;
    read_one(&plain, &c);
    assert_ok(gs_choices_take_format(&c, &plain, &f16, &err), &err);
    assert_int_equal(c.config.group_size, 32);
    assert_int_equal(c.config.scale_dtype, GS_F16);
    assert_int_equal(c.config.scale_convention, GS_SCALE_GOLDENSTICK);
    read_one(&asked, &c);
    assert_ok(gs_choices_take_format(&c, &asked, &f16, &err), &err);
    assert_int_equal(c.config.group_size, 8);
    assert_int_equal(c.config.scale_convention, GS_SCALE_ASCEND);
    gs_quantize_options refined = {.stats = "s", .refine = true};
    read_one(&refined, &c);
    assert_fails(gs_choices_take_format(&c, &refined, &f16, &err), GS_E_INVALID, &err);
}

static void imitation_leaves_nothing_to_search(void **state) {
    (void)state;
    static const char *const automatic[] = {"auto"};
    gs_quantize_options o = {.compat = "msmodelslim-v1", .scheme = "w8a8", .stats = "s"};
    gs_choices c;
    read_one(&o, &c);
    assert_int_equal(c.config.compat, GS_COMPAT_MSMODELSLIM_V1);
    assert_int_equal(c.smooth.smoothing, GS_SMOOTHING_NONE);
    assert_int_equal(c.smooth.fallback, GS_FALLBACK_NONE);
    assert_string_equal(gs_choices_effective(&c, &o, "ascend").compat, "msmodelslim-v1");
    o.alpha = "0.5";
    read_one(&o, &c);
    assert_int_equal(c.smooth.smoothing, GS_SMOOTHING_FIXED);
    o.alpha = "auto";
    refuse(&o, "alpha auto");
    o = (gs_quantize_options){.compat = "goldenstick"};
    read_one(&o, &c);
    assert_int_equal(c.config.scale_convention, GS_SCALE_GOLDENSTICK);
    o.scale_convention = "ascend";
    refuse(&o, "contradict");
    refuse(&(gs_quantize_options){.compat = "msmodelslim-v2"}, "unknown compat");
    refuse(&(gs_quantize_options){.compat = "msmodelslim-v0", .scheme = "w8a8-mix", .stats = "s"}, "w8a8-mix");
    refuse(&(gs_quantize_options){.compat = "msmodelslim-v1", .stats = "s", .refine = true}, "refine");
    refuse(&(gs_quantize_options){.compat = "msmodelslim-v1", .scheme = "w8a8", .stats = "s", .observer = "mse"}, "clipping");
    refuse(&(gs_quantize_options){.compat = "msmodelslim-v1", .group_size = 32, .target = "mindie"}, "groups");
    refuse(&(gs_quantize_options){.compat = "msmodelslim-v1", .scheme = "w8a8", .stats = "s", .fallback = automatic, .fallback_count = 1},
           "fallback auto");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_scheme_is_a_word),
        cmocka_unit_test(a_cache_needs_data_but_its_linears_may_not),
        cmocka_unit_test(what_needs_data_is_named),
        cmocka_unit_test(groups_are_for_weights_alone),
        cmocka_unit_test(a_format_settles_what_was_left_open),
        cmocka_unit_test(imitation_leaves_nothing_to_search),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
