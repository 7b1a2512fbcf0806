// Files that are not what they should be: said in words, never taken for a new store.
#include "server/store/sqlite_file.h"

#include <gtest/gtest.h>

#include <string>

#include "server/store/maintenance.h"
#include "server/store/schema.h"
#include "tests/unit/store/place.h"

namespace weir::server::test {
namespace {

constexpr std::size_t kPageBytes = 4096;

// A store with some quotas, in one file.
std::string make_store(const std::string& path, int quotas = 60) {
  OpenStore open(path);
  EXPECT_EQ(open.open(), "");
  for (int i = 0; i < quotas; ++i)
    EXPECT_EQ(open.commit(transaction_for("calls\n" + std::to_string(i))).outcome,
              CommitOutcome::durable);
  open.store.reset();
  EXPECT_FALSE(std::filesystem::exists(path + "-wal")) << "closing folds the log in";
  return read_file(path);
}

TEST(SqliteFile, AFileSystemThatForgetsIsRefusedUnlessInsistedOn) {
  Place place;
  if (!place.mount_small(4 << 20)) GTEST_SKIP() << "mounting needs root";
  OpenStore strict(place.path());
  const std::string why = strict.open();
  EXPECT_NE(why.find("would not be durable"), std::string::npos) << why;
  EXPECT_NE(why.find("tmpfs"), std::string::npos) << why;
  EXPECT_FALSE(std::filesystem::exists(place.path()));
  OpenStore lax(place.path(), true);
  EXPECT_EQ(lax.open(), "");
  EXPECT_EQ(lax.store->stats().durability.find("NOT DURABLE"), 0U);
}

TEST(SqliteFile, ALesserSyncIsRefusedUnlessInsistedOn) {
  Place place;
  for (const Sync sync : {Sync::normal, Sync::off}) {
    OpenStore open(place.path());
    open.options.file.sync = sync;
    EXPECT_NE(open.open().find("would not be durable"), std::string::npos);
    open.options.file.allow_unsafe = true;
    EXPECT_EQ(open.open(), "");
  }
}

TEST(SqliteFile, TruncatedAtEveryPageIsNeverTakenForWhole) {
  Place place;
  const std::string whole = make_store(place.path());
  ASSERT_GT(whole.size(), 8 * kPageBytes);
  for (std::size_t size = 0; size < whole.size(); size += kPageBytes) {
    write_file(place.path(), whole.substr(0, size));
    OpenStore open(place.path());
    const std::string why = open.open();
    EXPECT_NE(why.find(place.path()), std::string::npos) << size << " bytes: " << why;
  }
  for (const std::size_t size : {1UL, 50UL, 99UL, 100UL, 511UL, 512UL, 4095UL, 4097UL}) {
    write_file(place.path(), whole.substr(0, size));
    OpenStore open(place.path());
    EXPECT_NE(open.open(), "") << size << " bytes";
  }
  std::filesystem::remove(place.path());
  OpenStore gone(place.path());
  EXPECT_NE(gone.open().find("restore a backup"), std::string::npos);
  write_file(place.path(), whole);
  OpenStore back(place.path());
  EXPECT_EQ(back.open(), "");
}

// A bit that was turned over is seen when the store is opened, when the row is read, or it lies
// where nothing is.
TEST(SqliteFile, NoFlippedByteChangesAQuotaUnseen) {
  Place place;
  const std::string whole = make_store(place.path(), 12);
  lease::QuotaTransaction stored = transaction_for("");
  stored.record.version = 1;
  int refused = 0, harmless = 0;
  for (std::size_t at = 3; at < whole.size(); at += 997) {
    std::string bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ 0x41);
    write_file(place.path(), bytes);
    OpenStore open(place.path());
    if (!open.open().empty()) {
      ++refused;
      continue;
    }
    bool seen = false;
    for (int i = 0; i < 12; ++i) {
      const LoadResult got = open.load("calls\n" + std::to_string(i));
      seen = seen || !got.why.empty();
      if (!got.loaded) {
        // Its name was hit: the count of rows, or the order of names, gives it away.
        CheckReport report;
        open.store.reset();
        seen = seen || !check_store(place.path(), report).empty();
        break;
      }
      ASSERT_EQ(got.loaded->record, stored.record) << "byte " << at;
      ASSERT_EQ(got.loaded->holdings, stored.holdings) << "byte " << at;
    }
    seen ? ++refused : ++harmless;
  }
  EXPECT_GT(refused, 3);
  EXPECT_GT(harmless, 3);
}

TEST(SqliteFile, ANewerStoreIsRefusedWithWhatToDo) {
  Place place;
  make_store(place.path(), 2);
  {
    SQLite::Database db(place.path(), SQLite::OPEN_READWRITE);
    db.exec("PRAGMA user_version = 9");
  }
  OpenStore open(place.path());
  const std::string why = open.open();
  EXPECT_NE(why.find("it is of version 9 and this program knows versions up to 3"),
            std::string::npos)
      << why;
  EXPECT_NE(why.find("db migrate --to 3"), std::string::npos) << why;
}

TEST(SqliteFile, AnotherProgramsFileIsLeftAlone) {
  Place place;
  {
    SQLite::Database db(place.path(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    db.exec("CREATE TABLE bookmarks(url TEXT)");
  }
  const std::string before = read_file(place.path());
  OpenStore open(place.path());
  EXPECT_NE(open.open().find("some other program"), std::string::npos);
  EXPECT_EQ(read_file(place.path()), before);
  write_file(place.path("text"), std::string(8'192, 'x'));
  OpenStore text(place.path("text"));
  EXPECT_NE(text.open().find("no database"), std::string::npos);
}

TEST(SqliteFile, MigratesDownAndUpAndKeepsEverything) {
  Place place;
  make_store(place.path(), 10);
  EXPECT_EQ(migrate_store(place.path(), 1), "");
  {
    OpenStore strict(place.path());
    strict.options.file.migrate = false;
    EXPECT_NE(strict.open().find("older version"), std::string::npos);
  }
  CheckReport report;
  EXPECT_EQ(check_store(place.path(), report), "");
  EXPECT_EQ(report.version, 1);
  EXPECT_EQ(report.quotas, 10U);
  EXPECT_EQ(report.audit_rows, 10U);

  OpenStore open(place.path());
  ASSERT_EQ(open.open(), "");
  AuditQuery query;
  query.key = "calls\n3";
  EXPECT_EQ(open.audit(query).rows.size(), 1U) << "found by its hash, which was computed anew";
  open.store.reset();
  EXPECT_EQ(check_store(place.path(), report), "");
  EXPECT_EQ(report.version, kSchemaVersion);
  EXPECT_NE(migrate_store(place.path(), 0), "");
  EXPECT_NE(migrate_store(place.path(), kSchemaVersion + 1), "");
  EXPECT_NE(migrate_store(place.path("none"), 1), "");
}

TEST(SqliteFile, ABackupIsTakenWhileTheServerWritesAndRestoresANewGeneration) {
  Place place;
  OpenStore open(place.path());
  ASSERT_EQ(open.open(), "");
  ASSERT_EQ(open.commit(transaction_for("calls\nalice")).outcome, CommitOutcome::durable);
  EXPECT_EQ(backup_store(place.path(), place.path("backup")), "");
  EXPECT_NE(backup_store(place.path(), place.path("backup")), "") << "nothing is written over";
  ASSERT_EQ(open.commit(transaction_for("calls\nalice", 1, 10)).outcome, CommitOutcome::durable);
  RestoreOptions options;
  options.wall_ms = 1'700'000'000'000;
  EXPECT_NE(restore_store(place.path("backup"), place.path(), options).find("is using"),
            std::string::npos);
  open.store.reset();
  ASSERT_EQ(restore_store(place.path("backup"), place.path(), options), "");

  OpenStore back(place.path());
  ASSERT_EQ(back.open(), "");
  const LoadResult got = back.load("calls\nalice");
  ASSERT_TRUE(got.loaded.has_value());
  EXPECT_EQ(got.loaded->record.gen, 1'700'000'000'000U);
  EXPECT_EQ(got.loaded->record.state, lease::QuotaState::suspended);
  EXPECT_EQ(got.loaded->record.lost, 10) << "what was out";
  EXPECT_TRUE(got.loaded->holdings.empty());
  EXPECT_TRUE(std::filesystem::exists(place.path() + ".before-restore"));
  CheckReport report;
  back.store.reset();
  EXPECT_EQ(check_store(place.path(), report), "");
}

TEST(SqliteFile, BooksThatDoNotBalanceAreFound) {
  Place place;
  OpenStore open(place.path());
  ASSERT_EQ(open.open(), "");
  lease::QuotaTransaction wrong = transaction_for("calls\nalice");
  wrong.record.remaining = 95;
  ASSERT_EQ(open.commit(wrong).outcome, CommitOutcome::durable);
  open.store.reset();
  CheckReport report;
  EXPECT_NE(check_store(place.path(), report).find("calls/alice do not balance"),
            std::string::npos);
  EXPECT_EQ(report.wrong, 1U);
}

}  // namespace
}  // namespace weir::server::test
