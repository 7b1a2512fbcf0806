// Whole messages over a byte stream, with every bound that both ends need: the core that a link and
// a listener's connection share. For the sources of this folder.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "net/fault_seam.h"
#include "net/frame.h"
#include "net/stream.h"

namespace weir::net {

struct ChannelOptions {
  std::uint32_t frame_bytes_max = 0;
  std::chrono::milliseconds frame_deadline{0};
  std::chrono::milliseconds write_deadline{0};
  std::size_t queue_bytes_max = 0;
  FaultOptions faults;
};

enum class Trouble : std::uint8_t {
  ended,           // by the peer, the network, or a failed handshake
  bad_frame,       // a length that is out of bounds
  frame_deadline,  // half a frame, and not the rest
  write_deadline,  // the peer takes nothing
  overflow,        // too much waits for the peer
  cut,             // by the fault seam
};

struct ChannelCounters {
  std::uint64_t frames_in = 0;
  std::uint64_t frames_out = 0;
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
};

using Clock = std::chrono::steady_clock;

class ChannelOwner {
 public:
  virtual void on_channel_ready() = 0;
  virtual void on_channel_payload(std::string_view payload) = 0;
  virtual void on_channel_alarm(Clock::time_point now) = 0;
  // Comes from the event loop, never from inside a call. After bad_frame alone the channel can
  // still say something and finish(); after the others it has ended.
  virtual void on_channel_trouble(Trouble trouble, const std::string& text) = 0;

 protected:
  ~ChannelOwner() = default;
};

class Channel final : public std::enable_shared_from_this<Channel>, private StreamEvents {
 public:
  Channel(const boost::asio::any_io_executor& executor, std::shared_ptr<ByteStream> stream,
          const ChannelOptions& options, std::uint64_t number);

  void open(ChannelOwner& owner, ChannelCounters& counters);
  // False when it has ended, is finishing, or the message is too large or one too many.
  bool send(const google::protobuf::MessageLite& message);
  bool send_frame(std::string_view frame);
  // Takes no more, sends what waits, gives the peer a moment to read it, and ends. Without an owner
  // it does so on its own.
  void finish();
  // Ends at once; the owner is not called any more.
  void end() noexcept;
  void detach() noexcept;

  // Frames from here on may be no larger; lower than what the options say, or 0 for that.
  void set_frame_bytes_max(std::uint32_t bytes) noexcept { frame_bytes_max_now_ = bytes; }
  // Wakes the owner at about this time; the latest call counts.
  void set_alarm(Clock::time_point when);

  bool usable() const noexcept { return !ended_ && !finishing_; }
  bool ended() const noexcept { return ended_; }
  Clock::time_point last_in() const noexcept { return last_in_; }
  std::size_t queued_bytes() const noexcept { return pending_.size() + stream_->unsent_bytes(); }
  void fill_peer(Peer& peer) const { stream_->fill_peer(peer); }

 private:
  void on_stream_ready() override;
  void on_stream_bytes(std::string_view bytes) override;
  void on_stream_written() override;
  void on_stream_ended(const std::string& why) override;

  void take_frames(std::string_view bytes);
  void take_payload(std::string_view payload);
  void run_seams(std::int64_t now_ns);
  void queued();
  void flush();
  void shut() noexcept;
  void trouble(Trouble kind, std::string text);
  void arm();
  Clock::time_point next_deadline() const noexcept;
  void wake();

  std::shared_ptr<ByteStream> stream_;
  ChannelOptions options_;
  ChannelOwner* owner_ = nullptr;
  ChannelCounters nobodys_;
  ChannelCounters* counters_ = &nobodys_;
  boost::asio::steady_timer timer_;
  FrameReader reader_;
  std::uint32_t frame_bytes_max_now_ = 0;
  std::string pending_;
  std::string scratch_;  // one outgoing frame on its way through the seam
  std::optional<FaultSeam> seam_in_;
  std::optional<FaultSeam> seam_out_;

  bool in_turn_ = false;  // of the event loop, in our own code: it flushes at its end
  bool flush_posted_ = false;
  bool writing_ = false;
  bool finishing_ = false;
  bool shut_ = false;
  bool ended_ = false;
  bool deaf_ = false;  // what comes is thrown away
  std::uint64_t written_mark_ = 0;
  Clock::time_point last_in_;
  std::optional<Clock::time_point> frame_since_;
  Clock::time_point write_since_;
  Clock::time_point linger_until_;
  Clock::time_point alarm_;
  Clock::time_point armed_;
};

}  // namespace weir::net
