// Trees as text that can be compared: what the model says, and what is on disk.
#pragma once

#include <map>
#include <string>

#include "tests/property/layers/layer_model.h"
#include "tests/support/tree_snapshot.h"

namespace strata::property {

// All that can be told of a name, by name; where the model does not know (the time of a directory
// that no entry names), nothing is told on either side. The root is left out unless an entry of the
// top layer names it.
using TreeText = std::map<std::string, std::string>;

TreeText TextOf(const ModelTree& tree);
// Like `model` in what is left out.
TreeText TextOf(const support::TreeSnapshot& snapshot, const ModelTree& model);

// The value of system.posix_acl_access or _default.
std::string AclXattr(const ModelAcl& acl);
// Xattrs with the ACLs among them.
std::map<std::string, std::string> AllXattrs(const ModelNode& node);
// Other names to the first of the same file.
std::map<std::string, std::string> LinkGroups(const ModelTree& tree);

// What differs, a line each.
std::string Difference(const TreeText& model, const TreeText& found);

}  // namespace strata::property
