"""The ceiling's Python: events come in and answers leave as frames on standard input, which is a socket."""

import json
import os

HEAD_BYTES = 4


def handler(event):
    return event


data = b""
while True:
    while len(data) < HEAD_BYTES or len(data) < HEAD_BYTES + int.from_bytes(data[:HEAD_BYTES], "little"):
        more = os.read(0, 65_536)
        if not more:
            raise SystemExit
        data += more
    end = HEAD_BYTES + int.from_bytes(data[:HEAD_BYTES], "little")
    answer = json.dumps(handler(json.loads(data[HEAD_BYTES:end]))).encode()
    data = data[end:]
    os.write(0, len(answer).to_bytes(HEAD_BYTES, "little") + answer)
