# Writes HEADER and SOURCE with the text of FILES (separated by |) for tally_embed_sql(). Texts are
# cut into literals of at most 8,000 bytes at line ends: compilers limit the length of one.
string(REPLACE "|" ";" files "${FILES}")
list(LENGTH files count)

set(entries "")
foreach(file IN LISTS files)
  get_filename_component(name "${file}" NAME)
  file(READ "${file}" text)
  file(SIZE "${file}" size)
  string(LENGTH "${text}" length)
  if(NOT length EQUAL size)
    message(FATAL_ERROR "${file}: holds a NUL byte or a carriage return")
  endif()
  string(FIND "${text}" ")~sql~\"" found)
  if(NOT found EQUAL -1)
    message(FATAL_ERROR "${file}: holds the end of the raw string literal that it is put into")
  endif()
  string(APPEND entries "    {\"${name}\",\n")
  while(NOT text STREQUAL "")
    string(SUBSTRING "${text}" 0 8000 chunk)
    string(LENGTH "${text}" length)
    if(length GREATER 8000)
      string(FIND "${chunk}" "\n" end REVERSE)
      if(end EQUAL -1)
        message(FATAL_ERROR "${file}: a line of more than 8,000 bytes")
      endif()
      math(EXPR end "${end} + 1")
      string(SUBSTRING "${text}" 0 ${end} chunk)
      string(SUBSTRING "${text}" ${end} -1 text)
    else()
      set(text "")
    endif()
    string(APPEND entries "R\"~sql~(${chunk})~sql~\"\n")
  endwhile()
  string(APPEND entries "    },\n")
endforeach()

set(warning "// Made by sql/cmake/write_embedded_sql.cmake from sql/${NAME}/; do not edit.\n")
file(WRITE "${HEADER}" "#pragma once
${warning}
#include <array>

#include \"embedded_file.hpp\"

namespace ${NAMESPACE} {

extern const std::array<tally::sql::EmbeddedFile, ${count}> files;

}  // namespace ${NAMESPACE}
")
file(WRITE "${SOURCE}" "${warning}
#include \"sql/${NAME}.hpp\"

namespace ${NAMESPACE} {

constexpr std::array<tally::sql::EmbeddedFile, ${count}> files = {{
${entries}}};

}  // namespace ${NAMESPACE}
")
