// Who is it? A stranger's first message, and what it learns from the answer: nothing, unless it
// knows a credential.
#include <spdlog/spdlog.h>

#include "daemon/log/printable.h"
#include "server/access.h"
#include "server/server_impl.h"
#include "server/wire.h"

namespace weir::server {
namespace {

// Above this an epoch is no epoch: somebody wants to run the counter over its end.
constexpr std::uint64_t kEpochMax = std::uint64_t{1} << 62;

const char* to_text(Access access) noexcept {
  switch (access) {
    case Access::no_credential:
      return "no credential";
    case Access::wrong_token:
      return "a token that is not its";
    case Access::wrong_certificate:
      return "a certificate that is not its";
    case Access::granted:
      break;
  }
  return "granted";
}

}  // namespace

void TokenServer::Impl::refuse(Session& session, Refusal why, v1::RefusedCode code,
                               std::string_view text, const std::string& detail) {
  ++refused_total_[static_cast<std::size_t>(why)];
  const std::string key = std::string{"refused "} + kRefusalNames[static_cast<std::size_t>(why)];
  if (const auto verdict = limiter_.admit(key, mono_now_ns())) {
    spdlog::warn("{}: refused: {}{}", printable(session.connection->peer().address),
                 printable(detail), verdict.suffix());
  }
  session.connection->refuse(code, text);
}

// One answer for a namespace that does not exist and for a credential that is wrong: a stranger
// cannot find out which namespaces there are.
bool TokenServer::Impl::may_speak(Session& session, const v1::Hello& message) {
  constexpr std::string_view kNo =
      "the namespace or the credential is wrong; see 'namespaces' in the server's file";
  Space* space = find_space(message.namespace_name());
  const std::string who = "namespace " + message.namespace_name() + ", host " + message.host();
  if (space == nullptr) {
    refuse(session, Refusal::name_space, v1::REFUSED_CREDENTIALS, kNo,
           who + ": there is no such namespace");
    return false;
  }
  AccessResult access =
      check_access(space->rule().allow, session.connection->peer(), message.token(), own_uid_);
  if (access.access != Access::granted) {
    refuse(session, Refusal::credential, v1::REFUSED_CREDENTIALS, kNo,
           who + ": " + to_text(access.access));
    return false;
  }
  if (session.space != nullptr && session.space != space) {
    refuse(session, Refusal::malformed, v1::REFUSED_MALFORMED,
           "another namespace needs a connection of its own", who + ": changed its namespace");
    return false;
  }
  if (!is_host_name(message.host())) {
    refuse(session, Refusal::host, v1::REFUSED_MALFORMED,
           "the host's name is not allowed; allowed: 1 to 255 of a-z A-Z 0-9 . _ -, with a letter "
           "or digit first",
           who + ": no valid name of a host");
    return false;
  }
  session.space = space;
  session.credential = std::move(access.by);
  return true;
}

void TokenServer::Impl::on_hello(Session& session, const v1::Hello& message) {
  if (!may_speak(session, message)) return;
  Space& space = *session.space;
  if (stopping_) {
    session.connection->refuse(v1::REFUSED_STOPPING, "the server stops; come back in a while");
    return;
  }
  if (!space.owner()) return send_away(session, message);
  session.version = message.version();
  session.protocol_minor = message.protocol_minor();
  session.connection->accept_hello();
  if (message.passive()) {
    welcome_passive(session);
    return;
  }
  if (message.agent_epoch() == 0 || message.epoch_seen() > kEpochMax ||
      !from_wire(message, hello_)) {
    refuse(session, Refusal::malformed, v1::REFUSED_MALFORMED,
           "the hello has no agent_epoch, or an epoch that cannot be",
           "host " + message.host() + ": a malformed hello");
    return;
  }
  if (!options_.elected) see_epoch(message.epoch_seen(), space);
  if (options_.elected && !see_elected_epoch(session, message.epoch_seen())) return;
  const Space::Greeted greeted = space.greet(session, hello_, boot_now_ns());
  if (greeted == Space::Greeted::full) {
    refuse(session, Refusal::full, v1::REFUSED_BUSY, "there are too many hosts; come back later",
           "namespace " + space.name() + ": no room for host " + message.host());
    return;
  }
  if (greeted == Space::Greeted::ignored) return;
  session.rules_version = message.rules_version();
  if (options_.elected) return space.welcome(session, options_.name, options_.version);
  welcome_when_stored(session);
}

// An agent has heard of an epoch above ours: our state was restored from an old copy, or lost, or
// somebody else has served meanwhile.
void TokenServer::Impl::see_epoch(std::uint64_t epoch_seen, Space& space) {
  // We believe that nobody was served before us; who heard of another server knows better.
  const bool lost = fresh_ && epoch_seen != 0 && epoch_seen != epoch_;
  if (lost) fresh_ = false;
  if (epoch_seen <= epoch_ && !lost) return;
  if (epoch_seen > epoch_) {
    epoch_ = epoch_seen + 1;
    store_->raise_epoch(epoch_);
  }
  bool relearns = false;
  for (const auto& [name, each] : spaces_)
    if (lost || each.get() == &space)
      relearns = each->distrust_known(epoch_, boot_now_ns(), lost) || relearns;
  for (const auto& [name, each] : spaces_)
    each->raise_epoch(epoch_);
  if (const auto verdict = limiter_.admit("epoch", mono_now_ns())) {
    spdlog::warn("namespace {}: an agent has seen epoch {} of another server; ours is {} now{}{}",
                 space.name(), epoch_seen, epoch_,
                 relearns ? ", and whom we met before is not believed" : "", verdict.suffix());
  }
}

// Elected servers take their epochs from the election alone.
bool TokenServer::Impl::see_elected_epoch(Session& session, std::uint64_t epoch_seen) {
  Space& space = *session.space;
  // We believe that nobody was served before us; who heard of another server knows better.
  if (space.never_met() && epoch_seen != 0 && epoch_seen != space.book().epoch())
    space.forget_never_met(boot_now_ns());
  if (epoch_seen <= space.book().epoch()) return true;
  if (options_.on_higher_epoch) options_.on_higher_epoch(space.name(), epoch_seen);
  session.connection->refuse(v1::REFUSED_BUSY, "the server's epoch is about to be raised");
  return false;
}

// To the owner; or, while nobody knows who that is, nowhere: the answer waits until somebody does.
void TokenServer::Impl::send_away(Session& session, const v1::Hello& message) {
  Space& space = *session.space;
  const bool elsewhere =
      space.knows_owner() && !(options_.elected && space.came_back(message.host(), boot_now_ns()));
  if (elsewhere || !options_.elected) {
    ++refused_total_[static_cast<std::size_t>(Refusal::redirected)];
    space.send_redirect(*session.connection);
    return;
  }
  session.connection->accept_hello();
  session.parked = std::make_unique<v1::Hello>(message);
}

void TokenServer::Impl::answer_parked(Space& space) {
  std::vector<std::uint64_t> waiting;
  for (const auto& [id, session] : sessions_)
    if (session->space == &space && session->parked) waiting.push_back(id);
  for (const std::uint64_t id : waiting) {
    const auto found = sessions_.find(id);
    if (found == sessions_.end() || !found->second->parked) continue;
    Session& session = *found->second;
    const auto hello = std::exchange(session.parked, nullptr);
    if (space.owner()) {
      on_hello(session, *hello);
    } else {
      space.came_back(hello->host(), boot_now_ns());  // the next time, if that is soon
      space.send_redirect(*session.connection);
    }
  }
}

// A host that was welcomed must be known to the next start, so the welcome waits for the disk.
void TokenServer::Impl::welcome_when_stored(Session& session) {
  store_->commit([weak = weak_from_this(), connection = session.connection->id(),
                  hello_no = session.welcome.hello_no, id = session.id](bool) {
    const auto self = weak.lock();
    if (!self) return;
    auto& impl = static_cast<Impl&>(*self);
    const auto found = impl.sessions_.find(connection);
    if (found == impl.sessions_.end()) return;
    Session& waiting = *found->second;
    if (waiting.space == nullptr || waiting.welcomed || waiting.id != id ||
        waiting.welcome.hello_no != hello_no)
      return;
    waiting.space->welcome(waiting, impl.options_.name, impl.options_.version);
  });
}

void TokenServer::Impl::welcome_passive(Session& session) {
  session.passive = true;
  session.space->leave(session);
  v1::ToAgent message;
  v1::Welcome& welcome = *message.mutable_welcome();
  welcome.set_epoch(options_.elected ? session.space->book().epoch() : epoch_);
  welcome.set_learning(session.space->book().learning());
  welcome.set_server(options_.name);
  welcome.set_version(options_.version);
  welcome.set_namespace_name(session.space->name());
  welcome.set_protocol_minor(net::kProtocolMinor);
  session.connection->send(message);
}

}  // namespace weir::server
