// One lazy timer serves every deadline of a channel: traffic only moves time points, and the timer
// is set anew when it fires or when a deadline comes to lie before it. Whatever is sent during one
// turn of the event loop is written at the end of it, in one call.
#include "net/channel.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>

#include "net/lease_wire.h"

namespace weir::net {

namespace {

constexpr auto kNever = Clock::time_point::max();
constexpr std::chrono::seconds kLinger{1};
// What an empty buffer may keep for the next message.
constexpr std::size_t kKeepBytesMax = 256U << 10;

std::int64_t ns_of(Clock::time_point when) noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(when.time_since_epoch()).count();
}
Clock::time_point from_ns(std::int64_t ns) noexcept {
  return Clock::time_point{
      std::chrono::duration_cast<Clock::duration>(std::chrono::nanoseconds{ns})};
}

}  // namespace

Channel::Channel(const boost::asio::any_io_executor& executor, std::shared_ptr<ByteStream> stream,
                 const ChannelOptions& options, std::uint64_t number)
    : stream_(std::move(stream)),
      options_(options),
      timer_(executor),
      reader_(options.frame_bytes_max),
      last_in_(Clock::now()),
      linger_until_(kNever),
      alarm_(kNever),
      armed_(kNever) {
  // Each connection of a run has faults of its own, and the same ones in the next run.
  const std::uint64_t seed = options.faults.seed + 0x9e3779b97f4a7c15U * number;
  if (options.faults.in.any()) seam_in_.emplace(options.faults.in, seed);
  if (options.faults.out.any()) seam_out_.emplace(options.faults.out, ~seed);
}

void Channel::open(ChannelOwner& owner, ChannelCounters& counters) {
  owner_ = &owner;
  counters_ = &counters;
  stream_->open(*this);
}

void Channel::detach() noexcept {
  owner_ = nullptr;
  counters_ = &nobodys_;
}

// ---- out

bool Channel::send(const google::protobuf::MessageLite& message) {
  if (!usable()) return false;
  if (seam_out_) {
    scratch_.clear();
    return append_frame(scratch_, message) && send_frame(scratch_);
  }
  if (!append_frame(pending_, message)) return false;
  queued();
  return usable();
}

bool Channel::send_frame(std::string_view frame) {
  if (!usable()) return false;
  if (seam_out_) {
    const auto now = Clock::now();
    seam_out_->push(frame, ns_of(now));
    arm();
    if (!in_turn_) run_seams(ns_of(now));
  } else {
    pending_.append(frame);
  }
  queued();
  return usable();
}

void Channel::queued() {
  ++counters_->frames_out;
  if (queued_bytes() > options_.queue_bytes_max) {
    trouble(Trouble::overflow,
            "the peer takes too little: " + std::to_string(queued_bytes()) + " bytes wait for it");
    return;
  }
  if (in_turn_ || writing_ || flush_posted_ || ended_) return;
  flush_posted_ = true;
  boost::asio::post(timer_.get_executor(), [self = shared_from_this()] {
    self->flush_posted_ = false;
    self->flush();
  });
}

void Channel::flush() {
  while (!ended_ && !writing_ && !pending_.empty()) {
    counters_->bytes_out += pending_.size();
    const bool done = stream_->write(pending_);
    if (pending_.capacity() > kKeepBytesMax) std::string{}.swap(pending_);
    if (done) continue;
    writing_ = true;
    write_since_ = Clock::now();
    written_mark_ = stream_->written_total();
    arm();
  }
  const bool all_sent = !writing_ && pending_.empty() && !(seam_out_ && seam_out_->due_ns());
  if (finishing_ && !ended_ && !shut_ && all_sent) {
    shut_ = true;
    stream_->shutdown_send();
  }
}

void Channel::on_stream_written() {
  const auto self = shared_from_this();
  writing_ = false;
  flush();
}

void Channel::finish() {
  if (!usable()) return;
  finishing_ = true;
  deaf_ = true;
  frame_since_.reset();
  // The peer's own end comes at once as a rule. A socket that is closed while something lies in it
  // unread sends a reset, and that can overtake the last message.
  linger_until_ = Clock::now() + kLinger;
  arm();
  if (!in_turn_) flush();
}

void Channel::end() noexcept {
  detach();
  shut();
}

void Channel::shut() noexcept {
  if (std::exchange(ended_, true)) return;
  stream_->close();
  timer_.cancel();
}

// ---- in

void Channel::on_stream_ready() {
  const auto self = shared_from_this();
  last_in_ = Clock::now();
  in_turn_ = true;
  if (owner_ != nullptr) owner_->on_channel_ready();
  in_turn_ = false;
  flush();
}

void Channel::on_stream_bytes(std::string_view bytes) {
  const auto self = shared_from_this();
  last_in_ = Clock::now();
  counters_->bytes_in += bytes.size();
  if (deaf_ || ended_) return;
  in_turn_ = true;
  take_frames(bytes);
  in_turn_ = false;
  flush();
}

void Channel::take_frames(std::string_view bytes) {
  bool some = false;
  bool too_large = false;
  std::size_t largest_bytes = 0;
  while (!ended_ && !deaf_) {
    const auto payload = reader_.next(bytes);
    if (!payload) break;
    some = true;
    largest_bytes = std::max(largest_bytes, payload->size());
    too_large = frame_bytes_max_now_ != 0 && payload->size() > frame_bytes_max_now_;
    if (too_large) break;
    if (seam_in_) {
      seam_in_->push(*payload, ns_of(last_in_));
    } else {
      take_payload(*payload);
    }
  }
  if (ended_ || deaf_) return;
  if (seam_in_) run_seams(ns_of(last_in_));
  if (frame_bytes_max_now_ != 0)
    too_large |= reader_.buffered_bytes() > frame_bytes_max_now_ + kFrameHeaderBytes;
  if (reader_.failed()) {
    trouble(Trouble::bad_frame, reader_.error());
  } else if (too_large) {
    trouble(Trouble::bad_frame, "a frame of more than " + std::to_string(frame_bytes_max_now_) +
                                    " bytes, which is the most at this point");
  } else if (!reader_.in_frame()) {
    frame_since_.reset();
    if (largest_bytes > kKeepBytesMax) reader_ = FrameReader(options_.frame_bytes_max);
  } else if (some || !frame_since_) {
    frame_since_ = last_in_;
    arm();
  }
}

void Channel::take_payload(std::string_view payload) {
  ++counters_->frames_in;
  if (owner_ != nullptr && !deaf_ && !ended_) owner_->on_channel_payload(payload);
}

void Channel::on_stream_ended(const std::string& why) {
  const auto self = shared_from_this();
  trouble(Trouble::ended, frame_since_ ? why + " in the middle of a message" : why);
}

void Channel::run_seams(std::int64_t now_ns) {
  if (seam_in_) {
    while (!ended_ && !deaf_) {
      const auto payload = seam_in_->pop(now_ns);
      if (!payload) break;
      take_payload(*payload);
    }
    if (seam_in_->cut(now_ns)) trouble(Trouble::cut, "cut by the fault seam");
    arm();
  }
  if (seam_out_ && !ended_) {
    while (const auto frame = seam_out_->pop(now_ns))
      pending_.append(*frame);
    if (seam_out_->cut(now_ns)) {
      flush();
      trouble(Trouble::cut, "cut by the fault seam");
    }
    arm();
  }
}

// The owner hears of it from the event loop: it may be in the middle of a call of ours.
void Channel::trouble(Trouble kind, std::string text) {
  if (ended_) return;
  deaf_ = true;
  frame_since_.reset();
  if (kind != Trouble::bad_frame) shut();
  boost::asio::post(timer_.get_executor(),
                    [self = shared_from_this(), kind, text = std::move(text)] {
                      if (self->owner_ != nullptr) self->owner_->on_channel_trouble(kind, text);
                    });
}

// ---- time

void Channel::set_alarm(Clock::time_point when) {
  alarm_ = when;
  arm();
}

Clock::time_point Channel::next_deadline() const noexcept {
  Clock::time_point next = std::min(alarm_, linger_until_);
  if (frame_since_) next = std::min(next, *frame_since_ + options_.frame_deadline);
  if (writing_) next = std::min(next, write_since_ + options_.write_deadline);
  if (seam_in_ && seam_in_->due_ns()) next = std::min(next, from_ns(*seam_in_->due_ns()));
  if (seam_out_ && seam_out_->due_ns()) next = std::min(next, from_ns(*seam_out_->due_ns()));
  return next;
}

void Channel::arm() {
  if (ended_) return;
  const auto next = next_deadline();
  if (next >= armed_) return;
  armed_ = next;
  timer_.expires_at(next);
  timer_.async_wait([self = shared_from_this()](boost::system::error_code error) {
    if (!error) self->wake();
  });
}

void Channel::wake() {
  if (ended_) return;
  armed_ = kNever;
  const auto now = Clock::now();
  in_turn_ = true;
  if (writing_ && stream_->written_total() != written_mark_) {
    written_mark_ = stream_->written_total();
    write_since_ = now;
  }
  if (seam_in_ || seam_out_) run_seams(ns_of(now));
  if (linger_until_ <= now) {
    trouble(Trouble::ended, "closed");
  } else if (frame_since_ && *frame_since_ + options_.frame_deadline <= now) {
    trouble(Trouble::frame_deadline, "half a message, and not the rest within " +
                                         std::to_string(options_.frame_deadline.count()) + " ms");
  } else if (writing_ && write_since_ + options_.write_deadline <= now) {
    trouble(Trouble::write_deadline,
            "the peer took nothing for " + std::to_string(options_.write_deadline.count()) + " ms");
  } else if (alarm_ <= now) {
    alarm_ = kNever;
    if (owner_ != nullptr) owner_->on_channel_alarm(now);
  }
  in_turn_ = false;
  flush();
  arm();
}

}  // namespace weir::net
