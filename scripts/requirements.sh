# What the product and its tests need of the system, installed with apt where that is possible. Sourced by scripts/test
# and scripts/quickstart; defines functions only. It never installs without saying what and why.

say() { printf '%s\n' "$*"; }

# Node.js new enough? A clear message instead of a syntax error later.
require_node() {
  local found
  if ! command -v node >/dev/null; then
    say "Node.js is missing. Install Node.js 20.19 or newer (with npm), then run this again." >&2
    return 1
  fi
  found=$(node -p 'const [a, b] = process.versions.node.split(".").map(Number); a > 20 || (a === 20 && b >= 19)')
  if [ "$found" != true ]; then
    say "Node.js $(node --version) is too old: 20.19 or newer is needed. It is the first 'node' on your PATH: $(command -v node)" >&2
    return 1
  fi
  if ! command -v npm >/dev/null; then
    say "npm is missing (it comes with Node.js; on Debian it is the package 'npm'). Install it, then run this again." >&2
    return 1
  fi
}

# require_programs 'PROGRAM:PACKAGE:WHY' …: installs the packages of those programs that are missing.
require_programs() {
  local entry program package why packages=() runner=()
  for entry in "$@"; do
    IFS=: read -r program package why <<<"$entry"
    if ! PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null; then
      say "missing: $program (package $package): $why"
      packages+=("$package")
    fi
  done
  [ ${#packages[@]} -eq 0 ] && return 0
  if ! command -v apt-get >/dev/null; then
    say "This machine has no apt. Install by hand: ${packages[*]}" >&2
    return 1
  fi
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null || ! can_sudo; then
      say "You are not root and cannot use sudo here. Ask an administrator to run: apt-get install ${packages[*]}" >&2
      return 1
    fi
    runner=(sudo)
  fi
  say "installing with apt: ${packages[*]}"
  "${runner[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq </dev/null >/dev/null || say "apt-get update failed; trying with the lists that are there" >&2
  # policy-rc.d: packages must not start services of their own (a public Redis or sshd) just because we want the program.
  local policy=/usr/sbin/policy-rc.d made=false
  if [ ! -e "$policy" ]; then
    made=true
    printf '#!/bin/sh\nexit 101\n' | "${runner[@]}" tee "$policy" >/dev/null
    "${runner[@]}" chmod 755 "$policy"
  fi
  local status=0
  "${runner[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" </dev/null >/dev/null || status=$?
  [ "$made" = true ] && "${runner[@]}" rm -f "$policy"
  if [ "$status" -ne 0 ]; then
    say "apt-get install ${packages[*]} failed (see above)." >&2
    return 1
  fi
}

# Whether sudo works here: at once, or by asking on a terminal.
can_sudo() {
  sudo -n true 2>/dev/null && return 0
  [ -t 0 ] && say "Some packages are missing; sudo may ask for your password." && sudo -v
}

# node_modules as the lock file says; quick when they already are.
require_modules() {
  if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
    say "installing the Node.js packages of package-lock.json"
    npm ci --no-fund --no-audit --loglevel=error </dev/null || return 1
    touch node_modules/.package-lock.json
  fi
}
