#!/usr/bin/env bash
# From nothing to a container on a copy-on-write root, in one command: installs what is needed, builds
# Strata, makes a Debian image of three layers, sends it through a registry, and shows what a container
# changes and what it leaves alone. Everything runs in directories of its own and is gone at the end, but
# for the build and the cached Debian base in build/. May be run again and again.
set -euo pipefail

root=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
cd "$root"
[[ $(id -u) -eq 0 ]] || { echo "quickstart.sh: run it as root: sudo tools/quickstart.sh" >&2; exit 1; }

preset=quick # a less optimised build is sooner there; a release build that somebody made is brought up to date instead
[[ ! -x build/release/bin/stratad ]] || preset=release
bin=${STRATA_BIN_DIR:-$root/build/$preset/bin} # with STRATA_BIN_DIR set nothing is built
cache=$root/build/quickstart
work=$(mktemp -d /var/tmp/strata-quickstart.XXXXXX)
log=$work/log
export STRATA_HOST=unix://$work/strata.sock
package=less # what the second layer adds
image=       # set once the registry's port is known
pids=()
started=$SECONDS

bold='' plain=''
if [[ -t 1 ]]; then bold=$(tput bold 2> /dev/null || true) plain=$(tput sgr0 2> /dev/null || true); fi
step() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
note() { printf '   %s\n' "$*"; }
# Shows a command as the reader would type it, then runs it.
show() {
  local word line=
  for word in "$@"; do
    [[ $word != *[[:space:]\;\>\"]* ]] || word="'$word'"
    line+=" $word"
  done
  printf '%s$%s%s\n' "$bold" "$line" "$plain"
  "$@"
}
strata() { "$bin/strata" "$@"; }
# Runs a command quietly; its output is shown only if it fails.
quietly() {
  "$@" >> "$log" 2>&1 && return 0
  echo "quickstart.sh: this failed: $*" >&2
  tail -n 30 "$log" >&2
  return 1
}
expect() { "$@" || { echo "quickstart.sh: that is not what should have happened: $*" >&2; exit 1; }; }

clean_up() {
  local status=$? containers mount pid
  trap - EXIT INT TERM
  if [[ -S $work/strata.sock ]]; then
    mapfile -t containers < <(strata ps -aq 2> /dev/null || true)
    [[ ${#containers[@]} -eq 0 ]] || strata rm -f "${containers[@]}" > /dev/null 2>&1 || true
  fi
  for pid in "${pids[@]}"; do kill "$pid" 2> /dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2> /dev/null || true; done
  while read -r mount; do umount -l "$mount" 2> /dev/null || true; done \
    < <(findmnt -rn -o TARGET | grep -F "$work/" | sort -r)
  [[ $status -eq 0 ]] || { echo "quickstart.sh: failed; the end of the log:" >&2; tail -n 20 "$log" >&2 || true; }
  rm -rf --one-file-system "$work"
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
: > "$log"

# The archive this machine itself installs from: "URI CODENAME".
apt_archive() {
  local codename
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")
  # shellcheck disable=SC2016  # the names are apt's
  apt-get indextargets --format '$(SITE) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' |
    awk -v codename="$codename" '$2 == codename && $3 == "main" { print $1, $2; exit }'
}

# The base layer, from the cache if an earlier run made it.
make_base() {
  local uri suite
  if [[ -e $cache/base/.complete ]]; then return 0; fi
  rm -rf "$cache/base" "$cache/base.new"
  mkdir -p "$cache"
  read -r uri suite < <(apt_archive)
  [[ -n $uri ]] || { echo "no Debian archive is configured in apt's sources" >&2; return 1; }
  debootstrap --variant=minbase "$suite" "$cache/base.new" "$uri"
  rm -rf "$cache/base.new/var/cache/apt/archives/"*.deb "$cache/base.new/var/lib/apt/lists/"*
  mkdir "$cache/base"
  mv "$cache/base.new" "$cache/base/fs"
  touch "$cache/base/.complete"
}

# on_layer NAME LOWER COMMAND...: runs the command in a writable union of the layers; what it changes
# is left in $work/layers/NAME.
on_layer() {
  local name=$1 lower=$2
  shift 2
  mkdir -p "$work/layers/$name" "$work/scratch/$name" "$work/mnt"
  "$bin/stratafs" -o "lowerdir=$lower,upperdir=$work/layers/$name,workdir=$work/scratch/$name" "$work/mnt"
  "$@" || { umount "$work/mnt"; return 1; }
  umount "$work/mnt"
}

add_package() {
  chroot "$work/mnt" env DEBIAN_FRONTEND=noninteractive LC_ALL=C sh -ec "
    apt-get update -q
    apt-get install -q -y --no-install-recommends $package
    apt-get clean
    rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log"
}

change_configuration() {
  echo "Welcome to a Debian of three layers." > "$work/mnt/etc/motd"
  rm "$work/mnt/etc/issue.net"
}

# start NAME COMMAND...: a background process that the clean-up ends.
start() {
  local name=$1
  shift
  "$@" > "$work/$name.log" 2>&1 &
  pids+=($!)
}

# wait_for WHAT COMMAND...: until the command succeeds, for 20 seconds.
wait_for() {
  local what=$1
  shift
  for _ in $(seq 200); do
    if "$@" > /dev/null 2>&1; then return 0; fi
    sleep 0.1
  done
  echo "quickstart.sh: $what does not answer" >&2
  tail -n 20 "$work"/*.log >&2
  return 1
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

start_registry() {
  local port=$1
  cat > "$work/registry.yml" << REGISTRY
version: 0.1
storage:
  filesystem:
    rootdirectory: $work/registry
http:
  addr: 127.0.0.1:$port
REGISTRY
  start registry docker-registry serve "$work/registry.yml"
  wait_for "the registry" curl -fsS "http://127.0.0.1:$port/v2/"
}

# One digest over every name, attribute and byte of the layers in the store.
layers_digest() {
  (cd "$(strata info -f '{{.Strata.StoreRoot}}')/layers" && find . -printf '%p %y %m %U %G %s %T@ %l\n' | sort &&
    find . -type f -print0 | sort -z | xargs -0 sha256sum) | sha256sum | cut -d' ' -f1
}

# What a container's own layer holds besides the directories on the way.
changes_of() { (cd "$1" && find . ! -type d -printf '%y %p\n' | sort -k2); }

step "1. Install and build"
quietly tools/setup/install.sh build runtime quickstart
note "while Strata compiles, debootstrap fetches the base of the image"
make_base > "$work/debootstrap.log" 2>&1 &
debootstrap_pid=$!
pids+=("$debootstrap_pid")
if [[ -z ${STRATA_BIN_DIR:-} ]]; then
  quietly cmake --preset "$preset"
  quietly cmake --build --preset "$preset" --target strata stratad stratafs
fi
wait "$debootstrap_pid" || { tail -n 20 "$work/debootstrap.log" >&2; exit 1; }
note "programs: $bin/{strata,stratad,stratafs}"

step "2. Make a Debian image of three layers"
base=$cache/base/fs
note "layer 1, the base: $(du -sh "$base" | cut -f1), $(find "$base" | wc -l) files"
quietly on_layer package "$base" add_package
note "layer 2, the package $package: $(changes_of "$work/layers/package" | wc -l) files, made on a stratafs mount"
on_layer config "$work/layers/package:$base" change_configuration
note "layer 3, the configuration (c is a whiteout, the mark of a deleted file):"
changes_of "$work/layers/config" | sed 's/^/      /'
tools/oci_layout.py --output "$work/layout" --command /bin/bash "$base" "$work/layers/package" "$work/layers/config"

step "3. Through a registry"
port=$(free_port)
image=127.0.0.1:$port/quickstart/debian:3
start_registry "$port"
start stratad "$bin/stratad" --data-root "$work/data" --run-root "$work/run" --host "$STRATA_HOST"
wait_for "stratad" strata version
show strata image import -q "$work/layout" "$image"
show strata push "$image"
show strata rmi "$image"
show strata image prune -a -f
show strata pull "$image"
show strata images

step "4. Run a container"
show strata run --rm --network none "$image" cat /etc/os-release
before=$(layers_digest)
note "a container that stays, and three changes in it: one file of the base edited, one deleted, one added"
show strata run -d --name one --network none "$image" sleep infinity
show strata exec one sh -c 'echo "edited here" >> /etc/debian_version; rm /etc/issue; echo new > /srv/added'
show strata exec one sh -c 'cat /etc/debian_version; ls -l /etc/issue; cat /srv/added' || true

step "5. What changed on disk"
upper=$(strata inspect -f '{{.GraphDriver.Data.UpperDir}}' one)
note "the container's own layer holds just those three (c: a whiteout):"
changes_of "$upper" | sed 's/^/      /'
expect [ "$(changes_of "$upper" | wc -l)" -eq 3 ]
expect [ "$(layers_digest)" = "$before" ]
note "the image's layers are byte for byte as before: sha256 ${before:0:16}…"
note "a second container of the same image sees none of it:"
show strata run --rm --network none "$image" sh -c 'cat /etc/debian_version; ls /etc/issue; ls /srv'
expect [ "$(strata run --rm --network none "$image" sh -c 'ls /srv | wc -l')" = 0 ]

step "6. A volume outlives its container"
show strata run --rm --network none -v notes:/notes "$image" sh -c 'echo "written by the first" > /notes/note'
show strata run --rm --network none -v notes:/notes "$image" cat /notes/note
expect [ "$(strata run --rm --network none -v notes:/notes "$image" cat /notes/note)" = "written by the first" ]

step "Done in $((SECONDS - started)) seconds"
cat << SUMMARY
An image of three layers went into a registry and came back. A container edited, deleted and added a
file; its own layer holds those three changes and nothing else, the image's layers stayed untouched, a
second container saw none of it, and a volume kept its content. All of it is cleaned up now.

Try next (as root; strata starts its daemon by itself):
  $bin/strata image import YOUR.tar mine     any root filesystem's tar, OCI layout or docker archive
  $bin/strata run -it --rm mine sh
  $bin/strata mount mine /mnt --rw           the image's files without a container
  docker -H unix:///run/strata/strata.sock ps      docker's own client works, too
  $bin/stratafs -o lowerdir=TOP:BASE,upperdir=UP,workdir=WORK /mnt      the filesystem alone
SUMMARY
