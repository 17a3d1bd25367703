#include "layerstore/index/marks.h"

#include "base/path.h"

namespace strata::layerstore {

std::string OverlayXattrs::Escape(std::string_view name) const {
  return prefix_ + "overlay." + std::string(name.substr(prefix_.size()));
}

bool OverlayXattrs::IsEscaped(std::string_view name) const {
  return name.starts_with(prefix_) && name.substr(prefix_.size()).starts_with("overlay.");
}

std::string OverlayXattrs::Unescape(std::string_view name) const {
  return prefix_ + std::string(name.substr(prefix_.size() + std::string_view("overlay.").size()));
}

bool IsRedirect(std::string_view redirect) {
  if (redirect.starts_with('/')) {
    redirect.remove_prefix(1);
  } else if (redirect.find('/') != std::string_view::npos) {
    return false;
  }
  while (!redirect.empty()) {
    const std::size_t slash = redirect.find('/');
    if (!PathComponent::Valid(redirect.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    redirect.remove_prefix(slash + 1);
  }
  return false;
}

}  // namespace strata::layerstore
