#include "manager/container/container_table.h"

#include <array>

#include "base/logging.h"
#include "base/try.h"
#include "layerstore/meta/database.h"
#include "layerstore/meta/image_store.h"
#include "manager/container/json.h"

namespace strata::manager {
namespace {

using layerstore::Connection;
using layerstore::Statement;

constexpr std::string_view kComponent = "manager.container";
constexpr std::array kMigrations{layerstore::Migration{R"sql(
  CREATE TABLE container (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT UNIQUE NOT NULL,
    record TEXT NOT NULL
  ) STRICT;
)sql"}};

std::string UserOf(const std::string& id) { return "container:" + id; }

}  // namespace

Result<std::unique_ptr<ContainerTable>> ContainerTable::Open(
    std::shared_ptr<layerstore::Database> database, layerstore::ImageStore& images) {
  STRATA_TRY(database->Migrate(kComponent, kMigrations));
  return std::unique_ptr<ContainerTable>(new ContainerTable(std::move(database), images));
}

Result<> ContainerTable::Insert(const ContainerRecord& record) {
  const std::string text = RecordToText(record);
  return database_->Write([&](Connection& connection) -> Result<> {
    STRATA_TRY_ASSIGN(Statement insert,
                      connection.Prepare("INSERT INTO container (id, name, record) "
                                         "VALUES (?1, ?2, ?3)"));
    STRATA_TRY(insert.Bind(1, record.id).Bind(2, record.name).Bind(3, text).Run());
    return images_.AddUser(connection, record.image_id, UserOf(record.id));
  });
}

Result<> ContainerTable::Update(const ContainerRecord& record) {
  const std::string text = RecordToText(record);
  return database_->Write([&](Connection& connection) -> Result<> {
    STRATA_TRY_ASSIGN(
        Statement update,
        connection.Prepare("UPDATE container SET name = ?2, record = ?3 WHERE id = ?1"));
    STRATA_TRY(update.Bind(1, record.id).Bind(2, record.name).Bind(3, text).Run());
    return {};
  });
}

Result<> ContainerTable::Delete(const std::string& id) {
  return database_->Write([&](Connection& connection) -> Result<> {
    STRATA_TRY_ASSIGN(Statement remove, connection.Prepare("DELETE FROM container WHERE id = ?1"));
    STRATA_TRY(remove.Bind(1, id).Run());
    return layerstore::ImageStore::RemoveUser(connection, UserOf(id));
  });
}

Result<std::vector<ContainerRecord>> ContainerTable::LoadAll() {
  std::vector<ContainerRecord> records;
  STRATA_TRY(database_->Read([&](Connection& connection) -> Result<> {
    STRATA_TRY_ASSIGN(Statement select,
                      connection.Prepare("SELECT id, record FROM container ORDER BY id"));
    for (;;) {
      STRATA_TRY_ASSIGN(const bool row, select.Step());
      if (!row) return {};
      auto record = RecordFromText(select.Text(1));
      if (record) {
        records.push_back(std::move(*record));
      } else {
        log::Error("container record is damaged",
                   {{"id", select.Text(0)}, {"error", record.error().ToString()}});
      }
    }
  }));
  return records;
}

}  // namespace strata::manager
