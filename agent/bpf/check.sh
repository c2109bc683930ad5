#!/bin/sh
# Checks that the committed object files and their Go code match the sources. Other
# versions of clang generate other code, so this needs the clang of Debian 12. With another
# version it checks nothing, prints a message, and fails only in CI.
set -eu
cd "$(dirname "$0")/../internal/sensor"

want="Debian clang version 14.0.6"
have=$(clang --version 2>/dev/null | head -n 1 || true)
if [ "$have" != "$want" ]; then
	echo "agent/bpf: not checked: it needs $want, found ${have:-no clang}" >&2
	[ -z "${CI:-}" ]
	exit
fi

made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
# Runs the command of generate.go with another output folder.
command=$(sed -n 's|^//go:generate go tool bpf2go ||p' generate.go)
eval "go tool bpf2go -output-dir \"$made\" $command" >/dev/null

status=0
for file in bpf_x86_bpfel.go bpf_x86_bpfel.o bpf_arm64_bpfel.go bpf_arm64_bpfel.o; do
	if ! cmp -s "$made/$file" "$file"; then
		echo "agent/internal/sensor/$file does not match agent/bpf: run go generate ./agent/..." >&2
		status=1
	fi
done
exit $status
