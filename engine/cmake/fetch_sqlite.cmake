# Fetches the SQLite amalgamation that this build is pinned to, once, into
# TALLY_DEPS_DIR/sqlite. Run by ./dev and by CMake's configure step:
#
#   cmake -D TALLY_DEPS_DIR=build/_deps -P engine/cmake/fetch_sqlite.cmake
#
# The npm package better-sqlite3 carries the unmodified amalgamation; only its deps/sqlite3 folder
# is taken. A change of version changes the package and all three hashes below, together.
set(sqlite_version 3.54.1)
set(package better-sqlite3)
set(package_version 13.2.0)
set(sqlite3.c_sha256 75a4760a7b9727a4c4c877aec92eacf39e52a8f2921ce00bd33be6d3a8e8e254)
set(sqlite3.h_sha256 d6c84557261893439b341d2e6c35187ae3ea24fbfd843ad94616f72d89242b8c)
set(sqlite3ext.h_sha256 48963abfefb41ac329ef9d706acb5eadba952a99a748285c9ded6b5e0942721b)

if(NOT TALLY_DEPS_DIR)
  message(FATAL_ERROR "fetch_sqlite.cmake: TALLY_DEPS_DIR is not set")
endif()
get_filename_component(deps "${TALLY_DEPS_DIR}" ABSOLUTE)
set(tarball "${deps}/${package}-${package_version}.tgz")

# Sets `wrong` to the files of FOLDER that are missing or are not the pinned ones.
function(check_sqlite folder)
  set(wrong "")
  foreach(name sqlite3.c sqlite3.h sqlite3ext.h)
    set(hash "")
    if(EXISTS "${folder}/${name}")
      file(SHA256 "${folder}/${name}" hash)
    endif()
    if(NOT hash STREQUAL "${${name}_sha256}")
      list(APPEND wrong ${name})
    endif()
  endforeach()
  set(wrong "${wrong}" PARENT_SCOPE)
endfunction()

check_sqlite("${deps}/sqlite")
if(NOT wrong)
  return()
endif()

file(MAKE_DIRECTORY "${deps}")
# Two configures may run at once; the second finds the first one's files.
file(LOCK "${deps}/fetch_sqlite.lock" GUARD PROCESS TIMEOUT 300)
check_sqlite("${deps}/sqlite")
if(NOT wrong)
  return()
endif()

set(what_to_do "Put ${package}-${package_version}.tgz (by 'npm pack ${package}@${package_version}' \
on any machine) at\n  ${tarball}\nor configure with -DTALLY_SQLITE=path -DTALLY_SQLITE_DIR=<folder \
of sqlite3.c and sqlite3.h, 3.51.3 or later>, or with -DTALLY_SQLITE=system.")

if(NOT EXISTS "${tarball}")
  find_program(npm NAMES npm npm.cmd)
  if(NOT npm)
    message(FATAL_ERROR "SQLite ${sqlite_version} comes out of the npm package ${package}, and there \
is no npm on PATH. Install npm (Debian: apt-get install npm; ./dev does it). Without npm: ${what_to_do}")
  endif()
  message(STATUS "Fetching SQLite ${sqlite_version} (npm pack ${package}@${package_version})")
  execute_process(
    COMMAND "${npm}" pack "${package}@${package_version}" --silent --pack-destination "${deps}"
    WORKING_DIRECTORY "${deps}"
    RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output TIMEOUT 300)
  if(NOT status EQUAL 0 OR NOT EXISTS "${tarball}")
    message(FATAL_ERROR "'npm pack ${package}@${package_version}' failed (${status}):\n${output}\n${what_to_do}")
  endif()
endif()

set(unpacked "${deps}/unpacked")
file(REMOVE_RECURSE "${unpacked}")
file(ARCHIVE_EXTRACT INPUT "${tarball}" DESTINATION "${unpacked}"
  PATTERNS "package/deps/sqlite3/sqlite3*")
check_sqlite("${unpacked}/package/deps/sqlite3")
if(wrong)
  file(REMOVE_RECURSE "${unpacked}")
  message(FATAL_ERROR "${tarball} is not what this build is pinned to: ${wrong} missing, or of \
another SHA-256. Delete it to fetch it again; if that does not help, do not use it. ${what_to_do}")
endif()
file(REMOVE_RECURSE "${deps}/sqlite")
file(RENAME "${unpacked}/package/deps/sqlite3" "${deps}/sqlite")
file(REMOVE_RECURSE "${unpacked}")
file(REMOVE "${tarball}")
