# An overlay port: it builds the tree that it lies in.
#   vcpkg install tally --overlay-ports=bindings/package/vcpkg
get_filename_component(SOURCE_PATH "${CMAKE_CURRENT_LIST_DIR}/../../../.." ABSOLUTE)

vcpkg_check_features(OUT_FEATURE_OPTIONS features FEATURES sync TALLY_SYNC)
vcpkg_cmake_configure(
  SOURCE_PATH "${SOURCE_PATH}"
  OPTIONS ${features}
    -DTALLY_SQLITE=system  # vcpkg's: one SQLite for all that it builds
    -DTALLY_LINKAGES=${VCPKG_LIBRARY_LINKAGE}
    -DTALLY_TESTS=OFF
    -DTALLY_BENCH=OFF
    -DTALLY_WERROR=OFF)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(PACKAGE_NAME tally CONFIG_PATH lib/cmake/tally)
vcpkg_fixup_pkgconfig()
if("sync" IN_LIST FEATURES)
  vcpkg_copy_tools(TOOL_NAMES tally AUTO_CLEAN)
endif()
file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/debug/include" "${CURRENT_PACKAGES_DIR}/debug/share")
file(INSTALL "${CMAKE_CURRENT_LIST_DIR}/usage" DESTINATION "${CURRENT_PACKAGES_DIR}/share/${PORT}")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/bindings/package/debian/copyright")
