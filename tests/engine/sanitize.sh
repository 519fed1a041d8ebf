#!/bin/sh
# Runs random networks and sizes under sanitizers: memory and undefined behaviour, then data races.
# Usage: tests/engine/sanitize.sh [ROUNDS]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
rounds=${1:-20}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
case $(uname -m) in
    x86_64) wide="-mavx2 -mfma" ;;
    *) wide="" ;;
esac
check() { # KIND FLAGS...
    kind=$1
    shift
    "${CXX:-c++}" -std=c++17 -O1 -g -Wall -Wextra "$@" -ffp-contract=fast -fsanitize="$kind" -fno-sanitize-recover=all \
        -I "$here/../../src/safa/engine/native" "$here/sanitize.cpp" -o "$out/driver" -pthread
    echo "$kind $*:"
    "$out/driver" "$rounds"
}
for kind in address,undefined,float-cast-overflow thread; do
    # shellcheck disable=SC2086
    check $kind $wide
done
# The matrix unit's convolution is not in the builds above. Older compilers do not know it.
amx="-mavx2 -mfma -mavx512f -mavx512vl -mavx512dq -mavx512bw -mavx512bf16 -mamx-tile -mamx-bf16"
# shellcheck disable=SC2086
if grep -qs amx_bf16 /proc/cpuinfo && echo | "${CXX:-c++}" $amx -E -xc++ - > /dev/null 2>&1; then
    check address,undefined,float-cast-overflow $amx
fi
