/* Algorithm and network never meet: no model family is named outside the rooms that know
 * families, no algorithm inside the rooms below them. And no file grows too long. */
#include <tests/support.h>

#include <ctype.h>
#include <strings.h>

#include "sources.h"

enum { MAX_LINES = 650 };

static const char *const every_room[] = {"base", "kernels", "loaders", "network", "llm",
                                         "calibrate", "ptq", "deploy", "verify", "eval", "api", "cli",
                                         "tests", "bench", "include", NULL};

/* Data in the shape of a source, written by a script. */
static const char *const generated[] = {"tests/golden/", NULL};

static const char *const family_words[] = {"llama", "qwen", "baichuan", "mistral", "gemma", "granite",
                                           "internlm", "olmo2", "phi3", NULL};
static const char *const family_free[] = {"base", "kernels", "network", "llm", "calibrate",
                                          "ptq", "deploy", "verify", "eval", "loaders", NULL};
/* Where the words are data: the families' rows, and file formats that carry names. */
static const char *const family_homes[] = {"llm/helpers/", "loaders/gguf_families.",
                                           "loaders/tokenizer", NULL};
/* Names of other things that contain a family's: a program whose evaluation protocol we
 * offer, a kind of rotary scaling in config.json, a row order of GGUF files. */
static const char *const not_families[] = {"llama.cpp", "llama_cpp", "llamacpp", "llama-perplexity", "llama-gguf-split",
                                           "llama3", "llama_interleaved", NULL};

static const char *const algorithm_words[] = {"rtn", "smoothquant", "gptq", "awq", NULL};
static const char *const algorithm_free[] = {"base", "llm", "loaders", "network", "kernels",
                                             NULL};

/* Names of other things that contain an algorithm's: how a file format packs its codes. */
static const char *const not_algorithms[] = {"gptq8", NULL};

typedef struct gs_words {
    const char *path;
    const char *const *words;
    const char *const *allowed; /* spellings that are no finding */
    bool whole;                 /* between non-letters only ("rtn" in "partner" is none) */
    bool quiet;
    int found;
} gs_words;

static bool spelled_at(const char *text, const char *const *list) {
    for (; list && *list; list++)
        if (!strncasecmp(text, *list, strlen(*list))) return true;
    return false;
}

static void find_words(const char *line, int number, void *user) {
    gs_words *w = user;
    for (const char *p = line; *p; p++) {
        for (const char *const *word = w->words; *word; word++) {
            size_t n = strlen(*word);
            if (strncasecmp(p, *word, n) || spelled_at(p, w->allowed)) continue;
            if (w->whole && ((p > line && isalpha((unsigned char)p[-1])) ||
                             isalpha((unsigned char)p[n])))
                continue;
            w->found++;
            if (!w->quiet) print_error("%s:%d: '%s' does not belong here\n", w->path, number, *word);
        }
    }
}

/* A comparison of something called family ("if (m->family == ...", "switch (family)"). */
static void find_family_branches(const char *line, int number, void *user) {
    gs_words *w = user;
    for (const char *p = line; (p = strstr(p, "family")); p++) {
        const char *after = p + 6;
        while (isspace((unsigned char)*after)) after++;
        bool compared = !strncmp(after, "==", 2) || !strncmp(after, "!=", 2);
        const char *chosen = strstr(line, "switch");
        if (!compared && !(chosen && chosen < p)) continue;
        w->found++;
        if (!w->quiet) print_error("%s:%d: a branch on the model family\n", w->path, number);
    }
}

static bool at_home(const char *path, const char *const *homes) {
    for (; *homes; homes++)
        if (!strncmp(path, *homes, strlen(*homes))) return true;
    return false;
}

static int scan_rooms(const char *const *rooms, const char *const *homes, gs_words words,
                      void (*find)(const char *, int, void *)) {
    for (; *rooms; rooms++) {
        gs_sources sources;
        gs_sources_read(".", *rooms, &sources);
        for (size_t i = 0; i < sources.count; i++) {
            words.path = sources.items[i].path;
            if (homes && at_home(words.path, homes)) continue;
            gs_source_blank_comments(sources.items[i].text);
            gs_source_each_line(sources.items[i].text, find, &words);
        }
        gs_sources_clear(&sources);
    }
    return words.found;
}

static void no_family_is_named_outside_its_home(void **state) {
    (void)state;
    gs_words words = {.words = family_words, .allowed = not_families};
    assert_int_equal(scan_rooms(family_free, family_homes, words, find_words), 0);
}

static void nothing_branches_on_a_family(void **state) {
    (void)state;
    gs_words words = {0};
    assert_int_equal(scan_rooms(family_free, family_homes, words, find_family_branches), 0);
}

static void no_algorithm_is_named_below_its_room(void **state) {
    (void)state;
    gs_words words = {.words = algorithm_words, .allowed = not_algorithms, .whole = true};
    assert_int_equal(scan_rooms(algorithm_free, NULL, words, find_words), 0);
}

static int found_in(gs_words words, const char *sample,
                    void (*find)(const char *, int, void *)) {
    char *text = strdup(sample);
    assert_non_null(text);
    words.path = "sample.c";
    words.quiet = true;
    gs_source_blank_comments(text);
    gs_source_each_line(text, find, &words);
    free(text);
    return words.found;
}

static void a_word_out_of_place_would_be_found(void **state) {
    (void)state;
    gs_words family = {.words = family_words, .allowed = not_families};
    assert_int_equal(found_in(family, "x = is_qwen2(m); /* qwen */\n", find_words), 1);
    assert_int_equal(found_in(family, "strcmp(t, \"LlamaForCausalLM\")\n", find_words), 1);
    assert_int_equal(found_in(family, "p = \"llama.cpp\"; k = ROPE_LLAMA3; // llama\n", find_words), 0);

    gs_words algorithm = {.words = algorithm_words, .whole = true};
    assert_int_equal(found_in(algorithm, "gs_rtn_run(partner);\n", find_words), 1);
    assert_int_equal(found_in(algorithm, "#define USE_AWQ 1\n", find_words), 1);

    gs_words none = {0};
    assert_int_equal(found_in(none, "if (m->family == 3)\nswitch (m->family) {\n",
                              find_family_branches), 2);
    assert_int_equal(found_in(none, "print(m->family);\nx = family_name(m);\n",
                              find_family_branches), 0);
}

static void no_file_is_too_long(void **state) {
    (void)state;
    int bad = 0;
    for (const char *const *room = every_room; *room; room++) {
        gs_sources sources;
        gs_sources_read(".", *room, &sources);
        for (size_t i = 0; i < sources.count; i++) {
            int lines = 0;
            for (const char *p = sources.items[i].text; *p; p++) lines += *p == '\n';
            if (lines <= MAX_LINES || at_home(sources.items[i].path, generated)) continue;
            print_error("%s: %d lines, at most %d\n", sources.items[i].path, lines, MAX_LINES);
            bad++;
        }
        gs_sources_clear(&sources);
    }
    assert_int_equal(bad, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_family_is_named_outside_its_home),
        cmocka_unit_test(nothing_branches_on_a_family),
        cmocka_unit_test(no_algorithm_is_named_below_its_room),
        cmocka_unit_test(a_word_out_of_place_would_be_found),
        cmocka_unit_test(no_file_is_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
