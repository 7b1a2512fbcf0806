include_guard()

# One program of several sources, compiled as one, and a test of ctest for each of them: that of
# NAME_test.cpp is NAME_test and runs its suites.
function(weir_add_process_tests program label timeout)
  list(TRANSFORM ARGN APPEND _test.cpp OUTPUT_VARIABLE sources)
  add_executable(${program} ${sources})
  weir_test_program(${program})
  target_link_libraries(${program} PRIVATE weir_test_support GTest::gtest_main GTest::gmock)
  add_dependencies(${program} weir-agent weir_worker)
  foreach(name IN LISTS ARGN)
    file(STRINGS ${name}_test.cpp heads REGEX "^(TYPED_)?TEST(_F|_P)?\\(")
    set(suites "")
    foreach(head IN LISTS heads)
      if(NOT head MATCHES "^TEST(_F|_P)?\\(([A-Za-z0-9_]+),")
        message(FATAL_ERROR "${name}_test.cpp: no test of ctest would run this: ${head}")
      endif()
      list(APPEND suites ${CMAKE_MATCH_2}.* */${CMAKE_MATCH_2}.*)
    endforeach()
    list(REMOVE_DUPLICATES suites)
    list(JOIN suites ":" filter)
    add_test(NAME ${name}_test COMMAND ${program} --gtest_filter=${filter})
    set_tests_properties(${name}_test PROPERTIES LABELS ${label} TIMEOUT ${timeout}
      SKIP_RETURN_CODE 77)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${name}_test.cpp)
  endforeach()
endfunction()

# A test that starts agents and workers: NAME.cpp under GoogleTest.
function(weir_add_process_test name label timeout)
  weir_add_test(NAME ${name} LABELS ${label} SOURCES ${name}.cpp ${ARGN}
    LIBS weir_test_support TIMEOUT ${timeout})
  add_dependencies(${name} weir-agent weir_worker)
endfunction()
