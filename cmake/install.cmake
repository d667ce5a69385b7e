# `cmake --install` with a package that find_package(suanli) finds: targets suanli::base ... suanli::train, and the command.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

get_property(rooms GLOBAL PROPERTY SUANLI_ROOMS)
list(REMOVE_ITEM rooms cli)
list(TRANSFORM rooms PREPEND suanli_ OUTPUT_VARIABLE room_targets)
install(TARGETS ${room_targets} suanli_options EXPORT suanli-targets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
foreach(room IN LISTS rooms)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/suanli/${room}/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/suanli/${room}
          FILES_MATCHING PATTERN "*.h" PATTERN "*.def" PATTERN "*test*" EXCLUDE PATTERN "*-inl.h" EXCLUDE
          PATTERN "kernels" EXCLUDE PATTERN "cpu" EXCLUDE)
endforeach()
if(TARGET suanli)
  install(TARGETS suanli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/suanli)
install(EXPORT suanli-targets NAMESPACE suanli:: DESTINATION ${config_dir})
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/suanli-config.cmake.in
                              ${PROJECT_BINARY_DIR}/suanli-config.cmake INSTALL_DESTINATION ${config_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/suanli-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/suanli-config.cmake ${PROJECT_BINARY_DIR}/suanli-config-version.cmake
              ${PROJECT_SOURCE_DIR}/cmake/dependencies.cmake
        DESTINATION ${config_dir})
