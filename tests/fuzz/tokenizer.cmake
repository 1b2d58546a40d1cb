gs_fuzz(tokenizer)
