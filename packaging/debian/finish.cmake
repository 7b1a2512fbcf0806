# Runs once in cpack, after the files are laid out and before they are packed: adds what Debian
# wants in each package and a plain installation does not need.
cmake_minimum_required(VERSION 3.25)

find_program(GZIP gzip REQUIRED)
find_program(STRIP strip REQUIRED)

# -n leaves name and time out, so that the same tree gives the same package.
function(compress)
  execute_process(COMMAND ${GZIP} -9 -n -f ${ARGV} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

function(add_file from to)
  configure_file(${CPACK_WEIR_DEBIAN_DIR}/${from} ${to} COPYONLY
    FILE_PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
endfunction()

foreach(component IN LISTS CPACK_COMPONENTS_ALL)
  string(TOUPPER ${component} upper)
  set(package ${CPACK_DEBIAN_${upper}_PACKAGE_NAME})
  set(root ${CPACK_TEMPORARY_DIRECTORY}/${component})
  if(NOT IS_DIRECTORY ${root})
    message(FATAL_ERROR "${root} is missing: the component ${component} installed nothing")
  endif()

  set(doc ${root}/usr/share/doc/${package})
  add_file(copyright ${doc}/copyright)
  add_file(changelog ${doc}/changelog.Debian)
  compress(${doc}/changelog.Debian)
  add_file(${package}/lintian-overrides ${root}/usr/share/lintian/overrides/${package})

  file(GLOB_RECURSE pages ${root}/usr/share/man/*.[1-9])
  if(pages)
    compress(${pages})
  endif()

  file(GLOB programs ${root}/usr/bin/*)
  file(GLOB_RECURSE libraries ${root}/usr/lib/*.so.*)
  foreach(file IN LISTS programs libraries)
    if(NOT IS_SYMLINK ${file})
      execute_process(COMMAND ${STRIP} --strip-unneeded --remove-section=.comment
        --remove-section=.note ${file} COMMAND_ERROR_IS_FATAL ANY)
    endif()
  endforeach()
endforeach()
