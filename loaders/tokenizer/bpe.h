/* Byte-pair encoding of one word (Sennrich, Haddow, Birch 2016; the byte alphabet is
 * GPT-2's): start from single symbols, then merge the neighbouring pair of lowest rank, the
 * leftmost of equals, until no pair is known.
 *
 * Symbols are ids throughout, so a merge is one look-up of (left id, right id). The first
 * symbols are the word's bytes in a byte-level vocabulary, else its characters; a character
 * that is no piece becomes its bytes <0xHH> (byte_fallback), else the unknown token, else
 * nothing, which is what Hugging Face's tokenizers do.
 *
 * gs_bpe is read-only once built; each thread brings its own gs_bpe_run. */
#ifndef GS_LOADERS_TOKENIZER_BPE_H
#define GS_LOADERS_TOKENIZER_BPE_H

#include <loaders/tokenizer/ids.h>
#include <loaders/tokenizer/vocab.h>

typedef struct gs_bpe_pair {
    uint64_t pair; /* left id << 32 | right id; UINT64_MAX: free */
    int32_t rank, id;
} gs_bpe_pair;

typedef struct gs_bpe {
    gs_vocab vocab;
    gs_bpe_pair *pairs; /* open addressing, 2^bits slots */
    int bits;
    bool byte_level, ignore_merges, byte_fallback, fuse_unk;
    int32_t unk;           /* or -1 */
    /* a merge joins U+2581 to a character before it, by that character's last byte */
    bool crosses[256];
    bool cuttable; /* a word may be cut before U+2581 behind any other character that has no such merge */
    int32_t byte_ids[256]; /* of the byte alphabet, or of <0x00>..<0xFF>; -1: none */
} gs_bpe;

/* After the vocabulary: room for `merges` merges. */
gs_status gs_bpe_reserve(gs_bpe *b, size_t merges, gs_error *err) GS_NODISCARD;
/* The merge of the next rank; left and right as the vocabulary spells them. GS_E_FORMAT when
 * one of them or their union is no piece. replace: of a pair that appears twice the later
 * rank counts (tokenizer.json), else the earlier (GGUF). */
gs_status gs_bpe_merge(gs_bpe *b, const char *left, size_t left_len, const char *right,
                       size_t right_len, int32_t rank, bool replace, gs_error *err) GS_NODISCARD;
/* After the merges and flags: looks up byte_ids, sets cuttable. unk: the unknown token's text or "". */
void gs_bpe_finish(gs_bpe *b, const char *unk);
void gs_bpe_clear(gs_bpe *b);

/* Character of the byte alphabet that stands for byte b: itself where it prints, else one
 * of U+0100..U+0143. */
uint32_t gs_bpe_byte_char(uint8_t b);

typedef struct gs_bpe_run gs_bpe_run;
gs_status gs_bpe_run_create(const gs_bpe *b, gs_bpe_run **out, gs_error *err) GS_NODISCARD;
void gs_bpe_run_destroy(gs_bpe_run *r);
/* Appends the ids of one word; len < 2^31. Short words are remembered for the run's life. */
gs_status gs_bpe_word(gs_bpe_run *r, const char *word, size_t len, gs_ids *out,
                      gs_error *err) GS_NODISCARD;

#endif
