gs_fuzz(zip)
gs_fuzz(unpickle)
