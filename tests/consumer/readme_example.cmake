# A test: the README shows the example that this build compiled, word for word, and it runs.
#   cmake -D README=… -D SOURCE=… -D EMULATOR=… -D PROGRAM=… -D FOLDER=… -P readme_example.cmake
file(READ "${README}" readme)
file(READ "${SOURCE}" source)
string(FIND "${readme}" "```cpp\n${source}```" at)
if(at EQUAL -1)
  message(FATAL_ERROR "README.md does not show ${SOURCE} as it is")
endif()
file(REMOVE_RECURSE "${FOLDER}")
file(MAKE_DIRECTORY "${FOLDER}")
execute_process(COMMAND ${EMULATOR} "${PROGRAM}" WORKING_DIRECTORY "${FOLDER}" OUTPUT_VARIABLE out
  COMMAND_ERROR_IS_FATAL ANY)
if(NOT out MATCHES "^5 credits\r?\n$")
  message(FATAL_ERROR "the example printed: ${out}")
endif()
