"""Plays the host for one bootstrap: starts the interpreter over a socket pair, speaks the frames of decision 7, and reads what
the function wrote. Used by the tests beside it; runs on any Python 3.8 or later, without packages."""

import inspect
import json
import os
import queue
import re
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PARKED, INIT, READY, INIT_ERROR, INVOKE, EVENT, CREDIT, HEAD, RESPONSE, ERROR, NEXT, SHUTDOWN, PREPARE, PREPARED, HARMLESS, UNFIT = range(1, 17)
NAMES = "PARKED INIT READY INIT_ERROR INVOKE EVENT CREDIT HEAD RESPONSE ERROR NEXT SHUTDOWN PREPARE PREPARED HARMLESS UNFIT".split()
MORE = 1
PAYLOAD_BYTES_MAX = 65_536
CREDIT_BYTES = 262_144
WAIT_SECONDS = 20


class Gone(Exception):
    """The runtime closed its end."""


def frame(kind, stream, payload=b"", more=False):
    return struct.pack("<IBBHI", len(payload), kind, 1 if more else 0, 0, stream) + payload


def message(kind, stream, payload=b""):
    parts = [payload[at : at + PAYLOAD_BYTES_MAX] for at in range(0, len(payload), PAYLOAD_BYTES_MAX)] or [b""]
    return b"".join(frame(kind, stream, part, at + 1 < len(parts)) for at, part in enumerate(parts))


def question(stream, *event_parts):
    """An invocation as the host sends it, its event in so many frames."""
    told = {"requestId": "r", "deadlineMs": 0, "invokedFunctionArn": "a"}
    last = len(event_parts) - 1
    parts = [frame(EVENT, stream, part, at < last) for at, part in enumerate(event_parts)]
    return message(INVOKE, stream, json.dumps(told).encode()) + b"".join(parts)


class Answer:
    """What one invocation gave."""

    def __init__(self):
        self.body, self.error, self.head, self.chunks = b"", None, None, []

    @property
    def value(self):
        return json.loads(self.body)

    @property
    def failure(self):
        return json.loads(self.error)


class Host:
    """One environment of one function. `files` are its code, or `folder` has it; `env` is added to AWS's own variables,
    `told` to what INIT says beside them."""

    def __init__(self, command, files, handler, env=(), execution_env="AWS_Lambda_python3.13", log_pipe=False, process_env=(), early=False, over_http=False, folder=None, told=()):
        self.is_own = folder is None
        self.told = dict(told)
        self.folder = folder or tempfile.mkdtemp(prefix="lamp-boot-")
        for name, text in dict(files).items():
            path = os.path.join(self.folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(text if isinstance(text, bytes) else text.encode())
        self.env = {
            "_HANDLER": handler,
            "AWS_EXECUTION_ENV": execution_env,
            "AWS_LAMBDA_FUNCTION_NAME": "probe",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/probe",
            "AWS_LAMBDA_LOG_STREAM_NAME": "2026/01/01/[$LATEST]00",
            "AWS_REGION": "us-east-1",
            "LAMBDA_TASK_ROOT": self.folder,
            "LAMBDA_RUNTIME_DIR": "/var/runtime",
            "PATH": os.environ["PATH"],
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
        }
        self.env.update(env)
        self.invocations = 0
        self.credit = {}
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(WAIT_SECONDS)
        passed = [theirs.fileno()]
        start = {"PATH": os.environ["PATH"], "_LAMP_CONTROL_FD": str(theirs.fileno()), "LANG": "C.UTF-8"}
        self.log_pipe = None
        if log_pipe:
            self.log_pipe, log_end = os.pipe()
            passed.append(log_end)
            start["_LAMBDA_TELEMETRY_LOG_FD"] = str(log_end)
        if over_http:
            del start["_LAMP_CONTROL_FD"]
            start.update(self.env)
        start.update(process_env)
        if early:
            self.send_init()
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=passed, env=start
        )
        theirs.close()
        if log_pipe:
            os.close(log_end)
        self.out, self.err, self.events = bytearray(), bytearray(), bytearray()
        self._drains = [self._drain(self.process.stdout.fileno(), self.out), self._drain(self.process.stderr.fileno(), self.err)]
        if log_pipe:
            self._drains.append(self._drain(self.log_pipe, self.events))

    def _drain(self, fd, into):
        def drain():
            while True:
                data = os.read(fd, 65536)
                if not data:
                    return
                into.extend(data)

        thread = threading.Thread(target=drain, daemon=True)
        thread.start()
        return thread

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
        try:
            self.process.wait(WAIT_SECONDS)
        finally:
            self.process.kill()
            self.process.wait()
            if self.is_own:
                shutil.rmtree(self.folder, ignore_errors=True)

    def _exactly(self, count):
        data = bytearray()
        while len(data) < count:
            try:
                part = self.socket.recv(count - len(data))
            except ConnectionResetError:
                part = b""
            if not part:
                raise Gone()
            data += part
        return bytes(data)

    def frame(self):
        length, kind, flags, zero, stream = struct.unpack("<IBBHI", self._exactly(12))
        assert length <= PAYLOAD_BYTES_MAX, "a payload of %d bytes" % length
        assert zero == 0 and flags in (0, MORE), "bad header"
        return kind, bool(flags & MORE), stream, self._exactly(length)

    def message(self):
        kind, more, stream, payload = self.frame()
        parts = [payload]
        while more:
            kind_again, more, stream_again, payload = self.frame()
            assert (kind_again, stream_again) == (kind, stream)
            parts.append(payload)
        return kind, stream, b"".join(parts)

    def expect(self, wanted):
        kind, stream, payload = self.message()
        assert kind == wanted, "%s instead of %s: %r\n%s" % (NAMES[kind - 1], NAMES[wanted - 1], payload[:500], self.err.decode())
        return payload

    def send_init(self):
        self.socket.sendall(message(INIT, 0, json.dumps(dict({"env": self.env}, **self.told)).encode()))

    def init(self):
        """To the end of init: None, or the error that the runtime sent."""
        self.expect(PARKED)
        self.send_init()
        kind, stream, payload = self.message()
        assert stream == 0
        if kind == INIT_ERROR:
            return json.loads(payload)
        assert kind == READY, NAMES[kind - 1]
        self.rejected = payload == b"compiled"
        return None

    def invoke(self, event=None, raw=None, credit=True, request_id=None, deadline_ms=None, **extra):
        """One invocation, to its NEXT. `credit=False` grants none beyond the first."""
        self.invocations += 1
        n = self.invocations
        told = {
            "requestId": request_id or "8f5e0000-0000-4000-8000-%012d" % n,
            "deadlineMs": deadline_ms or int(time.time() * 1000) + 3000,
            "invokedFunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:probe",
        }
        told.update(extra)
        data = json.dumps(event).encode() if raw is None else raw
        self.socket.sendall(message(INVOKE, n, json.dumps(told).encode()) + message(EVENT, n, data))
        return self.collect(n, credit)

    def collect(self, n, credit=True):
        answer, used = Answer(), CREDIT_BYTES
        body = bytearray()
        while True:
            kind, more, stream, payload = self.frame()
            assert stream == n, "stream %d instead of %d" % (stream, n)
            if kind == RESPONSE:
                used -= len(payload)
                assert used >= 0, "more than its credit"
                body += payload
                answer.chunks.append(payload)
                if credit and payload and used < CREDIT_BYTES // 2:
                    self.socket.sendall(frame(CREDIT, n, struct.pack("<I", CREDIT_BYTES)))
                    used += CREDIT_BYTES
            elif kind == HEAD:
                answer.head = json.loads(payload)
            elif kind == ERROR:
                answer.error = (answer.error or b"") + payload
            elif kind == NEXT:
                answer.body = bytes(body)
                return answer
            else:
                raise AssertionError(NAMES[kind - 1])

    def prepared(self):
        """What the runtime hands on to the next ones of its version."""
        self.socket.sendall(frame(PREPARE, 0))
        return self.expect(PREPARED)

    def ask(self, event, n=1):
        """Begins an invocation; what comes of it is the test's to read."""
        self.socket.sendall(question(n, json.dumps(event).encode()))

    def fails_for_good(self, event):
        """An invocation that ends the process: its error, and the status."""
        self.ask(event)
        return json.loads(self.expect(ERROR)), self.exited()

    def waits_for_credit(self, stream):
        """Reads as much of a response as the first credit allows, and sees that no more comes."""
        have = 0
        while have < CREDIT_BYTES:
            kind, more, of, payload = self.frame()
            assert (kind, of) == (RESPONSE, stream) and more
            have += len(payload)
        assert have == CREDIT_BYTES
        self.stays_silent()

    def stays_silent(self):
        """Sees that nothing comes for a while."""
        self.socket.settimeout(0.1)
        try:
            raise AssertionError("said something: %r" % (self.frame(),))
        except OSError:
            self.socket.settimeout(WAIT_SECONDS)

    def expect_part(self, data):
        """The next part of a response that goes on."""
        kind, more, _, payload = self.frame()
        assert kind == RESPONSE and more and payload == data, (NAMES[kind - 1], more, payload)

    def answers_in_pieces(self, event, size):
        """An invocation that comes byte by byte, and a response of `size` bytes, larger than the first credit by little."""
        for byte in question(9, event):
            self.socket.sendall(bytes([byte]))
        self.waits_for_credit(9)
        self.socket.sendall(frame(CREDIT, 9, struct.pack("<I", 2500)) * 2)
        kind, more, _, payload = self.frame()
        assert kind == RESPONSE and not more and CREDIT_BYTES + len(payload) == size
        self.expect(NEXT)
        self.socket.sendall(frame(CREDIT, 9, struct.pack("<I", 5000)))  # too late to matter

    def exited(self):
        """Waits for the process: its status, and all that it wrote is read."""
        status = self.process.wait(WAIT_SECONDS)
        for thread in self._drains:
            thread.join(WAIT_SECONDS)
        return status

    def text(self):
        """Standard output so far, when the pipe has nothing more to give."""
        return self._settled(self.out, self.process.stdout.fileno())

    def error_text(self):
        return self._settled(self.err, self.process.stderr.fileno())

    def _settled(self, data, fd):
        while self.process.poll() is None and select.select([fd], [], [], 0.02)[0]:
            time.sleep(0.001)
        time.sleep(0.01)
        return bytes(data).decode("utf-8", "replace")

    def log_frames(self):
        """The log pipe's events so far: type, text."""
        self._settled(self.events, self.log_pipe)
        found, data = [], bytes(self.events)
        while data:
            kind, length, stamp = struct.unpack(">IIQ", data[:16])
            assert abs(stamp / 1e6 - time.time()) < 60
            found.append((kind, data[16 : 16 + length].decode()))
            data = data[16 + length :]
        return found


class RuntimeApi:
    """The HTTP Runtime API for one runtime: events go in by `invoke`, what was posted comes out."""

    def __init__(self, chunked=False, close=False):
        events, posts = queue.Queue(), queue.Queue()
        self.events, self.posts = events, posts

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_):
                pass

            def do_GET(self):
                headers, body = events.get()
                if headers is None:
                    self.close_connection = True
                    return
                self.send_response(200)
                for name, value in headers.items():
                    self.send_header(name, value)
                if close:
                    self.close_connection = True  # unannounced, as a proxy that restarts
                if chunked:
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    for at in range(0, len(body), 1000):
                        part = body[at : at + 1000]
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                    self.wfile.write(b"0\r\n\r\n")
                else:
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def do_POST(self):
                if "chunked" in self.headers.get("Transfer-Encoding", ""):
                    body = b""
                    while True:
                        size = int(self.rfile.readline(), 16)
                        if size == 0:
                            break
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    trailers = {}
                    line = self.rfile.readline().strip()
                    while line:
                        name, _, value = line.decode().partition(":")
                        trailers[name.lower()] = value.strip()
                        line = self.rfile.readline().strip()
                else:
                    body, trailers = self.rfile.read(int(self.headers["Content-Length"])), {}
                posts.put((self.path, {k.lower(): v for k, v in self.headers.items()}, body, trailers))
                answer = b'{"status":"OK"}\n'
                self.send_response(202)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # a runtime that is killed resets its connection
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.address = "127.0.0.1:%d" % self.server.server_address[1]

    def invoke(self, event, request_id="8f5e0000-0000-4000-8000-000000000001", **headers):
        told = {
            "Lambda-Runtime-Aws-Request-Id": request_id,
            "Lambda-Runtime-Deadline-Ms": str(int(time.time() * 1000) + 3000),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:000000000000:function:probe",
            "Content-Type": "application/json",
        }
        told.update({name.replace("_", "-"): value for name, value in headers.items()})
        self.events.put((told, json.dumps(event).encode()))
        return self.post()

    def post(self):
        return self.posts.get(timeout=WAIT_SECONDS)

    def close(self):
        self.events.put((None, None))
        self.server.shutdown()
        self.server.server_close()


class OverHttp(Host):
    """A runtime without a control socket."""

    def __init__(self, command, files, handler, api, env=(), **more):
        self.api = api
        super().__init__(command, files, handler, env, process_env={"AWS_LAMBDA_RUNTIME_API": api.address}, over_http=True, **more)

    def __exit__(self, *_):
        self.process.kill()
        self.api.close()
        super().__exit__()


def interpreters(language, least, variable, usual, program="", flag="--version"):
    """Name and path of each version of a language's interpreter, from the `least`: those given as arguments, else those
    in a variable (a list, by colons) and those that are `usual`. `program` is a path below what was given."""
    given = sys.argv[1:] or [*os.environ.get(variable, "").split(":"), *usual]
    found = {}
    for path in filter(None, given):
        path = os.path.realpath(path)
        try:
            said = subprocess.run([os.path.join(path, program) if program else path, flag], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        except OSError:
            continue  # what is usual need not be there
        version = re.search(r"(\d+)\.(\d+)", said.stdout.decode())
        if said.returncode == 0 and version:
            found.setdefault(tuple(int(number) for number in version.groups()[: len(least)]), path)
    return {"%s %s" % (language, ".".join(map(str, version))): path for version, path in sorted(found.items()) if version >= least}


def run(tests, commands):
    """Every `test_` function for every interpreter: prints what fails, and its number is the exit status."""
    if not commands:
        print("skipped: this machine has no interpreter")
        return 0
    only = os.environ.get("ONLY", "")
    failed = count = 0
    for name, command in commands.items():
        for test in sorted(tests):
            if not test.startswith("test_") or only not in test:
                continue
            count += 1
            function = tests[test]
            arguments = [command, name][: len(inspect.signature(function).parameters)]
            try:
                function(*arguments)
            except Exception:
                failed += 1
                print("FAILED %s on %s" % (test, name))
                traceback.print_exc()
    assert count > 0, "no test ran"
    print("%d tests, %d failed, on %s" % (count, failed, ", ".join(commands)))
    return min(failed, 100)
