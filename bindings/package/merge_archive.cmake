# Makes ARCHIVE, a static library of ours, one that can stand beside any other in a host's program:
# ARCHIVES (separated by |) are put into it, and where RENAME is on, SQLite's and SQLiteCpp's symbols
# get names of our own, for the host may link another SQLite.
#   cmake -D ARCHIVE=… -D ARCHIVES=… -D AR=… -D NM=… -D OBJCOPY=… -D RENAME=ON -P merge_archive.cmake
string(REPLACE "|" ";" archives "${ARCHIVES}")
if(archives)
  # Not OPEN, which LLVM's ar does not know.
  set(script "CREATE ${ARCHIVE}.merged\n")
  foreach(archive "${ARCHIVE}" ${archives})
    string(APPEND script "ADDLIB ${archive}\n")
  endforeach()
  file(WRITE "${ARCHIVE}.mri" "${script}SAVE\nEND\n")
  execute_process(COMMAND "${AR}" -M INPUT_FILE "${ARCHIVE}.mri" COMMAND_ERROR_IS_FATAL ANY)
  file(RENAME "${ARCHIVE}.merged" "${ARCHIVE}")
endif()
if(NOT RENAME)
  return()
endif()

execute_process(COMMAND "${NM}" -g --format=posix "${ARCHIVE}"
  OUTPUT_VARIABLE symbols ERROR_QUIET COMMAND_ERROR_IS_FATAL ANY)
# C's names, and C++'s in which the namespace `SQLite` occurs, which is mangled as 6SQLite.
string(REGEX MATCHALL "\n(sqlite3[^ \n]*|[^ \n]*_Z[^ \n]*[^0-9 \n]6SQLite[^ \n]*) " names "\n${symbols}")
list(REMOVE_DUPLICATES names)
set(map "")
foreach(name ${names})
  string(REGEX REPLACE "[ \n]" "" name "${name}")
  string(REGEX REPLACE "([^0-9])6SQLite" "\\112tally_SQLite" renamed "${name}")
  string(REGEX REPLACE "^sqlite3" "tally_sqlite3" renamed "${renamed}")
  string(APPEND map "${name} ${renamed}\n")
endforeach()
if(NOT map MATCHES "sqlite3_open")
  message(FATAL_ERROR "${ARCHIVE} holds no SQLite")
endif()
file(WRITE "${ARCHIVE}.renamed" "${map}")
execute_process(COMMAND "${OBJCOPY}" "--redefine-syms=${ARCHIVE}.renamed" "${ARCHIVE}"
  COMMAND_ERROR_IS_FATAL ANY)
