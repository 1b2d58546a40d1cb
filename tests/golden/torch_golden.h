/* CRC-32 of each tensor's bytes in reference/families/baichuan2-7b-torch-bin-bf16, as torch 2.13 loads them
 * (zlib.crc32 of tensor.view(torch.uint8)). */
#ifndef GS_TESTS_TORCH_GOLDEN_H
#define GS_TESTS_TORCH_GOLDEN_H

#include <stdint.h>

static const struct {
    const char *name;
    uint32_t crc;
} torch_golden[] = {
    {"model.embed_tokens.weight", 0x92af42fau},
    {"model.layers.0.input_layernorm.weight", 0x70a45f27u},
    {"model.layers.0.post_attention_layernorm.weight", 0x31814cf7u},
    {"model.layers.0.self_attn.W_pack.weight", 0xb20df9d2u},
    {"model.layers.0.self_attn.o_proj.weight", 0x741a0551u},
    {"model.layers.0.mlp.gate_proj.weight", 0x6d814911u},
    {"model.layers.0.mlp.up_proj.weight", 0x5d3cb5b9u},
    {"model.layers.0.mlp.down_proj.weight", 0x1560cf10u},
    {"model.layers.1.input_layernorm.weight", 0xcd6e8aa6u},
    {"model.layers.1.post_attention_layernorm.weight", 0x50a99b16u},
    {"model.layers.1.self_attn.W_pack.weight", 0x73a1f464u},
    {"model.layers.1.self_attn.o_proj.weight", 0x820b706au},
    {"model.layers.1.mlp.gate_proj.weight", 0x78316515u},
    {"model.layers.1.mlp.up_proj.weight", 0x0e88bfc5u},
    {"model.layers.1.mlp.down_proj.weight", 0x171b50efu},
    {"model.norm.weight", 0x80e5e469u},
    {"lm_head.weight", 0x17bbac21u},
};

#endif
