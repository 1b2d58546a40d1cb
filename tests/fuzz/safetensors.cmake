gs_fuzz(safetensors)
gs_fuzz(json)
gs_fuzz(config)
gs_fuzz(quantization_config)
