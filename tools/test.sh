#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test: the whole suite on the release build, then the
# tests labelled `sanitize` once under ASan+UBSan and once under TSan. The last line is the total.
# Exit status 0 only if every step and every test passed. Takes no options; needs root, because real
# mounts, containers and file ownership are what is tested.
set -euo pipefail

root=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
cd "$root"
[[ $(id -u) -eq 0 ]] || { echo "test.sh: run it as root: sudo tools/test.sh" >&2; exit 1; }

# Everything the run starts inherits this mark or names this directory in its arguments (a container's
# monitor, the daemon of its mount), and everything it mounts is beneath the directory: that is how the
# clean-up tells its own processes and mounts from anybody else's. Short, because socket paths must be.
scratch=$(mktemp -d /tmp/strata-test.XXXXXX)
chmod 711 "$scratch" # tests of the plain-user tier pass through it
export TMPDIR=$scratch
export STRATA_TEST_RUN=$scratch
jobs=$(nproc)

marked_processes() {
  local environ pid
  for environ in /proc/[0-9]*/environ; do
    pid=${environ#/proc/}
    pid=${pid%/environ}
    [[ $pid -ne $$ && $pid -ne $BASHPID ]] || continue
    if grep -qzFx "STRATA_TEST_RUN=$scratch" "$environ" 2> /dev/null ||
      grep -qF "$scratch/" "/proc/$pid/cmdline" 2> /dev/null; then
      echo "$pid"
    fi
  done
}

with_descendants() {
  local pid children
  for pid in "$@"; do
    echo "$pid"
    read -r -d '' -a children < <(cat "/proc/$pid/task/"*/children 2> /dev/null; printf '\0') || true
    with_descendants "${children[@]}"
  done
}

clean_up() {
  local status=$? marked victims mount
  trap - EXIT INT TERM
  # A container's processes carry the container's environment; they are found as children of ours.
  mapfile -t marked < <(marked_processes)
  mapfile -t victims < <(with_descendants "${marked[@]}" | sort -u | grep -vx "$$")
  if [[ ${#victims[@]} -gt 0 ]]; then
    kill "${victims[@]}" 2> /dev/null || true
    for _ in $(seq 20); do
      kill -0 "${victims[@]}" 2> /dev/null || break
      sleep 0.1
    done
    kill -KILL "${victims[@]}" 2> /dev/null || true
  fi
  while read -r mount; do
    umount -l "$mount" 2> /dev/null || echo "test.sh: could not unmount $mount" >&2
  done < <(findmnt -rn -o TARGET | grep -F "$scratch/" | sort -r)
  rm -rf --one-file-system "$scratch"
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

passed=0 failed=0

# run_ctest NAME BUILD_DIR ARGS...: runs ctest, adds its outcome to the totals. A test that could not be
# run at all is a failure, as it is for ctest.
run_ctest() {
  local name=$1 dir=$2 log=$scratch/$1.log summary
  shift 2
  echo "== $name: tests"
  ctest --test-dir "$dir" -j "$jobs" --output-on-failure --no-tests=error "$@" | tee "$log" || true
  summary=$(sed -nE 's/^[0-9]+% tests passed, ([0-9]+) tests? failed out of ([0-9]+)$/\1 \2/p' "$log")
  [[ -n $summary ]] || { echo "test.sh: ctest of $name gave no summary" >&2; return 1; }
  local of=${summary#* } bad=${summary% *}
  failed=$((failed + bad))
  passed=$((passed + of - bad))
}

# build_and_repeat PRESET: builds what the tests labelled `sanitize` need, and runs those.
build_and_repeat() {
  local preset=$1 dir=build/$1
  echo "== $preset: build"
  cmake --preset "$preset" > "$scratch/configure.log" || { cat "$scratch/configure.log"; return 1; }
  cmake --build "$dir" --target sanitize_tests stratafs
  run_ctest "$preset" "$dir" -L sanitize
}

echo "== packages"
tools/setup/install.sh build runtime test
echo "== release: build"
cmake --preset release
cmake --build --preset release
run_ctest release build/release

export ASAN_OPTIONS=detect_leaks=1:abort_on_error=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:suppressions=$root/tests/tsan.supp
build_and_repeat asan-ubsan
build_and_repeat tsan

echo "== total (test programs; release, ASan+UBSan and TSan runs together)"
echo "$passed passed, $failed failed"
[[ $failed -eq 0 && $passed -gt 0 ]]
