// Containers' rows in meta.db: the record as JSON, with name and id as columns of their own.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "manager/container/types.h"

namespace strata::layerstore {
class Database;
class ImageStore;
}  // namespace strata::layerstore

namespace strata::manager {

// Thread-safe. A row also marks its image as used ("container:<id>"), in the same transaction.
class ContainerTable {
 public:
  // Brings the tables to this program's version.
  static Result<std::unique_ptr<ContainerTable>> Open(
      std::shared_ptr<layerstore::Database> database, layerstore::ImageStore& images);

  // EEXIST: the name is taken. ENOENT: no such image.
  Result<> Insert(const ContainerRecord& record);
  // EEXIST: another container has the name.
  Result<> Update(const ContainerRecord& record);
  Result<> Delete(const std::string& id);
  // A row that cannot be read is logged and left out.
  Result<std::vector<ContainerRecord>> LoadAll();

 private:
  ContainerTable(std::shared_ptr<layerstore::Database> database, layerstore::ImageStore& images)
      : database_(std::move(database)), images_(images) {}

  std::shared_ptr<layerstore::Database> database_;
  layerstore::ImageStore& images_;
};

}  // namespace strata::manager
