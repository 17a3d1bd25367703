// One exec in memory. Internal to this folder.
#pragma once

#include <utility>

#include "base/mutex.h"
#include "manager/container/types.h"

namespace strata::manager {

struct Exec {
  explicit Exec(ExecState initial) : id(initial.id), state(std::move(initial)) {}

  const std::string id;
  Mutex mu;  // leaf
  CondVar changed;
  ExecState state STRATA_GUARDED_BY(mu);
  std::int64_t ended_ns STRATA_GUARDED_BY(mu) = 0;
};

}  // namespace strata::manager
