// Recipe files. An input is what the records of one are, not compressed, behind two numbers for its
// header: so changes reach the records, not just the decompressor. It is tried as a whole file,
// too.
#include <xxhash.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>

#include "layerstore/archive/unpacker.h"
#include "layerstore/recipe/format.h"
#include "layerstore/recipe/layer_tar.h"
#include "layerstore/recipe/recipe_writer.h"
#include "tests/fuzz/scratch.h"
#include "tests/fuzz/target.h"
#include "tests/support/files.h"
#include "tests/support/must.h"
#include "tests/unit/layerstore/tar_builder.h"

namespace strata::fuzz {
namespace {

namespace recipe = layerstore::recipe;
using layerstore::LayerTar;
using layerstore::LayerTarOptions;
using support::Must;
using support::TarBuilder;

struct Numbers {
  Little<std::uint32_t> tar_bytes;
  Little<std::uint16_t> records;
  Little<std::uint16_t> flags;
};

std::string Compressed(std::string_view records) {
  std::string out(ZSTD_compressBound(records.size()), '\0');
  const std::size_t size = ZSTD_compress(out.data(), out.size(), records.data(), records.size(), 1);
  Expect(ZSTD_isError(size) == 0, "zstd compresses");
  out.resize(size);
  return out;
}

std::string WithHeader(const Numbers& numbers, const std::string& body) {
  recipe::Header header;
  header.magic = recipe::kMagic;
  header.version = recipe::kVersion;
  header.flags = std::uint32_t{numbers.flags} & recipe::kHasReplaced;
  header.tar_bytes = std::uint64_t{numbers.tar_bytes};
  header.records = std::uint64_t{numbers.records};
  header.body_checksum = XXH3_64bits(body.data(), body.size());
  header.header_checksum = XXH3_64bits(&header, offsetof(recipe::Header, header_checksum));
  return std::string(reinterpret_cast<const char*>(&header), sizeof header) + body;
}

void TryFile(const std::string& file) {
  FileOps& ops = FileOps::System();
  Scratch& scratch = Scratch::Get();
  scratch.WriteFile("layer/recipe", file);
  const UniqueFd layer = support::OpenFile(scratch.path() + "/layer", O_RDONLY | O_DIRECTORY);
  for (const auto contents :
       {LayerTarOptions::Contents::kRead, LayerTarOptions::Contents::kZeros}) {
    std::uint64_t given = 0;
    const auto written = LayerTar::Write(ops, layer.get(),
                                         [&](std::string_view bytes) -> Result<> {
                                           given += bytes.size();
                                           constexpr std::uint64_t kMost = std::uint64_t{4} << 20U;
                                           if (given > kMost) return Fail(EFBIG, "fuzz");
                                           return {};
                                         },
                                         {.contents = contents, .verify = false});
    if (!written) Expect(written.error().code() != 0, "an error has a code");
  }
}

// A layer for the records to speak of, and the recipe it got.
std::string MakeLayer(const TarBuilder& tar) {
  FileOps& ops = FileOps::System();
  const UniqueFd layer = Scratch::Get().FreshDirectory("layer");
  Must(ops.MakeDir(layer.get(), "fs", 0755));
  const UniqueFd fs = Must(ops.Open(layer.get(), "fs", O_RDONLY | O_DIRECTORY));
  const auto writer = Must(layerstore::RecipeWriter::Create(ops, layer.get(), {}));
  const std::string bytes = tar.Finish();
  bool given = false;
  layerstore::TarReader reader(
      [&]() -> Result<std::string_view> {
        return std::exchange(given, true) ? std::string_view() : bytes;
      },
      [&](std::string_view literal) { return writer->Literal(literal); });
  Must(layerstore::Unpacker(ops, fs.get(), {}, writer.get()).Run(reader));
  Must(reader.ReadRest());
  Must(writer->Finish(Digest::Of(bytes)));
  return support::ReadFile(Scratch::Get().path() + "/layer/recipe");
}

std::string InputOf(const std::string& file) {
  recipe::Header header;
  std::memcpy(&header, file.data(), sizeof header);
  std::string records(std::size_t{1} << 20U, '\0');
  const std::size_t size = ZSTD_decompress(
      records.data(), records.size(), file.data() + sizeof header, file.size() - sizeof header);
  Expect(ZSTD_isError(size) == 0, "zstd decompresses");
  records.resize(size);
  const Numbers numbers{static_cast<std::uint32_t>(std::uint64_t{header.tar_bytes}),
                        static_cast<std::uint16_t>(std::uint64_t{header.records}),
                        static_cast<std::uint16_t>(std::uint32_t{header.flags})};
  return std::string(reinterpret_cast<const char*>(&numbers), sizeof numbers) + records;
}

}  // namespace

void Repair(std::string&) {}

void TryInput(std::string_view input) {
  // Whatever ran before, the same layer.
  static const std::string kRecipe = MakeLayer(
      TarBuilder().AddFile("f", "content").AddFile("f", "again").AddFile("d/e/g", "other"));
  Expect(!kRecipe.empty(), "there is a layer");
  TryFile(std::string(input));
  if (input.size() < sizeof(Numbers)) return;
  Numbers numbers;
  std::memcpy(&numbers, input.data(), sizeof numbers);
  TryFile(WithHeader(numbers, Compressed(input.substr(sizeof numbers))));
}

std::vector<Input> Seeds() {
  return {
      {"plain", InputOf(MakeLayer(TarBuilder().AddFile("f", "content")))},
      {"file", MakeLayer(TarBuilder().AddFile("f", "content"))},
      {"directories",
       InputOf(MakeLayer(
           TarBuilder().AddDirectory("d").AddFile("d/e/g", "other").AddFile("d/e/h", "")))},
      // The last: its layer is the one that is there.
      {"replaced",
       InputOf(MakeLayer(
           TarBuilder().AddFile("f", "content").AddFile("f", "again").AddFile("d/e/g", "other")))}};
}

}  // namespace strata::fuzz
