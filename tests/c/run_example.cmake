# What example.c says; and, where PROGRAM is given, a test that it does.

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output
    ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${ARGN}\nended with ${result}:\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

function(run_example program)
  file(GLOB old "${program}.db*")
  if(old)
    file(REMOVE ${old})
  endif()
  run("${program}" "${program}.db")
  set(expected "reserved 8, balance 22
refused: already_reserved
settled at 5, balance 25
account: balance 25, held 0, entries 6, open holds 0
")
  if(NOT output STREQUAL expected)
    message(FATAL_ERROR "${program} says\n${output}\ninstead of\n${expected}")
  endif()
endfunction()

if(PROGRAM)
  run_example("${PROGRAM}")
endif()
