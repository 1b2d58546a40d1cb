#include <kernels/gemm/s8.h>
#include <kernels/kernels.h>

void gs_s8_epilogue_run(const gs_gemm_s8_epilogue *e, const gs_s8_piece *p, const int32_t *acc,
                        const int32_t *bias, uint16_t *half, float *c, int64_t ldc) {
    const gs_kernels *kernels = gs_kernels_get();
    for (int64_t i = 0; i < p->rows; i++) {
        float *y = c + (p->row + i) * ldc + p->col;
        /* a factor of 1 is as good as none */
        float row_scale = e->row_scale ? e->row_scale[p->row + i] : 1;
        kernels->rescale_s32(p->cols, acc + i * p->cols, bias, e->scale + p->col, row_scale, y);
        if (e->addend) kernels->add_f32(p->cols, y, e->addend + p->col, y);
        if (e->round == GS_F16) {
            kernels->convert_f32_f16(p->cols, y, half);
            kernels->convert_f16_f32(p->cols, half, y);
        } else if (e->round == GS_BF16) {
            kernels->convert_f32_bf16(p->cols, y, half);
            kernels->convert_bf16_f32(p->cols, half, y);
        }
    }
}
