"""Creates functions from eight threads until the server is gone; appends each name to a journal once it is answered."""

import io
import sys
import threading
import zipfile

import boto3
from botocore.config import Config

round_number, journal_path = sys.argv[1:]
journal = open(journal_path, "a", buffering=1)
writing = threading.Lock()


def code(content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("app.py", content)
    return buffer.getvalue()


def create(thread):
    client = boto3.session.Session().client("lambda", config=Config(retries={"total_max_attempts": 1}))
    number = 0
    while True:
        name = f"r{round_number}-t{thread}-n{number}"
        number += 1
        try:
            client.create_function(
                FunctionName=name, Runtime="python3.13", Handler="app.handler",
                Role="arn:aws:iam::000000000000:role/r", Code={"ZipFile": code(f"# {name}")},
                Environment={"Variables": {"SECRET": "canary-" + name}},
            )
        except Exception:
            return
        with writing:
            journal.write(name + "\n")


threads = [threading.Thread(target=create, args=[number]) for number in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
