# shellcheck shell=bash
# Sourced by the scripts in tools/: makes .venv at the top of the project, and before that
# installs the system packages it takes. Quick when there is nothing to do.
#
#   setup_for_mount    what stowkenfs needs to run
#   setup_for_tests    that, the programs which tests call, and the `dev` group
#
# Progress goes to stderr, one line a step; what a step prints is shown if it fails.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
VENV=$ROOT/.venv

# Each says for which build files, sources in C, interpreter and place its step was finished.
PROJECT_STAMP=$VENV/.stamp-project
DEV_STAMP=$VENV/.stamp-dev
# Present while pip works: an installation that was cut short is started over, not trusted.
UNFINISHED=$VENV/.unfinished

# Compiling all modules anew for each process takes longer than anything that a test waits for.
unset PYTHONDONTWRITEBYTECODE

# program:Debian package
RUN_PROGRAMS=(fusermount3:fuse3)
TEST_PROGRAMS=(
  jq:jq rsync:rsync getfattr:attr sqlite3:sqlite3 git:git vim:vim strace:strace zstd:zstd
)

setup_for_mount() {
  if ! is_installed "$PROJECT_STAMP" || lacks_programs "${RUN_PROGRAMS[@]}"; then
    locked install_for_mount
  fi
  require_fuse_device || exit 1
}

setup_for_tests() {
  if ! is_installed "$PROJECT_STAMP" || ! is_installed "$DEV_STAMP" ||
    lacks_programs "${RUN_PROGRAMS[@]}" "${TEST_PROGRAMS[@]}"; then
    locked install_for_tests
  fi
  require_fuse_device || say "Going on without it: the tests that mount will not pass."
}

# --- talking ---------------------------------------------------------------------------

say() {
  printf '%s\n' "$*" >&2
}

fail() {
  say "$*"
  exit 1
}

# step WORDS COMMAND...
step() {
  local words=$1 output status=0
  shift
  say "$words…"
  output=$("$@" 2>&1 </dev/null) || status=$?
  if [ "$status" -ne 0 ]; then
    say "$output"
    fail "$words failed with exit code $status. Mend what is said above, then run this again."
  fi
}

# locked FUNCTION: one set-up at a time; whoever waited finds the work done.
# The lock is on the directory itself, which is emptied at times but never replaced.
locked() {
  local lock
  mkdir -p "$VENV"
  exec {lock}<"$VENV"
  if ! flock --nonblock "$lock"; then
    say "Waiting for another run to finish setting up $VENV…"
    flock "$lock"
  fi
  "$1"
  exec {lock}<&- # or the mounted daemon would inherit it
}

# --- what is there already -------------------------------------------------------------

# What is compiled is compiled again when it changes.
stamp() {
  printf '%s %s %s\n' "$(cat "$ROOT"/{pyproject.toml,setup.py} "$ROOT"/stowkenfs/{csrc,fs/csrc}/* | sha256sum)" \
    "$("$VENV/bin/python" -V)" "$ROOT"
}

# is_installed STAMP_FILE
is_installed() {
  [ -f "$1" ] && [ -x "$VENV/bin/python" ] && [ "$(<"$1")" = "$(stamp)" ]
}

# missing_programs PROGRAM:PACKAGE...: the packages of those not on PATH, one a line.
missing_programs() {
  local pair
  for pair in "$@"; do
    type -P "${pair%%:*}" >/dev/null || printf '%s\n' "${pair#*:}"
  done
}

lacks_programs() {
  [ -n "$(missing_programs "$@")" ]
}

# --- Python ----------------------------------------------------------------------------

IS_RECENT='import sys; sys.exit(sys.version_info < (3, 11))'
# It can make a virtual environment, and extension modules can be compiled for it.
IS_COMPLETE='
import ensurepip, os, sys, sysconfig, venv
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))'

# Each is run, not only found: version managers leave shims on PATH that refuse to.
recent_pythons() {
  local candidate
  while IFS= read -r candidate; do
    case $candidate in "$VENV"/*) continue ;; esac # it is activated
    if "$candidate" -c "$IS_RECENT" >/dev/null 2>&1; then
      printf '%s\n' "$candidate"
    fi
  done < <(type -aP python3 python3.13 python3.12 python3.11)
}

complete_python() {
  local candidate
  while IFS= read -r candidate; do
    if "$candidate" -c "$IS_COMPLETE" >/dev/null 2>&1; then
      printf '%s\n' "$candidate"
      return
    fi
  done < <(recent_pythons)
}

# The packages that make the system's interpreter a complete one.
missing_python_packages() {
  local candidate version
  [ -z "$(complete_python)" ] || return 0
  while IFS= read -r candidate; do
    case $candidate in
      /usr/bin/* | /bin/*)
        version=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        printf '%s\n' "python$version-venv" "python$version-dev"
        return
        ;;
    esac
  done < <(recent_pythons)
  printf '%s\n' python3 python3-venv python3-dev
}

# --- system packages -------------------------------------------------------------------

# pyfuse3 comes as source, and parts of stowkenfs are written in C.
missing_build_packages() {
  if ! gcc -x c -fsyntax-only - <<<'#include <stdio.h>' 2>/dev/null; then
    printf '%s\n' gcc libc6-dev
  fi
  type -P pkg-config >/dev/null || printf '%s\n' pkg-config
  pkg-config --exists fuse3 2>/dev/null || printf '%s\n' libfuse3-dev
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

apt_install() {
  local install=(
    env DEBIAN_FRONTEND=noninteractive
    apt-get install --yes --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"
  )
  # Again with fresh package lists: a container has none, old ones name files that are gone.
  as_root "${install[@]}" || { as_root apt-get update && as_root "${install[@]}"; }
}

# install_packages [PACKAGE...]
install_packages() {
  [ "$#" -gt 0 ] || return 0
  if ! type -P apt-get >/dev/null; then
    fail "Some system packages are missing; Debian calls them: $*
Install what your system calls them, then run this again."
  fi
  if ! as_root true 2>/dev/null; then
    fail "Some system packages are missing. Install them, then run this again:
  sudo apt-get update && sudo apt-get install $*"
  fi
  step "Installing system packages: $*" apt_install "$@"
}

# --- .venv -----------------------------------------------------------------------------

install_for_mount() {
  install_project
}

install_for_tests() {
  install_project "${TEST_PROGRAMS[@]}"
  if ! is_installed "$DEV_STAMP"; then
    pip_step "Installing what tests and checks need" "$DEV_STAMP" --group dev
  fi
}

# install_project [PROGRAM:PACKAGE...]: with programs wanted besides.
install_project() {
  local packages
  mapfile -t packages < <(
    missing_programs "${RUN_PROGRAMS[@]}" "$@"
    if ! is_installed "$PROJECT_STAMP"; then
      missing_python_packages
      missing_build_packages
    fi
  )
  install_packages "${packages[@]}"
  if ! is_installed "$PROJECT_STAMP"; then
    make_venv
    pip_step "Installing stowkenfs and the libraries it uses" "$PROJECT_STAMP" --editable .
  fi
}

make_venv() {
  local python
  if ! venv_is_usable; then
    python=$(complete_python)
    if [ -z "$python" ]; then
      fail "No Python 3.11 or newer with its venv module and C headers was found, and this system's
packages have none. Install one so that python3, python3.13, python3.12 or python3.11 on PATH
is it, then run this again."
    fi
    : >"$UNFINISHED"
    find "$VENV" -mindepth 1 ! -path "$UNFINISHED" -delete # `venv --clear` would drop the mark
    step "Making .venv with $("$python" -V)" "$python" -m venv "$VENV"
  fi
  # The first pip that knows --group; one that is new enough stays.
  pip_step "Bringing pip up to date" "" 'pip>=25.1'
}

venv_is_usable() {
  [ ! -e "$UNFINISHED" ] &&
    "$VENV/bin/python" -c "$IS_RECENT" 2>/dev/null &&
    "$VENV/bin/python" -m pip --version >/dev/null 2>&1 &&
    # A project that was moved or copied: the scripts in .venv/bin name the old place.
    { [ ! -f "$PROJECT_STAMP" ] || [[ $(<"$PROJECT_STAMP") = *" $ROOT" ]]; }
}

# pip_step WORDS STAMP_FILE ARGUMENT...
pip_step() {
  local words=$1 stamp_file=$2
  shift 2
  : >"$UNFINISHED"
  step "$words" env -C "$ROOT" "$VENV/bin/python" -m pip install \
    --quiet --no-input --disable-pip-version-check "$@"
  [ -z "$stamp_file" ] || stamp >"$stamp_file"
  rm "$UNFINISHED"
}

# --- the FUSE device -------------------------------------------------------------------

require_fuse_device() {
  local in_a_container="(in a container: start it with --device /dev/fuse --cap-add SYS_ADMIN)"
  if [ ! -c /dev/fuse ]; then
    say "There is no /dev/fuse. Load the kernel's module: sudo modprobe fuse $in_a_container."
    return 1
  fi
  if ! (: <>/dev/fuse) 2>/dev/null; then
    say "$(id -un) may not open /dev/fuse. Allow it: sudo chmod 666 /dev/fuse $in_a_container."
    return 1
  fi
}
