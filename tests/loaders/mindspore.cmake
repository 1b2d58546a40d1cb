gs_test(mindspore_ckpt SOURCES test_mindspore_ckpt.c)
gs_seeds(mindspore_ckpt)
