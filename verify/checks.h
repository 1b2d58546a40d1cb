/* The table of checks: id, what holds, why it matters, where it comes from ("AB" is ascend-bundles.md). Ids are stable:
 * scripts read them. A check belongs to the ascend bundle unless its id begins with another format's name; those of the
 * container, the files, the architecture and the numbers belong to every format they can be asked of.
 */
#ifndef GS_VERIFY_CHECKS_H
#define GS_VERIFY_CHECKS_H

#define GS_CHECK_LIST(X)                                                                                              \
    X(FORMAT, "format", "the directory or file is a bundle of a known format, or a plain model",                   \
      "nothing else can be checked, and no server would load it", "AB 1, 6, 7")                                       \
    X(CONTAINER, "container", "every weight file is well formed: header, unique names, tensors inside the data",      \
      "a reader refuses the file, or reads other bytes than were meant", "AB 2")                                      \
    X(METADATA_FORMAT, "metadata-format", "a metadata block says which framework's tensors these are",                \
      "transformers refuses a format it does not know", "AB 2")                                                       \
    X(DUPLICATE_TENSOR, "duplicate-tensor", "no tensor is stored in two files",                                       \
      "MindIE asserts; vLLM takes whichever comes last", "AB 1 rule 1, 5.1")                                          \
    X(SHARD_NAMES, "shard-names", "weight files are one, or shards 1 to N of N, all there",                           \
      "a missing shard is missing tensors, which vllm-ascend does not notice", "AB 2, 3.1")                           \
    X(INDEX, "index", "the index lists exactly the stored tensors, each in its file",                                 \
      "loaders that follow the index miss tensors or look in the wrong file", "AB 2")                                 \
    X(INDEX_SIZE, "index-size", "total_size is the sum of the tensors' bytes",                                        \
      "loaders reserve memory by it; a difference tells of a stale index", "AB 2")                                    \
    X(STRAY_WEIGHTS, "stray-weights", "no weight file besides the bundle's own",                                      \
      "loaders take every safetensors file of the directory", "AB 1 rule 1")                                          \
    X(STALE_INDEX, "stale-index", "no index of other weight files remains",                                           \
      "vLLM filters the files by model.safetensors.index.json when there is one", "AB 1 rule 1, 3.1")                 \
    X(PERMISSIONS, "permissions", "files can be read, and are not writable by others",                                \
      "MindIE refuses files that others may write", "AB 5.2")                                                         \
    X(JSON_SIZE, "json-size", "JSON files are below 100 MiB",                                                         \
      "MindIE refuses larger ones", "AB 1 rule 8")                                                                    \
    X(PATH_CHARACTERS, "path-characters", "file names hold only letters, digits and _ . / -",                         \
      "MindIE refuses other characters in paths", "AB 5.2")                                                           \
    X(DESCRIPTION_JSON, "description-json", "the description is there, JSON, a flat object, no key twice",            \
      "without it the weights are taken for float ones", "AB 3.1, 3.2")                                               \
    X(DESCRIPTION_NAME, "description-name", "the description is called quant_model_description.json",                 \
      "vllm-ascend tries no other name", "AB 3.1, 5.3")                                                               \
    X(DESCRIPTION_COMPLETE, "description-complete", "every stored tensor is listed",                                  \
      "the loader's look-up fails on the missing one", "AB 1 rule 4, 3.2")                                            \
    X(DESCRIPTION_STORED, "description-stored", "every listed tensor is stored (but for a tied head)",                \
      "it would be left uninitialised", "AB 3.1, 3.2")                                                                \
    X(DESCRIPTION_VALUE, "description-value", "every value is a known type, that of the linear the tensor belongs to", \
      "an unknown type raises; a wrong one computes with the wrong kernel", "AB 3.2, 3.3, 4.3")                       \
    X(DESCRIPTION_FLOAT, "description-float", "embedding, head and norms are listed (FLOAT; the head may be quantized)", \
      "they go through the same look-up as linears, also when tied", "AB 1 rule 4, 3.2")                              \
    X(DESCRIPTION_GLOBALS, "description-globals", "global keys are known and have known values",                      \
      "version and group_size change how codes are unpacked", "AB 3.2")                                               \
    X(DESCRIPTION_DOMINANT, "description-dominant", "model_quant_type is the dominant type of the linears",           \
      "MindIE takes the scheme of the whole bundle from it", "AB 4.1, 5.1")                                           \
    X(DESCRIPTION_KV, "description-kv", "kv_cache_type and kv_quant_type are C8 exactly when cache scales are stored", \
      "vllm-ascend reads one, MindIE the other", "AB 3.2, 3.7")                                                       \
    X(CONFIG, "config", "config.json is there and describes a known architecture",                                    \
      "completeness is judged by it", "AB 8.2")                                                                       \
    X(CONFIG_DTYPE, "config-dtype", "torch_dtype is explicit and one that the target computes in",                    \
      "deq_scale has another form for each dtype; nothing converts it", "AB 1 rule 5, 3.4, 5.1")                      \
    X(CONFIG_QUANTIZE, "config-quantize", "quantize, where it stands, names the bundle's type",                       \
      "MindIE reads every linear by it", "AB 5.1")                                                                    \
    X(CONFIG_QUANTIZATION, "config-quantization", "no quantization_config is left in config.json",                    \
      "a foreign method conflicts with ascend", "AB 1, 3.1")                                                          \
    X(TENSOR_MISSING, "tensor-missing", "every tensor that the architecture and the types ask for is stored",         \
      "vllm-ascend leaves missing ones uninitialised: garbage without an error", "AB 3.1, 3.4")                       \
    X(TENSOR_UNKNOWN, "tensor-unknown", "no stored tensor is foreign to the architecture",                            \
      "it is dropped silently, and what it did is lost", "AB 3.6")                                                    \
    X(TENSOR_SHAPE, "tensor-shape", "shapes are those of config.json and the type", "it does not load", "AB 3.4, 3.8") \
    X(TENSOR_DTYPE, "tensor-dtype", "element types are those of the table of schemes",                                \
      "values are converted, codes are not codes", "AB 3.4, 4.3")                                                     \
    X(DEQ_SCALE_DTYPE, "deq-scale-dtype", "deq_scale is F32 for bfloat16 and I64 for float16",                        \
      "an F32 one in a float16 bundle is converted by value: zeros, garbage", "AB 1 rule 5, 3.4")                     \
    X(TIED_HEAD, "tied-head", "a stored head of a tied model equals the embedding",                                   \
      "one of the two is dropped by the loader", "AB 3.2, 8.5")                                                       \
    X(FUSED_TYPE, "fused-type", "linears that read the same value have one type",                                     \
      "the loader fuses them and raises", "AB 3.2")                                                                   \
    X(FUSED_INPUT, "fused-input", "linears that read the same value have bit-equal input_scale and input_offset",     \
      "the last one loaded wins for all: silently wrong", "AB 1 rule 3, 3.8")                                         \
    X(TARGET_TYPE, "target-type", "the target has a kernel for every type",                                           \
      "NotImplementedError at load", "AB 3.3, 5.2")                                                                   \
    X(TARGET_MIXTURE, "target-mixture", "types stand together as the target loads them",                              \
      "MindIE reads one type for all linears that are not float, vllm-ascend one for a layer's experts", "AB 5.2, 5.3") \
    X(FINITE, "finite", "no float tensor holds NaN or an infinity", "every output becomes NaN", "AB 4.2")             \
    X(SCALE_POSITIVE, "scale-positive", "scales are positive, finite, and not lost in the dtype they are used in",    \
      "a zero or overflowing scale erases a row", "AB 3.5, 4.2")                                                      \
    X(SCALE_ROUNDING, "scale-rounding", "input_scale is a value of torch_dtype",                                      \
      "the loader rounds it, and deq_scale no longer fits", "AB 3.4, 4.2")                                            \
    X(OFFSET_RANGE, "offset-range", "input_offset is integral, from -128 to 127",                                     \
      "its parameter is int8", "AB 3.4, 11")                                                                          \
    X(WEIGHT_OFFSET, "weight-offset", "weight offsets are zero (integral for MindIE alone)",                          \
      "vllm-ascend adds what msModelSlim subtracts, or ignores it", "AB 1 rule 2, 3.5")                               \
    X(DEQ_SCALE_BITS, "deq-scale-bits", "an I64 deq_scale holds the bits of an f32 and nothing else",                 \
      "the kernel reads the low 32 bits as a float", "AB 3.5")                                                        \
    X(DEQ_SCALE_PRODUCT, "deq-scale-product", "deq_scale is input_scale times weight_scale",                          \
      "the output is off by the ratio", "AB 4.2, 11")                                                                 \
    X(QUANT_BIAS, "quant-bias", "quant_bias is bias / deq_scale - input_offset * sum of codes, within 1",             \
      "every output of the row is shifted", "AB 4.2")                                                                 \
    X(ACCUMULATOR, "accumulator", "|quant_bias| + 128 * sum of |codes| is below 2^31",                                \
      "the int32 accumulator wraps", "AB 4.2")                                                                        \
    X(CODE_RANGE, "code-range", "rows use the range of their codes",                                                  \
      "rows that do not were transposed, shifted or scaled by another row's scale", "AB 4.2")                         \
    X(CODE_SATURATION, "code-saturation", "at most a quarter of a tensor's codes lie at the ends of the range",       \
      "the scale is too small: weights were clipped", "AB 4.2")                                                       \
    X(NORM_BIAS, "norm-bias", "a norm's bias that is not zero feeds static W8A8 linears alone",                       \
      "others have no bias to take it out again", "AB 3.6")                                                           \
    X(KV_CACHE, "kv-cache", "cache scales come in pairs for k and v of every layer, positive, with offset zero",      \
      "one decode path ignores the offset; a missing one is uninitialised", "AB 3.7")                                 \
    X(AGAINST_WEIGHTS, "against-weights",                                                                             \
      "dequantized weights lie within half a step of the source's (a whole one where the manifest says refine)",      \
      "the bundle is of another model, or codes went to the wrong place", "AB 11")                                    \
    X(AGAINST_FLOAT, "against-float", "float tensors are the source's, cast",                                         \
      "the bundle is of another model, or was altered", "AB 11")                                                      \
    X(AGAINST_COVERAGE, "against-coverage", "every weight and float tensor was compared with the source's",           \
      "what is not compared may be anything", "AB 11")                                                                \
    X(AGAINST_CONFIG, "against-config", "config.json says what the source's says",                                    \
      "the same weights compute something else with other settings", "AB 11")                                         \
    X(CT_CONFIG, "compressed-tensors-config",                                                                         \
      "quantization_config says what the tensors are: known keys, one scheme a linear, no codes among the ignored",   \
      "readers refuse unknown keys and compute what it says", "AB 7.1")                                               \
    X(CT_PACKED, "compressed-tensors-packed", "weight_shape is the shape of the packed weight",                       \
      "the weight is unpacked by it", "AB 7.1")                                                                       \
    X(GPTQ_CONFIG, "gptq-config", "quantization_config says bits, group and symmetry of what is stored",              \
      "the kernel unpacks by it", "AB 7.2")                                                                           \
    X(GPTQ_ZEROS, "gptq-zeros", "qzeros are those of symmetric codes (8 bits: 0x7F7F7F7F), g_idx counts groups",       \
      "weights are symmetric; other zeros shift every one", "AB 7.2")                                                 \
    X(MS_DESCRIPTION, "mindspore-description",                                                                        \
      "quantization_description.json lists what is stored, and a tied head, with a known type",                       \
      "the loader looks each one up", "golden-stick.md 3.3, AB 6.3")                                                  \
    X(GGUF_TYPES, "gguf-types", "matrices are F32, F16, BF16 or Q8_0, vectors F32, rows whole blocks",                \
      "llama.cpp has no kernel for another mixture", "AB 7.4")

typedef enum gs_check {
#define X(name, id, what, why, source) GS_CHECK_##name,
    GS_CHECK_LIST(X)
#undef X
    GS_CHECK_COUNT
} gs_check;

#endif
