#include <network/ops/rope_table.h>

#include <math.h>

static const double pi = 3.14159265358979323846;

int64_t gs_rope_dim(const gs_attr *attr) { return attr->rope.rotary_dim ? attr->rope.rotary_dim : attr->rope.head_dim; }

static double scale_llama3(const gs_attr *attr, double inverse) {
    double original = (double)attr->rope.original_positions, wavelength = 2 * pi / inverse;
    double low = attr->rope.low_freq_factor, high = attr->rope.high_freq_factor;
    if (wavelength > original / low) return inverse / attr->rope.factor;
    if (wavelength < original / high) return inverse;
    double t = (original / wavelength - low) / (high - low);
    return (1 - t) * inverse / attr->rope.factor + t * inverse;
}

/* The dimension, no whole number, whose rotation turns so often within the original positions. */
static double dimension_of(const gs_attr *attr, double turns) {
    double d = (double)gs_rope_dim(attr), original = (double)attr->rope.original_positions;
    return d * log(original / (2 * pi * turns)) / (2 * log(attr->rope.theta));
}

static double scale_yarn(const gs_attr *attr, int64_t j, double inverse) {
    double fast = attr->rope.beta_fast > 0 ? attr->rope.beta_fast : 32;
    double slow = attr->rope.beta_slow > 0 ? attr->rope.beta_slow : 1;
    double low = fmax(floor(dimension_of(attr, fast)), 0);
    double high = fmin(ceil(dimension_of(attr, slow)), (double)gs_rope_dim(attr) - 1);
    if (low == high) high += 0.001; /* a step */
    double slowed = fmin(fmax(((double)j - low) / (high - low), 0), 1);
    return inverse / attr->rope.factor * slowed + inverse * (1 - slowed);
}

float gs_rope_inverse_frequency(const gs_attr *attr, int64_t j) {
    double exponent = -2.0 * (double)j / (double)gs_rope_dim(attr);
    float inverse = (float)pow(attr->rope.theta, exponent);
    switch (attr->rope.kind) {
    case GS_ROPE_LINEAR: return (float)((double)inverse / attr->rope.factor);
    case GS_ROPE_LLAMA3: return (float)scale_llama3(attr, (double)inverse);
    case GS_ROPE_YARN: return (float)scale_yarn(attr, j, (double)inverse);
    case GS_ROPE_PLAIN:
    case GS_ROPE_DYNAMIC: break;
    }
    return inverse;
}

float gs_rope_amplitude(const gs_attr *attr) {
    if (attr->rope.kind != GS_ROPE_YARN) return 1;
    if (attr->rope.attention_factor > 0) return (float)attr->rope.attention_factor;
    return attr->rope.factor > 1 ? (float)(0.1 * log(attr->rope.factor) + 1) : 1;
}

gs_attr gs_rope_stretched(const gs_attr *attr, int64_t positions) {
    gs_attr plain = *attr;
    double d = (double)gs_rope_dim(attr), factor = attr->rope.factor;
    double growth = factor * (double)positions / (double)attr->rope.original_positions - (factor - 1);
    plain.rope.kind = GS_ROPE_PLAIN;
    plain.rope.theta = attr->rope.theta * pow(growth, d / (d - 2));
    return plain;
}
