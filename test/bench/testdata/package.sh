# The installation of a package, and its upgrade and removal. The packages are made of
# files of this machine and unpacked below the work folder, so nothing is downloaded and
# the machine's packages stay as they are.
for version in 1.0 1.1; do
	mkdir -p made/DEBIAN made/usr/share/zone-names made/usr/share/doc/zone-names made/etc
	printf 'Package: zone-names\nVersion: %s\nArchitecture: all\nMaintainer: Example <example@example.com>\nDescription: names of time zones\n' $version >made/DEBIAN/control
	printf '/etc/zone-names.conf\n' >made/DEBIAN/conffiles
	printf '#!/bin/sh\nset -e\ntest "$1" = configure && test -d /usr\n' >made/DEBIAN/postinst
	chmod 755 made/DEBIAN/postinst
	printf 'version = %s\n' $version >made/etc/zone-names.conf
	cp /usr/share/common-licenses/* made/usr/share/doc/zone-names/
	cp -r /usr/share/zoneinfo/Europe made/usr/share/zone-names/
	dpkg-deb --build made zone-names_$version.deb
	rm -r made
done
mkdir -p root/var/lib/dpkg/info root/var/lib/dpkg/updates root/var/log
touch root/var/lib/dpkg/status
install="dpkg --root=$HOME/root --force-script-chrootless --log=$HOME/root/var/log/dpkg.log"
$install --install zone-names_1.0.deb
$install --install zone-names_1.1.deb
$install --list
$install --verify zone-names
$install --purge zone-names
