#include <cstring>
#include <iostream>

#include "sim/cli.h"
#include "sim/overload/overload.h"

int main(int argc, char** argv) {
  // One host under too much load is a simulation of its own.
  if (argc > 1 && std::strcmp(argv[1], "overload") == 0)
    return weir::overload::run_overload(argc - 1, argv + 1);
  return weir::sim::run_program({argv + 1, argv + argc}, std::cout, std::cerr);
}
