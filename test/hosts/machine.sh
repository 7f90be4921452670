#!/usr/bin/env bash
# Starts one machine: GROUP FOLDER NAME NSPAWN… . Called by machine.ts in a mount namespace of its own. The machine joins
# its control group, so that a power loss reaches all of it. systemd-nspawn keeps hidden copies of all mounts that it found;
# the other machines' are taken away first, or a neighbour would hold a disk in use whose machine is off.
set -euo pipefail
group=$1 folder=$2 name=$3
shift 3
echo 0 >"$group/cgroup.procs"
mounts=$(cut -d' ' -f2 /proc/self/mounts)
for mount in $mounts; do
  case $mount in
    "$folder/$name/root" | "$folder/$name-disk"*) ;;
    "$folder"/*) umount --lazy "$mount" ;;
  esac
done
exec "$@"
