# mha_add_library(NAME CONFIG file.yaml [TARGET target...] [THREADS n] [SCHEDULES dir])
#
# Generates the kernel library of a config at build time and makes it a CMake target: link NAME and include
# "NAME.h". NAME is the `name` of the config. The library is made again when the config, one of its tuned
# records or the generator changes.
#
#   TARGET     the machine to generate for ("x86-64-v3", "zen5", ...), or several: the best that the machine
#              can run is chosen at run time; default: `targets` of the config, which defaults to the build
#              machine, so that a cross-compiling project must say it somewhere.
#   THREADS    the thread count that the schedule should expect.
#   SCHEDULES  a folder of tuned records; default: mha-records/ beside the config.
#
# The generator runs on the build machine: MHA_GEN if that variable is set; else mha-gen of this build or of the
# installed package; else mha-gen on the PATH. When cross-compiling, the package is one for another machine, so
# that only MHA_GEN and the PATH count.
include_guard(GLOBAL)

set(MHA_GEN "" CACHE FILEPATH "The mha-gen that runs on the build machine")

function(_mha_find_generator out)
  if(MHA_GEN)
    if(NOT EXISTS "${MHA_GEN}")
      message(FATAL_ERROR "mha: MHA_GEN is ${MHA_GEN}, which does not exist")
    endif()
    set(${out} "${MHA_GEN}" PARENT_SCOPE)
  elseif(TARGET mha::gen AND NOT CMAKE_CROSSCOMPILING)
    set(${out} "$<TARGET_FILE:mha::gen>" PARENT_SCOPE)
  else()
    find_program(MHA_GEN_ON_PATH mha-gen NO_CMAKE_FIND_ROOT_PATH NO_CMAKE_PATH NO_CMAKE_INSTALL_PREFIX)
    mark_as_advanced(MHA_GEN_ON_PATH)
    if(NOT MHA_GEN_ON_PATH)
      message(FATAL_ERROR
        "mha: found no mha-gen that runs on this machine. Install mha for the build machine, then put its "
        "bin folder on the PATH or set -DMHA_GEN=/path/to/mha-gen.")
    endif()
    set(${out} "${MHA_GEN_ON_PATH}" PARENT_SCOPE)
  endif()
endfunction()

function(mha_add_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "CONFIG;THREADS;SCHEDULES" "TARGET")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "mha_add_library(${name}): unknown argument ${arg_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT arg_CONFIG)
    message(FATAL_ERROR "mha_add_library(${name}): CONFIG is missing")
  endif()
  cmake_path(ABSOLUTE_PATH arg_CONFIG BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} NORMALIZE)
  if(NOT EXISTS "${arg_CONFIG}")
    message(FATAL_ERROR "mha_add_library(${name}): there is no file ${arg_CONFIG}")
  endif()

  # The name decides the file names, which CMake must know before the generator runs.
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${arg_CONFIG}")
  file(STRINGS "${arg_CONFIG}" lines REGEX "^name[ \t]*:")
  string(REGEX REPLACE "^name[ \t]*:[ \t]*[\"']?([A-Za-z0-9_]*).*" "\\1" config_name "${lines}")
  if(NOT config_name STREQUAL name)
    message(FATAL_ERROR
      "mha_add_library(${name}): the config ${arg_CONFIG} has the name '${config_name}'; give the target the "
      "same name, because it is the prefix of the library's symbols")
  endif()
  if(CMAKE_CROSSCOMPILING AND NOT arg_TARGET)
    file(STRINGS "${arg_CONFIG}" lines REGEX "^targets[ \t]*:")
    if(NOT lines)
      message(FATAL_ERROR
        "mha_add_library(${name}): when cross-compiling, say which machine to generate for: TARGET x86-64-v3, "
        "or `targets` in the config; the default is the build machine")
    endif()
  endif()

  set(folder "${CMAKE_CURRENT_BINARY_DIR}/mha-generated")
  set(command --quiet --config "${arg_CONFIG}" --output "${folder}")
  foreach(target IN LISTS arg_TARGET)
    list(APPEND command --target "${target}")
  endforeach()
  if(arg_THREADS)
    list(APPEND command --threads "${arg_THREADS}")
  endif()
  if(arg_SCHEDULES)
    cmake_path(ABSOLUTE_PATH arg_SCHEDULES BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} NORMALIZE)
    list(APPEND command --schedules "${arg_SCHEDULES}")
    set(records "${arg_SCHEDULES}")
  else()
    cmake_path(GET arg_CONFIG PARENT_PATH records)
    string(APPEND records "/mha-records")
  endif()
  file(GLOB record_files CONFIGURE_DEPENDS "${records}/*")
  if(TARGET mha_records)  # within the build of mha itself
    get_target_property(shipped mha_records MHA_STAMP)
    list(APPEND record_files "${shipped}")
  endif()

  _mha_find_generator(generator)
  add_custom_command(
    OUTPUT "${folder}/${name}/lib${name}.a" "${folder}/${name}/${name}.h"
    COMMAND ${generator} ${command}
    DEPENDS "${arg_CONFIG}" ${record_files} ${generator}
    COMMENT "Generating attention kernels ${name}"
    VERBATIM)
  add_custom_target(${name}_generate DEPENDS "${folder}/${name}/lib${name}.a" "${folder}/${name}/${name}.h")

  # Imported, so that the linker sees the runtime behind every kernel library that needs it.
  file(MAKE_DIRECTORY "${folder}/${name}")
  add_library(${name} STATIC IMPORTED GLOBAL)
  add_library(${name}::${name} ALIAS ${name})  # as in NAME-config.cmake
  add_dependencies(${name} ${name}_generate)
  set_target_properties(${name} PROPERTIES
    IMPORTED_LOCATION "${folder}/${name}/lib${name}.a"
    INTERFACE_INCLUDE_DIRECTORIES "${folder}/${name}"
    INTERFACE_LINK_LIBRARIES mha::runtime)
endfunction()
