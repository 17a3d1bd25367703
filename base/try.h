// The project's one pair of control-flow macros: GCC 12's std::expected has no monadic calls.
//   STRATA_TRY(Sync(fd));                       returns the error, if any, to the caller
//   STRATA_TRY_ASSIGN(auto size, FileSize(fd)); the same, else binds the value
#pragma once

#include <utility>

#include "base/error.h"

#define STRATA_TRY_CONCAT_INNER(a, b) a##b
#define STRATA_TRY_CONCAT(a, b) STRATA_TRY_CONCAT_INNER(a, b)

#define STRATA_TRY(expr)                                            \
  do {                                                              \
    auto strata_try_result = (expr);                                \
    if (!strata_try_result.has_value()) {                           \
      return std::unexpected(std::move(strata_try_result).error()); \
    }                                                               \
  } while (false)

#define STRATA_TRY_ASSIGN(lhs, expr) \
  STRATA_TRY_ASSIGN_INNER(STRATA_TRY_CONCAT(strata_try_, __LINE__), lhs, expr)
#define STRATA_TRY_ASSIGN_INNER(tmp, lhs, expr)                         \
  auto tmp = (expr);                                                    \
  if (!tmp.has_value()) return std::unexpected(std::move(tmp).error()); \
  lhs = std::move(tmp).value()
