# Five Debian packages out of the build tree, one for each install component:
#
#   component     package       what
#   agent         weir-agent    the daemon, its units, user, rules and manual pages
#   server        weir-server   the token server, its unit, user, rules and manual pages
#   libweir       libweir0      libweir.so.0
#   libweir-dev   libweir-dev   headers, libweir.so, pkg-config and CMake files, libweir(3)
#   weir          weir          the command line tool, its manual page and completions
#
# scripts/package.sh builds them; `cpack` in a build directory does too. Paths are those of a
# Debian system when the tree was configured with -DCMAKE_INSTALL_PREFIX=/usr, as the script does.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME weir)
set(CPACK_PACKAGE_VENDOR "The weir authors")
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_DIRECTORY ${PROJECT_BINARY_DIR}/packages)
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
set(CPACK_VERBATIM_VARIABLES ON)

# /etc/weir is no child of the prefix; with DESTDIR both land in the package.
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE
  GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)

# Only components that something installs into; an unknown one would make an empty package.
get_cmake_property(weir_components COMPONENTS)
set(CPACK_COMPONENTS_ALL "")
foreach(component IN ITEMS agent server libweir libweir-dev weir)
  if(component IN_LIST weir_components)
    list(APPEND CPACK_COMPONENTS_ALL ${component})
  endif()
endforeach()
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_GROUPING IGNORE)
# Copyright, changelog and compressed manual pages are Debian's, not the installation's.
set(CPACK_PRE_BUILD_SCRIPTS ${PROJECT_SOURCE_DIR}/packaging/debian/finish.cmake)
set(CPACK_POST_BUILD_SCRIPTS ${PROJECT_SOURCE_DIR}/packaging/debian/repack.cmake)
set(CPACK_WEIR_DEBIAN_DIR ${PROJECT_SOURCE_DIR}/packaging/debian)

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(weir_deb_version ${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE})
set(CPACK_DEBIAN_PACKAGE_MAINTAINER "The weir authors <maintainers@weir.invalid>")
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# libweir0 is not installed on the machine that builds; the dependency on it is written below.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${CMAKE_LIBRARY_OUTPUT_DIRECTORY})

set(CPACK_DEBIAN_AGENT_PACKAGE_NAME weir-agent)
set(CPACK_DEBIAN_AGENT_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_AGENT_PACKAGE_DEPENDS
  "init-system-helpers (>= 1.54~), systemd | systemd-standalone-sysusers, tzdata")
set(CPACK_DEBIAN_AGENT_PACKAGE_RECOMMENDS "weir")
set(CPACK_DEBIAN_AGENT_PACKAGE_CONTROL_EXTRA
  ${CPACK_WEIR_DEBIAN_DIR}/weir-agent/conffiles ${CPACK_WEIR_DEBIAN_DIR}/weir-agent/postinst
  ${CPACK_WEIR_DEBIAN_DIR}/weir-agent/prerm ${CPACK_WEIR_DEBIAN_DIR}/weir-agent/postrm)
set(CPACK_COMPONENT_AGENT_DESCRIPTION "rate limits shared by all processes of a host: the agent
weir limits how often the processes of a host may do something: requests,
calls to an upstream, use of a paid API. A decision is one atomic operation
on shared memory and takes nanoseconds.

This package contains the agent, which reads the rules, gives out the tokens
that the processes spend, and serves metrics. It runs as a hardened systemd
service, and a restart of it loses no count.")

set(CPACK_DEBIAN_SERVER_PACKAGE_NAME weir-server)
set(CPACK_DEBIAN_SERVER_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_SERVER_PACKAGE_DEPENDS
  "init-system-helpers (>= 1.54~), systemd | systemd-standalone-sysusers")
set(CPACK_DEBIAN_SERVER_PACKAGE_SUGGESTS "weir, etcd-server (>= 3.4), etcd-client")
set(CPACK_DEBIAN_SERVER_PACKAGE_CONTROL_EXTRA
  ${CPACK_WEIR_DEBIAN_DIR}/weir-server/conffiles ${CPACK_WEIR_DEBIAN_DIR}/weir-server/postinst
  ${CPACK_WEIR_DEBIAN_DIR}/weir-server/prerm ${CPACK_WEIR_DEBIAN_DIR}/weir-server/postrm)
set(CPACK_COMPONENT_SERVER_DESCRIPTION "rate limits shared by all hosts of a cluster: the token server
weir limits how often the processes of a host may do something: requests,
calls to an upstream, use of a paid API. A decision is one atomic operation
on shared memory and takes nanoseconds.

This package contains the server that divides limits among the hosts of a
cluster, by what each of them needs, so that together they never have more.
Without it the agent of one host can do the same for a few others.")

set(CPACK_DEBIAN_LIBWEIR_PACKAGE_NAME libweir0)
set(CPACK_DEBIAN_LIBWEIR_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_LIBWEIR_PACKAGE_SUGGESTS "weir-agent")
file(WRITE ${PROJECT_BINARY_DIR}/packaging/shlibs "libweir 0 libweir0 (>= ${PROJECT_VERSION})\n")
set(CPACK_DEBIAN_LIBWEIR_PACKAGE_CONTROL_EXTRA
  ${PROJECT_BINARY_DIR}/packaging/shlibs ${CPACK_WEIR_DEBIAN_DIR}/libweir0/triggers)
set(CPACK_COMPONENT_LIBWEIR_DESCRIPTION "rate limits shared by all processes of a host: the library
weir limits how often the processes of a host may do something: requests,
calls to an upstream, use of a paid API. A decision is one atomic operation
on shared memory and takes nanoseconds.

This package contains the library that such a process is linked with. It
starts no thread and also works, by rules of its own, while no agent runs.")

set(CPACK_DEBIAN_LIBWEIR-DEV_PACKAGE_NAME libweir-dev)
set(CPACK_DEBIAN_LIBWEIR-DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_LIBWEIR-DEV_PACKAGE_DEPENDS "libweir0 (= ${weir_deb_version})")
set(CPACK_DEBIAN_LIBWEIR-DEV_PACKAGE_SHLIBDEPS OFF)
set(CPACK_COMPONENT_LIBWEIR-DEV_DESCRIPTION "rate limits shared by all processes of a host: development files
weir limits how often the processes of a host may do something: requests,
calls to an upstream, use of a paid API. A decision is one atomic operation
on shared memory and takes nanoseconds.

This package contains the C header, the C++ header over it, and the files for
pkg-config (weir) and CMake (find_package(weir), target weir::weir).")

set(CPACK_DEBIAN_WEIR_PACKAGE_NAME weir)
set(CPACK_DEBIAN_WEIR_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_WEIR_PACKAGE_DEPENDS "libweir0 (= ${weir_deb_version})")
set(CPACK_DEBIAN_WEIR_PACKAGE_RECOMMENDS "tzdata")
set(CPACK_DEBIAN_WEIR_PACKAGE_SUGGESTS "weir-agent")
set(CPACK_COMPONENT_WEIR_DESCRIPTION "rate limits shared by all processes of a host: the command
weir limits how often the processes of a host may do something: requests,
calls to an upstream, use of a paid API. A decision is one atomic operation
on shared memory and takes nanoseconds.

This package contains the command line tool: it checks rules, shows limits
and clients as they are now, and takes tokens for shell scripts.")

include(CPack)
