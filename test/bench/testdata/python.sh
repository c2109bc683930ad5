# A run of Python's unittest over its standard library.
mkdir tests && cd tests
cat >test_files.py <<'P'
import csv, gzip, json, os, pathlib, shutil, sqlite3, tempfile, unittest, zipfile

class Files(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.dir)

    def path(self, name):
        return os.path.join(self.dir, name)

for n in range(30):
    def test_json(self, n=n):
        with open(self.path("report.json"), "w") as f:
            json.dump({"number": n, "names": ["name-%d" % i for i in range(n)]}, f)
        with open(self.path("report.json")) as f:
            self.assertEqual(json.load(f)["number"], n)

    def test_csv(self, n=n):
        with open(self.path("table.csv"), "w", newline="") as f:
            csv.writer(f).writerows([i, i * n, "row %d" % i] for i in range(50))
        with open(self.path("table.csv"), newline="") as f:
            self.assertEqual(len(list(csv.reader(f))), 50)

    def test_zip(self, n=n):
        with zipfile.ZipFile(self.path("all.zip"), "w", zipfile.ZIP_DEFLATED) as z:
            for i in range(5):
                z.writestr("part-%d.txt" % i, "text %d " % n * 100)
        with zipfile.ZipFile(self.path("all.zip")) as z:
            z.extractall(self.path("out"))
        self.assertEqual(len(list(pathlib.Path(self.path("out")).glob("*.txt"))), 5)

    def test_gzip(self, n=n):
        with gzip.open(self.path("text.gz"), "wt") as f:
            f.write("line %d\n" % n * 500)
        with gzip.open(self.path("text.gz"), "rt") as f:
            self.assertEqual(len(f.readlines()), 500)

    for test in (test_json, test_csv, test_zip, test_gzip):
        setattr(Files, "%s_%02d" % (test.__name__, n), test)

class Database(unittest.TestCase):
    def test_commits(self):
        with tempfile.TemporaryDirectory() as dir:
            db = sqlite3.connect(os.path.join(dir, "test.db"))
            db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)")
            for i in range(40):
                with db:
                    db.execute("INSERT INTO t (name) VALUES (?)", ("name %d" % i,))
            self.assertEqual(db.execute("SELECT COUNT(*) FROM t").fetchone(), (40,))
            db.close()
P
cat >test_processes.py <<'P'
import concurrent.futures, email, os, socket, subprocess, sys, threading, unittest, xml.dom.minidom

class Processes(unittest.TestCase):
    def test_commands(self):
        for i in range(20):
            self.assertEqual(subprocess.run(["expr", str(i), "+", "1"], capture_output=True, text=True).stdout, "%d\n" % (i + 1))

    def test_pipes(self):
        for i in range(10):
            p = subprocess.Popen(["sort", "-r"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self.assertEqual(p.communicate(b"a\nb\n")[0], b"b\na\n")

    def test_interpreter(self):
        for module in ("json.tool", "calendar"):
            subprocess.run([sys.executable, "-I", "-S", "-m", module], input=b"{}", stdout=subprocess.DEVNULL, check=True)

    def test_threads(self):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            self.assertEqual(sum(pool.map(lambda n: len(os.listdir("/usr")) > 0, range(100))), 100)

    def test_sockets(self):
        for i in range(30):
            with socket.create_server(("127.0.0.1", 0)) as server:
                client = socket.create_connection(server.getsockname())
                peer, _ = server.accept()
                client.sendall(b"hello %d" % i)
                self.assertEqual(peer.recv(100), b"hello %d" % i)
                client.close(), peer.close()

    def test_documents(self):
        self.assertEqual(email.message_from_string("Subject: a\n\nb")["Subject"], "a")
        self.assertEqual(xml.dom.minidom.parseString("<a><b/></a>").documentElement.tagName, "a")
P
python3 -S -m unittest -v
