/* The GPTQ container with 8-bit codes, made by hand: words, transposed scales and zeros are read as they were meant, and
 * what is not computed is refused. */
#include "foreign_bundle.h"

typedef struct form {
    int64_t group_size; /* -1: the whole row */
    bool v2;
    int zero;           /* of unsigned codes */
    gs_dtype scale;
    bool biases;        /* of zeros, as AutoGPTQ writes them */
} form;

static void linear(foreign_bundle *b, const char *stem, int64_t n, int64_t k, void *ctx) {
    const form *f = ctx;
    int64_t g = f->group_size == -1 ? k : f->group_size, groups = k / g;
    fb_tensor *words = fb_put(b, stem, "qweight", GS_I32, 2, k / 4, n, NULL);
    for (int64_t r = 0; r < n; r++)
        for (int64_t c = 0; c < k; c++)
            words->data[4 * (c / 4 * n + r) + c % 4] = (uint8_t)(fb_code(stem, r, c) + 128);
    fb_tensor *zeros = fb_put(b, stem, "qzeros", GS_I32, 2, groups, n / 4, NULL);
    memset(zeros->data, f->v2 ? f->zero : f->zero - 1, zeros->bytes);
    fb_tensor *scale = fb_put(b, stem, "scales", f->scale, 2, groups, n, NULL);
    for (int64_t i = 0; i < groups * n; i++) fb_store(scale, i, fb_scale(stem, i % n, i / n));
    fb_tensor *index = fb_put(b, stem, "g_idx", GS_I32, 1, k, 0, NULL);
    for (int64_t i = 0; i < k; i++) fb_store(index, i, (float)(i / g));
    if (f->biases) fb_put(b, stem, "bias", GS_F16, 1, n, 0, NULL);
}

static void settings(const form *f, char out[1024]) {
    snprintf(out, 1024,
             "{\"quant_method\": \"gptq\", \"bits\": 8, \"group_size\": %lld, \"desc_act\": false, \"sym\": true, "
             "\"damp_percent\": 0.01, \"static_groups\": false, \"true_sequential\": true, \"checkpoint_format\": \"%s\", "
             "\"lm_head\": false}",
             (long long)f->group_size, f->v2 ? "gptq_v2" : "gptq");
}

static const form usual = {16, false, 128, GS_F16, false};

static void make(foreign_bundle *b, const form *f, const char *config) {
    char text[1024];
    settings(f, text);
    fb_begin(b, linear, (void *)(uintptr_t)f, "weight");
    fb_config(b, config ? config : text);
}

static void every_form_is_read(void **state) {
    (void)state;
    const struct {
        form f;
        fb_expected e;
    } cases[] = {
        {{16, false, 128, GS_F16, false}, {GS_SCHEME_W8A16, 1, 16, 0, false}},
        {{-1, false, 128, GS_F16, true}, {GS_SCHEME_W8A16, 1, 0, 0, false}},
        {{-1, true, 128, GS_BF16, false}, {GS_SCHEME_W8A16, 1, 0, 0, false}},
        {{8, false, 120, GS_F32, true}, {GS_SCHEME_W8A16, 1, 8, -8, false}},
        {{16, true, 0, GS_F16, false}, {GS_SCHEME_W8A16, 1, 16, -128, false}},
        {{16, true, 255, GS_F16, false}, {GS_SCHEME_W8A16, 1, 16, 127, false}},
    };
    for (size_t i = 0; i < GS_COUNTOF(cases); i++) {
        foreign_bundle b;
        make(&b, &cases[i].f, NULL);
        fb_weights(&b, i % 2 ? "gptq_model-8bit.safetensors" : "model.safetensors");
        fb_check(&b, "gptq", &cases[i].e);
        fb_end(&b);
    }
}

/* The older place of the settings. */
static void the_side_file_is_read(void **state) {
    (void)state;
    const fb_expected e = {GS_SCHEME_W8A16, 1, 16, 0, false};
    foreign_bundle b;
    char text[1024];
    fb_begin(&b, linear, (void *)(uintptr_t)&usual, "weight");
    fb_config(&b, NULL);
    settings(&usual, text);
    tiny_text(b.dir, "quantize_config.json", text);
    fb_weights(&b, "model.safetensors");
    fb_check(&b, "gptq", &e);
    tiny_text(b.dir, "quantize_config.json", "{\"bits\": 4}");
    fb_refused(&b, "4 bits");
    tiny_text(b.dir, "quantize_config.json", "{\"bits\": 4, \"zero_point\": true}"); /* AWQ's */
    fb_refused(&b, "model.layers.0");
    fb_end(&b);
}

static void settings_that_are_not_computed_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *from, *to, *words;
    } bad[] = {
        {"\"bits\": 8", "\"bits\": 4", "4 bits"},
        {"\"bits\": 8", "\"bits\": \"8\"", "bits"},
        {"\"bits\": 8, ", "", "0 bits"},
        {"\"group_size\": 16", "\"group_size\": 0", "group_size is 0"},
        {"\"group_size\": 16", "\"group_size\": -2", "group_size is -2"},
        {"\"group_size\": 16", "\"group_size\": 8", "puts column"},
        {"\"group_size\": 16", "\"group_size\": 7", "whole groups of 7"},
        {"\"group_size\": 16", "\"group_size\": 9007199254740992", "whole groups"},
        {"\"gptq\", \"lm_head\"", "\"marlin\", \"lm_head\"", "'marlin'"},
        {"\"sym\": true", "\"dynamic\": {\"-:.*\": {}}", "dynamic"},
        {"\"sym\": true", "\"pack_dtype\": \"int16\"", "pack_dtype"},
    };
    for (size_t i = 0; i < GS_COUNTOF(bad); i++) {
        foreign_bundle b;
        char text[1024];
        settings(&usual, text);
        fb_edit(text, sizeof text, bad[i].from, bad[i].to);
        make(&b, &usual, text);
        fb_weights(&b, "model.safetensors");
        fb_refused(&b, bad[i].words);
        fb_end(&b);
    }
}

#define Q "model.layers.0.self_attn.q_proj."

static void spoil(foreign_bundle *b, int how) {
    switch (how) {
    case 0: fb_drop(b, Q "scales"); break;
    case 1: fb_drop(b, Q "qzeros"); break;
    case 2: fb_drop(b, Q "qweight"); break;
    case 3: fb_retype(b, Q "scales", GS_F16, 2, 32, 2); break;
    case 4: fb_retype(b, Q "scales", GS_I32, 2, 2, 32); break;
    case 5: fb_retype(b, Q "scales", GS_F16, 1, 64, 0); break;
    case 6: fb_retype(b, Q "qzeros", GS_I32, 2, 2, 7); break;
    case 7: fb_retype(b, Q "qzeros", GS_F32, 2, 2, 8); break;
    case 8: fb_retype(b, Q "qweight", GS_I32, 2, 7, 32); break;
    case 9: fb_retype(b, Q "qweight", GS_I32, 2, 8, 31); break;
    case 10: fb_retype(b, Q "qweight", GS_F32, 2, 8, 32); break;
    case 11: fb_retype(b, Q "qweight", GS_I32, 1, 256, 0); break;
    case 12: fb_find(b, Q "g_idx")->data[4 * 5] = 1; break;
    case 13: fb_find(b, Q "g_idx")->data[4 * 31 + 3] = 0xff; break;
    case 14: fb_retype(b, Q "g_idx", GS_I32, 1, 31, 0); break;
    case 15: fb_retype(b, Q "g_idx", GS_F32, 1, 32, 0); break;
    case 16: fb_find(b, Q "qzeros")->data[9] = 255; break;
    case 17: fb_put(b, Q "bias", "", GS_F16, 1, 32, 0, NULL)->data[1] = 1; break;
    case 18: fb_retype(b, Q "qweight", GS_I32, 2, 16, 32); fb_drop(b, Q "g_idx"); break;
    default: fb_put(b, Q "weight", "", GS_F16, 2, 32, 32, NULL); break;
    }
}

static void lying(foreign_bundle *b, int how) {
    make(b, &usual, NULL);
    spoil(b, how);
    fb_weights(b, "model.safetensors");
}

static void tensors_that_lie_are_refused(void **state) {
    (void)state;
    static const char *const words[] = {
        "scales' is missing", "qzeros' is missing", Q, "scales' is F16 [32, 2]", "scales' is I32", "scales' is F16 [64]",
        "qzeros' is I32 [2, 7]", "qzeros' is F32", "whole groups", "words of 4", "qweight' is F32", "qweight' is I32 [256]",
        "puts column 5 into group 1", "puts column 31", "g_idx' is I32 [31]", "g_idx' is F32", "is 256", "q_proj.bias",
        "scales' is F16 [2, 32]", Q "weight",
    };
    fb_all_refused(lying, words, GS_COUNTOF(words));
}

static void no_memory_is_an_error_everywhere(void **state) {
    (void)state;
    foreign_bundle b;
    make(&b, &usual, NULL);
    fb_weights(&b, "model.safetensors");
    fb_starve(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_is_read),
        cmocka_unit_test(the_side_file_is_read),
        cmocka_unit_test(settings_that_are_not_computed_are_refused),
        cmocka_unit_test(tensors_that_lie_are_refused),
        cmocka_unit_test(no_memory_is_an_error_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
