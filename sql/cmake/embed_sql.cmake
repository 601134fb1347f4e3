# tally_embed_sql(TARGET NAMESPACE FILE…): the .sql files become, at build time, a constexpr array
# `files` in NAMESPACE, in the order given. For NAMESPACE tally::sql::mirror:
#
#   #include "sql/mirror.hpp"
#   for (const tally::sql::EmbeddedFile& file : tally::sql::mirror::files) …
#
# The array is constant-initialized, so it can be used before main(). Only TARGET sees the header;
# others get it by linking to TARGET_sql_<last part of NAMESPACE>.
set(TALLY_EMBED_SQL_DIR "${CMAKE_CURRENT_LIST_DIR}")

function(tally_embed_sql target namespace)
  set(files ${ARGN})
  if(NOT files)
    message(FATAL_ERROR "tally_embed_sql(${target} ${namespace}): no files")
  endif()
  foreach(file ${files})
    if(NOT EXISTS "${file}")
      message(FATAL_ERROR "tally_embed_sql(${target} ${namespace}): ${file} does not exist")
    endif()
  endforeach()
  string(REGEX REPLACE ".*::" "" name "${namespace}")
  set(include_dir "${CMAKE_CURRENT_BINARY_DIR}/embedded")
  set(header "${include_dir}/sql/${name}.hpp")
  set(source "${include_dir}/sql/${name}.cpp")
  list(JOIN files "|" joined)

  add_custom_command(
    OUTPUT "${header}" "${source}"
    COMMAND "${CMAKE_COMMAND}" -D "NAMESPACE=${namespace}" -D "FILES=${joined}"
      -D "HEADER=${header}" -D "SOURCE=${source}" -D "NAME=${name}"
      -P "${TALLY_EMBED_SQL_DIR}/write_embedded_sql.cmake"
    DEPENDS ${files} "${TALLY_EMBED_SQL_DIR}/write_embedded_sql.cmake"
    COMMENT "Embedding sql/${name}"
    VERBATIM)
  target_sources(${target} PRIVATE "${source}" "${header}")
  target_include_directories(${target} PRIVATE "${include_dir}" "${TALLY_EMBED_SQL_DIR}")

  # For tests that read the embedded text: the header's folder, made before they compile.
  add_custom_target(${target}_embed_${name} DEPENDS "${header}" "${source}")
  add_dependencies(${target} ${target}_embed_${name})
  add_library(${target}_sql_${name} INTERFACE)
  target_include_directories(${target}_sql_${name} INTERFACE
    "${include_dir}" "${TALLY_EMBED_SQL_DIR}")
  add_dependencies(${target}_sql_${name} ${target}_embed_${name})
endfunction()
