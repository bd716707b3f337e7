#!/bin/sh
# A folder is no larger than it may be. usage: check-size.sh FOLDER MOST_MB    (10^6 bytes; its largest parts are printed)
set -eu

folder=$1 most=$2
largest=$folder
for packages in "$folder"/lib/python3*/site-packages; do [ ! -d "$packages" ] || largest=$packages; done
du -sb "$largest"/* | sort -rn | head -n 12 | awk '{ name = $2; sub(/.*\//, "", name); printf "%9.2f MB  %s\n", $1 / 1e6, name }'
bytes=$(du -sb "$folder" | cut -f1)
echo "$bytes $most" | awk '{ printf "%9.2f MB  in all, of %d MB\n", $1 / 1e6, $2 }'
[ "$bytes" -le $((most * 1000000)) ] || { echo "error: $folder is larger than $most MB" >&2; exit 1; }
