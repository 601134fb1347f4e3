# tally_add_archive(COMPONENT [MERGE target…] [USES component…] [LINKS item…])
# makes tally_<component>_archive, the static library that is installed as tally::<component>. MERGE
# names the libraries whose objects go into it, so that a host needs neither them nor their headers;
# USES, the components that its headers and code need; LINKS, what else a host links it with.
#
# In the build tree tally_<component> is the same code with those libraries beside it: the tests that
# look inside use one SQLite with it.
set(tally_merge_script "${CMAKE_CURRENT_LIST_DIR}/merge_archive.cmake")

function(tally_add_archive component)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "MERGE;USES;LINKS")
  set(name tally_${component}_archive)
  add_library(${name} STATIC $<TARGET_OBJECTS:tally_${component}_objects>)
  list(TRANSFORM arg_USES REPLACE "(.+)" "tally_\\1_archive")
  target_link_libraries(${name} PUBLIC ${arg_USES} PRIVATE ${arg_LINKS})
  get_target_property(headers tally_${component} INTERFACE_INCLUDE_DIRECTORIES)
  target_include_directories(${name} INTERFACE ${headers})
  get_target_property(definitions tally_${component} INTERFACE_COMPILE_DEFINITIONS)
  if(definitions)
    target_compile_definitions(${name} INTERFACE ${definitions})
  endif()
  get_target_property(output tally_${component}_shared OUTPUT_NAME)
  set_target_properties(${name} PROPERTIES LINKER_LANGUAGE CXX EXPORT_NAME ${component}
    OUTPUT_NAME ${output} ARCHIVE_OUTPUT_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}/lib"
    EXCLUDE_FROM_ALL $<NOT:$<BOOL:${TALLY_INSTALL}>>)

  set(archives "")
  set(rename OFF)
  foreach(merged ${arg_MERGE})
    get_target_property(imported ${merged} IMPORTED)
    if(imported)
      list(APPEND archives "$<TARGET_FILE:${merged}>")
    else()
      target_sources(${name} PRIVATE $<TARGET_OBJECTS:${merged}>)
    endif()
    if(merged STREQUAL "tally_sqlite")
      set(rename ${TALLY_RENAME_SQLITE})
    endif()
  endforeach()
  if(archives OR rename)
    list(JOIN archives "|" archives)
    add_custom_command(TARGET ${name} POST_BUILD
      COMMAND "${CMAKE_COMMAND}" -D "ARCHIVE=$<TARGET_FILE:${name}>" -D "ARCHIVES=${archives}"
        -D "AR=${CMAKE_AR}" -D "NM=${CMAKE_NM}" -D "OBJCOPY=${CMAKE_OBJCOPY}"
        -D "RENAME=${rename}" -P "${tally_merge_script}"
      VERBATIM)
  endif()
endfunction()
