#include <loaders/tokenizer/spm_shim.h>

#include <cstdio>
#include <exception>
#include <new>
#include <vector>

#include <sentencepiece_processor.h>

using sentencepiece::SentencePieceProcessor;

static_assert(sizeof(int) == sizeof(int32_t), "ids are handed over as int");

namespace {

/* Runs f, which gives a sentencepiece status, and turns whatever happens into a result. */
template <typename F>
gs_spm_result guarded(F f, char *why, size_t why_len) {
    try {
        const auto status = f();
        if (status.ok()) return GS_SPM_OK;
        std::snprintf(why, why_len, "%s", status.error_message());
    } catch (const std::bad_alloc &) {
        return GS_SPM_NOMEM;
    } catch (const std::exception &e) {
        std::snprintf(why, why_len, "%s", e.what());
    } catch (...) {
        std::snprintf(why, why_len, "unknown exception");
    }
    return GS_SPM_BAD;
}

}  // namespace

gs_spm_result gs_spm_load(const uint8_t *proto, size_t len, void **out, char *why,
                          size_t why_len) {
    *out = nullptr;
    auto *p = new (std::nothrow) SentencePieceProcessor;
    if (!p) return GS_SPM_NOMEM;
    const gs_spm_result result = guarded(
        [&] {
            return p->LoadFromSerializedProto(
                absl::string_view(reinterpret_cast<const char *>(proto), len));
        },
        why, why_len);
    if (result == GS_SPM_OK) *out = p;
    else delete p;
    return result;
}

void gs_spm_unload(void *model) {
    delete static_cast<SentencePieceProcessor *>(model);
}

int32_t gs_spm_bos(const void *model) {
    return static_cast<const SentencePieceProcessor *>(model)->bos_id();
}

gs_spm_result gs_spm_encode(const void *model, const char *text, size_t len,
                            int (*push)(void *ctx, const int *ids, size_t n), void *ctx,
                            char *why, size_t why_len) {
    bool pushed = true;
    const gs_spm_result result = guarded(
        [&] {
            std::vector<int> ids;
            const auto status = static_cast<const SentencePieceProcessor *>(model)->Encode(
                absl::string_view(text, len), &ids);
            if (status.ok()) pushed = push(ctx, ids.data(), ids.size()) == 0;
            return status;
        },
        why, why_len);
    return pushed ? result : GS_SPM_NOMEM;
}
