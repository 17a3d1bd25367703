// pull, push and image import: images on their way in and out.
#include <fcntl.h>
#include <unistd.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <span>

#include "base/file_ops.h"
#include "base/try.h"
#include "manager/cli/command.h"
#include "manager/cli/pull.h"
#include "manager/cli/reference.h"
#include "manager/cli/tar_stream.h"

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

// The bytes of a file or of standard input.
std::function<Result<std::string>()> FileSource(std::shared_ptr<UniqueFd> owner, int fd) {
  return [owner = std::move(owner), fd]() -> Result<std::string> {
    constexpr std::size_t kPiece = 256UL * 1024;
    std::string piece(kPiece, '\0');
    STRATA_TRY_ASSIGN(const std::size_t got,
                      FileOps::System().Read(fd, std::as_writable_bytes(std::span(piece))));
    piece.resize(got);
    return piece;
  };
}

Result<std::function<Result<std::string>()>> ImportSource(const std::string& path) {
  if (path == "-") return FileSource(nullptr, STDIN_FILENO);
  FileOps& ops = FileOps::System();
  auto file = ops.Open(AT_FDCWD, path.c_str(), O_RDONLY);
  if (!file) return std::unexpected(std::move(file).error().WithContext(path));
  STRATA_TRY_ASSIGN(const struct stat info, ops.Stat(file->get()));
  if (!S_ISDIR(info.st_mode)) {
    auto owner = std::make_shared<UniqueFd>(*std::move(file));
    const int fd = owner->get();
    return FileSource(std::move(owner), fd);
  }
  STRATA_TRY_ASSIGN(TarStream tar, TarStream::Open(path));
  auto stream = std::make_shared<TarStream>(std::move(tar));
  return [stream] { return stream->Next(); };
}

Result<ProgressOutcome> SendImport(Client& client, const HttpRequest& request,
                                   ProgressStyle style) {
  STRATA_TRY_ASSIGN(HttpExchange answer, client.Start(request));
  return FollowProgress(answer, style);
}

Result<int> RunImport(Context& context, const Flags& flags) {
  const std::string& path = flags.operands()[0];
  HttpRequest request;
  request.method = "POST";
  request.target = "/strata/images/import" +
                   Query({{"name", flags.operands().size() > 1 ? flags.operands()[1] : ""}});
  request.content_type = "application/x-tar";
  STRATA_TRY_ASSIGN(request.body_source, ImportSource(path));
  STRATA_TRY_ASSIGN(Client * client, context.client());
  auto outcome = SendImport(*client, request, ChooseProgressStyle(flags.On("quiet")));
  if (!outcome) return std::unexpected(std::move(outcome).error().WithContext(path));
  if (!outcome->id.empty()) Print(outcome->id + "\n");
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
  return {pull,
          push,
          image_pull,
          image_push,
          {.name = "image import",
           .operands = "[OPTIONS] FILE|DIRECTORY|- [NAME[:TAG]]",
           .summary = "Import an OCI layout, a docker archive or a root filesystem's tar",
           .min_operands = 1,
           .max_operands = 2,
           .operand_names = {Names::kFile, Names::kImage},
           .flags = {kQuiet},
           .run = RunImport}};
}

}  // namespace strata::manager::cli
