// prometheus-cpp's families as text. Its own serializer goes through a stream, character by
// character, and takes 5 ms for a thousand limits; this one takes 1, on the thread that mints.
// Both write the same page, which a test holds them to.
#pragma once

#include <prometheus/metric_family.h>

#include <string>
#include <vector>

namespace weir {

// Counters, gauges and summaries.
std::string to_text(const std::vector<prometheus::MetricFamily>& families);

}  // namespace weir
