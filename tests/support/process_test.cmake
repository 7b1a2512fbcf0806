include_guard()

# A test that starts agents and workers: NAME.cpp under GoogleTest.
function(weir_add_process_test name label timeout)
  weir_add_test(NAME ${name} LABELS ${label} SOURCES ${name}.cpp ${ARGN}
    LIBS weir_test_support TIMEOUT ${timeout})
  add_dependencies(${name} weir-agent weir_worker)
endfunction()
