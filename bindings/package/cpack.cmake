# Debian packages, one for each component: `cpack --config build/package/CPackConfig.cmake`, which
# `./dev package` does in a build that is configured for /usr.
set(TALLY_MAINTAINER "Tallystick <tallystick@example.org>" CACHE STRING "Who answers for the packages")

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME tallystick)
set(CPACK_PACKAGE_VENDOR Tallystick)
set(CPACK_PACKAGE_CONTACT "${TALLY_MAINTAINER}")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL library development program)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# The libraries of the package use each other.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS "${PROJECT_BINARY_DIR}/engine")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

# tally_add_debian_docs(COMPONENT PACKAGE): what every package of Debian has in its doc folder, and
# what is installed for a package only.
function(tally_add_debian_docs component package)
  set(folder "${CMAKE_CURRENT_BINARY_DIR}/debian/${package}")
  configure_file(debian/changelog.in "${folder}/changelog.Debian" @ONLY)
  file(ARCHIVE_CREATE OUTPUT "${folder}/changelog.Debian.gz" PATHS "${folder}/changelog.Debian"
    FORMAT raw COMPRESSION GZip COMPRESSION_LEVEL 9
    MTIME "1970-01-01 00:00:00 UTC")
  install(FILES "${folder}/changelog.Debian.gz" "${CMAKE_CURRENT_SOURCE_DIR}/debian/copyright"
    DESTINATION "${CMAKE_INSTALL_DATAROOTDIR}/doc/${package}" COMPONENT ${component} EXCLUDE_FROM_ALL)
endfunction()

set(what "a credit ledger and job state machine that runs
inside a program on one SQLite file, and keeps it equal to a Postgres
database.

This package holds")

get_target_property(soversion tally_engine_shared SOVERSION)
get_target_property(c_soversion tally_c_shared SOVERSION)
set(abi_package libtally${c_soversion})
set(version "${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE}")

set(CPACK_DEBIAN_LIBRARY_PACKAGE_NAME ${abi_package})
set(CPACK_DEBIAN_LIBRARY_PACKAGE_SECTION libs)
set(CPACK_PRE_BUILD_SCRIPTS "${CMAKE_CURRENT_SOURCE_DIR}/compress_pages.cmake")
set(CPACK_DEBIAN_LIBRARY_DESCRIPTION "credit ledger with Postgres sync - shared libraries
Tallystick is ${what} the library for C and the two for C++.")
# One package for three libraries, of which those for C++ change their names more often; so what is
# linked with these depends on this minor version (debian/shlibs.in).
math(EXPR next_minor "${PROJECT_VERSION_MINOR} + 1")
set(next_version "${PROJECT_VERSION_MAJOR}.${next_minor}")
foreach(file shlibs triggers)
  configure_file(debian/${file}.in "${CMAKE_CURRENT_BINARY_DIR}/debian/${file}" @ONLY)
  list(APPEND CPACK_DEBIAN_LIBRARY_PACKAGE_CONTROL_EXTRA "${CMAKE_CURRENT_BINARY_DIR}/debian/${file}")
endforeach()

set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libtally-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "${abi_package} (= ${version}), libssl-dev, libpq-dev")
set(CPACK_DEBIAN_DEVELOPMENT_DESCRIPTION "credit ledger with Postgres sync - development files
Tallystick is ${what} the headers for C and C++, static libraries, and what
CMake and pkg-config need to find them.")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SHLIBDEPS OFF)

set(CPACK_DEBIAN_PROGRAM_PACKAGE_NAME tally)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SECTION utils)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SUGGESTS postgresql)
set(CPACK_DEBIAN_PROGRAM_DESCRIPTION "credit ledger with Postgres sync - command line
Tallystick is ${what} the program: it replays traces, shows accounts and
jobs, audits and compares mirror and Postgres, migrates, and syncs.")

foreach(component ${CPACK_COMPONENTS_ALL})
  string(TOUPPER ${component} upper)
  tally_add_debian_docs(${component} ${CPACK_DEBIAN_${upper}_PACKAGE_NAME})
endforeach()
include(CPack)
