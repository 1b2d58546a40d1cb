gs_fuzz(mindspore_ckpt)
