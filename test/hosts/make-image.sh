#!/usr/bin/env bash
# Makes the test machines' base system with debootstrap: IMAGE SUITE MIRROR COMPONENTS PACKAGES. Called by image.ts in
# mount and process namespaces of its own, so that nothing stays mounted however it ends. Under a lock, and finished by
# a rename: a half-made system is never used. IMAGE's name holds a hash of this file, so a changed recipe is a new image.
set -euo pipefail
image=$1 suite=$2 mirror=$3 components=$4 packages=$5
exec 9>"$(dirname "$image")/image.lock"
flock 9
[ -e "$image" ] && exit 0
making=$image.making
rm -rf "$making"
# Images that no checkout has used for a week.
find "$(dirname "$image")" -maxdepth 1 -name 'image-*' -mtime +7 -exec rm -rf {} +

debootstrap --variant=minbase --components="$components" --include="$packages" "$suite" "$making" "$mirror" 9>&-

rm -rf "$making"/var/lib/apt/lists/* "$making"/var/cache/apt/archives/*.deb "$making"/etc/ssh/ssh_host_*
: >"$making/etc/machine-id"
mkdir -p "$making/var/log/journal"
echo 'LANG=C.UTF-8' >"$making/etc/default/locale"
# The product brings units of its own for Redis; the distribution's must not hold the port or the memory.
systemctl --quiet --root="$making" disable redis-server.service
systemctl --quiet --root="$making" enable systemd-networkd.service ssh.service
# Nothing that works in the background by itself, and no login prompt on the console.
systemctl --quiet --root="$making" mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
  fstrim.timer systemd-networkd-wait-online.service console-getty.service
mv "$making" "$image"
