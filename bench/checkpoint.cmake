# Writes random-weight checkpoints for bench/quantize.sh and the large tests.
add_executable(make_checkpoint make_checkpoint.c)
target_link_libraries(make_checkpoint PRIVATE gs_flags gs_deps gstick_static)
set_target_properties(make_checkpoint PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)
