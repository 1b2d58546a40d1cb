/* gstick: one subcommand a file. */
#include <base/nearest.h>
#include <cli/ui.h>

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name, *about;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"inspect", "what a model or bundle is, and what can be quantized", gs_cmd_inspect},
    {"calibrate", "what a model's linears read on a text: statistics for quantize", gs_cmd_calibrate},
    {"quantize", "compress a model and write a bundle", gs_cmd_quantize},
    {"eval", "perplexity of a model or bundle, and its divergence from another", gs_cmd_eval},
    {"verify", "whether a bundle would load and compute what it says", gs_cmd_verify},
    {"export", "a model or bundle in another format, codes and scales bit by bit", gs_cmd_export},
    {"tokenize", "a text's token ids", gs_cmd_tokenize},
};

static void help(FILE *to) {
    fprintf(to, "gstick %s: compress language models on a plain CPU host, measure what it cost, and\n"
                "write bundles that Ascend serving stacks load.\n\nusage: gstick COMMAND ...\n\n", gs_version());
    for (size_t i = 0; i < GS_COUNTOF(commands); i++) fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].about);
    fprintf(to, "\nA typical job:\n"
                "  gstick quantize MODEL --scheme w8a8 --calib wiki.train.raw -o BUNDLE\n"
                "  gstick eval BUNDLE --text wiki.test.raw --against MODEL\n\n"
                "MODEL is a Hugging Face directory (safetensors, pytorch_model.bin\n"
                "or a MindSpore .ckpt) or a GGUF file. `gstick COMMAND --help` says more.\n");
}

int main(int argc, char **argv) {
    const char *known[GS_COUNTOF(commands)];
    if (argc < 2) {
        help(stderr);
        return GS_EXIT_USAGE;
    }
    gs_ui_catch_signals();
    /* hwloc would complain on standard error where /sys is not mounted; it copes without */
    setenv("HWLOC_HIDE_ERRORS", "2", 0);
    /* glibc otherwise learns to keep weight-sized blocks in its heap, which fragments: resident
     * memory would creep up by several segments */
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    for (size_t i = 0; i < GS_COUNTOF(commands); i++) {
        known[i] = commands[i].name;
        if (strcmp(argv[1], commands[i].name) == 0) return commands[i].run(argc - 2, argv + 2);
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        help(stdout);
        return GS_EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("gstick %s\n", gs_version());
        return GS_EXIT_OK;
    }
    fprintf(stderr, "gstick: unknown command '%s' (did you mean '%s'?)\n", argv[1],
            gs_nearest(argv[1], known, GS_COUNTOF(known)));
    return GS_EXIT_USAGE;
}
