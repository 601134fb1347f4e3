# Libraries that are headers alone are the building machine's own, for whatever system is built for.
# Their folder is the one of its C library's headers, too, which are not for that system; so each is
# linked to in a folder of the build.
set(host_headers "${CMAKE_BINARY_DIR}/host_headers")
set(host_header_packages Boost nlohmann_json doctest)
set(Boost_folder boost)
set(Boost_target Boost::headers)
set(nlohmann_json_folder nlohmann)
set(nlohmann_json_target nlohmann_json::nlohmann_json)
set(doctest_folder doctest)
set(doctest_target doctest::doctest)

macro(provide_host_headers method package)
  if("${package}" IN_LIST host_header_packages)
    if(NOT EXISTS "/usr/include/${${package}_folder}")
      message(FATAL_ERROR "No headers of ${package} in /usr/include")
    endif()
    file(MAKE_DIRECTORY "${host_headers}/${package}")
    file(CREATE_LINK "/usr/include/${${package}_folder}"
      "${host_headers}/${package}/${${package}_folder}" SYMBOLIC)
    add_library(${${package}_target} INTERFACE IMPORTED)
    set_target_properties(${${package}_target} PROPERTIES
      INTERFACE_INCLUDE_DIRECTORIES "${host_headers}/${package}")
    set(${package}_FOUND TRUE)
  endif()
endmacro()
cmake_language(SET_DEPENDENCY_PROVIDER provide_host_headers SUPPORTED_METHODS FIND_PACKAGE)
