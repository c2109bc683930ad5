# HTTP flows: clients of a server of pages, files and JSON. Only the flows are kept of the
# events.
cat >server.py <<'P'
import http.server, json, os, urllib.parse

class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *args):
        super().__init__(*args, directory="/usr/share")

    def answer(self, status, value):
        body = json.dumps(value, indent=1).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        if not url.path.startswith("/api/"):
            return super().do_GET()
        query = dict(urllib.parse.parse_qsl(url.query))
        folder, page = "/usr/" + query["folder"], int(query["page"])
        names = sorted(os.listdir(folder))[100 * page:100 * page + 100]
        items = [{"id": i, "name": name, "size": os.stat(os.path.join(folder, name)).st_size, "modified": int(os.stat(os.path.join(folder, name)).st_mtime),
                  "links": {"self": "%s?name=%s" % (url.path, name), "folder": folder}} for i, name in enumerate(names)]
        self.answer(200, {"page": page, "items": items})

    def do_POST(self):
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(201, {"id": order["number"], "state": "accepted", "total": sum(line["price"] for line in order["lines"])})

    def log_message(self, *args):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", 39481), Handler).serve_forever()
P
python3 -S server.py &
url=http://127.0.0.1:39481
until curl -s -o /dev/null $url/common-licenses/MPL-2.0; do sleep 0.1; done
for i in $(seq 0 5); do
	for folder in share/doc bin lib/x86_64-linux-gnu share/man/man1; do
		curl -s -o /dev/null -H 'Accept: application/json' "$url/api/files?folder=$folder&page=$i"
	done
	# Several requests on one connection, as browsers send them.
	curl -s -o /dev/null -A 'Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0' $url/doc/ -o /dev/null $url/common-licenses/ -o /dev/null $url/doc/base-passwd/users-and-groups.html -o /dev/null $url/zoneinfo/tzdata.zi -o /dev/null $url/missing-$i
	for license in Apache-2.0 Artistic BSD GFDL-1.3 GPL-2 GPL-3 LGPL-2.1 MPL-2.0; do curl -s -o /dev/null $url/common-licenses/$license; done
	for n in $(seq 1 10); do
		curl -s -o /dev/null -H 'Content-Type: application/json' -d "{\"number\": 1$i$n, \"customer\": {\"name\": \"Alex Example\", \"email\": \"alex@example.com\"}, \"lines\": [{\"item\": \"A-$n\", \"price\": $n}, {\"item\": \"B-$i\", \"price\": $i}]}" $url/api/orders
	done
done
