gs_test(safetensors SOURCES test_safetensors.c)
gs_test(safetensors_conformance SOURCES test_safetensors_conformance.c)
gs_test(safetensors_writer SOURCES test_safetensors_writer.c)
gs_test(shards SOURCES test_shards.c)
gs_test(tensor SOURCES test_tensor.c)
gs_test(tensor_codes SOURCES test_tensor_codes.c)
gs_test(config SOURCES test_config.c)
gs_test(checkpoint SOURCES test_checkpoint.c)
gs_test(checkpoint_present SOURCES test_checkpoint_present.c)

# gs_seeds(name): the seeds of fuzz_<name> as a test, in every build.
function(gs_seeds name)
    gs_test(fuzz_seeds_${name} SOURCES ../fuzz/fuzz_${name}.c ../fuzz/every_seed_runs.c)
    target_compile_definitions(test_fuzz_seeds_${name} PRIVATE
        GS_CORPUS="tests/fuzz/corpus/fuzz_${name}")
endfunction()
gs_seeds(safetensors)
gs_seeds(json)
gs_seeds(config)
