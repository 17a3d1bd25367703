#include "tests/unit/layerstore/old_stores/describe.h"

#include <fcntl.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>

#include "base/file_ops.h"
#include "tests/support/must.h"
#include "tests/support/tree_snapshot.h"

namespace strata::layerstore {
namespace {

using nlohmann::json;
using support::Must;
using support::Printable;

constexpr std::size_t kBlobMax = std::size_t{1} << 20U;

json Texts(const std::vector<Reference>& names) {
  json list = json::array();
  for (const Reference& name : names) list.push_back(name.ToString());
  return list;
}

json Texts(const std::vector<Digest>& digests) {
  json list = json::array();
  for (const Digest& digest : digests) list.push_back(digest.ToString());
  return list;
}

json DescribeImage(Store& store, const Digest& id) {
  const ImageDetail detail = Must(store.images().Inspect(id));
  const Image& image = detail.image;
  return {{"id", image.id.ToString()},
          {"manifest_digest", image.manifest_digest.ToString()},
          {"manifest_media_type", image.manifest_media_type},
          {"diff_ids", Texts(image.diff_ids)},
          {"tags", Texts(image.tags)},
          {"repo_digests", Texts(image.repo_digests)},
          {"size", image.size},
          {"created", image.created},
          {"added", image.added},
          {"config", detail.config_json},
          {"manifest", detail.manifest_json},
          {"users", Must(store.images().Users(id))}};
}

json DescribeNode(const support::NodeRecord& node, const std::string& first_name) {
  const struct stat& st = node.stat;
  json object{
      {"mode", st.st_mode},
      {"owner", std::to_string(st.st_uid) + ':' + std::to_string(st.st_gid)},
      {"mtime", std::to_string(st.st_mtim.tv_sec) + '/' + std::to_string(st.st_mtim.tv_nsec)},
      {"xattrs", json::object()}};
  for (const auto& [name, value] : node.xattrs) object["xattrs"][name] = Printable(value);
  if (S_ISREG(st.st_mode)) {
    object["content"] = node.content.ToString();
    object["size"] = st.st_size;
  }
  if (S_ISLNK(st.st_mode)) object["target"] = Printable(node.link_target);
  if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) object["rdev"] = st.st_rdev;
  if (!first_name.empty()) object["same_as"] = Printable(first_name);
  return object;
}

json DescribeTree(const std::string& path) {
  const auto snapshot = Must(support::TreeSnapshot::Take(path));
  const auto groups = snapshot.HardLinkGroups();
  json tree = json::object();
  for (const auto& [name, node] : snapshot.nodes()) {
    const auto group = groups.find(name);
    tree[Printable(name)] = DescribeNode(node, group != groups.end() ? group->second : "");
  }
  return tree;
}

json DescribeBlob(Store& store, const LayerBlob& blob) {
  json object{{"digest", blob.blob.ToString()},
              {"diff_id", blob.diff_id.ToString()},
              {"size", blob.size},
              {"media_type", blob.media_type}};
  if (Must(store.blobs().Has(blob.blob))) {
    const UniqueFd fd = Must(store.blobs().OpenBlob(blob.blob));
    object["bytes"] = Digest::Of(Must(ReadAll(store.ops(), fd.get(), kBlobMax))).ToString();
  }
  return object;
}

json DescribeLayer(Store& store, const Digest& diff_id) {
  const LayerInfo layer = Must(store.layers().Find(diff_id));
  json object{{"size", layer.size},
              {"entries", layer.entries},
              {"blobs", json::array()},
              {"tree", DescribeTree(layer.path)}};
  for (const LayerBlob& blob : Must(store.layers().Blobs(diff_id))) {
    object["blobs"].push_back(DescribeBlob(store, blob));
  }
  return object;
}

}  // namespace

std::string DescribeStore(Store& store, const std::vector<Digest>& more) {
  json images = json::array();
  std::set<Digest> diff_ids(more.begin(), more.end());
  for (const Image& image : Must(store.images().List())) {
    images.push_back(DescribeImage(store, image.id));
    diff_ids.insert(image.diff_ids.begin(), image.diff_ids.end());
  }
  json layers = json::object();
  for (const Digest& diff_id : diff_ids) {
    layers[diff_id.ToString()] = DescribeLayer(store, diff_id);
  }
  return json{{"images", images}, {"layers", layers}}.dump(1);
}

}  // namespace strata::layerstore
