#!/bin/sh
# Installs the release that this script lies in, as root: copies it to PREFIX/VERSION-COMMIT7 and points PREFIX/current
# at it, in one step, so that every program finds either the old release or the new one. Running it again changes
# nothing. It starts and stops no service, and removes no release that is current, the one before, or still running.
# It reads and writes only where nobody but root can put anything.
set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
unset CDPATH
umask 022

prefix=/opt/sky-onprem
links=/usr/local/bin
keep=3
action=install

usage() {
  cat <<EOF
Usage: install.sh [--prefix DIR] [--links DIR|none] [--keep N]   install this release and make it current
       install.sh --rollback [--prefix DIR]                      make the release before the current one current
       install.sh --list [--prefix DIR]                          show what is installed

  --prefix DIR   where releases lie (default /opt/sky-onprem)
  --links DIR    folder for a link to the sky command (default /usr/local/bin; none: no link)
  --keep N       releases to keep, the current one and the one before included (default 3, at least 2)
EOF
}

fail() {
  printf 'install.sh: %s\n' "$1" >&2
  exit 1
}

while [ $# -gt 0 ]; do
  case $1 in
  --prefix | --links | --keep)
    [ $# -ge 2 ] || fail "$1 needs a value"
    case $1 in
    --prefix) prefix=$2 ;;
    --links) links=$2 ;;
    --keep) keep=$2 ;;
    esac
    shift
    ;;
  --rollback) action=rollback ;;
  --list) action=list ;;
  -h | --help)
    usage
    exit 0
    ;;
  *)
    usage >&2
    exit 2
    ;;
  esac
  shift
done
case $prefix in
/*[!/]*) ;;
*) fail "--prefix must be an absolute path, not '$prefix'" ;;
esac
case $keep in
'' | *[!0-9]* | 0 | 1) fail "--keep must be a whole number from 2 on, not '$keep'" ;;
esac
[ "$(id -u)" -eq 0 ] || fail "this must run as root"

# Fails unless the folder and everything above it is root's and nobody else can put another thing in its place.
require_private() {
  path=$(readlink -f -- "$1") || fail "there is no folder $1"
  while :; do
    owner=$(stat -c %u -- "$path")
    rights=$(stat -c %A -- "$path")
    [ "$owner" -eq 0 ] || fail "$path belongs to another account than root; use a folder of root's, such as /root"
    case $rights in
    d*[tT]) ;;
    d????w???? | d???????w?) fail "others than root can write to $path; use a folder of root's, such as /root" ;;
    esac
    [ "$path" != / ] || break
    path=$(dirname -- "$path")
  done
}

# A release's own name in this folder, or nothing.
name_in() {
  [ -f "$1/RELEASE" ] && [ ! -L "$1/RELEASE" ] || return 0
  name=$(head -n 1 "$1/RELEASE")
  case $name in
  *[!A-Za-z0-9.+-]* | [!0-9]* | '') fail "$1/RELEASE does not hold the name of a release" ;;
  esac
  printf '%s\n' "$name"
}

# Where a link of ours points, or nothing.
target_of() {
  if [ -L "$prefix/$1" ]; then
    readlink -- "$prefix/$1"
  elif [ -e "$prefix/$1" ]; then
    fail "$prefix/$1 is not a link"
  fi
}

# A link under another name, renamed into place: there is no moment without one.
point() {
  rm -f -- "$prefix/.$1.new"
  ln -s -- "$2" "$prefix/.$1.new"
  mv -T -- "$prefix/.$1.new" "$prefix/$1"
}

# Whether a folder holds exactly the files that its SHA256SUMS lists, unchanged.
is_intact() {
  [ -f "$1/SHA256SUMS" ] || return 1
  [ -z "$(find "$1" ! -type f ! -type d)" ] || return 1
  listed=$(sed 's/^[0-9a-f]\{64\}  //' "$1/SHA256SUMS" | sort)
  present=$(cd "$1" && find . -type f ! -path ./SHA256SUMS | sed 's/^\.\///' | sort)
  [ "$listed" = "$present" ] && (cd "$1" && sha256sum --check --quiet --strict SHA256SUMS) >/dev/null 2>&1
}

# Whether a process runs a program of this release.
is_running() {
  for exe in /proc/[0-9]*/exe; do
    case $(readlink -- "$exe" 2>/dev/null || :) in
    "$prefix/$1"/*) return 0 ;;
    esac
  done
  return 1
}

switch_to() {
  before=$(target_of current)
  if [ "$before" = "$1" ]; then
    echo "$prefix/current is $1 already"
    return
  fi
  [ -z "$before" ] || point previous "$before"
  sync
  point current "$1"
  sync
  echo "$prefix/current is now $1${before:+ (before: $before)}"
}

# The newest releases by the time of their installation stay; so does what is current, before, or running.
prune() {
  current=$(target_of current)
  previous=$(target_of previous)
  count=0
  for folder in $(ls -1t -- "$prefix"); do
    [ -d "$prefix/$folder" ] && [ ! -L "$prefix/$folder" ] && [ "$(name_in "$prefix/$folder")" = "$folder" ] || continue
    count=$((count + 1))
    if [ "$count" -le "$keep" ] || [ "$folder" = "$current" ] || [ "$folder" = "$previous" ] || is_running "$folder"; then
      continue
    fi
    rm -rf -- "${prefix:?}/$folder"
    echo "removed $prefix/$folder"
  done
}

link_command() {
  [ "$links" != none ] && [ -d "$links" ] || return 0
  wanted=$prefix/current/bin/sky
  if [ -L "$links/sky" ] && [ "$(readlink -- "$links/sky")" = "$wanted" ]; then
    return 0
  fi
  if [ -e "$links/sky" ] || [ -L "$links/sky" ]; then
    echo "install.sh: $links/sky is something else and was left alone; this release's is $wanted" >&2
    return 0
  fi
  ln -s -- "$wanted" "$links/sky"
  echo "$links/sky is $wanted"
}

install_release() {
  here=$(cd -- "$(dirname -- "$(readlink -f -- "$0")")" && pwd -P)
  release=$(name_in "$here")
  [ -n "$release" ] || fail "$here holds no release; run the install.sh inside an unpacked archive"
  if [ "$here" != "$prefix/$release" ]; then
    require_private "$here"
    is_intact "$here" || fail "$here is not complete and unchanged; unpack the archive again"
    "$here/lib/node" --version >/dev/null 2>&1 || fail "this release is for another kind of machine than this ($(uname -m))"
    if ! is_intact "$prefix/$release"; then
      staging=$prefix/.staging
      rm -rf -- "$staging"
      cp -Rp -- "$here" "$staging"
      chown -R root:root "$staging"
      chmod -R a+rX,u+w,go-w,a-s "$staging"
      is_intact "$staging" || fail "the copy in $staging is not complete; is $prefix full?"
      touch -- "$staging"
      sync
      if [ -e "$prefix/$release" ]; then
        # What runs from a damaged one keeps its open files.
        rm -rf -- "$prefix/.damaged"
        mv -T -- "$prefix/$release" "$prefix/.damaged"
      fi
      mv -T -- "$staging" "$prefix/$release"
      rm -rf -- "$prefix/.damaged"
      echo "installed $prefix/$release"
    fi
  fi
  switch_to "$release"
  link_command
  prune
}

roll_back() {
  previous=$(target_of previous)
  [ -n "$previous" ] || fail "no release was current before this one"
  [ "$(name_in "$prefix/$previous")" = "$previous" ] || fail "the release before, $previous, is not there any more"
  switch_to "$previous"
}

list() {
  current=$(target_of current)
  previous=$(target_of previous)
  for folder in $(ls -1t -- "$prefix"); do
    [ -d "$prefix/$folder" ] && [ ! -L "$prefix/$folder" ] && [ "$(name_in "$prefix/$folder")" = "$folder" ] || continue
    marks=
    [ "$folder" != "$current" ] || marks="$marks current"
    [ "$folder" != "$previous" ] || marks="$marks previous"
    ! is_running "$folder" || marks="$marks running"
    echo "$folder$marks"
  done
}

if [ "$action" = install ] && [ ! -e "$prefix" ]; then
  mkdir -p -- "$prefix"
fi
[ -d "$prefix" ] || fail "there is no folder $prefix"
prefix=$(readlink -f -- "$prefix")
require_private "$prefix"
exec 9>"$prefix/.lock"
flock -w 60 9 || fail "another install.sh is at work in $prefix"
case $action in
install) install_release ;;
rollback) roll_back ;;
list) list ;;
esac
