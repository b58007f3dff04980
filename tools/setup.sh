#!/bin/sh
# Everything that Ebbgate's own development needs, from nothing but Python 3 and pip:
#   uv (into .tools), a Python of 3.12 or newer, the locked and hashed dependencies (into .venv), Debian packages.
# For checks and tests also: Node 24 and the type checker of src/action (into .tools/node), and act (into .tools/bin).
# Idempotent; a second call takes well under a second. Usage: tools/setup.sh [run|check|test]
set -eu
cd "$(dirname "$0")/.."

WHAT=${1:-run}
RUN_PACKAGES="nft:nftables ip:iproute2"
CHECK_PACKAGES="npm:npm"
TEST_PACKAGES="curl:curl ping:iputils-ping git:git make:make sudo:sudo dockerd:docker.io iptables:iptables busybox:busybox-static docker-registry:docker-registry"
ACT_VERSION=v0.2.89 # go install checks it against the checksum database

say() { printf 'setup: %s\n' "$*"; }

fail() {
  printf 'setup: %s\n' "$*" >&2
  exit 1
}

has() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1; }

debian_packages() {
  missing=""
  for pair in $1; do
    has "${pair%%:*}" || missing="$missing ${pair#*:}"
  done
  [ -s /etc/ssl/certs/ca-certificates.crt ] || [ -n "${SSL_CERT_FILE:-}" ] || missing="$missing ca-certificates"
  [ -n "$missing" ] || return 0
  has apt-get || fail "please install these with your package manager and call again:$missing"
  [ "$(id -u)" = 0 ] || fail "packages are missing; please run:  sudo apt-get install -y$missing"
  say "installing$missing"
  start_no_services
  # shellcheck disable=SC2086 # a list
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >/dev/null 2>&1 || {
    apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >/dev/null
  }
}

# A package is wanted for its programs: Debian would start Docker's daemon too, where there is an init that can.
start_no_services() {
  [ ! -e /usr/sbin/policy-rc.d ] || return 0
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
}

bootstrap_python() {
  for candidate in python3 /usr/bin/python3 python; do
    if "$candidate" -m pip --version >/dev/null 2>&1; then
      printf '%s' "$candidate"
      return 0
    fi
  done
  fail "no python3 with pip found; please install python3 and python3-pip"
}

uv_program() {
  wanted=$(sed -n 's/^uv==\([^ ;]*\).*/\1/p' requirements/uv.txt)
  if [ -x .tools/bin/uv ] && .tools/bin/uv --version 2>/dev/null | grep -q "^uv $wanted "; then
    return 0
  fi
  say "installing uv $wanted"
  rm -rf .tools
  "$(bootstrap_python)" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
    --target .tools --require-hashes --requirement requirements/uv.txt
}

is_new_enough() {
  "$1" -c 'import sys, venv; sys.exit(not (sys.version_info >= (3, 12) and sys.implementation.name == "cpython"))' \
    >/dev/null 2>&1
}

# uv's own search trusts the first names on PATH, which may be shims that end in an error; so look for ourselves first.
suitable_python() {
  for candidate in python3.12 python3.13 python3.14 python3 \
    /usr/bin/python3.1[2-9] /usr/local/bin/python3.1[2-9] /opt/*/bin/python3.1[2-9] \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-9]*/bin/python3 "$HOME"/.local/share/uv/python/*/bin/python3.1[2-9] \
    /opt/hostedtoolcache/Python/3.1[2-9]*/x64/bin/python3; do
    if is_new_enough "$candidate"; then
      printf '%s' "$candidate"
      return 0
    fi
  done
  .tools/bin/uv python find --no-python-downloads '>=3.12' 2>/dev/null && return 0
  say "no Python 3.12 or newer found: asking uv for one" >&2
  .tools/bin/uv python install 3.12 >&2 || fail "please install Python 3.12 or newer"
  .tools/bin/uv python find '>=3.12'
}

environment() {
  stamp=$(cat requirements/*.txt pyproject.toml | cksum)
  if [ -x .venv/bin/python ] && .venv/bin/python -c '' 2>/dev/null && [ "$(cat .venv/.setup-stamp 2>/dev/null)" = "$stamp" ]; then
    return 0
  fi
  uv_program
  python=$(suitable_python)
  say "making .venv with $("$python" --version 2>&1 || echo "$python")"
  if ! [ -x .venv/bin/python ] || ! is_new_enough .venv/bin/python; then
    .tools/bin/uv venv --quiet --clear --python "$python" .venv
  fi
  VIRTUAL_ENV="$PWD/.venv" .tools/bin/uv pip sync --quiet --require-hashes requirements/dev.txt
  VIRTUAL_ENV="$PWD/.venv" .tools/bin/uv pip install --quiet --no-deps --no-build-isolation --editable .
  printf '%s' "$stamp" >.venv/.setup-stamp
}

# Locked by integrity in tools/node/package-lock.json; packages may run nothing while they are installed.
node_tools() {
  stamp=$(cat tools/node/package.json tools/node/package-lock.json | cksum)
  [ "$(cat .tools/node/.setup-stamp 2>/dev/null)" = "$stamp" ] && return 0
  say "installing Node 24 and the type checker"
  rm -rf .tools/node
  mkdir -p .tools/node
  cp tools/node/package.json tools/node/package-lock.json .tools/node/
  npm ci --prefix .tools/node --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error >/dev/null
  printf '%s' "$stamp" >.tools/node/.setup-stamp
}

# Only where Go is: the tests that need act say so and skip elsewhere.
act_program() {
  [ "$(cat .tools/bin/.act-version 2>/dev/null)" = "$ACT_VERSION" ] && [ -x .tools/bin/act ] && return 0
  has go || { say "no Go here: the tests under act will be skipped"; return 0; }
  say "building act $ACT_VERSION"
  GOBIN="$PWD/.tools/bin" GOFLAGS=-trimpath go install "github.com/nektos/act@$ACT_VERSION" ||
    { say "act could not be built: the tests under act will be skipped"; return 0; }
  printf '%s' "$ACT_VERSION" >.tools/bin/.act-version
}

debian_packages "$RUN_PACKAGES"
[ "$WHAT" = run ] || debian_packages "$CHECK_PACKAGES"
[ "$WHAT" != test ] || debian_packages "$TEST_PACKAGES"
environment
[ "$WHAT" = run ] || node_tools
[ "$WHAT" != test ] || act_program
