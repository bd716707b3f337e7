#!/bin/sh
# Make the agent's user and its folders. usage: make-user.sh UID VIDEO_GID RENDER_GID [ROOT]
# The numbers of the groups are those of the device that it runs on (there: getent group video render), since it is by number that
# the kernel asks whether a container may open /dev/nvmap, /dev/video0 and /dev/dri/renderD128. ROOT: in the system in this folder.
set -eu

uid=$1 video=$2 render=$3 root=${4:-}
number() { case "$1" in '' | *[!0-9]*) echo "error: '$1' is no number" >&2; exit 2 ;; esac; }
number "$uid"; number "$video"; number "$render"
[ "$uid" -gt 0 ] || { echo "error: the agent does not run as root" >&2; exit 2; }

group() {  # group NAME GID: exists with this number, whatever either was called before
  there=$(sed -n "s/^\([^:]*\):[^:]*:$2:.*/\1/p" "$root/etc/group" | head -n 1)
  if [ -n "$there" ]; then echo "$there"; return; fi
  if grep -q "^$1:" "$root/etc/group"; then sed -i "s/^\($1:[^:]*\):[0-9]*:/\1:$2:/" "$root/etc/group"
  else groupadd ${root:+--prefix "$root"} --gid "$2" "$1"; fi
  echo "$1"
}

own=$(group plumbline "$uid")
video=$(group video "$video")
render=$(group render "$render")
useradd ${root:+--prefix "$root"} --uid "$uid" --gid "$own" --groups "$video,$render" --no-create-home --home-dir /var/lib/plumbline \
  --shell /usr/sbin/nologin plumbline
mkdir -p "$root/var/lib/plumbline" "$root/etc/plumbline"
chown "$uid:$uid" "$root/var/lib/plumbline"
chmod 0750 "$root/var/lib/plumbline"
