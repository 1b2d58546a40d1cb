/* The rows of a weight in panels, as products want them: packed once by oneDNN, or plain; placed by the team's plan
 * (base/placed.h). What f32, bf16 and int8 weights share.
 *
 * Columns of C (rows of w) are cut into panels of equal width but for the last, rows of C into blocks. Both cuts
 * depend on the shapes alone, so results do not depend on the team.
 */
#ifndef GS_KERNELS_GEMM_PANELS_H
#define GS_KERNELS_GEMM_PANELS_H

#include <base/placed.h>
#include <kernels/gemm/product.h>

typedef struct gs_panels {
    int64_t type;       /* of the products, gs_product_key */
    size_t element;     /* bytes of one weight */
    int64_t n, k;
    int64_t rows;       /* of a block of C */
    int64_t panel, count;
    size_t panel_bytes; /* distance of panels */
    /* plain [n, k], or the packed panels end to end; one of the two is set */
    const void *borrowed;
    gs_placed *own;
} gs_panels;

/* Products of one size: [short block][last panel]; NULL where there is none. */
typedef struct gs_panel_products {
    gs_product *at[2][2];
    size_t scratch_bytes; /* the most any of them wants */
} gs_panel_products;

/* The caller fills type to rows; width of a panel, at most n. */
void gs_panels_cut(gs_panels *s, int64_t width);
int64_t gs_panel_width(const gs_panels *s, int64_t p);
/* src: [n, k], may be freed after. */
gs_status gs_panels_pack(gs_panels *s, const void *src, gs_team *team, gs_error *err) GS_NODISCARD;
/* As it is: borrowed when `borrowed` is not NULL and no node wants a copy of its own, else copied. */
gs_status gs_panels_keep(gs_panels *s, const void *src, gs_team *team, bool *borrowed, gs_error *err) GS_NODISCARD;
void gs_panels_clear(gs_panels *s);
size_t gs_panels_bytes(const gs_panels *s); /* memory of its own */
/* The panels for a worker: of its node. */
const char *gs_panels_read(const gs_panels *s, const gs_team *team, int worker);

/* The products of packed panels for m > 0 rows; to be released also on failure. */
gs_status gs_panels_acquire(const gs_panels *s, int64_t m, gs_panel_products *out, gs_error *err) GS_NODISCARD;
void gs_panels_release(gs_panel_products *products);

#endif
