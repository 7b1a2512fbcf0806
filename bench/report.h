// How the rows are shown: a table for people, JSON for programs.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "bench/rows.h"

namespace weir::bench {

void print_table(std::FILE* out, const std::vector<Row>& rows);
// False: the file could not be written.
bool write_json(const std::string& path, const std::vector<Row>& rows);

}  // namespace weir::bench
