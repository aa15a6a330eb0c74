# What `cmake --install` lays down. Every path is relative to the prefix, so that the tree may be moved:
#   bin/                  the tools
#   include/mha/          mha.h and kernel.h
#   lib/libmha.a          the runtime
#   lib/mha/libHalide.so  what the tools need and Debian does not have, and its autoschedulers
#   lib/cmake/mha/        find_package(mha): mha::runtime, mha_add_library()
#   lib/pkgconfig/mha.pc
#   share/mha/records/    the tuned records that ship
include(CMakePackageConfigHelpers)

install(TARGETS mha_runtime ARCHIVE DESTINATION lib)
install(DIRECTORY runtime/include/mha DESTINATION include FILES_MATCHING PATTERN "*.h")
install(FILES LICENSE NOTICE DESTINATION share/doc/mha)

configure_package_config_file(cmake/mhaConfig.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/mhaConfig.cmake
                              INSTALL_DESTINATION lib/cmake/mha)
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/mhaConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/mhaConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/mhaConfigVersion.cmake cmake/MhaAddLibrary.cmake
        DESTINATION lib/cmake/mha)
configure_file(cmake/mha.pc.in ${CMAKE_CURRENT_BINARY_DIR}/mha.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/mha.pc DESTINATION lib/pkgconfig)

if(MHA_BUILD_TOOLS)
  # MLIR lies outside the linker's default folders on Debian.
  get_target_property(mlir_library MLIR IMPORTED_LOCATION_RELWITHDEBINFO)
  cmake_path(GET mlir_library PARENT_PATH mlir_folder)
  foreach(tool mha-gen mha-run mha-opt mha-tune)
    set_target_properties(${tool} PROPERTIES INSTALL_RPATH "$ORIGIN/../lib/mha;${mlir_folder}")
    install(TARGETS ${tool} RUNTIME DESTINATION bin)
  endforeach()
  install(FILES $<TARGET_FILE:Halide::Halide>
                $<TARGET_FILE_DIR:Halide::Halide>/libautoschedule_adams2019.so
                $<TARGET_FILE_DIR:Halide::Halide>/libautoschedule_mullapudi2016.so
          DESTINATION lib/mha)
  install(DIRECTORY schedules/records/ DESTINATION share/mha/records FILES_MATCHING PATTERN "*.yaml")
  install(FILES configs/schema.json DESTINATION share/mha)
endif()
