// File locks between processes. Each case runs on a file of the native directory first, which says
// what is right, and then on the union: on small and large, lower and upper files, under each
// passthrough policy. In the union the files are copied up while they are locked.
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>

#include <functional>
#include <map>

#include "tests/conformance/union_fixture.h"
#include "tests/support/lock_peer.h"

namespace strata::conformance {
namespace {

using Act = support::LockPeer::Act;
using std::chrono::milliseconds;

// Long enough that a request which has not been answered is waiting.
constexpr milliseconds kWaits{60};
constexpr milliseconds kComes{10'000};

// A few processes around one file, and what they saw.
class Play {
 public:
  explicit Play(std::string path) : path_(std::move(path)) {}

  support::LockPeer& Peer(char name) {
    const auto found = peers_.find(name);
    if (found != peers_.end()) return found->second;
    return peers_.emplace(name, Must(support::LockPeer::Start())).first->second;
  }
  void Open(char who, int flags, int slot = 0) {
    Note(who, "open", Peer(who).Open(path_, flags, slot));
  }
  void Do(char who, const char* what, Act act, int slot = 0, int type = 0, long first = 0,
          long length = 0, int to = 0) {
    Note(who, what, Peer(who).Do(act, slot, type, first, length, to));
  }
  void Set(char who, int type, long first, long length, int slot = 0) {
    Do(who, "set", Act::kSet, slot, type, first, length);
  }
  void Get(char who, int type, long first, long length, int slot = 0) {
    Do(who, "get", Act::kGet, slot, type, first, length);
  }
  // Without the pid: the kernel reports a process as no process here (docs/limits.md).
  void GetOpenFile(char who, int type, long first, long length, int slot) {
    const std::string found = Peer(who).Do(Act::kOpenFileGet, slot, type, first, length);
    Note(who, "ofd get", found.substr(0, found.rfind(' ')));
  }
  void Flock(char who, int operation, int slot = 0) {
    Do(who, "flock", Act::kFlock, slot, operation);
  }
  // Starts something that has to wait.
  void Wait(char who, Act act, int type, long first = 0, long length = 0, int slot = 0) {
    Peer(who).Begin({.act = act, .slot = slot, .type = type, .first = first, .length = length});
    Note(who, "waits", Peer(who).Answer(kWaits).value_or("waiting"));
  }
  void Ends(char who) { Note(who, "ends", Peer(who).Answer(kComes).value_or("waiting")); }
  void Kill(char who) {
    Peer(who).process().Kill();
    peers_.erase(who);
  }

  const std::string& path() const { return path_; }
  const std::vector<std::string>& seen() const { return seen_; }

 private:
  void Note(char who, const char* what, std::string result) {
    // "w 0 10 1234": pids differ from run to run.
    const std::size_t pid = result.rfind(' ');
    if (pid != std::string::npos) {
      for (const auto& [name, peer] : peers_) {
        if (result.substr(pid + 1) == std::to_string(peer.pid()))
          result.replace(pid + 1, 20, 1, name);
      }
    }
    seen_.push_back(std::to_string(seen_.size()) + ": " + who + " " + what + " = " + result);
  }

  const std::string path_;
  std::map<char, support::LockPeer> peers_;
  std::vector<std::string> seen_;
};

// --- the cases ----------------------------------------------------------------------------------

void RangesSplitAndMerge(Play& play) {
  play.Open('A', O_RDWR);
  play.Open('B', O_RDWR);
  play.Set('A', F_WRLCK, 0, 100);
  play.Get('B', F_WRLCK, 0, 0);
  play.Set('A', F_UNLCK, 40, 20);
  play.Get('B', F_RDLCK, 0, 0);
  play.Get('B', F_RDLCK, 40, 0);
  play.Get('B', F_RDLCK, 40, 20);
  play.Set('A', F_RDLCK, 10, 10);
  play.Get('B', F_WRLCK, 10, 1);
  play.Get('B', F_RDLCK, 10, 10);
  play.Get('B', F_RDLCK, 10, 11);
  play.Set('A', F_WRLCK, 10, 10);
  play.Set('A', F_WRLCK, 40, 20);
  play.Get('B', F_RDLCK, 50, 1);
  play.Set('A', F_UNLCK, 0, 0);
  play.Get('B', F_WRLCK, 0, 0);
  play.Set('A', F_RDLCK, 1000, 0);  // to the end, however far
  play.Get('B', F_WRLCK, 1'000'000'000'000, 1);
  play.Get('B', F_WRLCK, 0, 1000);
  play.Get('A', F_WRLCK, 0, 0);
  play.Set('B', F_RDLCK, 0, 0);
  play.Set('A', F_WRLCK, 1000, 10);
  play.Get('A', F_WRLCK, 5, 5);
}

void ConflictsByType(Play& play) {
  play.Open('A', O_RDWR);
  play.Open('B', O_RDWR);
  play.Open('C', O_RDWR);
  play.Set('A', F_RDLCK, 0, 10);
  play.Set('B', F_RDLCK, 5, 10);
  play.Set('C', F_WRLCK, 8, 1);
  play.Set('A', F_WRLCK, 0, 10);  // refused: it keeps its shared lock
  play.Get('C', F_WRLCK, 0, 1);
  play.Set('A', F_WRLCK, 0, 5);
  play.Set('B', F_RDLCK, 0, 1);
  play.Set('A', F_RDLCK, 0, 5);
  play.Set('B', F_RDLCK, 0, 1);
  play.Set('B', F_WRLCK, 100, 0);
  play.Set('A', F_WRLCK, 99, 1);
  play.Set('A', F_WRLCK, 99, 2);
}

void DescriptorsNeedTheRightMode(Play& play) {
  play.Open('A', O_RDONLY);
  play.Set('A', F_WRLCK, 0, 1);
  play.Set('A', F_RDLCK, 0, 1);
  play.Open('B', O_WRONLY);
  play.Set('B', F_RDLCK, 5, 1);
  play.Set('B', F_WRLCK, 5, 1);
  play.Set('B', F_WRLCK, 0, 1);
  play.Flock('A', LOCK_EX);
  play.Flock('B', LOCK_SH | LOCK_NB);
}

void WaitersGetTheLockInTurn(Play& play) {
  play.Open('A', O_RDWR);
  play.Open('B', O_RDWR);
  play.Open('C', O_RDWR);
  play.Set('A', F_WRLCK, 0, 10);
  play.Wait('B', Act::kSetWait, F_WRLCK, 0, 5);
  play.Wait('C', Act::kSetWait, F_WRLCK, 5, 10);
  play.Set('A', F_UNLCK, 0, 5);
  play.Ends('B');
  play.Get('A', F_WRLCK, 0, 5);
  play.Set('A', F_UNLCK, 0, 0);
  play.Ends('C');
  play.Get('A', F_WRLCK, 5, 5);
  play.Wait('A', Act::kSetWait, F_RDLCK, 0, 0);
  play.Set('C', F_RDLCK, 5, 10);  // a downgrade is not enough: B is left
  play.Do('B', "close", Act::kClose);
  play.Ends('A');
}

void SignalsEndAWait(Play& play) {
  play.Open('A', O_RDWR);
  play.Open('B', O_RDWR);
  play.Set('A', F_WRLCK, 0, 1);
  play.Flock('A', LOCK_EX);
  play.Do('B', "alarm", Act::kAlarm, 0, 0, 150);
  play.Wait('B', Act::kSetWait, F_WRLCK, 0, 1);
  play.Ends('B');
  play.Do('B', "alarm", Act::kAlarm, 0, 0, 150);
  play.Wait('B', Act::kFlock, LOCK_SH);
  play.Ends('B');
  play.Set('A', F_UNLCK, 0, 1);
  play.Flock('A', LOCK_UN);
  play.Set('B', F_WRLCK, 0, 1);
  play.Flock('B', LOCK_EX | LOCK_NB);
}

void KilledWaitersAreForgotten(Play& play) {
  play.Open('A', O_RDWR);
  play.Open('B', O_RDWR);
  play.Open('C', O_RDWR);
  play.Set('A', F_WRLCK, 0, 1);
  play.Flock('A', LOCK_EX);
  play.Wait('B', Act::kSetWait, F_WRLCK, 0, 1);
  play.Kill('B');
  play.Wait('C', Act::kFlock, LOCK_EX);
  play.Kill('C');
  play.Set('A', F_UNLCK, 0, 1);
  play.Flock('A', LOCK_UN);
  play.Open('D', O_RDWR);
  play.Set('D', F_WRLCK, 0, 1);
  play.Flock('D', LOCK_EX | LOCK_NB);
}

void KilledHoldersLetGo(Play& play) {
  play.Open('A', O_RDWR);
  play.Open('B', O_RDWR);
  play.Set('A', F_WRLCK, 0, 1);
  play.Flock('A', LOCK_EX);
  play.Wait('B', Act::kSetWait, F_WRLCK, 0, 1);
  play.Kill('A');
  play.Ends('B');
  play.Flock('B', LOCK_EX);
}

void DeadlocksAreRefused(Play& play) {
  play.Open('A', O_RDWR);
  play.Open('B', O_RDWR);
  play.Open('C', O_RDWR);
  play.Set('A', F_WRLCK, 0, 1);
  play.Set('B', F_WRLCK, 1, 1);
  play.Set('C', F_WRLCK, 2, 1);
  play.Wait('A', Act::kSetWait, F_WRLCK, 1, 1);
  play.Wait('B', Act::kSetWait, F_WRLCK, 2, 1);
  play.Do('C', "set", Act::kSetWait, 0, F_WRLCK, 0, 1);
  play.Set('C', F_UNLCK, 0, 0);
  play.Ends('B');
  play.Do('B', "close", Act::kClose);
  play.Ends('A');
}

void ChildrenInheritNoRecordLocks(Play& play) {
  play.Open('A', O_RDWR);
  play.Set('A', F_WRLCK, 0, 5);
  play.Do('A', "child get", Act::kForkGet, 0, F_RDLCK, 0, 0);
  play.Do('A', "child close", Act::kForkClose);
  play.Open('B', O_RDWR);
  play.Get('B', F_RDLCK, 0, 0);
  play.Flock('A', LOCK_EX);
  play.Do('A', "fork", Act::kForkKeep);
  play.Do('A', "close", Act::kClose);
  play.Set('B', F_WRLCK, 0, 5);        // gone with A's descriptor, although the child has it, too
  play.Flock('B', LOCK_EX | LOCK_NB);  // the child's as well
  play.Do('A', "child end", Act::kForkEnd);
  play.Flock('B', LOCK_EX | LOCK_NB);
}

void AnyCloseDropsRecordLocks(Play& play) {
  play.Open('A', O_RDWR, 0);
  play.Open('A', O_RDWR, 1);
  play.Open('B', O_RDWR);
  play.Set('A', F_WRLCK, 0, 1, 0);
  play.Set('A', F_WRLCK, 1, 1, 1);
  play.Get('B', F_WRLCK, 0, 0);
  play.Do('A', "close", Act::kClose, 1);
  play.Get('B', F_WRLCK, 0, 0);
  play.Set('A', F_WRLCK, 0, 1, 0);
  play.Do('A', "dup", Act::kDup, 0, 0, 0, 0, 2);
  play.Get('B', F_WRLCK, 0, 0);
  play.Do('A', "close", Act::kClose, 2);
  play.Get('B', F_WRLCK, 0, 0);
  play.Set('A', F_WRLCK, 0, 1, 0);
  play.Open('A', O_RDONLY, 3);
  play.Get('B', F_WRLCK, 0, 0);
  play.Do('A', "close", Act::kClose, 3);
  play.Get('B', F_WRLCK, 0, 0);
}

// The kernel tells of the end of such a descriptor in the background.
void SharedLocksOfReadersEnd(Play& play) {
  play.Open('A', O_RDONLY);
  play.Open('B', O_RDWR);
  play.Set('A', F_RDLCK, 0, 0);
  play.Set('B', F_WRLCK, 0, 1);
  play.Do('A', "close", Act::kClose);
  play.Set('B', F_WRLCK, 0, 1);
  play.Set('B', F_UNLCK, 0, 1);
  play.Open('A', O_RDONLY);
  play.Set('A', F_RDLCK, 0, 0);
  play.Wait('B', Act::kSetWait, F_WRLCK, 0, 1);
  play.Kill('A');
  play.Ends('B');
}

void FlocksBelongToOpenFiles(Play& play) {
  play.Open('A', O_RDONLY);
  play.Open('B', O_RDONLY);
  play.Flock('A', LOCK_EX);
  play.Do('A', "dup", Act::kDup, 0, 0, 0, 0, 1);
  play.Flock('A', LOCK_EX | LOCK_NB, 1);
  play.Do('A', "close", Act::kClose, 0);
  play.Flock('B', LOCK_SH | LOCK_NB);
  play.Do('A', "close", Act::kClose, 1);
  play.Flock('B', LOCK_SH | LOCK_NB);
  play.Open('A', O_RDONLY, 0);
  play.Open('A', O_RDONLY, 1);
  play.Flock('A', LOCK_EX | LOCK_NB, 0);
  play.Flock('A', LOCK_SH | LOCK_NB, 0);
  play.Flock('A', LOCK_SH | LOCK_NB, 1);
  play.Do('A', "dup", Act::kDup, 1, 0, 0, 0, 2);
  play.Flock('A', LOCK_UN, 2);
  play.Flock('A', LOCK_UN, 0);
  play.Flock('B', LOCK_EX | LOCK_NB);
  play.Set('B', F_RDLCK, 0, 0);
  play.Set('A', F_RDLCK, 0, 0);
}

void FlocksConvert(Play& play) {
  play.Open('A', O_RDONLY);
  play.Open('B', O_RDONLY);
  play.Open('C', O_RDONLY);
  play.Flock('A', LOCK_SH);
  play.Flock('B', LOCK_SH);
  play.Flock('A', LOCK_EX | LOCK_NB);  // refused, and the shared one is lost
  play.Flock('B', LOCK_EX | LOCK_NB);
  play.Wait('A', Act::kFlock, LOCK_SH);
  play.Wait('C', Act::kFlock, LOCK_SH);
  play.Flock('B', LOCK_SH);
  play.Ends('A');
  play.Ends('C');
  play.Wait('A', Act::kFlock, LOCK_EX);
  play.Flock('B', LOCK_UN);
  play.Flock('C', LOCK_UN);
  play.Ends('A');
}

void OpenFileLocksBelongToOpenFiles(Play& play) {
  play.Open('A', O_RDWR, 0);
  play.Open('A', O_RDWR, 1);
  play.Open('B', O_RDWR);
  play.Do('A', "ofd set", Act::kOpenFileSet, 0, F_WRLCK, 0, 10);
  play.Do('A', "ofd set", Act::kOpenFileSet, 1, F_WRLCK, 5, 10);
  play.Set('A', F_WRLCK, 0, 1, 0);
  play.Do('A', "ofd set", Act::kOpenFileSet, 1, F_RDLCK, 10, 10);
  play.Set('B', F_RDLCK, 10, 5);
  play.Set('B', F_WRLCK, 10, 5);
  play.Do('A', "dup", Act::kDup, 0, 0, 0, 0, 2);
  play.Do('A', "close", Act::kClose, 0);
  play.Set('B', F_WRLCK, 0, 1);
  play.Wait('B', Act::kOpenFileSetWait, F_WRLCK, 0, 10);
  play.Do('A', "close", Act::kClose, 2);
  play.Ends('B');
  play.GetOpenFile('A', F_WRLCK, 10, 5, 1);
  play.Do('A', "ofd set", Act::kOpenFileSet, 1, F_UNLCK, 0, 0);
  play.Set('B', F_WRLCK, 10, 5);
}

// The one this is all about: those who have the file open from before its copy-up, and those who
// open it afterwards.
void LocksMeetAcrossACopyUp(Play& play) {
  play.Open('A', O_RDONLY);
  play.Flock('A', LOCK_SH);
  play.Set('A', F_RDLCK, 0, 10);
  play.Open('B', O_RDWR);
  play.Do('B', "write", Act::kWrite);
  play.Open('C', O_RDWR);
  play.Do('C', "write", Act::kWrite);
  play.Flock('C', LOCK_EX | LOCK_NB);
  play.Flock('C', LOCK_SH | LOCK_NB);
  play.Set('C', F_WRLCK, 5, 1);
  play.Get('C', F_WRLCK, 0, 0);
  play.Set('C', F_WRLCK, 10, 1);
  play.Get('A', F_WRLCK, 0, 0);
  play.Set('B', F_RDLCK, 10, 1);
  play.Wait('B', Act::kSetWait, F_WRLCK, 0, 11);
  play.Set('A', F_UNLCK, 0, 0);
  play.Set('C', F_UNLCK, 0, 0);
  play.Ends('B');
  play.Set('A', F_RDLCK, 0, 1);
  play.Wait('C', Act::kFlock, LOCK_EX);
  play.Do('A', "close", Act::kClose);
  play.Ends('C');
  play.Open('A', O_RDONLY);
  play.Flock('A', LOCK_SH | LOCK_NB);
  play.Set('A', F_RDLCK, 0, 0);
}

struct Case {
  const char* name;
  void (*run)(Play&);
};
constexpr Case kCases[] = {
    {"RangesSplitAndMerge", RangesSplitAndMerge},
    {"ConflictsByType", ConflictsByType},
    {"DescriptorsNeedTheRightMode", DescriptorsNeedTheRightMode},
    {"WaitersGetTheLockInTurn", WaitersGetTheLockInTurn},
    {"SignalsEndAWait", SignalsEndAWait},
    {"KilledWaitersAreForgotten", KilledWaitersAreForgotten},
    {"KilledHoldersLetGo", KilledHoldersLetGo},
    {"DeadlocksAreRefused", DeadlocksAreRefused},
    {"ChildrenInheritNoRecordLocks", ChildrenInheritNoRecordLocks},
    {"AnyCloseDropsRecordLocks", AnyCloseDropsRecordLocks},
    {"SharedLocksOfReadersEnd", SharedLocksOfReadersEnd},
    {"FlocksBelongToOpenFiles", FlocksBelongToOpenFiles},
    {"FlocksConvert", FlocksConvert},
    {"OpenFileLocksBelongToOpenFiles", OpenFileLocksBelongToOpenFiles},
    {"LocksMeetAcrossACopyUp", LocksMeetAcrossACopyUp},
};

class Locks : public UnionTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(Locks, AreThoseOfTheNativeDirectory) {
  if (!IsStratafs() && !IsKernel()) GTEST_SKIP() << "not promised there";
  const std::string large(200'000, 'x');
  MakeDir(root_.At("native"));
  for (const Case& c : kCases) {
    WriteFile(Lower(0, std::string("small-") + c.name), "x");
    WriteFile(Lower(0, std::string("large-") + c.name), large);
  }
  Mount({.passthrough = IsStratafs() ? GetParam() : ""});
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    const std::string native = root_.At(std::string("native/") + c.name);
    WriteFile(native, large);
    WriteFile(At(std::string("upper-") + c.name), "x");
    Play right(native);
    c.run(right);
    for (const char* kind : {"small-", "large-", "upper-"}) {
      Play play(At(std::string(kind) + c.name));
      c.run(play);
      EXPECT_EQ(play.seen(), right.seen()) << kind;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Passthrough, Locks, ::testing::Values("all", "large", "off"),
                         [](const auto& policy) { return std::string(policy.param); });

class LockService : public UnionTest {};

// More waiters than serving threads.
TEST_F(LockService, WaitersOccupyNoServingThread) {
  if (!IsStratafs()) GTEST_SKIP() << "a daemon of ours";
  constexpr int kWaiters = 12;
  WriteFile(Lower(0, "f"), "x");
  Mount({.options = {"threads=2"}});
  auto holder = Must(support::LockPeer::Start());
  ASSERT_EQ(holder.Open(At("f"), O_RDWR), "ok");
  ASSERT_EQ(holder.Do(Act::kSet, 0, F_WRLCK), "ok");
  std::vector<support::LockPeer> waiters;
  for (int i = 0; i < kWaiters; ++i) {
    waiters.push_back(Must(support::LockPeer::Start()));
    ASSERT_EQ(waiters.back().Open(At("f"), O_RDWR), "ok");
    waiters.back().Begin({.act = Act::kSetWait, .type = F_RDLCK});
  }
  EXPECT_EQ(waiters.front().Answer(kWaits), std::nullopt);
  EXPECT_EQ(List(At()), std::vector<std::string>{"f"});
  ASSERT_EQ(holder.Do(Act::kSet, 0, F_UNLCK), "ok");
  for (auto& waiter : waiters) EXPECT_EQ(waiter.Answer(kComes), "ok");
}

TEST_F(LockService, LocksOffLeavesThemToTheKernel) {
  if (!IsStratafs()) GTEST_SKIP() << "an option of ours";
  WriteFile(Lower(0, "f"), "x");
  Mount({.options = {"locks=off"}});
  Play play(At("f"));
  AnyCloseDropsRecordLocks(play);
  WriteFile(root_.At("native"), "x");
  Play right(root_.At("native"));
  AnyCloseDropsRecordLocks(right);
  EXPECT_EQ(play.seen(), right.seen());
}

// Two processes that write through sqlite while the other has the database open from before its
// copy-up. Each transaction reads what it then writes, so that a lost lock is a lost count.
TEST_P(Locks, SqliteCountsRightAcrossACopyUp) {
  if (!IsStratafs() && !IsKernel()) GTEST_SKIP() << "not promised there";
  if (Must(support::RunProcess({"python3", "-c", "import sqlite3"})).exit_code != 0) {
    GTEST_SKIP() << "no python3 with sqlite3";
  }
  const std::string make =
      "import sqlite3,sys\n"
      "db=sqlite3.connect(sys.argv[1])\n"
      "db.executescript('create table t(n);insert into t values(0);create table pad(b)')\n"
      "db.execute('insert into pad values(zeroblob(300000))')\n"
      "db.commit()\n";
  const std::string count =
      "import sqlite3,sys,time\n"
      "db=sqlite3.connect(sys.argv[1],timeout=60,isolation_level=None)\n"
      "db.execute('pragma synchronous=off')\n"
      "print(db.execute('select n from t').fetchone())\n"
      "open(sys.argv[1]+'.'+sys.argv[2],'w').close()\n"
      "import os\n"
      "while not (os.path.exists(sys.argv[1]+'.1') and os.path.exists(sys.argv[1]+'.2')):\n"
      "  time.sleep(.01)\n"
      "for i in range(40):\n"
      "  db.execute('begin immediate')\n"
      "  n=db.execute('select n from t').fetchone()[0]\n"
      "  db.execute('update t set n=?',(n+1,))\n"
      "  db.execute('commit')\n";
  Must(support::RunTool({"python3", "-c", make, Lower(0, "db")}));
  Mount({.passthrough = IsStratafs() ? GetParam() : ""});
  std::vector<support::ChildProcess> writers;
  for (const char* number : {"1", "2"}) {
    writers.push_back(Must(support::ChildProcess::Start({"python3", "-c", count, At("db"), number},
                                                        root_.At(std::string("log") + number))));
  }
  for (auto& writer : writers) {
    EXPECT_EQ(Must(writer.Wait(std::chrono::seconds(90))), 0)
        << ReadFile(root_.At("log1")) << ReadFile(root_.At("log2"));
  }
  const std::string read =
      "import sqlite3,sys\n"
      "db=sqlite3.connect(sys.argv[1])\n"
      "print(db.execute('select n from t').fetchone()[0], "
      "db.execute('pragma integrity_check').fetchone()[0])\n";
  EXPECT_EQ(Must(support::RunTool({"python3", "-c", read, At("db")})).out, "80 ok\n");
  EXPECT_TRUE(Exists(Upper("db")));
}

}  // namespace
}  // namespace strata::conformance
