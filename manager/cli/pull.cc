#include "manager/cli/pull.h"

#include "base/try.h"
#include "manager/cli/reference.h"

namespace strata::manager::cli {

std::string WithDefaultTag(const std::string& reference) {
  return SplitReference(reference).tag.empty() ? reference + ":latest" : reference;
}

Result<> PullImage(Client& client, const PullRequest& pull) {
  const ImageName image = SplitReference(pull.reference);
  STRATA_TRY_ASSIGN(const std::string auth, RegistryAuth(RegistryOf(image.name)));
  HttpRequest request;
  request.method = "POST";
  request.target = "/images/create" + Query({{"fromImage", image.name},
                                             {"tag", image.tag.empty() ? "latest" : image.tag},
                                             {"platform", pull.platform},
                                             {"insecure", pull.insecure ? "1" : ""}});
  if (!auth.empty()) request.headers.emplace_back("X-Registry-Auth", auth);
  STRATA_TRY_ASSIGN(HttpExchange answer, client.Start(request));
  STRATA_TRY_ASSIGN(const auto outcome, FollowProgress(answer, ChooseProgressStyle(pull.quiet)));
  return {};
}

}  // namespace strata::manager::cli
