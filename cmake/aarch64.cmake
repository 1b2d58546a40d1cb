# Toolchain file: cross-build for aarch64 with Debian's cross-compiler and the libraries that
# `scripts/bootstrap --aarch64` unpacks into build/sysroot-arm64; tests run under qemu-user.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)

set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

get_filename_component(gs_arm64_root "${CMAKE_CURRENT_LIST_DIR}/../build/sysroot-arm64" ABSOLUTE)
if(NOT EXISTS ${gs_arm64_root}/complete)
    # Debian's own multiarch packages, where someone installed them into the system
    set(gs_arm64_root "")
    if(NOT EXISTS /usr/lib/aarch64-linux-gnu/libopenblas.so)
        message(FATAL_ERROR "no aarch64 libraries: run scripts/bootstrap --aarch64")
    endif()
endif()
set(gs_arm64_lib ${gs_arm64_root}/usr/lib/aarch64-linux-gnu)

# pkg-config must see the aarch64 files and nothing of the build machine.
set(ENV{PKG_CONFIG_PATH} "")
set(ENV{PKG_CONFIG_LIBDIR} "${gs_arm64_lib}/pkgconfig:${gs_arm64_root}/usr/share/pkgconfig")
set(ENV{PKG_CONFIG_SYSROOT_DIR} "${gs_arm64_root}")

set(CMAKE_FIND_ROOT_PATH ${gs_arm64_root} /usr/aarch64-linux-gnu)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
if(gs_arm64_root)
    set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
    set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
    set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
    # after the compiler's own directories, so that its C library's headers come first;
    # -rpath-link lets the linker follow what the libraries themselves need
    string(CONCAT gs_arm64_compile "-idirafter ${gs_arm64_root}/usr/include"
        " -idirafter ${gs_arm64_root}/usr/include/aarch64-linux-gnu")
    string(CONCAT gs_arm64_link "-L${gs_arm64_lib} -Wl,-rpath-link,${gs_arm64_lib}"
        " -Wl,-rpath-link,${gs_arm64_root}/lib/aarch64-linux-gnu")
    foreach(language C CXX)
        set(CMAKE_${language}_FLAGS_INIT "${gs_arm64_compile}")
    endforeach()
    foreach(kind EXE SHARED MODULE)
        set(CMAKE_${kind}_LINKER_FLAGS_INIT "${gs_arm64_link}")
    endforeach()
    set(gs_arm64_loader_root ${gs_arm64_root})
else()
    set(gs_arm64_loader_root /usr/aarch64-linux-gnu)
endif()

find_program(GSTICK_QEMU NAMES qemu-aarch64-static qemu-aarch64)
if(GSTICK_QEMU AND NOT CMAKE_HOST_SYSTEM_PROCESSOR STREQUAL aarch64)
    set(CMAKE_CROSSCOMPILING_EMULATOR "${GSTICK_QEMU};-L;${gs_arm64_loader_root}")
endif()
