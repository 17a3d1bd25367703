// Kernel overlayfs on top of a union: what a container engine inside a container does.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/conformance/union_fixture.h"

namespace strata::conformance {
namespace {

class Stacking : public UnionTest {
 protected:
  std::string Top(std::string_view path = "") const {
    return root_.At("top") + (path.empty() ? "" : "/" + std::string(path));
  }
  // Overlayfs whose lower layer is the union.
  support::UnionMount Stack() {
    for (const char* dir : {"top", "top-upper", "top-work"}) {
      if (!Exists(root_.At(dir))) MakeDir(root_.At(dir));
    }
    support::UnionSpec spec;
    spec.lower = {At()};
    spec.upper = root_.At("top-upper");
    spec.work = root_.At("top-work");
    spec.mount_point = root_.At("top");
    return Must(support::UnionMount::Start(support::Mounter::kOverlay, spec));
  }
};

TEST_F(Stacking, OverlayfsWorksOnAUnionAsItsLowerLayer) {
  const std::string large(300'000, 'l');
  MakeDir(Lower(0, "d"));
  WriteFile(Lower(0, "d/small"), "small");
  WriteFile(Lower(0, "d/large"), large);
  WriteFile(Lower(0, "d/deleted"), "x");
  MakeDir(Lower(1, "d"));
  WriteFile(Lower(1, "d/over"), "over");
  MakeDir(Lower(0, "moved"));
  WriteFile(Lower(0, "moved/f"), "f");
  Mount();
  WriteFile(At("d/upper"), "upper");
  MustCall(::unlink(At("d/deleted").c_str()), "unlink");
  {
    auto top = Stack();
    EXPECT_EQ(ListAll(Top()), ListAll(At()));
    EXPECT_EQ(ReadFile(Top("d/large")), large);
    AppendFile(Top("d/small"), "+");
    AppendFile(Top("d/large"), "+");
    AppendFile(Top("d/upper"), "+");
    MustCall(::unlink(Top("d/over").c_str()), "unlink");
    MustCall(::chmod(Top("moved/f").c_str(), 0600), "chmod");
    MustCall(::rename(Top("moved").c_str(), Top("renamed").c_str()), "rename");
    WriteFile(Top("d/deleted"), "new");
    EXPECT_EQ(ReadFile(Top("d/small")), "small+");
    EXPECT_EQ(ReadFile(Top("d/large")), large + "+");
    EXPECT_EQ(ReadFile(Top("d/upper")), "upper+");
    EXPECT_EQ(List(Top("d")), (std::vector<std::string>{"deleted", "large", "small", "upper"}));
    EXPECT_EQ(ReadFile(Top("renamed/f")), "f");
    Must(top.Stop());
  }
  // The union below is as it was.
  EXPECT_EQ(ReadFile(At("d/small")), "small");
  EXPECT_EQ(ReadFile(At("d/large")), large);
  EXPECT_EQ(List(At("d")), (std::vector<std::string>{"large", "over", "small", "upper"}));
  auto top = Stack();
  EXPECT_EQ(ReadFile(Top("d/large")), large + "+");
  EXPECT_EQ(List(Top()), (std::vector<std::string>{"d", "renamed"}));
  Must(top.Stop());
}

// Whiteouts cannot be made inside a union, by whatever call: there they would hide names. Kernel
// overlayfs refuses them in the same way.
TEST_F(Stacking, WhiteoutsAreRefusedInside) {
  WriteFile(Lower(0, "f"), "x");
  Mount();
  WriteFile(At("u"), "y");
  for (const char* name : {"f", "u"}) {
    const std::string to = At(std::string("to-") + name);
    EXPECT_EQ(
        ErrnoOf(::renameat2(AT_FDCWD, At(name).c_str(), AT_FDCWD, to.c_str(), RENAME_WHITEOUT)),
        EINVAL);
    EXPECT_EQ(ErrnoOf(::renameat2(AT_FDCWD, At(name).c_str(), AT_FDCWD, to.c_str(),
                                  RENAME_WHITEOUT | RENAME_NOREPLACE)),
              EINVAL);
  }
  EXPECT_EQ(ErrnoOf(::mknod(At("w").c_str(), S_IFCHR | 0600, ::makedev(0, 0))), EPERM);
  EXPECT_EQ(List(At()), (std::vector<std::string>{"f", "u"}));
  EXPECT_EQ(UpperTree(), std::vector<std::string>{"u"});
}

}  // namespace
}  // namespace strata::conformance
