#include "layerstore/layer/layer_sink.h"

#include <utility>

#include "base/file_ops.h"
#include "base/logging.h"
#include "base/try.h"
#include "layerstore/chain/layer_index.h"
#include "layerstore/layer/layer_media_type.h"

namespace strata::layerstore {
namespace {

constexpr mode_t kPrivate = 0700;
constexpr mode_t kRootMode = 0755;  // of the layer's root, unless the tar has an entry for it

std::unexpected<Error> Mismatch(const char* what, const std::string& expected,
                                const std::string& actual) {
  return Fail(EBADMSG, "verify layer",
              std::string(what) + " is " + actual + ", expected " + expected);
}

}  // namespace

Result<std::unique_ptr<LayerSink>> LayerSinkImpl::Create(LayerStore& layers, StoreRoot& root,
                                                         BlobStore& blobs, LayerIngest ingest,
                                                         Lease& lease,
                                                         std::optional<LayerLock> lock) {
  std::unique_ptr<LayerSinkImpl> sink(
      new LayerSinkImpl(layers, root, blobs, std::move(ingest), lease, std::move(lock)));
  STRATA_TRY(sink->MakeStaging());
  return sink;
}

Result<> LayerSinkImpl::MakeStaging() {
  FileOps& ops = root_.ops();
  STRATA_TRY_ASSIGN(const int dir, root_.staging());
  staged_ = root_.NewStaged("layer-");
  STRATA_TRY(ops.MakeDir(dir, staged_.c_str(), kPrivate));
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
  STRATA_TRY_ASSIGN(dir_, ops.Open(dir, staged_.c_str(), kFlags));
  STRATA_TRY(ops.MakeDir(dir_.get(), "fs", kRootMode));
  STRATA_TRY_ASSIGN(fs_, ops.Open(dir_.get(), "fs", kFlags));
  STRATA_TRY(ops.Chmod(fs_.get(), kRootMode));  // whatever the umask
  STRATA_TRY_ASSIGN(recipe_, RecipeWriter::Create(ops, dir_.get(), ingest_.limits));
  objects_ = std::make_unique<LayerObjects>(ops, *root_.objects(), dir_.get());
  return {};
}

LayerSinkImpl::~LayerSinkImpl() {
  pipeline_.reset();
  if (published_ || !objects_) return;
  auto listed = objects_->Finish();
  if (listed) return;
  root_.SweepLater();
  Ignore(listed, "objects that no list names are swept when the layer is deleted");
}

Result<> LayerSinkImpl::Write(std::string_view data) {
  received_ += data.size();
  if (ingest_.blob_size && received_ > *ingest_.blob_size) {
    return Mismatch("size", std::to_string(*ingest_.blob_size), "more");
  }
  if (pipeline_) return pipeline_->Write(data);
  start_.append(data);
  if (start_.size() < kMagicBytes) return {};
  return Start();
}

Result<> LayerSinkImpl::Start() {
  STRATA_TRY_ASSIGN(compression_, DetectCompression(start_));
  if (ingest_.keep_blob && compression_ != Compression::kNone) {
    STRATA_TRY_ASSIGN(blob_writer_, blobs_.Begin(lease_));
  }
  pipeline_ = std::make_unique<UnpackPipeline>(root_.ops(), fs_.get(), compression_, ingest_.limits,
                                               recipe_.get(), objects_.get(), Keeper());
  return pipeline_->Write(std::exchange(start_, {}));
}

UnpackPipeline::Verify LayerSinkImpl::Keeper() {
  if (compression_ == Compression::kNone) return nullptr;  // its digest is the diffID
  return [this](std::string_view data) -> Result<> {
    if (blob_writer_) {
      STRATA_TRY(blob_writer_->Write(data));
    } else {
      received_hash_.Update(data);
    }
    hashed_ += data.size();
    return {};
  };
}

Result<> LayerSinkImpl::VerifyReceived(const Digest& digest) {
  if (ingest_.blob_size && received_ != *ingest_.blob_size) {
    return Mismatch("size", std::to_string(*ingest_.blob_size), std::to_string(received_));
  }
  if (ingest_.blob && digest != *ingest_.blob) {
    return Mismatch("digest", ingest_.blob->ToString(), digest.ToString());
  }
  blob_.blob = digest;
  blob_.size = received_;
  return {};
}

std::string LayerSinkImpl::MediaType() const {
  if (!ingest_.media_type.empty()) return ingest_.media_type;
  return std::string(LayerMediaType(compression_, false));
}

Result<> LayerSinkImpl::KeepBlob() {
  if (!blob_writer_) return {};
  STRATA_TRY(blob_writer_->Commit(blob_.blob, std::nullopt));
  blob_.kept = true;
  return {};
}

// A layer can be kept without an index: one is made when it is asked for. Whoever unpacks into
// directories that it may not read itself cannot make one, and cannot mount the layer either.
Result<> LayerSinkImpl::WriteIndex(const UnpackedInodes& inodes) {
  auto written = WriteLayerIndex(root_.ops(), dir_.get(), inodes);
  if (written || (written.error().code() != EACCES && written.error().code() != EMFILE)) {
    return written;
  }
  log::Warn("a layer is kept without an index", {{"error", written.error().ToString()}});
  return {};
}

Result<LayerRoom> LayerSinkImpl::Measure(const UnpackSummary& summary) const {
  LayerRoom room;
  room.found = objects_->found_room();
  room.objects = room.found + objects_->offered_room();
  room.own = summary.room - room.objects;
  for (const char* file : {"recipe", "objects", "index"}) {
    const auto st = root_.ops().StatAt(dir_.get(), file);
    if (st) room.own += RoomOf(static_cast<std::uint64_t>(st->st_size));
    if (!st && st.error().code() != ENOENT) return Fail(st.error().code(), "measure layer", file);
  }
  return room;
}

Result<> LayerSinkImpl::FinishObjects() {
  STRATA_TRY(objects_->Finish());
  return recipe_->has_replaced() ? objects_->DropUnused() : Result<>();
}

Result<LayerInfo> LayerSinkImpl::Commit() {
  if (!pipeline_) STRATA_TRY(Start());
  auto unpacked = pipeline_->Finish();
  // A wrong blob is the reason behind whatever the pipeline may have found in it; but only if it
  // came through whole, which it does not on a full disk.
  if (compression_ != Compression::kNone && (unpacked || hashed_ == received_)) {
    STRATA_TRY(VerifyReceived(blob_writer_ ? blob_writer_->Finish() : received_hash_.Finish()));
  }
  if (!unpacked) return std::unexpected(std::move(unpacked).error());
  const Digest diff_id = unpacked->diff_id;
  log::Debug("layer unpacked",
             {{"diff_id", diff_id.ToString()}, {"stages", ToString(pipeline_->stats())}});
  if (compression_ == Compression::kNone) STRATA_TRY(VerifyReceived(diff_id));
  if (ingest_.diff_id && diff_id != *ingest_.diff_id) {
    return Mismatch("diffID", ingest_.diff_id->ToString(), diff_id.ToString());
  }
  if (!lock_) {
    STRATA_TRY(lease_.PinLayer(diff_id));
    STRATA_TRY_ASSIGN(LayerLock lock, root_.LockLayer(diff_id));
    lock_.emplace(std::move(lock));
  }

  STRATA_TRY(KeepBlob());
  blob_.diff_id = diff_id;
  blob_.media_type = MediaType();
  LayerInfo info{diff_id, root_.path() + "/layers/sha256/" + diff_id.Hex() + "/fs",
                 unpacked->summary.size, unpacked->summary.entries, std::nullopt};
  STRATA_TRY(recipe_->Finish(diff_id));
  const auto found = layers_.FindOwn(diff_id);
  if (!found) {
    if (found.error().code() != ENOENT) {
      return Fail(found.error().code(), "find layer", std::string(found.error().detail()));
    }
    STRATA_TRY_ASSIGN(auto below, layers_.FindBelow(diff_id));
    if (below) {
      STRATA_TRY(layers_.AddBlob(blob_));
      lock_.reset();
      return *std::move(below);
    }
    STRATA_TRY(FinishObjects());
    STRATA_TRY(layers_.guard_.Guard(root_.ops(), dir_.get()));
    STRATA_TRY(WriteIndex(unpacked->inodes));
    STRATA_TRY_ASSIGN(info.room, Measure(unpacked->summary));
    STRATA_TRY(layers_.Publish(staged_, info));
    published_ = true;
    info.user_marks = UserMarks();
  } else if (ingest_.mend) {
    STRATA_TRY(FinishObjects());
    STRATA_TRY(layers_.Mend(dir_.get(), diff_id));
  } else {
    STRATA_TRY(layers_.AdoptRecipe(dir_.get(), diff_id));
  }
  STRATA_TRY(layers_.Record(info, blob_));
  layers_.MarkRecorded(diff_id);
  lock_.reset();
  return info;
}

}  // namespace strata::layerstore
