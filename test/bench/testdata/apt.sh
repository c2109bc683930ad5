# An installation by apt-get from a repository in a folder: update, install with a
# dependency, upgrade, remove. The packages are made of files of this machine and installed
# below the work folder, so the machine's packages stay as they are.
mkdir -p repository root/etc/apt/apt.conf.d root/etc/apt/preferences.d root/var/lib/apt/lists/partial root/var/cache/apt/archives/partial root/var/lib/dpkg/info root/var/lib/dpkg/updates root/var/log/apt
touch root/var/lib/dpkg/status
printf 'deb [trusted=yes] file:%s/repository ./\n' "$HOME" >root/etc/apt/sources.list
package() { # NAME VERSION DEPENDS
	mkdir -p made/DEBIAN made/usr/share/"$1" made/etc
	printf 'Package: %s\nVersion: %s\nArchitecture: all\nDepends: %s\nMaintainer: Example <example@example.com>\nDescription: names of time zones\n' "$1" "$2" "$3" | sed '/^Depends: $/d' >made/DEBIAN/control
	printf '/etc/%s.conf\n' "$1" >made/DEBIAN/conffiles
	printf '#!/bin/sh\nset -e\ntest "$1" = configure && test -d /usr\n' >made/DEBIAN/postinst
	chmod 755 made/DEBIAN/postinst
	printf 'version = %s\n' "$2" >made/etc/"$1".conf
	cp -r /usr/share/zoneinfo/Pacific made/usr/share/"$1"/
	dpkg-deb --build made repository/"$1"_"$2".deb
	rm -r made
}
index() {
	for deb in repository/*.deb; do
		dpkg-deb --field "$deb"
		printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "${deb#repository/}" "$(stat -c %s "$deb")" "$(sha256sum "$deb" | cut -d ' ' -f 1)"
	done >repository/Packages
}
apt() { apt-get -qq -y -o Dir="$HOME/root" -o Dir::State::status="$HOME/root/var/lib/dpkg/status" -o APT::Sandbox::User=root -o DPkg::Options::="--root=$HOME/root" -o DPkg::Options::=--force-script-chrootless -o DPkg::Options::="--log=$HOME/root/var/log/dpkg.log" "$@"; }
package zone-data 1.0 ''
package zone-names 1.0 zone-data
index
apt update
apt install zone-names
package zone-data 1.1 ''
index
apt update
apt upgrade
apt purge zone-names
apt autoremove
dpkg --root="$HOME/root" --list
