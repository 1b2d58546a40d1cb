gs_test(corpus SOURCES test_corpus.c)
gs_seeds(corpus)
