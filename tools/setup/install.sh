#!/usr/bin/env bash
# Installs the Debian packages of the given groups of packages.txt (default: build runtime test).
# Asks apt only when something is missing, never starts a service, may be repeated. Needs root only
# when there is something to install. With the group test it also brings the kernel of tests/vm.
set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
list=$here/packages.txt
groups=("$@")
[[ ${#groups[@]} -gt 0 ]] || groups=(build runtime test)

for group in "${groups[@]}"; do
  grep -qx "# group: $group" "$list" || { echo "install.sh: no group '$group' in $list" >&2; exit 2; }
done

missing=()
current=
while read -r package program; do
  case "$package $program" in
    "# group: "*) current=${program#group: }; continue ;;
    "#"* | " ") continue ;;
  esac
  [[ " ${groups[*]} " == *" $current "* ]] || continue
  if [[ -n $program ]] && command -v "$program" > /dev/null; then continue; fi
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null || true)
  [[ $status == installed ]] || missing+=("$package")
done < "$list"

bring_kernel() {
  [[ " ${groups[*]} " != *" test "* ]] || "$here/debian_kernel.sh"
}

if [[ ${#missing[@]} -eq 0 ]]; then
  bring_kernel
  echo "install.sh: everything for ${groups[*]} is installed"
  exit 0
fi
[[ $(id -u) -eq 0 ]] || { echo "install.sh: run as root to install: ${missing[*]}" >&2; exit 1; }

# Packages with daemons (docker-registry, docker.io) start them on installation unless policy-rc.d
# says no; nothing on this machine should start because somebody wanted to compile.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
  printf '#!/bin/sh\nexit 101\n' > "$policy"
  chmod 755 "$policy"
  trap 'rm -f "$policy"' EXIT
fi

echo "install.sh: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends "${missing[@]}"
bring_kernel
