#include "layerstore/import/importer.h"

#include <utility>

#include "base/cancellation.h"
#include "base/parallel.h"
#include "base/try.h"
#include "layerstore/archive/entry_path.h"
#include "layerstore/layer/layer_media_type.h"
#include "layerstore/oci/media_types.h"

namespace strata::layerstore {
namespace {

// Each waits for the disk at its end, when others may go on; and has threads and buffers of its
// own.
constexpr std::size_t kLayersAtOnce = 4;

Descriptor DescriptorOf(const LayerBlob& blob) {
  Descriptor descriptor;
  descriptor.media_type = blob.media_type;
  descriptor.digest = blob.blob;
  descriptor.size = blob.size;
  return descriptor;
}

// The layer's tar, which its recipe gives.
Result<Descriptor> PlainLayer(const ImportContext& context, const Digest& diff_id) {
  Descriptor descriptor;
  descriptor.media_type = LayerMediaType(Compression::kNone, false);
  descriptor.digest = diff_id;
  STRATA_TRY_ASSIGN(descriptor.size, context.store.layers().TarSize(diff_id));
  return descriptor;
}

// Of a layer below any form will do.
Result<bool> IsBelow(const ImportContext& context, const Digest& diff_id) {
  auto own = context.store.layers().FindOwn(diff_id);
  if (own) return false;
  if (own.error().code() == ENOENT) return true;
  return std::unexpected(std::move(own).error());
}

// A layer that was there already: the blob the ingest names, else one that is kept, else its tar.
Result<Descriptor> KnownLayer(const ImportContext& context, const LayerIngest& ingest) {
  LayerStore& layers = context.store.layers();
  if (ingest.blob) {
    auto known = layers.FindBlob(*ingest.blob);
    if (known) return DescriptorOf(*known);
    if (known.error().code() != ENOENT) return std::unexpected(std::move(known).error());
    STRATA_TRY_ASSIGN(const bool below, IsBelow(context, *ingest.diff_id));
    if (below && ingest.blob_size) {
      Descriptor as_it_came;
      as_it_came.media_type = ingest.media_type;
      as_it_came.digest = *ingest.blob;
      as_it_came.size = *ingest.blob_size;
      return as_it_came;
    }
    // A layer that came compressed has its plain form, too.
    const bool plain = *ingest.blob == *ingest.diff_id;
    if (!plain) return std::unexpected(std::move(known).error());
    return PlainLayer(context, *ingest.diff_id);
  }
  STRATA_TRY_ASSIGN(const auto blobs, layers.Blobs(*ingest.diff_id));
  for (const LayerBlob& blob : blobs) {
    STRATA_TRY(context.lease.PinBlob(blob.blob));
    STRATA_TRY_ASSIGN(const bool kept, context.store.blobs().Has(blob.blob));
    if (kept) return DescriptorOf(blob);
  }
  return PlainLayer(context, *ingest.diff_id);
}

}  // namespace

Result<Descriptor> ImportLayer(const ImportContext& context, LayerIngest ingest, const Feed& feed) {
  ingest.limits = context.options.limits;
  const LayerIngest what = ingest;
  STRATA_TRY_ASSIGN(const auto sink,
                    context.store.layers().Begin(std::move(ingest), context.lease));
  if (!sink) return KnownLayer(context, what);
  auto fed = feed([&](std::string_view data) { return sink->Write(data); });
  if (!fed) return std::unexpected(std::move(fed).error());
  STRATA_TRY(sink->Commit());
  return DescriptorOf(sink->blob());
}

Result<std::vector<Descriptor>> ImportLayers(const ImportContext& context, ImageFiles& files,
                                             const std::vector<LayerMember>& layers) {
  std::vector<Descriptor> descriptors(layers.size());
  Cancellation stop;
  STRATA_TRY(ForEachInParallel(layers.size(), kLayersAtOnce, stop, [&](std::size_t i) -> Result<> {
    auto layer = ImportLayer(context, layers[i].ingest, [&](const auto& take) {
      return files.Stream(layers[i].file, [&](std::string_view data) -> Result<> {
        STRATA_TRY(stop.Check());
        return take(data);
      });
    });
    if (!layer) {
      return std::unexpected(std::move(layer).error().WithContext("layer " + layers[i].shown));
    }
    descriptors[i] = std::move(*layer);
    return {};
  }));
  return descriptors;
}

Result<ImportedImage> Put(const ImportContext& context, NewImage image,
                          const std::vector<Reference>& names) {
  for (const Reference& name : names) image.names.push_back(name.WithDefaultTag());
  STRATA_TRY_ASSIGN(Image put, context.store.images().Put(image));
  return ImportedImage{std::move(put), std::move(image.names)};
}

Result<ImportedImage> PutWithManifest(const ImportContext& context, std::string config_json,
                                      std::vector<Descriptor> layers,
                                      const std::vector<Reference>& names) {
  Manifest manifest;
  manifest.media_type = std::string(media_type::kOciManifest);
  manifest.config.media_type = std::string(media_type::kOciConfig);
  manifest.config.digest = Digest::Of(config_json);
  manifest.config.size = config_json.size();
  manifest.layers = std::move(layers);
  return Put(context, {std::move(config_json), manifest.ToJson(), manifest.media_type, {}}, names);
}

Result<std::vector<Reference>> NamesFor(const ImportContext& context,
                                        const std::vector<std::string>& texts) {
  if (context.options.name) return std::vector<Reference>{*context.options.name};
  std::vector<Reference> names;
  for (const std::string& text : texts) {
    auto name = Reference::Parse(text);
    if (!name) return Fail(EINVAL, "import", "'" + ShownName(text) + "' is no name for an image");
    names.push_back(std::move(*name));
  }
  return names;
}

}  // namespace strata::layerstore
