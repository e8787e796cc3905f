# SPDX-License-Identifier: MIT
# libev ships no pkg-config file.
find_path(LIBEV_INCLUDE_DIR ev.h)
find_library(LIBEV_LIBRARY ev)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibEv REQUIRED_VARS LIBEV_LIBRARY LIBEV_INCLUDE_DIR)
if(LibEv_FOUND AND NOT TARGET LibEv::LibEv)
    add_library(LibEv::LibEv UNKNOWN IMPORTED)
    set_target_properties(LibEv::LibEv PROPERTIES IMPORTED_LOCATION ${LIBEV_LIBRARY}
        INTERFACE_INCLUDE_DIRECTORIES ${LIBEV_INCLUDE_DIR})
endif()
