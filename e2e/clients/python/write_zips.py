"""Writes DIR/0.zip to DIR/(COUNT-1).zip, each another, and prints the hash of each as AWS shows it and in hexadecimal."""

import base64
import hashlib
import sys
import zipfile

folder, count = sys.argv[1], int(sys.argv[2])
for number in range(count):
    path = f"{folder}/{number}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("app.py", f"def handler(event, context): return {number}\n" + "#" * number)
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).digest()
    print(base64.b64encode(digest).decode(), digest.hex())
