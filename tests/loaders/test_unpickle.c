/* Pickles as values: what is data comes out, everything else is refused by name and never run. */
#include "../support.h"
#include "pickle_builder.h"

#include <base/mem.h>
#include <loaders/unpickle.h>

#define FLOATS "torch\nFloatStorage\n"

/* On a heap block that is exactly as long, so that sanitizers see any overrun. */
static gs_status open_exact(const void *bytes, size_t n, uint8_t **copy, gs_pickle **out, gs_error *err) {
    *copy = malloc(n ? n : 1);
    assert_non_null(*copy);
    memcpy(*copy, bytes, n);
    return gs_pickle_open(*copy, n, out, err);
}

typedef struct opened {
    uint8_t *copy;
    gs_pickle *pickle;
    const gs_pickled *root;
} opened;

static opened read_pickle(const void *bytes, size_t n) {
    opened o;
    gs_error err = {0};
    assert_ok(open_exact(bytes, n, &o.copy, &o.pickle, &err), &err);
    o.root = gs_pickle_root(o.pickle);
    return o;
}

static void done(opened *o) {
    gs_pickle_close(o->pickle);
    free(o->copy);
}

#define READ(literal) read_pickle(literal, sizeof(literal) - 1)

static void integer_is(const void *bytes, size_t n, int64_t value) {
    opened o = read_pickle(bytes, n);
    assert_int_equal(o.root->kind, GS_PICKLED_INT);
    assert_int_equal(o.root->integer, value);
    done(&o);
}

#define INTEGER(literal, value) integer_is(literal, sizeof(literal) - 1, value)

static void numbers_are_read(void **state) {
    (void)state;
    INTEGER("\x80\x02K\xff.", 255);
    INTEGER("\x80\x02M\x01\xff.", 0xff01);
    INTEGER("\x80\x02J\xff\xff\xff\xff.", -1);
    INTEGER("\x80\x02J\xff\xff\xff\x7f.", INT32_MAX);
    INTEGER("\x80\x02J\0\0\0\x80.", INT32_MIN);
    INTEGER("\x80\x02\x8a\x00.", 0);
    INTEGER("\x80\x02\x8a\x01\x80.", -128);
    INTEGER("\x80\x02\x8a\x02\x80\x00.", 128);
    INTEGER("\x80\x02\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f.", INT64_MAX);
    INTEGER("\x80\x02\x8b\x08\0\0\0\0\0\0\0\0\0\0\x80.", INT64_MIN);
    opened o = READ("\x80\x02\x8a\x09\0\0\0\0\0\0\0\0\x40.");
    assert_int_equal(o.root->kind, GS_PICKLED_LONG);
    done(&o);
    o = READ("\x80\x02G\x3f\xf8\0\0\0\0\0\0.");
    assert_int_equal(o.root->kind, GS_PICKLED_FLOAT);
    assert_true(o.root->real == 1.5);
    done(&o);
    o = READ("\x80\x02\x88.");
    assert_true(o.root->kind == GS_PICKLED_BOOL && o.root->integer == 1);
    done(&o);
    o = READ("\x80\x02N.");
    assert_int_equal(o.root->kind, GS_PICKLED_NONE);
    done(&o);
}

static void text_is_read(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        gs_pickled_kind kind;
    } cases[] = {
#define CASE(literal, kind) {literal, sizeof(literal) - 1, kind}
        CASE("\x80\x02X\x02\0\0\0ab.", GS_PICKLED_TEXT),
        CASE("\x80\x04\x8c\x02" "ab.", GS_PICKLED_TEXT),
        CASE("\x80\x04\x8d\x02\0\0\0\0\0\0\0ab.", GS_PICKLED_TEXT),
        CASE("\x80\x02U\x02" "ab.", GS_PICKLED_TEXT),
        CASE("\x80\x02T\x02\0\0\0ab.", GS_PICKLED_TEXT),
        CASE("\x80\x03" "C\x02" "ab.", GS_PICKLED_BYTES),
        CASE("\x80\x03" "B\x02\0\0\0ab.", GS_PICKLED_BYTES),
        CASE("\x80\x04\x8e\x02\0\0\0\0\0\0\0ab.", GS_PICKLED_BYTES),
#undef CASE
    };
    for (size_t i = 0; i < GS_COUNTOF(cases); i++) {
        opened o = read_pickle(cases[i].bytes, cases[i].n);
        assert_int_equal(o.root->kind, cases[i].kind);
        assert_int_equal(o.root->count, 2);
        assert_memory_equal(o.root->text, "ab", 2);
        assert_int_equal(gs_pickled_is(o.root, "ab"), cases[i].kind == GS_PICKLED_TEXT);
        assert_false(gs_pickled_is(o.root, "abc"));
        done(&o);
    }
}

static void nested_values_are_read(void **state) {
    (void)state;
    /* {"k": [1, (2, 3), ()], 5: {}} with items set one by one, marked, and appended both ways */
    opened o = READ("\x80\x02}X\x01\0\0\0k](K\x01K\x02K\x03\x86" "e)as(K\x05}u.");
    assert_int_equal(o.root->kind, GS_PICKLED_DICT);
    assert_int_equal(o.root->count, 4);
    const gs_pickled *list = o.root->items[1];
    assert_true(gs_pickled_is(o.root->items[0], "k"));
    assert_int_equal(list->kind, GS_PICKLED_LIST);
    assert_int_equal(list->count, 3);
    assert_int_equal(list->items[1]->kind, GS_PICKLED_TUPLE);
    assert_int_equal(list->items[1]->items[1]->integer, 3);
    assert_int_equal(list->items[2]->count, 0);
    assert_int_equal(o.root->items[3]->kind, GS_PICKLED_DICT);
    done(&o);
    o = READ("\x80\x02(K\x01\x85K\x02K\x03K\x04\x87t.");
    assert_int_equal(o.root->count, 2);
    assert_int_equal(o.root->items[1]->count, 3);
    done(&o);
    o = READ("\x80\x02(t.");
    assert_int_equal(o.root->count, 0);
    done(&o);
    /* what is discarded is gone; a mark can be, too */
    o = READ("\x80\x02K\x01K\x02" "0(0(K\x03K\x04" "12\x86.");
    assert_int_equal(o.root->count, 2);
    assert_ptr_equal(o.root->items[0], o.root->items[1]);
    done(&o);
}

static void the_memo_gives_the_same_value_back(void **state) {
    (void)state;
    opened o = READ("\x80\x04\x95\x11\0\0\0\0\0\0\0]\x94(h\0K\x07\x94h\x01j\x01\0\0\0e.");
    assert_int_equal(o.root->count, 4);
    assert_ptr_equal(o.root->items[0], o.root); /* a list that holds itself is no harm */
    assert_int_equal(o.root->items[3]->integer, 7);
    done(&o);
    o = READ("\x80\x02K\x05r\x04\0\0\0q\x03h\x03h\x04\x87.");
    assert_int_equal(o.root->items[2]->integer, 5);
    done(&o);
}

static void long_lists_grow(void **state) {
    (void)state;
    pickle_builder b = {0};
    pk(&b, "\x80\x02](");
    for (int i = 0; i < 5000; i++) pk_int(&b, i);
    pk(&b, "e");
    for (int i = 5000; i < 6000; i++) {
        pk_int(&b, i);
        pk(&b, "a");
    }
    pk(&b, ".");
    opened o = read_pickle(b.data, b.len);
    assert_int_equal(o.root->count, 6000);
    for (int i = 0; i < 6000; i++) assert_int_equal(o.root->items[i]->integer, i);
    done(&o);
    pk_clear(&b);
}

static void tensors_are_read(void **state) {
    (void)state;
    pickle_builder b = {0};
    pk(&b, "\x80\x02");
    pk_global(&b, "torch._utils\n_rebuild_parameter\n");
    pk_tensor(&b, &(pk_view){"torch\nBFloat16Storage\n", "12", 100, 7, 2, {3, 4}, {1, 3}});
    pk(&b, "\x88");
    pk_global(&b, "collections\nOrderedDict\n");
    pk(&b, ")R\x87R.");
    opened o = read_pickle(b.data, b.len);
    assert_int_equal(o.root->kind, GS_PICKLED_TENSOR);
    const gs_pickled_tensor *t = o.root->tensor;
    assert_true(gs_pickled_is(t->storage->key, "12"));
    assert_int_equal(t->storage->count, 100);
    assert_int_equal(t->dtype, GS_BF16);
    assert_int_equal(t->offset, 7);
    assert_int_equal(t->ndim, 2);
    assert_int_equal(t->shape[1], 4);
    assert_int_equal(t->stride[1], 3);
    done(&o);
    pk_clear(&b);
}

/* A state dict whose attributes are set, as nn.Module.state_dict() leaves it. */
static void attributes_of_dicts_are_skipped(void **state) {
    (void)state;
    opened o = READ("\x80\x02" "ccollections\nOrderedDict\n)R(K\x01K\x02u}X\x09\0\0\0_metadata}sb.");
    assert_int_equal(o.root->kind, GS_PICKLED_DICT);
    assert_int_equal(o.root->count, 2);
    done(&o);
}

static void untyped_tensors_carry_their_dtype(void **state) {
    (void)state;
    pickle_builder b = {0};
    pk(&b, "\x80\x02");
    pk_global(&b, "torch._utils\n_rebuild_tensor_v3\n");
    pk(&b, "(");
    pk_storage(&b, "torch.storage\nUntypedStorage\n", "0", 8);
    pk(&b, "K\0K\x04\x85K\x01\x85\x89}");
    pk_global(&b, "torch\nuint16\n");
    pk(&b, "tR.");
    opened o = read_pickle(b.data, b.len);
    assert_int_equal(o.root->tensor->dtype, GS_U16);
    assert_int_equal(o.root->tensor->storage->dtype, GS_DTYPE_NONE);
    done(&o);
    pk_clear(&b);
}

static void refuses_bytes(const void *bytes, size_t n, gs_status status, const char *words) {
    uint8_t *copy;
    gs_pickle *p;
    gs_error err = {0};
    assert_fails(open_exact(bytes, n, &copy, &p, &err), status, &err);
    assert_null(p);
    if (!strstr(err.text, words)) fail_msg("the error is '%s', it should say '%s'", err.text, words);
    free(copy);
}

#define REFUSES(literal, status, words) refuses_bytes(literal, sizeof(literal) - 1, status, words)

static void programs_are_refused_by_name(void **state) {
    (void)state;
    REFUSES("\x80\x02" "cos\nsystem\nX\x04\0\0\0true\x85R.", GS_E_UNSUPPORTED, "byte 2: asks for os.system, which is not run");
    REFUSES("\x80\x02" "cposix\nsystem\n.", GS_E_UNSUPPORTED, "asks for posix.system");
    REFUSES("\x80\x04\x8c\x02os\x8c\x06system\x93.", GS_E_UNSUPPORTED, "asks for os.system");
    REFUSES("\x80\x02" "c__builtin__\neval\n.", GS_E_UNSUPPORTED, "__builtin__.eval");
    REFUSES("\x80\x02" "cbuiltins\nexec\n.", GS_E_UNSUPPORTED, "builtins.exec");
    REFUSES("\x80\x02" "csubprocess\nPopen\n.", GS_E_UNSUPPORTED, "subprocess.Popen");
    REFUSES("\x80\x02" "ctorch\nload\n.", GS_E_UNSUPPORTED, "torch.load");
    REFUSES("\x80\x02" "ctorch.storage\n_load_from_bytes\n.", GS_E_UNSUPPORTED, "_load_from_bytes");
    REFUSES("\x80\x02" "ctorch._utils\n_rebuild_tensor_v2.__globals__\n.", GS_E_UNSUPPORTED, "__globals__");
    REFUSES("\x80\x02" "ccollections\nOrderedDict.fromkeys\n.", GS_E_UNSUPPORTED, "fromkeys");
    REFUSES("\x80\x02" "co\x1b[2Js\nsys\rtem\n.", GS_E_UNSUPPORTED, "asks for o?[2Js.sys?tem");
    REFUSES("\x80\x02\x8c\x0fos\nsystem\nelse\n\x8c\x01x\x93.", GS_E_UNSUPPORTED, "os?system?else?.x");
    /* inside what is known: a reduce within a reduce */
    REFUSES("\x80\x02" "ctorch._utils\n_rebuild_tensor_v2\n(cos\nsystem\nX\x01\0\0\0x\x85RtR.", GS_E_UNSUPPORTED, "os.system");
    REFUSES("\x80\x02(X\x02\0\0\0idios\nsystem\n.", GS_E_UNSUPPORTED, "opcode INST is not run");
    REFUSES("\x80\x02(o.", GS_E_UNSUPPORTED, "opcode OBJ");
    REFUSES("\x80\x02" "ccollections\nOrderedDict\n)\x81.", GS_E_UNSUPPORTED, "opcode NEWOBJ");
    REFUSES("\x80\x04" "ccollections\nOrderedDict\n)}\x92.", GS_E_UNSUPPORTED, "opcode NEWOBJ_EX");
    REFUSES("\x80\x02\x82\x01.", GS_E_UNSUPPORTED, "opcode EXT1");
    REFUSES("\x80\x02P0\n.", GS_E_UNSUPPORTED, "opcode PERSID");
    REFUSES("\x80\x02I5\n.", GS_E_UNSUPPORTED, "opcode INT");
    REFUSES("\x80\x04\x8f.", GS_E_UNSUPPORTED, "opcode EMPTY_SET");
    REFUSES("\x80\x05\x97.", GS_E_UNSUPPORTED, "opcode NEXT_BUFFER");
}

static void calls_of_other_things_are_refused(void **state) {
    (void)state;
    REFUSES("\x80\x02" "ctorch\nFloatStorage\n)R.", GS_E_UNSUPPORTED, "calls torch.FloatStorage, which is not run");
    REFUSES("\x80\x02K\x05)R.", GS_E_UNSUPPORTED, "calls an integer, which is not run");
    REFUSES("\x80\x02" "ccollections\nOrderedDict\nK\x05R.", GS_E_FORMAT, "calls with an integer");
    REFUSES("\x80\x02" "ccollections\nOrderedDict\n]\x85R.", GS_E_UNSUPPORTED, "OrderedDict with 1 arguments");
    REFUSES("\x80\x02" "ctorch._utils\n_rebuild_tensor_v2\n)R.", GS_E_FORMAT, "with 0 arguments");
    REFUSES("\x80\x02" "ctorch._utils\n_rebuild_tensor_v2\n(NNNNNNtR.", GS_E_FORMAT, "storage is None");
    REFUSES("\x80\x02" "ctorch._utils\n_rebuild_parameter\n(NNNtR.", GS_E_FORMAT, "something else than a tensor");
    REFUSES("\x80\x02]}b.", GS_E_UNSUPPORTED, "sets the state of a list from a dict");
    REFUSES("\x80\x02})b.", GS_E_UNSUPPORTED, "sets the state of a dict from a tuple");
    REFUSES("\x80\x02K\x05Q.", GS_E_UNSUPPORTED, "names no storage");
    REFUSES("\x80\x02X\x07\0\0\0storage\x85Q.", GS_E_FORMAT, "not described by");
    REFUSES("\x80\x02(X\x07\0\0\0storagectorch\nfloat32\nX\x01\0\0\0" "0X\x03\0\0\0cpuK\x05tQ.", GS_E_FORMAT, "not described by");
    REFUSES("\x80\x02(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0" "0X\x03\0\0\0cpuJ\xff\xff\xff\xfftQ.", GS_E_FORMAT,
            "not described by");
}

static void broken_pickles_are_refused(void **state) {
    (void)state;
    REFUSES("", GS_E_FORMAT, "no pickle of protocol 2");
    REFUSES("(lp0\n.", GS_E_FORMAT, "no pickle of protocol 2");
    REFUSES("\x80\x01.", GS_E_UNSUPPORTED, "pickle protocol 1");
    REFUSES("\x80\x06N.", GS_E_UNSUPPORTED, "pickle protocol 6");
    REFUSES("\x80\x02", GS_E_FORMAT, "ends without its STOP");
    REFUSES("\x80\x02.", GS_E_FORMAT, "the stack runs dry");
    REFUSES("\x80\x02N\xff.", GS_E_FORMAT, "0xff is no opcode");
    REFUSES("\x80\x02N\x80\x02.", GS_E_FORMAT, "0x80 is no opcode");
    REFUSES("\x80\x02N.N.", GS_E_FORMAT, "2 bytes follow the end");
    REFUSES("\x80\x02NN.", GS_E_FORMAT, "values left on the stack");
    REFUSES("\x80\x02N(.", GS_E_FORMAT, "the stack runs dry");
    REFUSES("\x80\x02t.", GS_E_FORMAT, "no mark");
    REFUSES("\x80\x02" "1.", GS_E_FORMAT, "no mark");
    REFUSES("\x80\x02N(0" "00.", GS_E_FORMAT, "the stack runs dry");
    REFUSES("\x80\x02N(\x85.", GS_E_FORMAT, "the stack runs dry");
    REFUSES("\x80\x02(K\x01K\x02u.", GS_E_FORMAT, "the stack runs dry");
    REFUSES("\x80\x02}(K\x01u.", GS_E_FORMAT, "a key without a value");
    REFUSES("\x80\x02](K\x01K\x02u.", GS_E_FORMAT, "adds to a list as if it were a dict");
    REFUSES("\x80\x02)K\x01" "a.", GS_E_FORMAT, "adds to a tuple as if it were a list");
    REFUSES("\x80\x02X\xff\xff\xff\xff" "a.", GS_E_FORMAT, "4294967295 bytes are announced");
    REFUSES("\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xff" "a.", GS_E_FORMAT, "18446744073709551615 bytes");
    REFUSES("\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xff.", GS_E_FORMAT, "a frame of");
    REFUSES("\x80\x02\x8b\xff\xff\xff\xff" "1.", GS_E_FORMAT, "announced");
    REFUSES("\x80\x02" "cos", GS_E_FORMAT, "a line without an end");
    REFUSES("\x80\x02" "cos\nsys", GS_E_FORMAT, "a line without an end");
    REFUSES("\x80\x02h\x05.", GS_E_FORMAT, "nothing is at place 5");
    REFUSES("\x80\x02Nr\xff\xff\xff\xff.", GS_E_FORMAT, "place 4294967295 in the memo of a pickle of 9 bytes");
    REFUSES("\x80\x02Nr\0\0\x10\0.", GS_E_FORMAT, "place 1048576");
    REFUSES("\x80\x02Nr\0\0\0\x10.", GS_E_FORMAT, "place 268435456");
    REFUSES("\x80\x02q\0.", GS_E_FORMAT, "the stack runs dry");
    REFUSES("\x80\x04NK\x05\x93.", GS_E_FORMAT, "name is no string");
}

static void repeated(const char *unit, size_t n, gs_status status, const char *words) {
    pickle_builder b = {0};
    pk(&b, "\x80\x02");
    for (size_t i = 0; i < n; i++) pk_bytes(&b, unit, strlen(unit));
    pk(&b, ".");
    refuses_bytes(b.data, b.len, status, words);
    pk_clear(&b);
}

static void floods_are_bounded(void **state) {
    (void)state;
    repeated("(", 5000, GS_E_UNSUPPORTED, "nested more than 1000 deep");
    repeated("]", 2000000, GS_E_UNSUPPORTED, "a stack of more than 1048576 values");
    repeated("]0", 9000000, GS_E_NOMEM, "its values need more than 256 MiB");
    uint8_t *large = calloc(1, (size_t)GS_PICKLE_MAX_BYTES + 1);
    gs_pickle *p;
    gs_error err = {0};
    assert_non_null(large);
    assert_fails(gs_pickle_open(large, (size_t)GS_PICKLE_MAX_BYTES + 1, &p, &err), GS_E_UNSUPPORTED, &err);
    free(large);
}

static void bad_tensors_are_refused(void **state) {
    (void)state;
    static const pk_bad_view cases[] = {
        {{FLOATS, "0", 4, -1, 1, {4}, {1}}, GS_E_FORMAT, "offset is no non-negative integer"},
        {{FLOATS, "0", 4, 0, 1, {-4}, {1}}, GS_E_FORMAT, "shape is no tuple of non-negative"},
        {{FLOATS, "0", 4, 0, 1, {4}, {-1}}, GS_E_FORMAT, "stride is no tuple of non-negative"},
        {{FLOATS, "0", 4, 0, 9, {1, 1, 1, 1, 1, 1, 1, 1, 1}, {1}}, GS_E_UNSUPPORTED, "9 dimensions, more than 8"},
    };
    for (size_t i = 0; i < GS_COUNTOF(cases); i++) {
        pickle_builder b = {0};
        pk(&b, "\x80\x02");
        pk_tensor(&b, &cases[i].view);
        pk(&b, ".");
        refuses_bytes(b.data, b.len, cases[i].status, cases[i].words);
        pk_clear(&b);
    }
}

static void every_cut_is_refused(void **state) {
    (void)state;
    pickle_builder b = {0};
    pk(&b, "\x80\x02}(");
    pk_text(&b, "w");
    pk_tensor(&b, &(pk_view){FLOATS, "0", 6, 0, 2, {2, 3}, {3, 1}});
    pk(&b, "u.");
    opened o = read_pickle(b.data, b.len);
    done(&o);
    for (size_t n = 0; n < b.len; n++) {
        uint8_t *copy;
        gs_pickle *p;
        gs_error err = {0};
        assert_int_not_equal(open_exact(b.data, n, &copy, &p, &err), GS_OK);
        assert_true(err.text[0] && !strchr(err.text, '\n'));
        free(copy);
    }
    for (int64_t k = 0;; k++) { /* and no want of memory leaks */
        uint8_t *copy;
        gs_pickle *p;
        gs_mem_fail_after(k);
        gs_status status = open_exact(b.data, b.len, &copy, &p, NULL);
        gs_mem_fail_after(-1);
        gs_pickle_close(p);
        free(copy);
        if (status == GS_OK) break;
        assert_int_equal(status, GS_E_NOMEM);
    }
    pk_clear(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_read),
        cmocka_unit_test(text_is_read),
        cmocka_unit_test(nested_values_are_read),
        cmocka_unit_test(the_memo_gives_the_same_value_back),
        cmocka_unit_test(long_lists_grow),
        cmocka_unit_test(tensors_are_read),
        cmocka_unit_test(attributes_of_dicts_are_skipped),
        cmocka_unit_test(untyped_tensors_carry_their_dtype),
        cmocka_unit_test(programs_are_refused_by_name),
        cmocka_unit_test(calls_of_other_things_are_refused),
        cmocka_unit_test(broken_pickles_are_refused),
        cmocka_unit_test(floods_are_bounded),
        cmocka_unit_test(bad_tensors_are_refused),
        cmocka_unit_test(every_cut_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
