# How libweir is installed: the library (component libweir) and what is needed to build against it
# (component libweir-dev). No file that is installed names the prefix: each finds the others by
# where it lies itself, so the tree can be moved.
include(CMakePackageConfigHelpers)
set(weir_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/weir)
set(weir_generated_dir ${CMAKE_CURRENT_BINARY_DIR}/install)

install(TARGETS weir EXPORT weir-targets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  COMPONENT libweir NAMELINK_COMPONENT libweir-dev)
install(FILES include/weir/weir.h include/weir/weir.hpp include/weir/asio.hpp
  include/weir/quota.h include/weir/quota.hpp include/weir/toolkit.h include/weir/toolkit.hpp
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/weir COMPONENT libweir-dev)

# find_package(weir) gives weir::weir.
install(EXPORT weir-targets NAMESPACE weir:: DESTINATION ${weir_cmake_dir} COMPONENT libweir-dev)
configure_package_config_file(cmake/weir-config.cmake.in ${weir_generated_dir}/weir-config.cmake
  INSTALL_DESTINATION ${weir_cmake_dir} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${weir_generated_dir}/weir-config-version.cmake
  COMPATIBILITY SameMajorVersion)
install(FILES ${weir_generated_dir}/weir-config.cmake ${weir_generated_dir}/weir-config-version.cmake
  DESTINATION ${weir_cmake_dir} COMPONENT libweir-dev)

# pkg-config knows where it found the file. Directories that were given as absolute ones stay so.
set(weir_pc_libdir ${CMAKE_INSTALL_LIBDIR})
set(weir_pc_includedir ${CMAKE_INSTALL_INCLUDEDIR})
foreach(dir IN ITEMS weir_pc_libdir weir_pc_includedir)
  if(NOT IS_ABSOLUTE "${${dir}}")
    string(PREPEND ${dir} "\${prefix}/")
  endif()
endforeach()
file(RELATIVE_PATH weir_pc_up ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" weir_pc_up "${weir_pc_up}")
configure_file(cmake/weir.pc.in ${weir_generated_dir}/weir.pc @ONLY)
install(FILES ${weir_generated_dir}/weir.pc
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT libweir-dev)
