#!/usr/bin/env bash
# shellcheck disable=SC2016,SC2116  # the words are for the shell inside the container
# The client against the real daemon and runtime, from a daemon started on demand to exit codes. Uses a
# root of its own; needs STRATA_BIN_DIR with strata, stratad and stratafs.
set -euo pipefail

work=$(mktemp -d "${TMPDIR:-/tmp}/strata-cli.XXXXXX")
export STRATA_ROOT=$work/root
unset STRATA_HOST
daemon=
strata() { "$STRATA_BIN_DIR/strata" "$@"; }

clean_up() {
  local status=$? containers mount
  trap - EXIT
  if [[ -n $daemon ]]; then
    mapfile -t containers < <(strata ps -aq)
    [[ ${#containers[@]} -eq 0 ]] || strata rm -f "${containers[@]}" > /dev/null
    kill "$daemon" && while kill -0 "$daemon" 2> /dev/null; do sleep 0.1; done
  fi
  while read -r mount; do umount -l "$mount"; done < <(findmnt -rn -o TARGET | grep -F "$work/" | sort -r)
  [[ $status -eq 0 ]] || tail -n 20 "$STRATA_ROOT/run/stratad.log" >&2
  rm -rf --one-file-system "$work"
  exit "$status"
}
trap clean_up EXIT

# equal WHAT WANTED GOT
equal() {
  [[ $2 == "$3" ]] || { echo "$1: wanted '$2', got '$3'" >&2; exit 1; }
}
# status WANTED COMMAND...
status() {
  local wanted=$1 got=0
  shift
  "$@" > "$work/out" 2> "$work/err" < /dev/null || got=$?
  [[ $got -eq $wanted ]] || { echo "$*: exit $got, not $wanted" >&2; cat "$work/err" >&2; exit 1; }
}
run() { strata run --rm --network none box "$@"; }

mkdir -p "$work/fs/bin"
cp "$(command -v busybox)" "$work/fs/bin/busybox"
for name in sh cat echo sleep ls true; do ln -s busybox "$work/fs/bin/$name"; done
tar -C "$work/fs" -cf "$work/box.tar" .

# Two clients at once start one daemon.
strata version > /dev/null &
first=$!
strata version > /dev/null
wait "$first"
mapfile -t daemons < <(pgrep -f "^[^ ]*stratad --host unix://$STRATA_ROOT/")
equal "daemons" 1 "${#daemons[@]}"
daemon=${daemons[0]}

strata image import -q "$work/box.tar" box > /dev/null
equal "images" "box:latest" "$(strata images --format '{{.Repository}}:{{.Tag}}')"

equal "output" "out" "$(run echo out)"
equal "input" "typed" "$(echo typed | strata run --rm -i --network none box cat)"
status 7 run sh -c 'exit 7'
status 127 run nosuch
status 126 run /bin
status 125 strata run --bad-option box
status 125 strata run --rm --pull never --network none absent true
status 1 strata inspect absent

strata run -d --name keeper -e WORD=hello -v data:/data --network none box sleep 1000 > /dev/null
equal "exec" "hello" "$(strata exec keeper sh -c 'echo $WORD | cat > /data/note; cat /data/note')"
status 9 strata exec keeper sh -c 'exit 9'
strata exec keeper sh -c 'echo x > /changed'
equal "upper" "./changed" \
  "$(cd "$(strata inspect -f '{{.GraphDriver.Data.UpperDir}}' keeper)" && find . ! -type d)"
strata pause keeper > /dev/null
equal "paused" "true" "$(strata inspect -f '{{.State.Paused}}' keeper)"
strata unpause keeper > /dev/null
strata stop -t 1 keeper > /dev/null
equal "stopped" "keeper exited" "$(strata ps -a --format '{{.Names}} {{.State}}')"
strata rm keeper > /dev/null
equal "volume" "hello" "$(strata run --rm -v data:/data --network none box cat /data/note)"

mkdir "$work/mnt"
strata mount --rw box "$work/mnt" > /dev/null
echo new > "$work/mnt/file"
strata umount "$work/mnt"
equal "unmounted" "" "$(ls "$work/mnt")"
echo "the client does what it should"
