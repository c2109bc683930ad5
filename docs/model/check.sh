#!/usr/bin/env bash
# Checks the model of the delivery: the design has no error in any order of steps and
# faults, and each planted mistake is found. Needs spin and gcc.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
model=$PWD/delivery.pml
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

# verify prints what spin finds.
verify() { # flags of the compiler, of the search, of spin...
	local compile=$1 run=$2
	shift 2
	spin -a "$@" "$model"
	# shellcheck disable=SC2086 # words
	gcc -w -O1 -DCOLLAPSE -DMEMLIM=4000 $compile -o pan pan.c
	# shellcheck disable=SC2086 # words
	./pan -E -m100000 $run # -E, as waiting for more is no fault
}

# design NAME, flags as verify has them: there must be no error, and the whole state
# space must have been searched.
design() {
	local name=$1 out
	shift
	out=$(verify "$@")
	if ! grep -q 'errors: 0' <<<"$out" || grep -qiE 'out of memory|max search depth too small|not completed' <<<"$out"; then
		printf '%s\n' "$out"
		echo "the design ($name): NOT RIGHT"
		exit 1
	fi
	printf 'the design (%s): right in all of its %s states\n' "$name" "$(awk '/states, stored/ { print $1 }' <<<"$out")"
}

# mistake NUMBER NAME, spin flags: there must be an error, and it must be a rule that
# is broken.
mistake() {
	local number=$1 name=$2 out
	shift 2
	out=$(verify -DSAFETY '' "-DBUG=$number" "$@")
	if ! grep -q 'assertion violated' <<<"$out" || grep -q 'invalid array index' <<<"$out"; then
		printf '%s\n' "$out"
		echo "mistake $number ($name): NOT FOUND"
		exit 1
	fi
	printf 'mistake %d (%s): found after %s states\n' "$number" "$name" "$(awk '/states, stored/ { print $1 }' <<<"$out")"
}

restarts=(-DDOWN -DONCE -DFAULTS=3 -DOUTAGES=0 -DLOST=0 -DLATE=0 -DABORTS=0)

design 'any two faults' -DSAFETY ''
design 'three crashes while the database is away' -DSAFETY '' "${restarts[@]}"
design 'any fault, and nothing goes round for ever' -DNP -l -DFAULTS=1
mistake 1 'nobody looks at the mark'
mistake 2 'records are dropped before they are stored'
mistake 3 'the live path overtakes the spool'
mistake 4 'keys are claimed before the transaction'
mistake 5 'the answer comes before the spool is synced'
mistake 6 'a group that failed advances the mark'
mistake 7 'a spool is taken over a record at a time' "${restarts[@]}"
mistake 8 'the drain looks at the mark, the transaction does not'
mistake 9 'a writer keeps its name when it starts again'
