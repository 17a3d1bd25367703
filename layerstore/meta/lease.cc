#include "layerstore/meta/lease.h"

#include <ctime>
#include <utility>

#include "base/try.h"
#include "layerstore/meta/database.h"

namespace strata::layerstore {

Lease::Lease(std::shared_ptr<Database> database, std::int64_t id)
    : database_(std::move(database)), id_(id) {}

Result<Lease> Lease::Create(std::shared_ptr<Database> database, const std::string& owner) {
  if (owner.empty()) return Lease();  // read-only
  std::int64_t id = 0;
  STRATA_TRY(database->WriteRelaxed([&](Connection& connection) -> Result<> {
    STRATA_TRY_ASSIGN(Statement insert,
                      connection.Prepare("INSERT INTO leases (owner, added) VALUES (?1, ?2)"));
    STRATA_TRY(insert.Bind(1, owner).Bind(2, std::int64_t{std::time(nullptr)}).Run());
    id = connection.LastInsertId();
    return {};
  }));
  return Lease(std::move(database), id);
}

Lease::Lease(Lease&& other) noexcept : database_(std::move(other.database_)), id_(other.id_) {}

Lease& Lease::operator=(Lease&& other) noexcept {
  std::swap(database_, other.database_);
  std::swap(id_, other.id_);
  return *this;
}

Lease::~Lease() { Drop(); }

void Lease::Drop() noexcept {
  if (!database_) return;
  Ignore(database_->WriteRelaxed([&](Connection& connection) -> Result<> {
    STRATA_TRY_ASSIGN(Statement remove, connection.Prepare("DELETE FROM leases WHERE id=?1"));
    return remove.Bind(1, id_).Run();
  }),
         "the lease ends with this process");
}

Result<> Lease::PinBlob(const Digest& blob) { return Pin("blob", blob); }
Result<> Lease::PinLayer(const Digest& diff_id) { return Pin("layer", diff_id); }

Result<> Lease::Pin(const char* kind, const Digest& digest) {
  if (!database_) return {};
  return database_->WriteRelaxed([&](Connection& connection) -> Result<> {
    STRATA_TRY_ASSIGN(Statement insert,
                      connection.Prepare("INSERT OR IGNORE INTO lease_pins VALUES (?1, ?2, ?3)"));
    return insert.Bind(1, id_).Bind(2, kind).Bind(3, digest.ToString()).Run();
  });
}

}  // namespace strata::layerstore
