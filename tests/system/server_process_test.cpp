// weir-server as a process: credentials, TLS, reloads, restarts, kill -9, a full disk.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <fstream>

#include "net/link.h"
#include "net/tls_client.h"
#include "shm/fd.h"
#include "tests/support/process.h"
#include "tests/unit/net/certificates.h"
#include "tests/unit/server/raw_agent.h"

namespace weir::server {
namespace {

using test::eventually;
using test::Process;
using test::read_text;
using test::write_text;

class ServerProcess : public testing::Test {
 protected:
  void SetUp() override { write_text(file_, text()); }

  std::string text(const std::string& limits = "{name: /api, rate: 300/s}",
                   const std::string& more = {}) const {
    return "version: 1\nlisten: '" + listen_ + "'\nhttp: off\nstate_dir: " + state_ +
           "\nlease: {ttl: 1s, tail: 0s, refresh: 100ms}\n" + more +
           "namespaces:\n  shop:\n    tokens: ['" + kTokenHash + "']\n    limits: [" + limits +
           "]\n  mail:\n    tokens: ['sha256:" + std::string(64, '7') + "']\n";
  }
  Process spawn(std::vector<std::string> more = {}, std::map<std::string, std::string> env = {}) {
    test::SpawnOptions options;
    options.argv = {std::string(WEIR_BINARY_DIR) + "/bin/weir-server", file_};
    options.argv.insert(options.argv.end(), more.begin(), more.end());
    options.output = log_;
    options.env = std::move(env);
    return Process::spawn(options);
  }
  std::string log() const { return read_text(log_); }
  int lines_with(const std::string& words) const {
    std::istringstream lines(log());
    int count = 0;
    for (std::string line; std::getline(lines, line);)
      count += line.find(words) != line.npos ? 1 : 0;
    return count;
  }
  // Waits until the last start in the log listens, and says where.
  std::string address() {
    std::string where;
    const auto found = [&] {
      const std::string all = log();
      const std::size_t at = all.rfind("listens at ");
      if (at == all.npos || all.find(';', at) == all.npos) return false;
      where = all.substr(at + 11, all.find(';', at) - at - 11);
      return true;
    };
    EXPECT_TRUE(eventually(found)) << log();
    return where;
  }
  // A server that runs, and the log of it alone.
  Process start(std::map<std::string, std::string> env = {}) {
    write_text(log_, "");
    Process process = spawn({}, std::move(env));
    address_ = address();
    return process;
  }

  test::TempDir dir_;
  std::string listen_ = "127.0.0.1:0";
  std::string file_ = dir_ / "server.yaml";
  std::string state_ = dir_ / "state";
  std::string log_ = dir_ / "log";
  std::string address_;
  boost::asio::io_context io;
};

TEST_F(ServerProcess, ServesAndStopsWell) {
  Process server = start();
  RawAgent agent(io, address_);
  ASSERT_TRUE(agent.greet());
  EXPECT_TRUE(agent.rules());
  EXPECT_TRUE(agent.ask("/api", 10));

  server.signal(SIGTERM);

  EXPECT_TRUE(agent.ends());
  EXPECT_EQ(server.exit_code(), 0);
}

// Nothing is learned by guessing, and guessing does not fill the log.
TEST_F(ServerProcess, StrangersGetNothingAndOneLine) {
  Process server = start();
  std::string first;
  for (int i = 0; i < 50; ++i) {
    RawAgent agent(io, address_);
    agent.name_space = i % 3 == 0 ? "mail" : i % 3 == 1 ? "nowhere" : "shop";
    agent.token = i % 3 == 2 ? "" : kToken;
    ASSERT_FALSE(agent.greet());
    EXPECT_TRUE(agent.ends());
    if (i == 0) first = agent.refusal.SerializeAsString();
    EXPECT_EQ(agent.refusal.SerializeAsString(), first);
  }

  EXPECT_GE(lines_with("refused"), 2);
  EXPECT_LE(lines_with("refused"), 10);  // five of each kind at once
  EXPECT_GE(lines_with("mail, host web-1: a token that is not its"), 1);
  EXPECT_EQ(log().find(kToken + std::string("\"")), std::string::npos);
}

TEST_F(ServerProcess, OverTheGuardHostsAreToldToKeepWhatTheyHave) {
  write_text(file_, text() + "    guard: 10\n" + "  guarded:\n    guard: 10\n    tokens: ['" +
                        kTokenHash + "']\n");
  Process server = start();
  RawAgent agent(io, address_);
  agent.name_space = "guarded";
  ASSERT_TRUE(agent.greet());
  int busy = 0;
  for (int i = 0; i < 20; ++i) {
    const auto answer = agent.ask("", 0);
    ASSERT_TRUE(answer);
    busy += answer->busy ? 1 : 0;
  }
  EXPECT_GE(busy, 15);
}

TEST_F(ServerProcess, AGoodFileIsTakenAndABrokenOneIsNot) {
  Process server = start();
  RawAgent agent(io, address_);
  ASSERT_TRUE(agent.greet());
  ASSERT_TRUE(agent.rules());

  write_text(file_, text("{name: /api, rate: three}"));
  server.signal(SIGHUP);
  EXPECT_TRUE(eventually([&] { return lines_with("what is in force stays as it is") >= 1; }));
  EXPECT_GE(lines_with("server.yaml:9:33: rate 'three'"), 1) << log();
  EXPECT_TRUE(agent.silent());

  write_text(file_, text("{name: /api, rate: 400/s}"));
  server.signal(SIGHUP);
  const auto rules = agent.rules();
  ASSERT_TRUE(rules) << log();
  EXPECT_EQ(rules->rules(0).amount(), 400U);
  EXPECT_GE(lines_with("~ namespace shop /api: rate 300/s -> 400/s"), 1);

  // Without a signal as well: the file is watched.
  write_text(file_, text("{name: /api, rate: 500/s}"));
  const auto again = agent.rules();
  ASSERT_TRUE(again) << log();
  EXPECT_EQ(again->rules(0).amount(), 500U);
}

TEST_F(ServerProcess, ARestartLearnsAndEndsEarlyWhenAllAreBack) {
  Process server = start();
  RawAgent agent(io, address_);
  ASSERT_TRUE(agent.greet());
  server.signal(SIGTERM);
  ASSERT_EQ(server.exit_code(), 0);

  std::string longer = text();
  longer.replace(longer.find("ttl: 1s"), 7, "ttl: 60s");
  write_text(file_, longer);
  server = start();
  EXPECT_EQ(lines_with("namespace shop: learning"), 1);
  RawAgent back(io, address_);
  back.hello_no = agent.hello_no;
  const auto welcome = back.greet();
  ASSERT_TRUE(welcome);

  EXPECT_TRUE(eventually([&] { return lines_with("namespace shop: learned") == 1; })) << log();
}

// Whatever it was doing: it starts again, on the same state, with a higher epoch, and who was
// welcomed is known.
TEST_F(ServerProcess, Kill9LosesNothingThatWasSaid) {
  std::uint64_t epoch = 0;
  for (int round = 0; round < 10; ++round) {
    Process server = start();
    ASSERT_TRUE(server.running());
    RawAgent agent(io, address_, "web-" + std::to_string(round),
                   100U + static_cast<unsigned>(round));
    const auto welcome = agent.greet();
    ASSERT_TRUE(welcome) << log();
    EXPECT_GT(welcome->epoch(), epoch);
    epoch = welcome->epoch();
    server.kill9();
    const std::string known = read_text(state_ + "/identities");
    EXPECT_NE(known.find("web-" + std::to_string(round)), known.npos);
  }
  EXPECT_EQ(lines_with("damaged"), 0);
  EXPECT_EQ(lines_with("torn"), 0);
}

TEST_F(ServerProcess, ADamagedStateIsSaidAndServed) {
  std::uint64_t before = 0;
  {
    Process server = start();
    RawAgent agent(io, address_);
    const auto welcome = agent.greet();
    ASSERT_TRUE(welcome);
    before = welcome->epoch();
  }
  write_text(state_ + "/identities", "rubbish");
  write_text(state_ + "/epoch", "rubbish");

  Process server = start();
  RawAgent agent(io, address_);
  agent.epoch_seen = before;

  const auto welcome = agent.greet();

  ASSERT_TRUE(welcome);
  EXPECT_GT(welcome->epoch(), before);  // what the agent has seen is not gone below
  EXPECT_EQ(lines_with("the epoch starts anywhere"), 1);
  EXPECT_EQ(lines_with("the server learns for its full time"), 1);
}

// D2: a disk that is full. Hosts are served from memory; the next start believes no list.
TEST_F(ServerProcess, AFullDiskStopsNobody) {
  const std::string disk = dir_ / "disk";
  ASSERT_EQ(::mkdir(disk.c_str(), 0700), 0);
  if (::mount("none", disk.c_str(), "tmpfs", 0, "size=64k") != 0)
    GTEST_SKIP() << "no file system can be mounted here";
  state_ = disk + "/state";
  write_text(file_, text());
  {
    Process server = start();
    std::ofstream(disk + "/filler") << std::string(1 << 20, 'x');
    std::vector<std::unique_ptr<RawAgent>> agents;
    for (int i = 0; i < 300; ++i) {
      agents.push_back(std::make_unique<RawAgent>(
          io, address_, std::string(200, 'h') + std::to_string(i), 1 + i));
      ASSERT_TRUE(agents.back()->greet()) << i << log();
    }
    EXPECT_TRUE(agents.back()->ask("/api", 10));
    EXPECT_TRUE(eventually([&] { return lines_with("leases go on from memory") >= 1; })) << log();
    EXPECT_FALSE(std::ifstream(state_ + "/identities").good());
    server.kill9();
  }
  Process server = start();  // still full
  RawAgent agent(io, address_);
  EXPECT_TRUE(agent.greet());
  EXPECT_EQ(lines_with("namespace shop: learning"), 1);
  server.kill9();
  ::umount2(disk.c_str(), MNT_DETACH);
}

TEST_F(ServerProcess, ExitCodesSayWhatIsWrong) {
  Process first = start();
  Process second = spawn();
  EXPECT_EQ(second.exit_code(), 75);
  EXPECT_GE(lines_with("is in use by another weir-server"), 1);
  EXPECT_EQ(spawn({"--no-such-option"}).exit_code(), 64);
  EXPECT_EQ(spawn({"--check"}).exit_code(), 0);

  write_text(file_, text("{name: /api, rate: three}"));
  EXPECT_EQ(spawn({"--check"}).exit_code(), 78);
  EXPECT_EQ(spawn().exit_code(), 78);
  file_ = dir_ / "missing.yaml";
  EXPECT_EQ(spawn().exit_code(), 78);
}

TEST_F(ServerProcess, TheServiceManagerIsTold) {
  const std::string path = dir_ / "notify";
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::copy(path.begin(), path.end(), name.sun_path);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&name), sizeof(name)), 0);
  Process server = start({{"NOTIFY_SOCKET", path}, {"WATCHDOG_USEC", "200000"}});
  std::string told;
  const auto hears = [&](const char* word) {
    return eventually([&] {
      char buffer[512];
      const ssize_t got = ::recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);
      if (got > 0) told.append(buffer, static_cast<std::size_t>(got)).push_back('\n');
      return told.find(word) != told.npos;
    });
  };
  EXPECT_TRUE(hears("READY=1"));
  EXPECT_TRUE(hears("WATCHDOG=1"));
  server.signal(SIGHUP);
  EXPECT_TRUE(hears("RELOADING=1"));
  server.signal(SIGTERM);
  EXPECT_TRUE(hears("STOPPING=1"));
  EXPECT_EQ(server.exit_code(), 0);
  ::close(fd);
}

// ---- TLS

class ServerTls : public ServerProcess {
 protected:
  void serve(const net::TestCertificate& own, const net::TestCertificate& authority,
             const std::string& clients) {
    std::string all =
        text("{name: /api, rate: 300/s}",
             "tls: {certificate: '" + own.certificate_file() + "', key: '" + own.key_file() +
                 "', ca: '" + authority.certificate_file() + "', clients: " + clients + "}\n");
    all += "  certified:\n    certificates: ['*.hosts.example']\n";
    write_text(file_, all);
  }
  struct Outcome {
    bool welcomed = false;
    bool refused = false;
    std::string failure;
  };
  // Without a certificate of its own: `own` is null.
  Outcome try_link(const net::TestCertificate* own, const std::string& name_space,
                   const std::string& token) {
    Outcome outcome;
    net::TlsOptions tls;
    tls.ca_file = authority_.certificate_file();
    if (own != nullptr) {
      tls.certificate_file = own->certificate_file();
      tls.key_file = own->key_file();
    }
    auto context = net::load_tls(tls, net::TlsRole::client);
    EXPECT_TRUE(context) << context.error().text;
    if (!context) return outcome;
    net::LinkOptions options;
    options.addresses = {address_};
    options.tls = *context;
    net::LinkCallbacks callbacks;
    net::Link* self = nullptr;
    callbacks.on_open = [&] {
      v1::ToServer message;
      v1::Hello& hello = *message.mutable_hello();
      hello.set_protocol_major(net::kProtocolMajor);
      hello.set_namespace_name(name_space);
      hello.set_host("web-1");
      hello.set_token(token);
      hello.set_agent_epoch(1);
      hello.set_hello_no(++hello_no_);
      self->send(message);
    };
    callbacks.on_message = [&](const v1::ToAgent& message) {
      outcome.welcomed = outcome.welcomed || message.has_welcome();
      outcome.refused = outcome.refused || message.has_refused();
    };
    callbacks.on_closed = [&](const std::string& reason) { outcome.failure = reason; };
    callbacks.on_failed = [&](const std::string& reason) { outcome.failure = reason; };
    net::Link link(io, std::move(options), std::move(callbacks));
    self = &link;
    link.start();
    run_until(io, [&] { return outcome.welcomed || outcome.refused || !outcome.failure.empty(); });
    return outcome;
  }
  std::uint64_t hello_no_ = 0;
  net::TestCertificate authority_{dir_.path(), "ca", {"ca", {}, 30, true}};
  net::TestCertificate server_{
      dir_.path(), "server", {"s", {"IP:127.0.0.1"}, 30, false}, &authority_};
};

TEST_F(ServerTls, ATokenOrACertificateOfTheRightNameOpens) {
  serve(server_, authority_, "optional");
  Process server = start();
  const net::TestCertificate own(dir_.path(), "own",
                                 {"test", {"DNS:web-1.hosts.example"}, 30, false}, &authority_);
  const net::TestCertificate other(dir_.path(), "other",
                                   {"test", {"DNS:web-1.guests.example"}, 30, false}, &authority_);

  EXPECT_TRUE(try_link(nullptr, "shop", kToken).welcomed);
  EXPECT_TRUE(try_link(nullptr, "shop", "guess").refused);
  EXPECT_TRUE(try_link(nullptr, "certified", "").refused);
  EXPECT_TRUE(try_link(&own, "certified", "").welcomed);
  EXPECT_TRUE(try_link(&other, "certified", "").refused);
}

TEST_F(ServerTls, AServerThatShowsAnExpiredCertificateIsLeft) {
  const net::TestCertificate expired(dir_.path(), "expired", {"test", {"IP:127.0.0.1"}, -1, false},
                                     &authority_);
  serve(expired, authority_, "optional");
  Process server = start();

  const Outcome outcome = try_link(nullptr, "shop", kToken);

  EXPECT_FALSE(outcome.welcomed);
  EXPECT_NE(outcome.failure.find("expired"), std::string::npos) << outcome.failure;
}

TEST_F(ServerTls, AnAgentWithABadCertificateIsOneLine) {
  serve(server_, authority_, "required");
  Process server = start();
  const net::TestCertificate expired(dir_.path(), "expired",
                                     {"test", {"DNS:web-1.hosts.example"}, -1, false}, &authority_);
  const net::TestCertificate self_made(dir_.path(), "self",
                                       {"test", {"DNS:a.hosts.example"}, 30, false});

  for (int i = 0; i < 20; ++i) {
    const auto& bad = i % 2 == 0 ? expired : self_made;
    EXPECT_FALSE(try_link(&bad, "certified", "").welcomed);
  }

  EXPECT_TRUE(eventually([&] { return lines_with("no TLS with 127.0.0.1") >= 1; })) << log();
  EXPECT_LE(lines_with("no TLS with"), 5);
}

TEST_F(ServerTls, NewCertificatesAreTakenOnReload) {
  serve(server_, authority_, "optional");
  Process server = start();
  const net::TestCertificate expired(dir_.path(), "next", {"test", {"IP:127.0.0.1"}, -1, false},
                                     &authority_);
  serve(expired, authority_, "optional");
  server.signal(SIGHUP);
  EXPECT_TRUE(eventually([&] { return lines_with("tls.certificate") >= 1; }));

  EXPECT_FALSE(try_link(nullptr, "shop", kToken).welcomed);
}

TEST_F(ServerTls, TheApiTakesNewCertificatesOnReloadAndNoBadOnes) {
  const net::TestCertificate expired(dir_.path(), "next", {"test", {"IP:127.0.0.1"}, -1, false},
                                     &authority_);
  const auto configure = [&](const std::string& certificate, const std::string& key) {
    std::string all = text("{name: /api, rate: 300/s}",
                           "http_tls: {certificate: '" + certificate + "', key: '" + key + "'}\n");
    const std::string off = "http: off";
    ASSERT_NE(all.find(off), all.npos);
    write_text(file_, all.replace(all.find(off), off.size(), "http: 127.0.0.1:0"));
  };
  const auto shake_hands = [&] {
    const std::string said = log();
    const std::size_t at = said.find("https://127.0.0.1:");
    EXPECT_NE(at, said.npos) << said;
    const auto port = static_cast<std::uint16_t>(std::stoi(said.substr(at + 18)));
    const shm::Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
    net::TlsOptions tls;
    tls.ca_file = authority_.certificate_file();
    const auto context = net::load_tls(tls, net::TlsRole::client);
    const auto opened = net::TlsClient::open(socket.get(), *context, "127.0.0.1",
                                             std::chrono::milliseconds(test::kHangMs));
    return opened ? std::string("done") : opened.error().text;
  };
  configure(server_.certificate_file(), server_.key_file());
  Process server = start();
  EXPECT_EQ(shake_hands(), "done");

  configure(server_.certificate_file(), expired.key_file());
  server.signal(SIGHUP);
  EXPECT_TRUE(eventually([&] { return lines_with("does not belong to the certificate") >= 1; }));
  EXPECT_EQ(shake_hands(), "done");

  configure(expired.certificate_file(), expired.key_file());
  server.signal(SIGHUP);
  EXPECT_TRUE(eventually([&] { return shake_hands().find("expired") != std::string::npos; }));
}

}  // namespace
}  // namespace weir::server
