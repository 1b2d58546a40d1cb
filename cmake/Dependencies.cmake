# Every library the house stands on. A missing one names its Debian package.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

add_library(gs_deps INTERFACE)
target_link_libraries(gs_deps INTERFACE Threads::Threads m ${CMAKE_DL_LIBS})

set(GSTICK_MISSING "")
function(gs_require module package)
    string(MAKE_C_IDENTIFIER "${module}" id)
    pkg_check_modules(GSDEP_${id} QUIET IMPORTED_TARGET ${module})
    if(GSDEP_${id}_FOUND)
        target_link_libraries(gs_deps INTERFACE PkgConfig::GSDEP_${id})
    else()
        set(GSTICK_MISSING "${GSTICK_MISSING}\n  ${module}: apt-get install ${package}" PARENT_SCOPE)
    endif()
endfunction()

gs_require(libcjson libcjson-dev)
gs_require(hwloc libhwloc-dev)
gs_require(libpcre2-8 libpcre2-dev)
gs_require(libxxhash libxxhash-dev)
gs_require(sentencepiece libsentencepiece-dev)
gs_require(libutf8proc libutf8proc-dev)
gs_require(openblas libopenblas-dev)
gs_require(zlib zlib1g-dev)

# oneDNN has no pkg-config file, and Debian's CMake package insists on OpenCL headers that a
# CPU build does not need: look for the header and the library themselves.
find_path(GSTICK_DNNL_INCLUDE oneapi/dnnl/dnnl.h)
find_library(GSTICK_DNNL_LIBRARY dnnl)
if(GSTICK_DNNL_INCLUDE AND GSTICK_DNNL_LIBRARY)
    target_include_directories(gs_deps SYSTEM INTERFACE ${GSTICK_DNNL_INCLUDE})
    target_link_libraries(gs_deps INTERFACE ${GSTICK_DNNL_LIBRARY})
else()
    string(APPEND GSTICK_MISSING "\n  oneDNN: apt-get install libdnnl-dev")
endif()

if(GSTICK_MISSING)
    message(FATAL_ERROR "libraries are missing (scripts/bootstrap installs them all):${GSTICK_MISSING}\n")
endif()
