# A test: the shared library LIBRARY shows nothing of its SQLite to the host and needs no other.
execute_process(COMMAND nm -D --defined-only "${LIBRARY}" OUTPUT_VARIABLE symbols
  COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[^\n]*(sqlite3|6SQLite)[^\n]*" shown "${symbols}")
if(shown)
  message(FATAL_ERROR "${LIBRARY} exports symbols of SQLite or SQLiteCpp:\n${shown}")
endif()
execute_process(COMMAND readelf -d "${LIBRARY}" OUTPUT_VARIABLE dynamic COMMAND_ERROR_IS_FATAL ANY)
if(dynamic MATCHES "libsqlite3[^\n]*")
  message(FATAL_ERROR "${LIBRARY} depends on ${CMAKE_MATCH_0}")
endif()
