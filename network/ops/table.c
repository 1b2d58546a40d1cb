#include <network/ops/op.h>

#define X(name, text, inputs) extern const gs_op_class gs_op_class_##name;
GS_OP_LIST(X)
#undef X

static const struct {
    const char *text;
    int inputs;
    const gs_op_class *class;
} table[] = {
#define X(name, text, inputs) {text, inputs, &gs_op_class_##name},
    GS_OP_LIST(X)
#undef X
};

const char *gs_op_name(gs_op op) {
    return (unsigned)op < GS_OP_COUNT ? table[op].text : "?";
}

int gs_op_inputs(gs_op op) { return table[op].inputs; }

const gs_op_class *gs_op_class_get(gs_op op) { return table[op].class; }
