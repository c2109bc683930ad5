#!/bin/sh
# Installs the missing dependencies of the tests: a C compiler for Go's race detector, a
# PostgreSQL server that the tests start themselves, make and git; for the dashboard
# Node.js with npm, and Chromium; for the agent, on Linux, bubblewrap, strace, and the
# programs that the tests observe; in CI also the compiler of the eBPF programs and the
# model checker of the delivery.
#
# On Debian and Ubuntu it installs packages, as root or with a sudo that needs no
# password. Elsewhere, or without those rights, it lists what to install. If nothing is
# missing, it does nothing. It exits with 1 if something is still missing.
#
# With the argument run it installs only what the agent needs at run time: bubblewrap. With the
# argument vm it installs what the agent needs to build and run a virtual machine.
#
# It keeps a Node.js that is too old for the dashboard's build, and installs a newer one
# in web/.node, where the Makefile finds it.
set -eu
cd "$(dirname "$0")/.."

has() { command -v "$1" >/dev/null 2>&1; }

has_postgres() {
	for initdb in /usr/lib/postgresql/*/bin/initdb; do
		if [ -x "$initdb" ]; then return 0; fi
	done
	has initdb && has postgres
}

# The compiler only recommends the package with these headers.
has_libc_headers() {
	echo '#include <stdlib.h>' | gcc -E -x c - >/dev/null 2>&1
}

has_browser() {
	[ -n "${CHROMIUM:-}" ] || has chromium-headless-shell || has chromium || has google-chrome
}

# Reports whether this system offers a package. Before the first update of the package lists
# it cannot know, and reports true.
offers() { # package
	apt-cache show "$1" >/dev/null 2>&1 || ! ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1
}

# Reports whether Node.js is as new as web/package.json requires.
has_new_node() {
	node -e 'const [major, minor] = process.versions.node.split("."); process.exit(major > 20 || (major == 20 && minor >= 19) ? 0 : 1)' 2>/dev/null
}

missing() {
	case $purpose in
	run | vm)
		has bwrap || echo bubblewrap
		[ "$purpose" = run ] || for program in qemu-system-x86_64/qemu-system-x86 debootstrap/debootstrap mke2fs/e2fsprogs; do
			has "${program%/*}" || echo "${program#*/}"
		done
		return
		;;
	esac
	has gcc || echo gcc
	if has apt-get; then
		has_libc_headers || echo libc6-dev
		[ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
	fi
	has_postgres || echo postgresql
	has make || echo make
	has git || echo git
	has zstd || echo zstd
	has node || echo nodejs
	has npm || echo npm
	has_browser || if offers "$shell"; then echo "$shell"; else echo chromium; fi
	if [ "$(uname -s)" = Linux ]; then
		has bwrap || echo bubblewrap
		for program in strace python3 busybox curl wget; do
			has "$program" || echo "$program"
		done
		has ip || echo iproute2
		has tstclnt || echo libnss3-tools
		[ -e /usr/include/openssl/ssl.h ] || echo libssl-dev
		if [ -n "${CI:-}" ]; then
			has clang || echo clang
			has llvm-strip || echo llvm
			has spin || echo spin
			[ -e /usr/include/bpf/bpf_helpers.h ] || echo libbpf-dev
		fi
	fi
}

# Reports whether this user may install packages.
may_install() {
	as_root=
	if [ "$(id -u)" != 0 ]; then
		as_root='sudo -n'
	fi
	has apt-get && { [ -z "$as_root" ] || $as_root true 2>/dev/null; }
}

install_packages() { # package...
	if ! may_install; then
		echo "install-deps: to $purpose needs these, please install them: $*" >&2
		case " $* " in
		*' postgresql '*) echo "install-deps: postgresql is the server, 13 or newer, with its initdb and postgres on PATH" >&2 ;;
		esac
		case " $* " in
		*' chromium '* | *" $shell "*) echo "install-deps: another browser of its kind will do too: set CHROMIUM to its path" >&2 ;;
		esac
		exit 1
	fi

	echo "install-deps: installing $*" >&2
	exec </dev/null

	# Debian's package creates a database cluster and starts it. The tests start their own
	# server. An existing configuration is left alone.
	policy=/usr/sbin/policy-rc.d
	cluster=/etc/postgresql-common/createcluster.conf
	if [ "$purpose" = test ] && ! has_postgres && [ ! -e "$cluster" ]; then
		$as_root mkdir -p "${cluster%/*}"
		echo 'create_main_cluster = false' | $as_root tee "$cluster" >/dev/null
	fi
	if [ ! -e "$policy" ]; then
		printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
		$as_root chmod 755 "$policy"
		trap '$as_root rm -f "$policy"' EXIT
		trap 'exit 1' HUP INT TERM
	fi

	apt_get update
	# shellcheck disable=SC2046 # one word per package
	apt_get install -y --no-install-recommends $(missing)

	left=$(missing | tr '\n' ' ')
	if [ -n "$left" ]; then
		echo "install-deps: still missing: $left" >&2
		exit 1
	fi
}

apt_get() {
	$as_root env DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 apt-get -qq \
		-o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold "$@" >/dev/null
}

# npm's package node has a binary for this system.
install_node() {
	echo "install-deps: Node.js $(node --version) is too old for the dashboard's build, putting version 20 into web/.node" >&2
	mkdir -p web/.node
	npm install --prefix web/.node --no-save --no-audit --no-fund --loglevel=error node@20 >&2 || true
	hash -r # forget the path of the old one
	if ! has_new_node; then
		echo "install-deps: that failed. Please install Node.js 20.19 or newer" >&2
		exit 1
	fi
}

purpose=${1:-test}
shell=chromium-headless-shell
PATH=$PWD/web/.node/node_modules/.bin:$PATH
packages=$(missing | tr '\n' ' ')
# shellcheck disable=SC2086 # one word per package
[ -z "$packages" ] || install_packages $packages
[ "$purpose" = test ] || exit 0
has_new_node || install_node
# In a Chromium without windows the tests take a third less of the processor.
if [ -z "${CHROMIUM:-}" ] && ! has "$shell" && may_install && offers "$shell"; then
	apt_get update && apt_get install -y --no-install-recommends "$shell" || true
fi
