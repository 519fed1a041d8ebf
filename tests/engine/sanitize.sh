#!/bin/sh
# Runs random networks and sizes under sanitizers: memory and undefined behaviour, then data races.
# Usage: tests/engine/sanitize.sh [ROUNDS]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
case $(uname -m) in
    x86_64) wide="-mavx2 -mfma" ;;
    *) wide="" ;;
esac
for kind in address,undefined,float-cast-overflow thread; do
    # shellcheck disable=SC2086
    "${CXX:-c++}" -std=c++17 -O1 -g -Wall -Wextra $wide -ffp-contract=fast -fsanitize=$kind -fno-sanitize-recover=all \
        -I "$here/../../src/safa/engine/native" "$here/sanitize.cpp" -o "$out/driver" -pthread
    echo "$kind:"
    "$out/driver" "${1:-20}"
done
