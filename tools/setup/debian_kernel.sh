#!/usr/bin/env bash
# Brings the kernel that tests/vm boots: Debian's own, which has what the kernel of a test machine may
# lack. Only its files, and of those only what is used, go into a directory of their own (default
# /var/cache/strata/debian-kernel): vmlinuz and modules/*.ko. Nothing is installed, /boot is not
# touched. Does nothing if they are there.
set -euo pipefail

target=${1:-/var/cache/strata/debian-kernel}
[[ ! -e $target/vmlinuz ]] || exit 0
[[ $(id -u) -eq 0 ]] || { echo "debian_kernel.sh: run as root to make $target" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
package=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p')
[[ -n $package ]] || { echo "debian_kernel.sh: apt knows no linux-image-amd64" >&2; exit 1; }
echo "debian_kernel.sh: downloading $package"
apt-get -q -o APT::Sandbox::User=root download "$package"
dpkg-deb --fsys-tarfile "$package"_*.deb | tar -x --wildcards ./boot/vmlinuz-\* \
  ./lib/modules/\*/kernel/{arch,crypto,fs,lib,net/{9p,dns_resolver,sunrpc},drivers/{block,char/hw_random,virtio}}

mkdir -p "$(dirname "$target")"
mkdir new new/modules
mv boot/vmlinuz-* new/vmlinuz
find lib -name '*.ko' -exec mv -t new/modules {} +
rm -rf "$target" "$target.new"
mv new "$target.new" # perhaps from another filesystem
mv "$target.new" "$target"
