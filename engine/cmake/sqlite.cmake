# tally_sqlite: the SQLite that the engine runs on. tally_sqlitecpp: SQLiteCpp on top of it.

if(TALLY_SQLITE STREQUAL "system")
  find_package(SQLite3 REQUIRED)
  add_library(tally_sqlite INTERFACE)
  target_link_libraries(tally_sqlite INTERFACE SQLite::SQLite3)
else()
  if(TALLY_SQLITE STREQUAL "bundled")
    execute_process(
      COMMAND "${CMAKE_COMMAND}" -D "TALLY_DEPS_DIR=${TALLY_DEPS_DIR}"
        -P "${CMAKE_CURRENT_LIST_DIR}/fetch_sqlite.cmake"
      RESULT_VARIABLE status)
    if(NOT status EQUAL 0)
      message(FATAL_ERROR "SQLite could not be had; the reason is above")
    endif()
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
      "${CMAKE_CURRENT_LIST_DIR}/fetch_sqlite.cmake")
    set(sqlite_dir "${TALLY_DEPS_DIR}/sqlite")
  elseif(TALLY_SQLITE STREQUAL "path")
    set(sqlite_dir "${TALLY_SQLITE_DIR}")
    if(NOT EXISTS "${sqlite_dir}/sqlite3.c" OR NOT EXISTS "${sqlite_dir}/sqlite3.h")
      message(FATAL_ERROR "TALLY_SQLITE=path: no sqlite3.c and sqlite3.h in TALLY_SQLITE_DIR='${sqlite_dir}'")
    endif()
  else()
    message(FATAL_ERROR "TALLY_SQLITE='${TALLY_SQLITE}': one of bundled, path, system")
  endif()

  add_library(tally_sqlite STATIC "${sqlite_dir}/sqlite3.c")
  target_include_directories(tally_sqlite SYSTEM PUBLIC "${sqlite_dir}")
  target_compile_options(tally_sqlite PRIVATE -w)
  target_compile_definitions(tally_sqlite PRIVATE
    SQLITE_THREADSAFE=2                 # a connection is one thread's at a time; the engine sees to it
    SQLITE_DQS=0                        # "x" is a name, never a string
    SQLITE_DEFAULT_MEMSTATUS=0          # no global counters behind a mutex at each allocation
    SQLITE_LIKE_DOESNT_MATCH_BLOBS
    SQLITE_USE_ALLOCA
    SQLITE_OMIT_DEPRECATED
    SQLITE_OMIT_SHARED_CACHE
    SQLITE_ENABLE_COLUMN_METADATA       # SQLiteCpp calls sqlite3_column_origin_name
    SQLITE_ENABLE_DBSTAT_VTAB           # benchmarks read page counts from it
    # SQLITE_OMIT_LOAD_EXTENSION would leave SQLiteCpp without sqlite3_load_extension; loading is
    # off on every connection until asked for.
    # Without a configure script SQLite has to be told what the platform has; fdatasync instead of
    # fsync alone is worth a journal write a commit.
    $<$<NOT:$<PLATFORM_ID:Windows>>:HAVE_USLEEP=1;HAVE_LOCALTIME_R=1;HAVE_GMTIME_R=1>
    $<$<PLATFORM_ID:Linux>:HAVE_FDATASYNC=1;HAVE_PREAD=1;HAVE_PWRITE=1>)
  if(TALLY_FUZZ)
    # Its own fuzzers look after it; ours are several times as fast without its coverage.
    target_compile_options(tally_sqlite PRIVATE -fno-sanitize=all)
  endif()
  target_link_libraries(tally_sqlite PUBLIC Threads::Threads ${CMAKE_DL_LIBS})
endif()

# Debian has no library of SQLiteCpp for Windows, so it is built from Debian's sources of it.
if(WIN32)
  execute_process(
    COMMAND "${CMAKE_COMMAND}" -D "TALLY_DEPS_DIR=${TALLY_DEPS_DIR}"
      -P "${CMAKE_CURRENT_LIST_DIR}/fetch_sqlitecpp.cmake"
    RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "SQLiteCpp could not be had; the reason is above")
  endif()
  set(sqlitecpp_dir "${TALLY_DEPS_DIR}/sqlitecpp")
  add_library(tally_sqlitecpp STATIC
    "${sqlitecpp_dir}/src/Backup.cpp" "${sqlitecpp_dir}/src/Column.cpp"
    "${sqlitecpp_dir}/src/Database.cpp" "${sqlitecpp_dir}/src/Exception.cpp"
    "${sqlitecpp_dir}/src/Savepoint.cpp" "${sqlitecpp_dir}/src/Statement.cpp"
    "${sqlitecpp_dir}/src/Transaction.cpp")
  target_include_directories(tally_sqlitecpp SYSTEM PUBLIC "${sqlitecpp_dir}/include")
  target_compile_definitions(tally_sqlitecpp PUBLIC SQLITE_ENABLE_COLUMN_METADATA)
  target_compile_options(tally_sqlitecpp PRIVATE -w)
  target_link_libraries(tally_sqlitecpp PUBLIC tally_sqlite)
  return()
endif()

# Not find_package(SQLiteCpp): its target brings the system's libsqlite3 along.
find_library(TALLY_SQLITECPP_LIBRARY
  NAMES "${CMAKE_STATIC_LIBRARY_PREFIX}SQLiteCpp${CMAKE_STATIC_LIBRARY_SUFFIX}")
find_path(TALLY_SQLITECPP_INCLUDE_DIR SQLiteCpp/Database.h)
if(NOT TALLY_SQLITECPP_LIBRARY OR NOT TALLY_SQLITECPP_INCLUDE_DIR)
  message(FATAL_ERROR "SQLiteCpp's static library or headers not found (Debian: libsqlitecpp-dev)")
endif()
add_library(tally_sqlitecpp STATIC IMPORTED GLOBAL)
set_target_properties(tally_sqlitecpp PROPERTIES
  IMPORTED_LOCATION "${TALLY_SQLITECPP_LIBRARY}"
  INTERFACE_INCLUDE_DIRECTORIES "${TALLY_SQLITECPP_INCLUDE_DIR}"
  INTERFACE_COMPILE_DEFINITIONS SQLITE_ENABLE_COLUMN_METADATA)
target_link_libraries(tally_sqlitecpp INTERFACE tally_sqlite)
