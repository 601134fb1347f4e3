# Fetches the sources of SQLiteCpp, once, into TALLY_DEPS_DIR/sqlitecpp: for systems that Debian has
# no SQLiteCpp library for. Run by ./dev and by CMake's configure step:
#
#   cmake -D TALLY_DEPS_DIR=build/_deps -P engine/cmake/fetch_sqlitecpp.cmake
#
# It is the source package of Debian's libsqlitecpp-dev, by apt-get, from where this machine's apt
# has its packages; what apt is set up for stays as it is, for its lists are kept here.
set(version 3.2.1)
set(debian_version 3.2.1-1)
set(tarball_sha256 70c67d5680c47460f82a7abf8e6b0329bf2fb10795a982a6d8abc06adb42d693)

if(NOT TALLY_DEPS_DIR)
  message(FATAL_ERROR "fetch_sqlitecpp.cmake: TALLY_DEPS_DIR is not set")
endif()
get_filename_component(deps "${TALLY_DEPS_DIR}" ABSOLUTE)
set(tarball "sqlitecpp_${version}.orig.tar.gz")
# Written when all is unpacked.
set(stamp "${deps}/sqlitecpp/${tarball_sha256}.unpacked")
if(EXISTS "${stamp}")
  return()
endif()
file(MAKE_DIRECTORY "${deps}")
file(LOCK "${deps}/fetch_sqlitecpp.lock" GUARD PROCESS TIMEOUT 300)
if(EXISTS "${stamp}")
  return()
endif()

set(apt "${deps}/apt")
function(run_apt)
  execute_process(
    COMMAND apt-get -q -o "Dir::State::Lists=${apt}/lists" -o "Dir::Cache=${apt}/cache"
      -o "Dir::Etc::SourceList=${apt}/sources.list" -o Dir::Etc::SourceParts=-
      -o APT::Sandbox::User=root ${ARGN}
    WORKING_DIRECTORY "${apt}"
    RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output TIMEOUT 300)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "'apt-get ${ARGN}' failed (${status}):\n${output}\nSQLiteCpp's sources \
could not be had. Put ${tarball} of Debian's source package sqlitecpp ${debian_version} at\n  \
${apt}/${tarball}")
  endif()
endfunction()

function(check_tarball)
  set(hash "")
  if(EXISTS "${apt}/${tarball}")
    file(SHA256 "${apt}/${tarball}" hash)
  endif()
  set(hash "${hash}" PARENT_SCOPE)
endfunction()

check_tarball()
if(NOT hash STREQUAL tarball_sha256)
  message(STATUS "Fetching SQLiteCpp ${version} (apt-get source sqlitecpp=${debian_version})")
  # Nothing is asked of a machine whose apt is none, or knows no such package.
  execute_process(
    COMMAND apt-get indextargets --format "deb-src $(REPO_URI) $(CODENAME) $(COMPONENT)"
      "Created-By: Packages" "Origin: Debian"
    OUTPUT_VARIABLE sources RESULT_VARIABLE status)
  if(NOT status EQUAL 0 OR sources STREQUAL "")
    message(FATAL_ERROR "apt-get knows no Debian archive here; SQLiteCpp's sources could not be had")
  endif()
  file(MAKE_DIRECTORY "${apt}/lists/partial" "${apt}/cache/archives/partial")
  file(WRITE "${apt}/sources.list" "${sources}")
  run_apt(update)
  run_apt(source --download-only "sqlitecpp=${debian_version}")
  check_tarball()
  if(NOT hash STREQUAL tarball_sha256)
    message(FATAL_ERROR "${apt}/${tarball} is not what this build is pinned to")
  endif()
endif()

file(REMOVE_RECURSE "${deps}/sqlitecpp" "${apt}/unpacked")
file(ARCHIVE_EXTRACT INPUT "${apt}/${tarball}" DESTINATION "${apt}/unpacked"
  PATTERNS "*/include/SQLiteCpp" "*/src" "*/LICENSE.txt")
file(GLOB folder "${apt}/unpacked/*")
file(RENAME "${folder}" "${deps}/sqlitecpp")
file(REMOVE_RECURSE "${apt}")
file(TOUCH "${stamp}")
