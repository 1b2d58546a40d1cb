/* The constants of the exponential, shared by the scalar and the vector sources, so that all
 * do the same sequence of rounded operations.
 *
 * Reduction (Cody and Waite 1980): n = rint(x/ln 2), r = (x - n*LN2_HIGH) - n*LN2_LOW with
 * |r| <= ln(2)/2; LN2_HIGH = 355/512 has so few bits that n*LN2_HIGH is exact. Then
 * e^r ~ 1 + (r + r^2*(C0 + C1 r + ... + C4 r^4)), coefficients by a Remez exchange on that
 * interval (relative error 2.5e-8 before rounding), and e^x = e^r * 2^n. Multiply-adds are
 * fused (one rounding), by name, on every level.
 */
#ifndef GS_KERNELS_EXP_H
#define GS_KERNELS_EXP_H

#define GS_EXP_LOG2E 0x1.715476p+0f
#define GS_EXP_LN2_HIGH 0x1.63p-1f
#define GS_EXP_LN2_LOW (-0x1.bd0106p-13f)
#define GS_EXP_C0 0x1.fffff6p-2f
#define GS_EXP_C1 0x1.5554fcp-3f
#define GS_EXP_C2 0x1.556418p-5f
#define GS_EXP_C3 0x1.11ea52p-7f
#define GS_EXP_C4 0x1.5dd332p-10f
/* below: 0 (the last x whose exponential is a normal number) */
#define GS_EXP_LOW (-0x1.5d589ep+6f)
/* x is capped here, where the result already overflows to infinity */
#define GS_EXP_CAP 89.0f
/* beyond, tanh is 1 to the last bit */
#define GS_TANH_CAP 10.0f
/* gelu(g) = g / (1 + exp(g * (C1 + C3 g^2))): -2 sqrt(2/pi), and 0.044715 times it */
#define GS_GELU_C1 (-0x1.988454p+0f)
#define GS_GELU_C3 (-0x1.2444f2p-4f)

#endif
