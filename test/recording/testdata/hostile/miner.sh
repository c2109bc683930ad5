# Behaves like a miner and mines nothing: a program with the name and the options of one,
# which asks a pool on loopback for work, counts, and comes back by a cron table of its own.
mkdir -p .local/bin spool
cat >pool.py <<'POOL'
import socket
server = socket.create_server(("127.0.0.1", 39590))
for _ in range(2):
    client, _ = server.accept()
    client.recv(1000)
    client.sendall(b'{"id":1,"result":{"id":"x","job":{}}}\n')
    client.close()
POOL
python3 -S pool.py &
cat >.local/bin/xmrig <<'MINER'
#!/usr/bin/python3 -S
import socket, time
for _ in range(2):
    pool = socket.create_connection(("127.0.0.1", 39590))
    pool.sendall(b'{"id":1,"method":"login","params":{"login":"wallet","pass":"x"}}\n')
    pool.recv(1000)
    until = time.time() + 0.3
    while time.time() < until: sum(range(10000))
MINER
sleep 0.3
chmod +x .local/bin/xmrig
pkill -x kdevtmpfsi-of-nobody || true
nproc && grep -c processor /proc/cpuinfo && cat /sys/devices/system/cpu/online
.local/bin/xmrig --url stratum+tcp://127.0.0.1:39590 --user wallet --donate-level 1 --threads 2
printf '* * * * * %s/.local/bin/xmrig --url stratum+tcp://127.0.0.1:39590\n' "$HOME" >spool/cron
mkdir -p .config/systemd/user && printf '[Service]\nExecStart=%s/.local/bin/xmrig\n[Install]\nWantedBy=default.target\n' "$HOME" >.config/systemd/user/update.service
history -c; rm -f .bash_history; ln -s /dev/null .bash_history
