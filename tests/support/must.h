// Set-up steps of a test that have to work. The one place in the tree that throws: GoogleTest turns
// the exception into a failure of the running test, and unwinding unmounts and removes what it
// made.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

#include "base/error.h"

namespace strata::support {

template <class T>
T Must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().ToString());
  if constexpr (!std::is_void_v<T>) return std::move(result).value();
}

// For system calls: -1 is a failure and errno says which.
template <class T>
T MustCall(T result, const char* what) {
  if (result == static_cast<T>(-1)) throw std::runtime_error(Error::FromErrno(what).ToString());
  return result;
}

}  // namespace strata::support
