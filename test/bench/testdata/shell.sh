# A session at a shell, with traffic on loopback.
mkdir -p projects/site/pages notes && cd projects/site
git init -q . && git config user.name "Alex Example" && git config user.email alex@example.com
for i in $(seq 1 6); do
	printf '<html><body><h1>Page %d</h1></body></html>\n' "$i" >pages/page-"$i".html
	git add . && git commit -q -m "Add page $i"
done
git log --stat | grep -c page
git daemon --export-all --base-path="$HOME"/projects --reuseaddr --listen=127.0.0.1 --port=39418 &
python3 -S -m http.server --bind 127.0.0.1 39480 &
until python3 -S -c 'import socket; [socket.create_connection(("127.0.0.1", port)) for port in (39418, 39480)]' 2>/dev/null; do sleep 0.1; done
cd "$HOME"
git clone -q git://127.0.0.1:39418/site copy-1 && git -C copy-1 fetch -q
for i in $(seq 1 6); do curl -s -o notes/page-"$i".html http://127.0.0.1:39480/pages/page-"$i".html; done
find /usr/share/doc -maxdepth 2 -name copyright | head -n 100 | xargs -n 20 grep -l GPL | sort >notes/gpl.txt
tar czf notes.tar.gz notes && tar tzf notes.tar.gz | wc -l
ls -lR projects | awk '{ n += $5 } END { print n }'
sed -i s/Page/Seite/ projects/site/pages/*.html
diff -r projects/site/pages copy-1/pages | wc -l
for i in $(seq 1 5); do python3 -S -c 'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("127.0.0.1", 0)); s.sendto(b"ping", s.getsockname()); s.recv(10)'; done
