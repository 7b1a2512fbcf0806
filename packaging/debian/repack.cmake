# Runs once in cpack, after the packages are written. CPack puts a postinst and a postrm that call
# ldconfig into each package with a shared library; Debian's way is the trigger, which libweir0
# has already, and which runs ldconfig once for a whole apt run.
cmake_minimum_required(VERSION 3.25)

find_program(DPKG_DEB dpkg-deb REQUIRED)

foreach(package IN LISTS CPACK_PACKAGE_FILES)
  if(NOT package MATCHES "/libweir0_[^/]*[.]deb$")
    continue()
  endif()
  set(root ${CPACK_TEMPORARY_DIRECTORY}/repack)
  file(REMOVE_RECURSE ${root})
  execute_process(COMMAND ${DPKG_DEB} --raw-extract ${package} ${root} COMMAND_ERROR_IS_FATAL ANY)
  file(REMOVE ${root}/DEBIAN/postinst ${root}/DEBIAN/postrm)
  execute_process(COMMAND ${DPKG_DEB} --root-owner-group -Zxz --build ${root} ${package}
    OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
  file(REMOVE_RECURSE ${root})
endforeach()
