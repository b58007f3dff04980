#!/bin/sh
# Holds a runner machine's namespaces until its standard input ends, however its maker ended. Run by machine.py, as root, in new
# mount and network namespaces. Arguments: the machine's name, then directories that must be seen inside.
#
# The root is an overlay of this machine's root on memory, so that whatever is written inside is gone with the namespace:
#
#   /                 overlay: lower = the real root, upper = tmpfs     /run /tmp /home/runner /dev/shm    tmpfs
#   /sys              of the machine's network namespace                /var/lib/docker, containerd        tmpfs
#   /sys/fs/cgroup    cgroup2 alone, as a runner has it; its root is a group of the real one, by a control group namespace
#   /proc/sys         read-only, but for net, which is the network namespace's
set -eu
new=/mnt/root

if [ "$1" != --grouped ]; then
  mount -t tmpfs -o mode=755 machine /mnt
  mkdir /mnt/upper /mnt/work "$new" /mnt/cgroup
  mount -t cgroup2 cgroup2 /mnt/cgroup
  mkdir "/mnt/cgroup/$1"
  # The way back for this shell, which outlives the group: open, because no path leads out of the namespace.
  exec 9>"/mnt/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/cgroup.procs"
  echo $$ >"/mnt/cgroup/$1/cgroup.procs"
  exec unshare --cgroup sh "$0" --grouped "$@"
fi
name=$2
shift 2

mount -t overlay -o index=on,nfs_export=on,lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work machine "$new"
mount -t proc proc "$new/proc"
mount -t sysfs sysfs "$new/sys"
mount --rbind /dev "$new/dev"
for directory in run:755 tmp:1777 dev/shm:1777 home/runner:755 var/lib/docker:711 var/lib/containerd:711; do
  mkdir -p "$new/${directory%:*}"
  mount -t tmpfs -o "mode=${directory#*:}" machine "$new/${directory%:*}"
done
# The kernel tells of processes in the initial network namespace only, which is the one of this shell's parent.
mkdir -p "$new/run/netns"
touch "$new/run/netns/initial"
mount --bind "/proc/$PPID/ns/net" "$new/run/netns/initial"
mount -t cgroup2 cgroup2 "$new/sys/fs/cgroup"
mkdir -p "$new/sys/fs/cgroup/system.slice/hosted-compute-agent.service" # where GitHub's runner and all its steps are
mount --bind "$new/proc/sys" "$new/proc/sys"
mount --bind "$new/proc/sys/net" "$new/proc/sys/net"
mount -o remount,bind,ro "$new/proc/sys" # which leaves the mount below it writable

# What lies on another file system, or where a private tmpfs is now, is not in the overlay.
for needed; do
  if ! [ -e "$new$needed" ] || [ -z "$(ls -A "$new$needed")" ]; then
    mkdir -p "$new$needed"
    mount --bind "$needed" "$new$needed"
    mount -o remount,bind,ro "$new$needed"
  fi
  # Ordinary users must get to it, through root's home for example; the change of mode is in the overlay alone.
  parent=$needed
  while [ "$parent" != / ]; do
    chmod o+x "$new$parent" 2>/dev/null || true
    parent=$(dirname "$parent")
  done
done

cd "$new"
pivot_root . mnt
cd /mnt/mnt/cgroup # the real one: from here on this shell's directory alone
umount -l /mnt
echo $$ >&9
exec 9>&-
echo ready

while read -r _; do :; done
echo 1 >"$name/cgroup.kill"
for _ in $(seq 600); do
  find "$name" -depth -type d -exec rmdir {} + 2>/dev/null || true
  [ -d "$name" ] || exit 0
  sleep 0.05
done
exit 1
