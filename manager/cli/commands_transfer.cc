// pull and push: images from and to registries.
#include <nlohmann/json.hpp>

#include "base/try.h"
#include "manager/cli/command.h"
#include "manager/cli/pull.h"
#include "manager/cli/reference.h"

namespace strata::manager::cli {
namespace {

using Kind = FlagSpec::Kind;

constexpr FlagSpec kInsecure{"insecure", 0, Kind::kSwitch, "",
                             "accept plain http and any certificate from the registry"};
constexpr FlagSpec kQuiet{"quiet", 'q', Kind::kSwitch, "", "print only the result"};

Result<int> RunPull(Context& context, const Flags& flags) {
  STRATA_TRY_ASSIGN(Client * client, context.client());
  PullRequest pull;
  pull.reference = flags.operands()[0];
  pull.platform = flags.Value("platform");
  pull.insecure = flags.On("insecure");
  pull.quiet = flags.On("quiet");
  STRATA_TRY(PullImage(*client, pull));
  Print(WithDefaultTag(pull.reference) + "\n");
  return 0;
}

Result<int> RunPush(Context& context, const Flags& flags) {
  const std::string& reference = flags.operands()[0];
  const ImageName image = SplitReference(reference);
  STRATA_TRY_ASSIGN(std::string auth, RegistryAuth(RegistryOf(image.name)));
  STRATA_TRY_ASSIGN(Client * client, context.client());
  HttpRequest request;
  request.method = "POST";
  request.target = "/images/" + PercentEncode(image.name, "/:") + "/push" +
                   Query({{"tag", image.tag.empty() ? "latest" : image.tag},
                          {"insecure", flags.On("insecure") ? "1" : ""}});
  // The API wants the header even without credentials: this is "{}".
  request.headers.emplace_back("X-Registry-Auth", auth.empty() ? "e30=" : std::move(auth));
  STRATA_TRY_ASSIGN(HttpExchange answer, client->Start(request));
  STRATA_TRY_ASSIGN(const auto outcome,
                    FollowProgress(answer, ChooseProgressStyle(flags.On("quiet"))));
  Print(WithDefaultTag(reference) + "\n");
  return 0;
}

}  // namespace

std::vector<Command> TransferCommands() {
  const FlagSpec platform{"platform", 0, Kind::kValue, "OS/ARCH",
                          "of an image for several platforms"};
  const Command pull{.name = "pull",
                     .operands = "[OPTIONS] NAME[:TAG|@DIGEST]",
                     .summary = "Get an image from a registry",
                     .min_operands = 1,
                     .max_operands = 1,
                     .operand_names = {Names::kImage},
                     .flags = {kInsecure, platform, kQuiet},
                     .run = RunPull};
  const Command push{.name = "push",
                     .operands = "[OPTIONS] NAME[:TAG]",
                     .summary = "Put an image into the registry its name says",
                     .min_operands = 1,
                     .max_operands = 1,
                     .operand_names = {Names::kImage},
                     .flags = {kInsecure, kQuiet},
                     .run = RunPush};
  Command image_pull = pull;
  image_pull.name = "image pull";
  Command image_push = push;
  image_push.name = "image push";
  return {pull, push, image_pull, image_push};
}

}  // namespace strata::manager::cli
