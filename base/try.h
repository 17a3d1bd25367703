// The project's one pair of control-flow macros: GCC 12's std::expected has no monadic calls.
//   STRATA_TRY(Sync(fd));                       returns the error, if any, to the caller
//   STRATA_TRY_ASSIGN(auto size, FileSize(fd)); the same, else binds the value
#pragma once

#include <utility>

#include "base/error.h"

#define STRATA_TRY_CONCAT_INNER(a, b) a##b
#define STRATA_TRY_CONCAT(a, b) STRATA_TRY_CONCAT_INNER(a, b)

// Names come from __COUNTER__: inside an argument of another macro, a lambda's body for instance,
// __LINE__ is the same everywhere.
#define STRATA_TRY(expr) STRATA_TRY_INNER(STRATA_TRY_CONCAT(strata_try_, __COUNTER__), expr)
#define STRATA_TRY_INNER(tmp, expr)                                       \
  do {                                                                    \
    auto tmp = (expr);                                                    \
    if (!tmp.has_value()) return std::unexpected(std::move(tmp).error()); \
  } while (false)

#define STRATA_TRY_ASSIGN(lhs, expr) \
  STRATA_TRY_ASSIGN_INNER(STRATA_TRY_CONCAT(strata_try_, __COUNTER__), lhs, expr)
#define STRATA_TRY_ASSIGN_INNER(tmp, lhs, expr)                         \
  auto tmp = (expr);                                                    \
  if (!tmp.has_value()) return std::unexpected(std::move(tmp).error()); \
  lhs = std::move(tmp).value()
