#!/bin/sh
# Checks that the committed object files and their Go are what the compiler makes
# of the sources. Other versions of clang make other code, so that this is for the
# one of Debian 12; with another it says so and checks nothing.
set -eu
cd "$(dirname "$0")/../internal/sensor"

want="Debian clang version 14.0.6"
have=$(clang --version 2>/dev/null | head -n 1 || true)
if [ "$have" != "$want" ]; then
	echo "agent/bpf: not checked: it takes $want, here is ${have:-no clang}" >&2
	[ -z "${CI:-}" ]
	exit
fi

made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
# The very command of generate.go, into another folder.
command=$(sed -n 's|^//go:generate go tool bpf2go ||p' generate.go)
eval "go tool bpf2go -output-dir \"$made\" $command" >/dev/null

status=0
for file in bpf_x86_bpfel.go bpf_x86_bpfel.o bpf_arm64_bpfel.go bpf_arm64_bpfel.o; do
	if ! cmp -s "$made/$file" "$file"; then
		echo "agent/internal/sensor/$file is not what agent/bpf makes: run go generate ./agent/..." >&2
		status=1
	fi
done
exit $status
