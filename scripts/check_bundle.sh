#!/usr/bin/env bash
# Runs the bundle in a root that has the C library and zlib alone, no Python and no shell, and prints megabytes and
# seconds: scripts/check_bundle.sh dist/safa. Needs Linux and permission to change the root (unshare).
set -euo pipefail
bundle=$(realpath "$1")
cd "$(dirname "$0")/.."
megabytes=$(($(du -sk "$bundle" | cut -f1) * 1024 / 1000000))
if (( megabytes > 400 )); then echo "The bundle takes $megabytes MB; at most 400 are meant." >&2; exit 1; fi

root=$(mktemp -d)
server=
# unshare passes no other signal on.
trap 'if [[ -n $server ]]; then kill -KILL "$server"; fi; rm -rf "$root"' EXIT
mkdir "$root/proc" "$root/tmp" "$root/work"
cp -al "$bundle" "$root/safa" 2> /dev/null || { rm -rf "$root/safa"; cp -a "$bundle" "$root/safa"; }
cp samples/city.mp4 "$root/work"
for library in libc.so.6 libm.so.6 libdl.so.2 libpthread.so.0 librt.so.1 libutil.so.1 libresolv.so.2 libz.so.1; do
  path=$(/sbin/ldconfig -p | awk -v name="$library" '$1 == name && /x86-64|AArch64/ && !found++ { print $NF }')
  mkdir -p "$root$(dirname "$path")"
  cp -L "$path" "$root$path"
done
loader=$(ldd "$bundle/safa" | awk '/ld-linux/ { print $1 }')
mkdir -p "$root$(dirname "$loader")"
cp -L "$loader" "$root$loader"

bare=(unshare --mount --pid --fork --kill-child --root="$root" --wd=/work --mount-proc)
if (( $(id -u) )); then bare+=(--map-root-user); fi
bare=(env -i HOME=/tmp LANG=C.UTF-8 "${bare[@]}" /safa/safa)

"${bare[@]}" info
started=$SECONDS
"${bare[@]}" upscale city.mp4 -o large.mp4 --end 0.08
seconds=$((SECONDS - started))
"${bare[@]}" info large.mp4
test -s "$root/work/large.mp4"

exec {page}< <(exec "${bare[@]}" serve --port 0 --no-open --folder /tmp/jobs)
server=$!
address=
while [[ -z $address ]] && read -r line <&"$page"; do
  if [[ $line =~ http://[0-9.:]+ ]]; then address=${BASH_REMATCH[0]}; fi
done
curl --fail --silent --show-error --output "$root/page.html" "$address"
grep --quiet "<html" "$root/page.html"
echo "The bundle takes $megabytes MB; three frames of 2304x1296 took $seconds s; its page answers."
