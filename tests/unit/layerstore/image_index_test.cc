// Indexes of several platforms' images: kept as long as a name stands for them, with their images.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "layerstore/fsck/checker.h"
#include "layerstore/gc/collector.h"
#include "layerstore/oci/media_types.h"
#include "tests/unit/layerstore/store_fixture.h"

namespace strata::layerstore {
namespace {

using support::Must;
using support::TarBuilder;

class ImageIndexTest : public StoreTest {
 protected:
  ImageIndexTest() { layer_ = Must(PutLayer(TarBuilder().AddFile("f", "x").Finish())).diff_id; }

  static Reference Name(const char* text) { return Must(Reference::Parse(text)).WithDefaultTag(); }

  // Two platforms here and one elsewhere.
  NewIndex MakeIndex(const std::vector<Reference>& names) const {
    NewIndex index;
    index.media_type = std::string(media_type::kOciIndex);
    Index list;
    list.media_type = index.media_type;
    for (const char* label : {"first", "second", "elsewhere"}) {
      const NewImage image = MakeImage({layer_}, label);
      Descriptor descriptor;
      descriptor.media_type = image.manifest_media_type;
      descriptor.digest = Digest::Of(image.manifest_json);
      descriptor.size = image.manifest_json.size();
      list.manifests.push_back(descriptor);
      if (label != std::string("elsewhere")) index.images.push_back(image);
    }
    index.json = list.ToJson();
    index.names = names;
    index.named = 1;
    return index;
  }

  std::size_t Images() { return Must(store_->images().List()).size(); }

  Digest layer_;
};

TEST_F(ImageIndexTest, ACheckFindsOneThatIsNotWhatItsDigestSays) {
  Must(store_->images().PutIndex(MakeIndex({Name("app")})));
  const auto findings = [&] {
    std::vector<std::string> found;
    Must(CheckStore(*store_, {}, [&](const Finding& one) { found.push_back(one.ToString()); }));
    return found;
  };
  EXPECT_EQ(findings(), std::vector<std::string>());
  Must(store_->database()->Write([](Connection& connection) {
    return connection.Execute("UPDATE indexes SET json=json || ' '");
  }));
  ASSERT_EQ(findings().size(), 1U);
  EXPECT_NE(findings()[0].find("bad-config"), std::string::npos) << findings()[0];
}

TEST_F(ImageIndexTest, IsKeptAsItCame) {
  const NewIndex index = MakeIndex({Name("app"), Name("other:2")});
  const Image image = Must(store_->images().PutIndex(index));
  EXPECT_EQ(image.id, Digest::Of(index.images[1].config_json));
  EXPECT_EQ(image.tags, index.names);
  Reopen();
  for (const Reference& name : index.names) {
    const auto kept = Must(store_->images().IndexOf(name));
    ASSERT_TRUE(kept.has_value());
    EXPECT_EQ(kept->json, index.json);
    EXPECT_EQ(kept->digest, Digest::Of(index.json));
    EXPECT_EQ(kept->media_type, index.media_type);
    ASSERT_EQ(kept->members.size(), 2U);
    for (const auto& member : kept->members) {
      EXPECT_EQ(Must(store_->images().Inspect(member.image)).image.manifest_digest,
                member.manifest);
    }
  }
  EXPECT_FALSE(Must(store_->images().IndexOf(Name("third"))).has_value());
}

TEST_F(ImageIndexTest, KeepsItsImagesWhileItHasAName) {
  Must(store_->images().PutIndex(MakeIndex({Name("app"), Name("other")})));
  Must(Prune(*store_, {}));
  EXPECT_EQ(Images(), 2U);
  EXPECT_TRUE(Must(store_->images().Remove("app", false)).deleted.empty());
  EXPECT_EQ(Images(), 2U);
  EXPECT_EQ(Must(store_->images().Remove("other", false)).deleted.size(), 2U);
  EXPECT_EQ(Images(), 0U);
  EXPECT_EQ(Must(Collect(*store_)).layers, std::vector<Digest>{layer_});
}

TEST_F(ImageIndexTest, ANameThatMovesLeavesIt) {
  const NewIndex index = MakeIndex({Name("app")});
  Must(store_->images().PutIndex(index));
  const Image alone = PutImage({layer_}, "app", "alone");
  EXPECT_FALSE(Must(store_->images().IndexOf(Name("app"))).has_value());
  EXPECT_EQ(Images(), 3U);  // dangling now, as an image that lost its tag is
  EXPECT_EQ(Must(Prune(*store_, {})).images.size(), 2U);
  EXPECT_EQ(Must(store_->images().Resolve("app")).id, alone.id);
}

TEST_F(ImageIndexTest, UsersKeepAnImageOfARemovedIndex) {
  const NewIndex index = MakeIndex({Name("app")});
  Must(store_->images().PutIndex(index));
  const Digest used = Digest::Of(index.images[0].config_json);
  Must(store_->images().AddUser(used, "container:1"));
  Must(store_->images().Remove("app", false));
  ASSERT_EQ(Images(), 1U);
  EXPECT_EQ(Must(store_->images().List())[0].id, used);
}

TEST_F(ImageIndexTest, RefusesWhatDoesNotFit) {
  NewIndex index = MakeIndex({Name("app")});
  index.images.push_back(MakeImage({layer_}, "stranger"));
  EXPECT_TRUE(FailsWith(store_->images().PutIndex(index), EINVAL, "does not list"));
  index = MakeIndex({Name("app")});
  index.named = 2;
  EXPECT_TRUE(FailsWith(store_->images().PutIndex(index), EINVAL, "no such image"));
  index = MakeIndex({Name("app")});
  index.images[0].names.push_back(Name("own"));
  EXPECT_TRUE(FailsWith(store_->images().PutIndex(index), EINVAL, "own name"));
  index = MakeIndex({Name("app")});
  index.images[0] = MakeImage({Digest::Of("no layer")}, "first");
  EXPECT_FALSE(store_->images().PutIndex(index).has_value());
  EXPECT_EQ(Images(), 0U);
}

}  // namespace
}  // namespace strata::layerstore
