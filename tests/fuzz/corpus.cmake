gs_fuzz(corpus)
