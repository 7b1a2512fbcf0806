# One set of warnings for everything that we write; each of them is an error.
add_library(weir_options INTERFACE)
add_library(weir::options ALIAS weir_options)
target_include_directories(weir_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(weir_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror
  $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor -Woverloaded-virtual>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # g++ 12 at -O3 sees overlapping copies in std::string that are not there (GCC bug 105651).
  target_compile_options(weir_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict>)
endif()
if(WEIR_FAILPOINTS)
  target_compile_definitions(weir_options INTERFACE WEIR_FAILPOINTS=1)
endif()
find_package(Threads REQUIRED)
target_link_libraries(weir_options INTERFACE Threads::Threads)

if(WEIR_SANITIZE)
  add_compile_options(-fsanitize=${WEIR_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${WEIR_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    # clang 14 cannot emit a coroutine with -fsanitize=function.
    add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fno-sanitize=function>)
  elseif(WEIR_SANITIZE MATCHES "thread")
    # g++ warns that it does not model stand-alone fences; the code uses none across threads.
    add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-Wno-tsan>)
  endif()
endif()

# Boost 1.81 is header-only for us. Its headers are system headers, so that our warnings
# stay about our code.
find_package(Boost 1.81 REQUIRED)

# weir_alone(target...): each source by itself, for generated code, for code whose layout is
# measured, and where sources of a target use one name for different things.
function(weir_alone)
  set_target_properties(${ARGN} PROPERTIES UNITY_BUILD OFF)
endfunction()

# weir_cold(target...): nothing in it is called often; see WEIR_QUICK.
function(weir_cold)
  foreach(target IN LISTS ARGN)
    if(WEIR_QUICK)
      target_compile_options(${target} PRIVATE -O0)
    endif()
  endforeach()
endfunction()

# What all programs of tests have in common.
function(weir_test_program name)
  target_link_libraries(${name} PRIVATE weir::options)
  target_compile_definitions(${name} PRIVATE
    WEIR_SOURCE_DIR="${PROJECT_SOURCE_DIR}" WEIR_BINARY_DIR="${PROJECT_BINARY_DIR}")
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
endfunction()

# weir_add_test(NAME n LABELS unit SOURCES a.cpp LIBS weir::shm [TIMEOUT 60] [NO_GTEST])
# A test executable under GoogleTest, registered with ctest under one of the labels
# unit, system, chaos, long. A program that returns 77 is reported as skipped.
function(weir_add_test)
  cmake_parse_arguments(T "NO_GTEST" "NAME;TIMEOUT" "LABELS;SOURCES;LIBS;DEFINITIONS;ARGS" ${ARGN})
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 120)
  endif()
  add_executable(${T_NAME} ${T_SOURCES})
  weir_test_program(${T_NAME})
  target_link_libraries(${T_NAME} PRIVATE ${T_LIBS})
  if(NOT T_NO_GTEST)
    target_link_libraries(${T_NAME} PRIVATE GTest::gtest_main GTest::gmock)
  endif()
  target_compile_definitions(${T_NAME} PRIVATE ${T_DEFINITIONS})
  add_test(NAME ${T_NAME} COMMAND ${T_NAME} ${T_ARGS})
  set_tests_properties(${T_NAME} PROPERTIES LABELS "${T_LABELS}" TIMEOUT ${T_TIMEOUT}
    SKIP_RETURN_CODE 77)
endfunction()
