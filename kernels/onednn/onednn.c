#include <dlfcn.h>
#include <kernels/onednn/onednn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static dnnl_engine_t engine;
static dnnl_stream_t stream;
static dnnl_status_t ready = dnnl_runtime_error;
static char name[80];
/* Primitives are made one at a time: it is rare, and the library's own cache then never has two
 * threads waiting for the same code to be generated. */
static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;
/* of whichever OpenMP runtime oneDNN was linked with; absent when it has none */
static int (*omp_get_threads)(void);
static void (*omp_set_threads)(int);

static const char *isa_word(int isa) {
    static const struct {
        int isa;
        const char *word;
    } known[] = {{dnnl_cpu_isa_avx512_core_amx, "avx512_core_amx"},
                 {dnnl_cpu_isa_avx512_core_bf16, "avx512_core_bf16"},
                 {dnnl_cpu_isa_avx512_core_vnni, "avx512_core_vnni"},
                 {dnnl_cpu_isa_avx512_core, "avx512_core"},
                 {dnnl_cpu_isa_avx2_vnni, "avx2_vnni"},
                 {dnnl_cpu_isa_avx2, "avx2"},
                 {dnnl_cpu_isa_avx, "avx"},
                 {dnnl_cpu_isa_sse41, "sse41"}};
    for (size_t i = 0; i < GS_COUNTOF(known); i++)
        if ((isa & known[i].isa) == known[i].isa) return known[i].word;
    return "generic";
}

static void init(void) {
    /* dlsym returns an object pointer; POSIX says it may be copied into a function pointer */
    void *get = dlsym(RTLD_DEFAULT, "omp_get_max_threads");
    void *set = dlsym(RTLD_DEFAULT, "omp_set_num_threads");
    if (get && set) {
        memcpy(&omp_get_threads, &get, sizeof get);
        memcpy(&omp_set_threads, &set, sizeof set);
    }
    const dnnl_version_t *v = dnnl_version();
    snprintf(name, sizeof name, "oneDNN %d.%d.%d (%s)", v->major, v->minor, v->patch,
             isa_word((int)dnnl_get_effective_cpu_isa()));
    ready = dnnl_engine_create(&engine, dnnl_cpu, 0);
    if (ready == dnnl_success)
        ready = dnnl_stream_create(&stream, engine, dnnl_stream_default_flags);
}

/* The thread count is a property of the calling thread in OpenMP, so this is not shared. */
static int serial_begin(void) {
    pthread_once(&once, init);
    if (!omp_get_threads) return 1;
    int before = omp_get_threads();
    if (before != 1) omp_set_threads(1);
    return before;
}

static void serial_end(int before) {
    if (before != 1) omp_set_threads(before);
}

static gs_status checked(dnnl_status_t s, const char *what, gs_error *err) {
    if (s == dnnl_success) return GS_OK;
    if (s == dnnl_out_of_memory)
        return GS_FAIL(err, GS_E_NOMEM, "oneDNN %s: out of memory", what);
    if (s == dnnl_unimplemented)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "oneDNN %s: not implemented", what);
    return GS_FAIL(err, GS_E_INVALID, "oneDNN %s: status %d", what, (int)s);
}

gs_status gs_dnnl_md_init(gs_dnnl_md *md, dnnl_data_type_t type, int ndims,
                          const int64_t *dims, const int64_t *strides, gs_error *err) {
    dnnl_dims_t d, s;
    for (int i = 0; i < ndims; i++) {
        d[i] = dims[i];
        s[i] = strides ? strides[i] : 0;
    }
    dnnl_status_t status;
#if DNNL_VERSION_MAJOR >= 3
    if (strides)
        status = dnnl_memory_desc_create_with_strides(&md->handle, ndims, d, type, s);
    else
        status = dnnl_memory_desc_create_with_tag(&md->handle, ndims, d, type,
                                                  dnnl_format_tag_any);
#else
    if (strides) status = dnnl_memory_desc_init_by_strides(&md->value, ndims, d, type, s);
    else
        status =
            dnnl_memory_desc_init_by_tag(&md->value, ndims, d, type, dnnl_format_tag_any);
#endif
    return checked(status, "layout", err);
}

gs_status gs_dnnl_md_copy(gs_dnnl_md *md, gs_dnnl_md_ref from, gs_error *err) {
#if DNNL_VERSION_MAJOR >= 3
    return checked(dnnl_memory_desc_clone(&md->handle, from), "layout", err);
#else
    (void)err;
    md->value = *from;
    return GS_OK;
#endif
}

void gs_dnnl_md_clear(gs_dnnl_md *md) {
#if DNNL_VERSION_MAJOR >= 3
    if (md->handle) dnnl_memory_desc_destroy(md->handle);
#endif
    memset(md, 0, sizeof *md);
}

static gs_status finish(gs_dnnl_op *op, dnnl_status_t s, const char *what, gs_error *err) {
    if (s == dnnl_success) s = dnnl_primitive_create(&op->primitive, op->desc);
    gs_status status = checked(s, what, err);
    if (status != GS_OK) {
        gs_dnnl_op_clear(op);
        return status;
    }
    op->scratch_bytes = dnnl_memory_desc_get_size(
        dnnl_primitive_desc_query_md(op->desc, dnnl_query_scratchpad_md, 0));
    return GS_OK;
}

static dnnl_status_t make_attr(dnnl_primitive_attr_t *attr, bool accumulate) {
    dnnl_status_t s = dnnl_primitive_attr_create(attr);
    if (s == dnnl_success)
        s = dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user);
    if (s != dnnl_success || !accumulate) return s;
    dnnl_post_ops_t ops = NULL;
    s = dnnl_post_ops_create(&ops);
    if (s != dnnl_success) return s;
#if DNNL_VERSION_MAJOR >= 3
    s = dnnl_post_ops_append_sum(ops, 1.0f, 0, dnnl_data_type_undef);
#else
    s = dnnl_post_ops_append_sum(ops, 1.0f);
#endif
    if (s == dnnl_success) s = dnnl_primitive_attr_set_post_ops(*attr, ops);
    dnnl_post_ops_destroy(ops);
    return s;
}

static dnnl_status_t matmul_desc(gs_dnnl_op *op, gs_dnnl_md_ref src, gs_dnnl_md_ref weights,
                                 gs_dnnl_md_ref dst, dnnl_primitive_attr_t attr) {
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_matmul_primitive_desc_create(&op->desc, engine, src, weights, NULL, dst,
                                             attr);
#else
    dnnl_matmul_desc_t d;
    dnnl_status_t s = dnnl_matmul_desc_init(&d, src, weights, NULL, dst);
    return s == dnnl_success ? dnnl_primitive_desc_create(&op->desc, &d, attr, engine, NULL)
                             : s;
#endif
}

gs_status gs_dnnl_matmul(gs_dnnl_op *op, gs_dnnl_md_ref src, gs_dnnl_md_ref weights,
                         gs_dnnl_md_ref dst, bool accumulate, gs_error *err) {
    int threads = serial_begin();
    dnnl_primitive_attr_t attr = NULL;
    memset(op, 0, sizeof *op);
    pthread_mutex_lock(&making);
    dnnl_status_t s = ready;
    if (s == dnnl_success) s = make_attr(&attr, accumulate);
    if (s == dnnl_success) s = matmul_desc(op, src, weights, dst, attr);
    gs_status status = finish(op, s, "product", err);
    if (attr) dnnl_primitive_attr_destroy(attr);
    pthread_mutex_unlock(&making);
    serial_end(threads);
    return status;
}

static dnnl_status_t convolution_desc(gs_dnnl_op *op, gs_dnnl_md_ref src,
                                      gs_dnnl_md_ref weights, gs_dnnl_md_ref bias,
                                      gs_dnnl_md_ref dst, const int64_t *strides,
                                      const int64_t *dilates, const int64_t *low,
                                      const int64_t *high, dnnl_primitive_attr_t attr) {
    dnnl_dims_t s = {strides[0], strides[1]}, d = {dilates[0], dilates[1]};
    dnnl_dims_t l = {low[0], low[1]}, h = {high[0], high[1]};
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_convolution_forward_primitive_desc_create(
        &op->desc, engine, dnnl_forward_inference, dnnl_convolution_direct, src, weights,
        bias, dst, s, d, l, h, attr);
#else
    dnnl_convolution_desc_t c;
    dnnl_status_t status = dnnl_dilated_convolution_forward_desc_init(
        &c, dnnl_forward_inference, dnnl_convolution_direct, src, weights, bias, dst, s, d, l,
        h);
    return status == dnnl_success
               ? dnnl_primitive_desc_create(&op->desc, &c, attr, engine, NULL)
               : status;
#endif
}

gs_status gs_dnnl_convolution(gs_dnnl_op *op, gs_dnnl_md_ref src, gs_dnnl_md_ref weights,
                              gs_dnnl_md_ref bias, gs_dnnl_md_ref dst, const int64_t *strides,
                              const int64_t *dilates, const int64_t *padding_low,
                              const int64_t *padding_high, gs_error *err) {
    int threads = serial_begin();
    dnnl_primitive_attr_t attr = NULL;
    memset(op, 0, sizeof *op);
    pthread_mutex_lock(&making);
    dnnl_status_t s = ready;
    if (s == dnnl_success) s = make_attr(&attr, false);
    if (s == dnnl_success)
        s = convolution_desc(op, src, weights, bias, dst, strides, dilates, padding_low,
                             padding_high, attr);
    gs_status status = finish(op, s, "convolution", err);
    if (attr) dnnl_primitive_attr_destroy(attr);
    pthread_mutex_unlock(&making);
    serial_end(threads);
    return status;
}

void gs_dnnl_op_clear(gs_dnnl_op *op) {
    if (op->primitive) dnnl_primitive_destroy(op->primitive);
    if (op->desc) dnnl_primitive_desc_destroy(op->desc);
    memset(op, 0, sizeof *op);
}

gs_dnnl_md_ref gs_dnnl_op_src(const gs_dnnl_op *op) {
    return dnnl_primitive_desc_query_md(op->desc, dnnl_query_src_md, 0);
}

gs_dnnl_md_ref gs_dnnl_op_weights(const gs_dnnl_op *op) {
    return dnnl_primitive_desc_query_md(op->desc, dnnl_query_weights_md, 0);
}

gs_dnnl_md_ref gs_dnnl_op_dst(const gs_dnnl_op *op) {
    return dnnl_primitive_desc_query_md(op->desc, dnnl_query_dst_md, 0);
}

static dnnl_status_t execute(dnnl_primitive_t primitive, int count, const gs_dnnl_arg *args) {
    dnnl_exec_arg_t bound[GS_DNNL_MAX_ARGS + 1];
    memset(bound, 0, sizeof bound);
    dnnl_status_t s = dnnl_success;
    int made = 0;
    for (; made < count; made++) {
        s = dnnl_memory_create(&bound[made].memory, args[made].md, engine, args[made].data);
        if (s != dnnl_success) break;
        bound[made].arg = args[made].index;
    }
    if (s == dnnl_success) s = dnnl_primitive_execute(primitive, stream, count, bound);
    if (s == dnnl_success) s = dnnl_stream_wait(stream);
    while (made) dnnl_memory_destroy(bound[--made].memory);
    return s;
}

gs_status gs_dnnl_execute(const gs_dnnl_op *op, int count, const gs_dnnl_arg *args,
                          void *scratch, gs_error *err) {
    gs_dnnl_arg all[GS_DNNL_MAX_ARGS + 1];
    memcpy(all, args, (size_t)count * sizeof *args);
    if (op->scratch_bytes)
        all[count++] = (gs_dnnl_arg){
            DNNL_ARG_SCRATCHPAD,
            dnnl_primitive_desc_query_md(op->desc, dnnl_query_scratchpad_md, 0), scratch};
    int threads = serial_begin();
    dnnl_status_t s = execute(op->primitive, count, all);
    serial_end(threads);
    return checked(s, "execution", err);
}

gs_status gs_dnnl_reorder(gs_dnnl_md_ref from, const void *src, gs_dnnl_md_ref to, void *dst,
                          gs_error *err) {
    int threads = serial_begin();
    gs_dnnl_op op = {0};
    pthread_mutex_lock(&making);
    dnnl_status_t s = ready;
    if (s == dnnl_success)
        s = dnnl_reorder_primitive_desc_create(&op.desc, from, engine, to, engine, NULL);
    gs_status status = finish(&op, s, "reorder", err);
    pthread_mutex_unlock(&making);
    if (status == GS_OK) {
        /* oneDNN only reads the source, though its interface takes it as writable */
        gs_dnnl_arg args[2] = {{DNNL_ARG_FROM, from, NULL}, {DNNL_ARG_TO, to, dst}};
        memcpy(&args[0].data, &src, sizeof src);
        status = checked(execute(op.primitive, 2, args), "reorder", err);
    }
    gs_dnnl_op_clear(&op);
    serial_end(threads);
    return status;
}

/* The levels are sets of bits, not an order. */
static bool has_isa(int wanted) {
    pthread_once(&once, init);
    return ready == dnnl_success && ((int)dnnl_get_effective_cpu_isa() & wanted) == wanted;
}

bool gs_dnnl_has_bf16(void) { return has_isa(dnnl_cpu_isa_avx512_core); }

bool gs_dnnl_has_u8s8(void) {
#if defined(__x86_64__)
    return has_isa(dnnl_cpu_isa_avx512_core_vnni) || has_isa(dnnl_cpu_isa_avx2_vnni);
#else
    return false; /* the bits mean other things there */
#endif
}

const char *gs_dnnl_name(void) {
    pthread_once(&once, init);
    return name;
}
