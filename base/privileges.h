// What this process may do that depends on more than its user id.
#pragma once

namespace strata {

// True with CAP_SYS_ADMIN in the initial user namespace: what trusted.* xattrs, open_tree(2) clones
// and FUSE passthrough take (linux: fs/xattr.c, fs/fuse/backing.c). False where it cannot be told.
bool HoldsGlobalAdmin();

}  // namespace strata
