#!/bin/bash
# The genuine docker client drives stratad: images, containers, exec, logs, volumes, and a daemon
# that is killed while a container runs. Private roots; nothing remains.
set -u

bin=${STRATA_BIN_DIR:?}
root=$(mktemp -d "${TMPDIR:-/tmp}/strata-docker-cli.XXXXXX")
export DOCKER_HOST=unix://$root/run/strata.sock
export DOCKER_CONFIG=$root/docker
daemon=
registry=
failures=0

docker() { timeout 30 docker "$@"; }

start_daemon() {
  "$bin/stratad" --data-root "$root/data" --run-root "$root/run" >>"$root/log" 2>&1 &
  daemon=$!
  for _ in $(seq 100); do
    if docker version >/dev/null 2>&1; then return 0; fi
    sleep 0.1
  done
  echo "stratad does not answer:"
  cat "$root/log"
  exit 1
}

clean_up() {
  local left
  left=$(docker ps -aq 2>/dev/null)
  if [ -n "$left" ]; then docker rm -f $left >/dev/null 2>&1; fi
  if [ -n "$daemon" ]; then kill "$daemon" 2>/dev/null && wait "$daemon" 2>/dev/null; fi
  if [ -n "$registry" ]; then kill "$registry" && wait "$registry" 2>/dev/null; fi
  awk -v root="$root/" 'index($5, root) == 1 { print $5 }' /proc/self/mountinfo |
    while read -r mount; do umount -l "$mount"; done
  rm -rf "$root"
}
trap clean_up EXIT

# expect NAME WANTED GOT
expect() {
  if [ "$2" == "$3" ]; then
    echo "ok   $1"
  else
    echo "FAIL $1: wanted '$2', got '$3'"
    failures=$((failures + 1))
  fi
}
# expect_code NAME CODE COMMAND...
expect_code() {
  local name=$1 wanted=$2
  shift 2
  "$@" >"$root/out" 2>&1
  expect "$name" "$wanted" "$?"
}
until_true() {
  for _ in $(seq 100); do
    if "$@" >/dev/null 2>&1; then return 0; fi
    sleep 0.1
  done
  return 1
}

image_root=$root/image
mkdir -p "$image_root"/{bin,etc,proc,sys,dev,tmp,data}
cp "$(command -v busybox)" "$image_root/bin/busybox"
for applet in sh cat echo sleep true false ls id hostname tty stat rm touch; do
  ln -s busybox "$image_root/bin/$applet"
done
printf 'root:x:0:0:root:/root:/bin/sh\nbob:x:1234:1234::/tmp:/bin/sh\n' >"$image_root/etc/passwd"
printf 'root:x:0:\nbob:x:1234:\n' >"$image_root/etc/group"
echo seed >"$image_root/data/seed"
tar -C "$image_root" -cf "$root/image.tar" .

# Starts a registry on loopback; $address says where.
start_registry() {
  local port
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  address=127.0.0.1:$port
  printf 'version: 0.1\nlog: {level: warn, accesslog: {disabled: true}}\n' >"$root/registry.yml"
  printf 'storage: {filesystem: {rootdirectory: %s/registry}}\nhttp: {addr: %s}\n' \
    "$root" "$address" >>"$root/registry.yml"
  docker-registry serve "$root/registry.yml" >>"$root/registry.log" 2>&1 &
  registry=$!
  until_true python3 -c "import socket; socket.create_connection((\"127.0.0.1\", $port))"
}

start_daemon
started=$(date +%s)
run="run --rm --network none"
expect "server version" "1.47" "$(docker version -f '{{.Server.APIVersion}}')"
expect "info" "strata" "$(docker info -f '{{.Driver}}' 2>/dev/null)"
docker import - box:1 <"$root/image.tar" >/dev/null
expect "images" "box:1" "$(docker images --format '{{.Repository}}:{{.Tag}}')"
expect "run prints" "hello" "$(docker $run box:1 echo hello)"
expect "run -i takes stdin" "piped" "$(echo piped | docker $run -i box:1 cat)"
expect "streams are apart" "err" "$(docker $run box:1 sh -c 'echo out; echo err >&2' 2>&1 >/dev/null)"
expect_code "own exit code" 7 docker $run box:1 sh -c 'exit 7'
expect_code "127 for a missing command" 127 docker $run box:1 nosuch
expect_code "126 for one that cannot run" 126 docker $run box:1 /etc/passwd
expect_code "125 for a bad request" 125 docker $run -v relative:not-absolute box:1 true
expect "user by name" "1234" "$(docker $run -u bob box:1 id -u)"
expect "environment and directory" "/tmp v" "$(docker $run -e K=v -w /tmp box:1 sh -c 'echo $PWD $K')"
expect "host network keeps the host's name" "$(hostname)" "$(docker run --rm --network host box:1 hostname)"
expect "terminal" "/dev/pts/0" \
  "$(python3 -c 'import pty, sys; pty.spawn(sys.argv[1:])' docker $run -t box:1 tty | tr -d '\r')"
expect "no container is left" "" "$(docker ps -aq)"

start_registry
docker tag box:1 "$address/lib/box:1"
expect_code "push" 0 docker push "$address/lib/box:1"
docker rmi box:1 "$address/lib/box:1" >/dev/null
expect "nothing is left locally" "" "$(docker images -q)"
expect_code "pull" 0 docker pull "$address/lib/box:1"
expect "pulled" "hello" "$(docker $run "$address/lib/box:1" echo hello)"
docker rmi "$address/lib/box:1" >/dev/null
expect "run pulls what is missing" "hello" "$(docker $run "$address/lib/box:1" echo hello 2>/dev/null)"
expect_code "pull of a missing tag" 1 docker pull "$address/lib/box:2"
docker tag "$address/lib/box:1" box:1
docker rmi "$address/lib/box:1" >/dev/null

docker $run --name told box:1 sh -c 'exit 4'
expect "events of a container" "create start die destroy" \
  "$(docker events --since "$started" --until "$(date +%s.%N)" -f container=told -f type=container \
    --format '{{.Action}}' | tr '\n' ' ' | sed 's/ $//')"
expect "the exit code in an event" "4" \
  "$(docker events --since "$started" --until "$(date +%s.%N)" -f container=told -f event=die \
    --format '{{.Actor.Attributes.exitCode}}')"
expect "events of images" "import tag push untag delete pull" \
  "$(docker events --since "$started" --until "$(date +%s.%N)" -f type=image \
    --format '{{.Action}}' | awk '!seen[$0]++' | tr '\n' ' ' | sed 's/ $//')"
docker events -f event=start --format '{{.Actor.Attributes.name}}' >"$root/events" &
listener=$!
until_true sh -c "docker $run --name live box:1 true; grep -q live $root/events"
expect "events as they happen" "live" "$(head -1 "$root/events")"
kill "$listener"
wait "$listener" 2>/dev/null

mkdir "$root/host" && echo fromhost >"$root/host/file"
expect "bind mount" "fromhost" "$(docker $run -v "$root/host:/mnt:ro" box:1 cat /mnt/file)"
expect_code "read-only bind mount" 1 docker $run -v "$root/host:/mnt:ro" box:1 touch /mnt/new
expect "named volume is seeded" "seed" "$(docker $run -v vol:/data box:1 cat /data/seed)"
docker $run -v vol:/data box:1 sh -c 'echo kept >/data/kept'
expect "named volume stays" "kept" "$(docker $run -v vol:/data box:1 cat /data/kept)"
expect "volume list" "vol" "$(docker volume ls -q)"
expect_code "volume rm" 0 docker volume rm vol

id=$(docker run -d --name one --network none box:1 \
  sh -c 'trap "exit 3" TERM; i=0; while :; do echo line $i; i=$((i+1)); sleep 1 & wait $!; done')
expect "id has 64 digits" 64 "${#id}"
expect "ps" "one" "$(docker ps --format '{{.Names}}')"
expect_code "name is taken" 125 docker run -d --name one --network none box:1 true
expect "exec" "inside" "$(docker exec one echo inside)"
expect "exec -i" "abc" "$(echo abc | docker exec -i one cat)"
expect_code "exec's exit code" 9 docker exec one sh -c 'exit 9'
expect_code "exec of a missing command" 127 docker exec one nosuch
expect_code "rm of a running container" 1 docker rm one
expect_code "rmi of an image in use" 1 docker rmi box:1
docker pause one >/dev/null
expect "paused" "paused" "$(docker inspect -f '{{.State.Status}}' one)"
docker unpause one >/dev/null
expect "logs" "line 0" "$(docker logs one | head -1)"
expect "logs -f" "line 0 line 1 line 2" "$(docker logs -f one | head -3 | tr '\n' ' ' | sed 's/ $//')"

kill -9 "$daemon"
wait "$daemon" 2>/dev/null
start_daemon
expect "outlives a killed daemon" "running" "$(docker inspect -f '{{.State.Status}}' one)"
expect "exec afterwards" "again" "$(docker exec one echo again)"
docker rename one two
docker wait two >"$root/waited" &
waiter=$!
sleep 0.5
docker stop -t 10 two >/dev/null
wait "$waiter"
expect "wait tells the code" "3" "$(cat "$root/waited")"
expect "stop's exit code" "3" "$(docker inspect -f '{{.State.ExitCode}}' two)"
docker start two >/dev/null
docker kill two >/dev/null
expect "kill" "0" "$(until_true sh -c 'docker inspect -f "{{.State.Status}}" two | grep -q exited'; echo $?)"
expect_code "rm" 0 docker rm two
expect_code "save" 0 docker save -o "$root/saved.tar" box:1
expect "save again, to a pipe" "$(sha256sum <"$root/saved.tar")" "$(docker save box:1 | sha256sum)"
expect_code "save of a missing image" 1 docker save -o "$root/none.tar" box:1 none
expect "no half file is left" "" "$(ls "$root" | grep none)"
image=$(docker images -q --no-trunc box:1)
expect_code "rmi" 0 docker rmi box:1
expect "load" "Loaded image: box:1" "$(docker load <"$root/saved.tar")"
expect "the image is the same" "$image" "$(docker images -q --no-trunc box:1)"
expect_code "rmi of what was loaded" 0 docker rmi box:1
expect_code "import with changes" 0 docker import -m said -c 'CMD ["echo", "changed"]' -c 'ENV K=v' \
  "$root/image.tar" box:2
expect "their command" "changed" "$(docker $run box:2)"
expect "their message" "said" "$(docker history --format '{{.Comment}}' box:2)"
expect_code "rmi of what was imported" 0 docker rmi box:2
expect "nothing is left" "" "$(docker ps -aq)$(docker images -q)"
expect "no mount is left" "" "$(grep -F " $root/" /proc/self/mountinfo)"

if [ "$failures" -ne 0 ]; then
  echo "--- $failures failed; the daemon's log:"
  tail -30 "$root/log"
  exit 1
fi
