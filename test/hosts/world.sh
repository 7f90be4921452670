#!/usr/bin/env bash
# The first process of a world: NAME FOLDER. It runs in namespaces of its own (processes, mounts, network) and holds them:
# when its standard input ends, it ends, and the kernel ends every process of the world, unmounts everything, removes the
# network and gives back the loop devices. So nothing is left even if the test that owns the world is killed.
set -euo pipefail
name=$1 folder=$2
read -r pid _ </proc/self/stat # as seen from outside, whose /proc this still is
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs /run
mkdir "/sys/fs/cgroup/$name"
echo 0 >"/sys/fs/cgroup/$name/cgroup.procs"
mount --bind "$folder/hosts" /etc/hosts
ip link set lo up
ip link add br0 type bridge
ip address add 10.213.7.1/24 dev br0
ip link set br0 up
echo "ready $pid"
read -r _ || true
