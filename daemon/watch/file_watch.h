// A file that operators edit: says when it has been written or replaced.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <string>

namespace weir {

// Watches the file's directory, because an editor or a package replaces a file rather than writing
// into it. For one thread: the one that runs `io`. Nothing is called after stop().
class FileWatch {
 public:
  // An editor writes in several steps: the call comes this long after the last of them.
  static constexpr std::chrono::milliseconds kSettle{200};

  explicit FileWatch(boost::asio::io_context& io);

  // Empty when the file is watched from now on, else what stands in the way. Once only.
  std::string start(const std::string& file, std::function<void()> changed);
  void stop();

 private:
  void wait();
  bool read_events();

  boost::asio::posix::stream_descriptor events_;
  boost::asio::steady_timer settle_;
  std::string name_;
  std::function<void()> changed_;
};

}  // namespace weir
