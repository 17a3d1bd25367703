// The text of --help, beside docs/man/stratafs.8.md.
#include "fusefs/daemon/options.h"

namespace strata::fusefs {

std::string HelpText() {
  return R"(Usage: stratafs [options] [SOURCE] MOUNTPOINT
       stratafs --finalize -o lowerdir=...,upperdir=...,workdir=...

Mounts a stack of directories as one tree. Only the top one (upperdir) is written.

  stratafs -o lowerdir=TOP:MIDDLE:BASE,upperdir=UPPER,workdir=WORK /mnt
  mount -t fuse.stratafs stratafs /mnt -o lowerdir=A:B

Options:
  -o NAME[=VALUE],...    mount options, see below; may be repeated
      --lower DIR        one more lower layer, below those given before; any name, no escapes
  -f, --foreground       do not go into the background
  -d, --debug            foreground, log level trace
  -s, --single-threaded  same as -o threads=1
      --log-level LEVEL  trace, debug, info, warn (default), error or off
      --log-format FORM  text (default) or json
      --log-file FILE    append the log to FILE instead of stderr
      --finalize         mount nothing: copy up what upperdir still borrows from lower layers, so
                         that it is a plain overlayfs layer
  -h, --help             print this help
  -V, --version          print the version

Layers:
  lowerdir=DIR[:DIR...]  read-only layers, topmost first; \: \, and \\ stand for themselves
  lowerdir+=DIR          one more lower layer, below those given before
  chain=DIR              the layers of an image in a store, below all others; DIR has their index
  upperdir=DIR           the layer that takes all changes; without it the mount is read-only
  workdir=DIR            an empty directory on upperdir's filesystem; needed with upperdir
  copyup=WHEN            copy a lower file up at the first 'write' (default), at the first 'open' for
                         writing, or at the first open at all ('read')
  partial=off            copy large files up as a whole; by default only the blocks that are written
  copyup_threshold=SIZE  from which size on files are copied up in blocks (default 1M)
  complete=SIZE          copy the rest of such files in the background, so many bytes a second
                         (default 0: never)
  metacopy=off           copy the data, too, when only attributes change
  metacopy_threshold=SIZE  from which size on a change of attributes copies no data (default 128K)
  volatile               no syncing before the unmount: after a crash upperdir is refused
  userxattr              keep marks in user.overlay.* instead of trusted.overlay.*

Serving:
  passthrough=WHICH      let the kernel read 'all' lower files itself, 'large' ones (default) or none
                         ('off'); needs Linux 6.9 and CAP_SYS_ADMIN
  coherent               old descriptors see what is written to a file after its copy-up
  writeback              let the kernel gather writes; switches passthrough off
  opens=off              let the kernel open and close files without asking; switches passthrough off,
                         and leaves file locks to the kernel
  noacl                  no POSIX ACLs: setting and reading them fails
  locks=on|off           keep file locks here, so that they hold across a copy-up (default), or leave
                         them to the kernel
  transport=HOW          get requests over /dev/fuse ('dev', default), io_uring ('uring', Linux 6.14),
                         or io_uring where the system allows it already ('auto')
  threads=N              requests served at once (default 4); with io_uring for each processor
  spin=MICROSECONDS      poll for the next request before sleeping (default 100, with io_uring 0:
                         never)
  walkahead=N            threads that load directories ahead of a walk (default 4, 0: none)
  allow_other            let other users in (default for root; noallow_other: don't)
  fsname=NAME            the source shown in /proc/mounts

The usual options of mount(8) are taken as well: ro, nosuid, nodev, noexec, context=, ...
Of options that contradict each other the last one counts. See stratafs(8).
)";
}

}  // namespace strata::fusefs
