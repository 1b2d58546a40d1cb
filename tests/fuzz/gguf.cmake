gs_fuzz(gguf)
