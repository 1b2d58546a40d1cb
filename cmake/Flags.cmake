# Flags as interface targets, so that nothing leaks into a consumer.
add_library(gs_flags INTERFACE)
target_include_directories(gs_flags INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
target_compile_definitions(gs_flags INTERFACE _GNU_SOURCE)
# No contraction and no fast-math: scalar code is the specification of every kernel.
target_compile_options(gs_flags INTERFACE
    -ffp-contract=off
    -Wall -Wextra -Wshadow -Wpointer-arith -Wundef -Wvla
    $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes -Wmissing-prototypes>)
if(GSTICK_WERROR)
    target_compile_options(gs_flags INTERFACE -Werror)
endif()
if(GSTICK_SANITIZE)
    target_compile_options(gs_flags INTERFACE -fsanitize=${GSTICK_SANITIZE}
        -fno-sanitize-recover=all -fno-omit-frame-pointer)
    target_link_options(gs_flags INTERFACE -fsanitize=${GSTICK_SANITIZE})
endif()
if(GSTICK_FUZZ)
    # every room is instrumented for coverage; the targets add the driver
    target_compile_options(gs_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(GSTICK_COVERAGE)
    target_compile_options(gs_flags INTERFACE --coverage)
    target_link_options(gs_flags INTERFACE --coverage)
endif()
