// A Dockerfile's instructions on an image's configuration, and what a commit makes of them.
#include "manager/image/config_changes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "manager/container/commit_request.h"
#include "tests/support/must.h"

namespace strata::manager {
namespace {

using layerstore::ImageConfig;
using support::Must;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;
using testing::UnorderedElementsAre;
using Strings = std::vector<std::string>;

ImageConfig Changed(const Strings& changes, ImageConfig config = {}) {
  Must(ApplyConfigChanges(changes, config));
  return config;
}

TEST(ConfigChanges, Programs) {
  EXPECT_THAT(Changed({R"(CMD ["a", "b c"])"}).cmd, ElementsAre("a", "b c"));
  EXPECT_THAT(Changed({"cmd echo $HOME"}).cmd, ElementsAre("/bin/sh", "-c", "echo $HOME"));
  ImageConfig config;
  config.cmd = {"old"};
  config.shell = {"/bin/bash", "-c"};
  EXPECT_THAT(Changed({"CMD [no json"}, config).cmd, ElementsAre("/bin/bash", "-c", "[no json"));
  EXPECT_THAT(Changed({R"(ENTRYPOINT ["e"])"}, config).cmd, IsEmpty());
  const ImageConfig both = Changed({R"(CMD ["c"])", R"(ENTRYPOINT ["e"])"}, config);
  EXPECT_THAT(both.cmd, ElementsAre("c"));
  EXPECT_THAT(both.entrypoint, ElementsAre("e"));
}

TEST(ConfigChanges, NamesAndValues) {
  ImageConfig config;
  config.env = {"PATH=/bin", "A=1"};
  EXPECT_THAT(Changed({"ENV PATH=$PATH:/opt B=\"two words\" C=\\$x D='$PATH'"}, config).env,
              ElementsAre("PATH=/bin:/opt", "A=1", "B=two words", "C=$x", "D=$PATH"));
  EXPECT_THAT(Changed({"ENV A  all of   it"}, config).env,
              ElementsAre("PATH=/bin", "A=all of   it"));
  EXPECT_THAT(Changed({"ENV X=${A:-no}${N:-none}${A:+yes}${N:+no}"}, config).env,
              testing::Contains("X=1noneyes"));
  EXPECT_THAT(Changed({"ENV A=2\n# comment\n\n  ENV B=$A"}, config).env,
              ElementsAre("PATH=/bin", "A=2", "B=2"));
  EXPECT_THAT(Changed({"LABEL a=1 \"b c\"='d e'"}).labels,
              UnorderedElementsAre(Pair("a", "1"), Pair("b c", "d e")));
}

TEST(ConfigChanges, TheOthers) {
  const ImageConfig config =
      Changed({"EXPOSE 80 53/udp 8000-8002 80/tcp", "USER bob:staff", "WORKDIR /srv", "WORKDIR app",
               "VOLUME /a /b", R"(VOLUME ["/c d"])", "ONBUILD RUN make $x", "STOPSIGNAL SIGQUIT"});
  EXPECT_THAT(config.exposed_ports,
              ElementsAre("80/tcp", "53/udp", "8000/tcp", "8001/tcp", "8002/tcp"));
  EXPECT_EQ(config.user, "bob:staff");
  EXPECT_EQ(config.working_dir, "/srv/app");
  EXPECT_THAT(config.volumes, ElementsAre("/a", "/b", "/c d"));
  EXPECT_THAT(config.on_build, ElementsAre("RUN make $x"));
  EXPECT_EQ(config.stop_signal, "SIGQUIT");
}

TEST(ConfigChanges, WhatIsRefused) {
  for (const char* text :
       {"FROM x", "RUN make", "CMD", "ENV", "ENV A", "ENV A=1 B", "ENV =1", "ENV A=\"open",
        "ENV A=${B", "ENV A=${}", "ENV A=${B?x}", "EXPOSE x", "EXPOSE 70000", "EXPOSE 9-8",
        "EXPOSE 80/icmp", "USER a b", "ONBUILD FROM x", "VOLUME [\"\"]", "STOPSIGNAL"}) {
    ImageConfig config;
    config.user = "before";
    const auto changed = ApplyConfigChanges(Strings{"USER after", text}, config);
    ASSERT_FALSE(changed) << text;
    EXPECT_EQ(changed.error().code(), EINVAL) << text;
    const std::string_view word =
        std::string_view(text).substr(0, std::string_view(text).find(' '));
    EXPECT_THAT(changed.error().ToString(), HasSubstr(std::string(word)));
    EXPECT_EQ(config.user, "before") << text;
  }
}

TEST(CommittedConfigTest, ContainerRequestAndChanges) {
  ImageConfig image;
  image.platform = {"linux", "arm64", "v8", ""};
  image.on_build = {"RUN x"};
  image.history.push_back({"", "base", "", "", false});
  ContainerRecord container;
  container.config.cmd = Strings{"run", "it"};
  container.config.env = {"A=1", "B=2"};
  container.config.working_dir = "/";
  container.config.stop_signal = "SIGTERM";
  container.config.labels = {{"l", "1"}};

  CommitRequest plain;
  plain.author = "me";
  const ImageConfig same = Must(CommittedConfig(image, container, plain));
  EXPECT_THAT(same.cmd, ElementsAre("run", "it"));
  EXPECT_EQ(same.platform, image.platform);
  EXPECT_EQ(same.working_dir, "");
  EXPECT_EQ(same.stop_signal, "");
  EXPECT_EQ(same.author, "me");
  EXPECT_EQ(same.history.size(), 1U);
  EXPECT_THAT(same.on_build, IsEmpty());

  CommitRequest request;
  request.config.emplace();
  request.config->env = {"A=request"};
  request.changes = {"ENV C=$A", R"(ENTRYPOINT ["e"])"};
  const ImageConfig changed = Must(CommittedConfig(image, container, request));
  EXPECT_THAT(changed.env, ElementsAre("A=request", "C=request", "B=2"));
  EXPECT_THAT(changed.entrypoint, ElementsAre("e"));
  EXPECT_THAT(changed.cmd, IsEmpty());
  EXPECT_THAT(changed.labels, UnorderedElementsAre(Pair("l", "1")));
}

}  // namespace
}  // namespace strata::manager
