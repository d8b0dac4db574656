"""The bootstrap of the Python runtimes: what runs between the interpreter and a function's handler.

The host executes it as `python3 -S bootstrap.py`. Where `_LAMP_CONTROL_FD` names a socket it speaks the frames of decision 7,
else the HTTP Runtime API 2018-06-01. What a function sees follows AWS's own runtime: search path, context, errors, logs, and
the names that instrumentation patches (`handle_event_request`, `LambdaRuntimeClient`).

Invariants: an import that the handler does not need happens in a parked process or on the path of an error, never between a
request and its handler. A forked child never speaks on the socket. Without a host there is no process: end of file is exit.
Not yet: several invocations at once (`AWS_LAMBDA_MAX_CONCURRENCY`).
"""

import os
import sys
import time

PARKED, INIT, READY, INIT_ERROR, INVOKE, EVENT, CREDIT, HEAD, RESPONSE, ERROR, NEXT, SHUTDOWN = range(1, 13)
HARMLESS, UNFIT, LOADED = 15, 16, 17
MORE = 1
PAYLOAD_BYTES_MAX = 65_536
CREDIT_BYTES = 262_144
READ_BYTES = PAYLOAD_BYTES_MAX + 512

WARNING = (
    "LAMBDA_WARNING: Unhandled exception. The most likely cause is an issue in the function code. However, in rare cases, a "
    "Lambda runtime update can cause unexpected function behavior. For functions using managed runtimes, runtime updates can be "
    "triggered by a function change, or can be applied automatically. To determine if the runtime has been updated, check the "
    "runtime version in the INIT_START log entry. If this error correlates with a change in the runtime version, you may be able "
    "to mitigate this error by temporarily rolling back to the previous runtime version. For more information, see "
    "https://docs.aws.amazon.com/lambda/latest/dg/runtimes-update.html\r"
)


class FaultException(Exception):
    """A failure that the runtime itself names, as `Runtime.ImportModuleError`."""

    def __init__(self, exception_type, msg, trace=None):
        self.msg = msg
        self.exception_type = exception_type
        self.trace = trace


# JSON, as simplejson writes and reads it in AWS's runtime.


def _scanner():
    """The C scanner of `json` without the package, which imports `re`: milliseconds that no small event needs."""

    class Options:
        strict = True
        object_hook = object_pairs_hook = array_hook = None
        parse_float, parse_int, parse_constant = float, int, float
        memo = {}

    try:
        from _json import make_scanner

        return make_scanner(Options)
    except (ImportError, AttributeError, TypeError):
        return None


_scan = _scanner()
_BLANK = " \t\n\r"


def from_json(data):
    """The value that JSON text in UTF-8 stands for; what the scanner cannot take, `json` says why."""
    text = str(data, "utf-8")
    try:
        value, end = _scan(text, 0 if text[:1] not in _BLANK else len(text) - len(text.lstrip(_BLANK)))
        if end == len(text) or not text[end:].strip(_BLANK):
            return value
    except (StopIteration, TypeError):
        pass  # not JSON, or no scanner
    import json

    return json.loads(text)


class _Encoder:
    """JSON text as the runtime of this version of Python writes it: up to 3.11 in ASCII alone."""

    def __init__(self):
        from _json import encode_basestring, encode_basestring_ascii, make_encoder
        from marshal import dumps

        old = os.environ.get("AWS_EXECUTION_ENV") not in ["AWS_Lambda_python3.%d" % minor for minor in (12, 13, 14, 15)]
        self._text = encode_basestring_ascii if old else encode_basestring
        self._make = make_encoder
        self._is_plain = dumps
        self._fast = self._c_encoder()

    def _c_encoder(self):
        try:
            return self._make({}, _not_serializable, self._text, None, ": ", ", ", False, False, True)
        except TypeError:  # an interpreter whose encoder is made otherwise
            return lambda value, _: _pieces(value, self._text, set())

    def encode(self, value):
        """`marshal` takes the exact built-in types alone, so it tells in no time whether the C encoder writes the same as
        simplejson; named tuples, decimals, bytes and subclasses take the slow way."""
        try:
            self._is_plain(value)
            return "".join(self._fast(value, 0))
        except (ValueError, TypeError, RecursionError):
            self._fast = self._c_encoder()  # the old one remembers the path to the failure
        try:
            return "".join(_pieces(value, self._text, set()))
        except RecursionError:
            raise RecursionError("maximum recursion depth exceeded while encoding a JSON object") from None


def _not_serializable(value):
    raise TypeError("Object of type %s is not JSON serializable" % value.__class__.__name__)


_encoder = None


def to_json(value):
    global _encoder
    if _encoder is None:
        _encoder = _Encoder()
    return _encoder.encode(value)


def _pieces(value, text, path):
    """JSON text of any value that simplejson writes with its defaults, piece by piece."""
    if isinstance(value, str):
        yield text(value)
    elif isinstance(value, bytes):
        yield text(str(value, "utf-8"))
    elif value is None or value is True or value is False:
        yield "null" if value is None else "true" if value else "false"
    elif isinstance(value, int):
        yield int.__repr__(value)
    elif isinstance(value, float):
        yield _float(value)
    else:
        yield from _container(value, text, path)


def _float(value):
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return float.__repr__(value)


def _container(value, text, path):
    if id(value) in path:
        raise ValueError("Circular reference detected")
    path.add(id(value))
    as_dict = None if isinstance(value, (list, dict)) else getattr(value, "_asdict", None)
    if callable(as_dict):
        yield from _object(as_dict(), text, path)
    elif isinstance(value, (list, tuple)):
        yield "["
        for index, item in enumerate(value):
            if index:
                yield ", "
            yield from _pieces(item, text, path)
        yield "]"
    elif isinstance(value, dict):
        yield from _object(value, text, path)
    else:
        yield _decimal(value)
    path.discard(id(value))


def _object(value, text, path):
    yield "{"
    first = True
    for key, item in value.items():
        yield "" if first else ", "
        first = False
        yield text(_key(key))
        yield ": "
        yield from _pieces(item, text, path)
    yield "}"


def _key(key):
    if isinstance(key, str):
        return key
    if isinstance(key, bytes):
        return str(key, "utf-8")
    if isinstance(key, float):
        return _float(key)
    if key is None or key is True or key is False:
        return "null" if key is None else "true" if key else "false"
    if isinstance(key, int):
        return int.__repr__(key)
    raise TypeError("keys must be str, int, float, bool or None, not " + key.__class__.__name__)


def _decimal(value):
    decimal = sys.modules.get("decimal")
    if decimal is None or not isinstance(value, decimal.Decimal):
        _not_serializable(value)
    return "NaN" if value.is_nan() else str(value)


# SnapStart. `snapshot_restore_py` is what functions import to have something done before their snapshot is taken, or after it was
# restored.

BEFORE_SNAPSHOT_ERROR, AFTER_RESTORE_ERROR = "Runtime.BeforeSnapshotError", "Runtime.AfterRestoreError"
_before_snapshot, _after_restore = [], []


def register_before_snapshot(func, *args, **kwargs):
    _before_snapshot.append((func, args, kwargs))
    return func


def register_after_restore(func, *args, **kwargs):
    _after_restore.append((func, args, kwargs))
    return func


def get_before_snapshot():
    return _before_snapshot


def get_after_restore():
    return _after_restore


def _pass_snapshot(client):
    """Runs the hooks before a snapshot, last first, waits for the restore, and runs those after it, first first."""
    try:
        while _before_snapshot:
            func, args, kwargs = _before_snapshot.pop()
            func(*args, **kwargs)
    except BaseException as raised:
        _hook_failed(client.post_init_error, raised, BEFORE_SNAPSHOT_ERROR, 64)
    sys.stdout.flush()
    sys.stderr.flush()
    client.restore_next()
    _renew()
    try:
        for func, args, kwargs in _after_restore:
            func(*args, **kwargs)
    except BaseException as raised:
        _hook_failed(client.post_init_error, raised, AFTER_RESTORE_ERROR, 65)


def _hook_failed(post, raised, kind, status):
    error = make_error(str(raised), type(raised).__name__, extract_traceback(raised.__traceback__)[1])
    _logs.error(error)
    # Nobody sees this one: its type tells the host whose hook it was.
    post(dict(error, errorType=kind), kind)
    sys.stdout.flush()
    os._exit(status)


def _renew():
    """Makes anew what the interpreter's library drew by chance or asked the machine, for it is that of whom this process is a copy
    of: of a snapshot, or of a runtime that waited for a function."""
    random = sys.modules.get("random")
    if random is not None:
        random._inst.seed()
    threading = sys.modules.get("threading")
    if threading is not None:
        threading.main_thread()._set_native_id()
    process = sys.modules.get("multiprocessing.process")
    if process is not None:
        process._current_process._config["authkey"] = process.AuthenticationString(os.urandom(32))


# The two transports. `LambdaRuntimeClient` is the name that instrumentation patches; either transport is one.


class Invocation:
    """An event and what came with it."""

    __slots__ = ("stream", "request_id", "deadline_ms", "arn", "trace_id", "client", "identity", "tenant_id", "type", "event")


class LambdaRuntimeClient:
    """What the loop and instrumentation call; a transport sends."""

    def __init__(self, transport):
        self._transport = transport

    def wait_next_invocation(self):
        return self._transport.next()

    def post_invocation_result(self, invoke_id, result_data, content_type="application/json", invocation_id=None):
        data = result_data if isinstance(result_data, bytes) else result_data.encode("utf-8")
        self._transport.respond(invoke_id, data, content_type)

    def post_invocation_error(self, invoke_id, error_response_data, xray_fault, invocation_id=None):
        self._transport.fail(invoke_id, error_response_data.encode("utf-8"), xray_fault)

    def post_init_error(self, error_response_data, error_type_override=None):
        kind = error_type_override or error_response_data["errorType"]
        self._transport.init_error(to_json(error_response_data).encode("utf-8"), kind)

    def restore_next(self):
        self._transport.restored()

    def report_restore_error(self, restore_error_data):
        self.post_init_error(restore_error_data, AFTER_RESTORE_ERROR)


class Frames:
    """The host's frames on a connected socket."""

    def __init__(self, fd):
        self._fd = fd
        self._data = b""
        self._at = 0
        self._stream = 0
        self.watch = None
        self.rejects = False  # what there is of compiled code
        os.set_inheritable(fd, False)
        os.register_at_fork(after_in_child=self._forked)

    def _forked(self):
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _gone(self, status):
        os._exit(status)

    def waiting(self):
        """Whether the host has sent something already."""
        os.set_blocking(self._fd, False)
        try:
            self._data = os.read(self._fd, READ_BYTES)
            if not self._data:
                self._gone(1)
        except BlockingIOError:
            pass
        finally:
            os.set_blocking(self._fd, True)
        return len(self._data) > 0

    def _need(self, count):
        while len(self._data) - self._at < count:
            try:
                more = os.read(self._fd, READ_BYTES)
            except OSError:
                more = b""
            if not more:
                self._gone(0 if self._fd < 0 else 1)
            self._data = self._data[self._at :] + more if self._at < len(self._data) else more
            self._at = 0

    def receive(self):
        """The next message: kind, stream, payload."""
        parts = None
        while True:
            self._need(12)
            data, at = self._data, self._at
            length = int.from_bytes(data[at : at + 4], "little")
            kind, flags = data[at + 4], data[at + 5]
            stream = int.from_bytes(data[at + 8 : at + 12], "little")
            self._at = at + 12
            self._need(length)
            payload = self._data[self._at : self._at + length]
            self._at += length
            if kind == SHUTDOWN:
                self._gone(0)
            if flags & MORE:
                parts = parts or []
                parts.append(payload)
            elif parts is None:
                return kind, stream, payload
            else:
                parts.append(payload)
                return kind, stream, b"".join(parts)

    def send(self, kind, stream, payload=b"", after=b""):
        """Sends a message, and `after` (whole frames) behind it."""
        end = len(payload)
        frames = []
        for start in range(0, end or 1, PAYLOAD_BYTES_MAX):
            part = payload[start : start + PAYLOAD_BYTES_MAX]
            frames.append(_head(kind, start + len(part) < end, len(part), stream))
            frames.append(part)
        frames.append(after)
        self._write(b"".join(frames))

    def _write(self, data):
        if self._fd < 0:  # a forked child came back from the handler: the parent answers
            self._gone(0)
        try:
            sent = os.write(self._fd, data)
            while sent < len(data):
                data = memoryview(data)[sent:]
                sent = os.write(self._fd, data)
        except OSError:
            self._gone(1)

    def next(self):
        kind = CREDIT
        while kind == CREDIT:  # for a response that has gone already
            kind, self._stream, payload = self.receive()
        told = from_json(payload)
        it = Invocation()
        it.request_id = told["requestId"]
        it.deadline_ms = told["deadlineMs"]
        it.arn = told["invokedFunctionArn"]
        it.trace_id = told.get("traceId")
        it.client = told.get("clientContext")
        it.identity = told.get("cognitoIdentity")
        it.tenant_id = told.get("tenantId")
        it.type = "application/json"
        kind = CREDIT
        while kind == CREDIT:
            kind, _, it.event = self.receive()
        return it

    def ready(self):
        self.send(READY, 0, b"compiled" if self.rejects else b"")

    def init_error(self, error, _kind):
        self.send(INIT_ERROR, 0, error)

    def restored(self):
        """Says that the function is loaded, waits until it goes on, perhaps as a copy, and takes what that one has of its own."""
        self.send(LOADED, 0)
        os.environ.update(from_json(self.receive()[2])["env"])

    def respond(self, _invoke_id, data, _content_type):
        stream = self._stream
        done = _head(NEXT, False, 0, stream)
        if len(data) <= PAYLOAD_BYTES_MAX:
            self._write(_head(RESPONSE, False, len(data), stream) + data + done)
            return
        credit, at, end = CREDIT_BYTES, 0, len(data)
        while at < end:
            while credit == 0:
                kind, of, payload = self.receive()
                if kind == CREDIT and of == stream:
                    credit += int.from_bytes(payload, "little")
            frames = []
            while credit and at < end:
                part = data[at : at + min(credit, PAYLOAD_BYTES_MAX)]
                at += len(part)
                credit -= len(part)
                frames.append(_head(RESPONSE, at < end, len(part), stream))
                frames.append(part)
            if at == end:
                frames.append(done)
            self._write(b"".join(frames))

    def fail(self, _invoke_id, error, _xray_fault):
        self.send(ERROR, self._stream, error, _head(NEXT, False, 0, self._stream))


def _head(kind, more, length, stream):
    return length.to_bytes(4, "little") + bytes((kind, 1 if more else 0, 0, 0)) + stream.to_bytes(4, "little")


class Http:
    """The Runtime API 2018-06-01, over one connection that is kept."""

    ROOT = "/2018-06-01/runtime/"

    def __init__(self, address):
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._address = address
        self._socket = None
        self._data = b""

    def _call(self, method, path, body=b"", headers=()):
        """Status, headers by lower-case name, body. A kept connection that turns out closed is opened once more."""
        lines = ["%s %s%s HTTP/1.1" % (method, self.ROOT, path), "Host: " + self._address, "User-Agent: " + _agent()]
        if method == "POST":
            lines.append("Content-Length: %d" % len(body))
        lines += ["%s: %s" % pair for pair in headers]
        request = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace") + body
        kept = self._socket is not None
        try:
            return self._exchange(request)
        except OSError:
            self._close()
            if not kept or os.getpid() != self._pid:
                raise
            return self._exchange(request)

    def _exchange(self, request):
        if self._socket is None:
            import _socket

            self._pid = os.getpid()
            self._data = b""
            self._socket = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
            self._socket.connect((_socket.gethostbyname(self._host), self._port))
            self._socket.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        sent = 0
        view = memoryview(request)
        while sent < len(request):
            sent += self._socket.send(view[sent:])
        lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ", 2)[1])
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        body = self._body(headers)
        if headers.get("connection", "").lower() == "close":
            self._close()
        return status, headers, body

    def _body(self, headers):
        if "chunked" not in headers.get("transfer-encoding", ""):
            return self._take(int(headers.get("content-length", 0)))
        chunks = []
        while True:
            size = int(self._until(b"\r\n").split(b";")[0], 16)
            if size == 0:
                while self._until(b"\r\n"):
                    pass
                return b"".join(chunks)
            chunks.append(self._take(size))
            self._until(b"\r\n")

    def _more(self):
        data = self._socket.recv(262_144)
        if not data:
            raise ConnectionResetError("the Runtime API closed the connection")
        return data

    def _until(self, mark):
        while mark not in self._data:
            self._data += self._more()
        head, _, self._data = self._data.partition(mark)
        return head

    def _take(self, count):
        parts, have = [self._data], len(self._data)
        while have < count:
            parts.append(self._more())
            have += len(parts[-1])
        data = b"".join(parts)
        self._data = data[count:]
        return data[:count]

    def _close(self):
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _post(self, path, body, headers):
        status, _, answer = self._call("POST", path, body, headers)
        if not 200 <= status < 300:
            raise RuntimeError(
                "Request to Lambda Runtime '%s%s' endpoint failed. Reason: '%d'. Response body: '%s'"
                % (self.ROOT, path, status, answer)
            )

    def next(self):
        status, headers, body = self._call("GET", "invocation/next")
        if status != 200:
            raise RuntimeError("Failed to get next invocation: %d" % status)
        it = Invocation()
        it.request_id = headers.get("lambda-runtime-aws-request-id")
        it.deadline_ms = int(headers.get("lambda-runtime-deadline-ms", 0))
        it.arn = headers.get("lambda-runtime-invoked-function-arn")
        it.trace_id = headers.get("lambda-runtime-trace-id")
        it.client = headers.get("lambda-runtime-client-context")
        it.identity = headers.get("lambda-runtime-cognito-identity")
        it.tenant_id = headers.get("lambda-runtime-aws-tenant-id")
        it.type = headers.get("content-type", "application/json")
        it.event = body
        return it

    def ready(self):
        """The first call for an invocation says so."""

    def restored(self):
        """Nobody takes an image of a process behind a wrapper: it goes on."""

    def init_error(self, error, kind):
        self._post("init/error", error, [("Lambda-Runtime-Function-Error-Type", kind)])

    def respond(self, invoke_id, data, content_type):
        self._post("invocation/%s/response" % invoke_id, data, [("Content-Type", content_type)])

    def fail(self, invoke_id, error, xray_fault):
        headers = [("Content-Type", "application/json")]
        headers.append(("Lambda-Runtime-Function-Error-Type", from_json(error).get("errorType", "")))
        if len(xray_fault) < 1_048_576:
            headers.append(("Lambda-Runtime-Function-XRay-Error-Cause", xray_fault))
        self._post("invocation/%s/error" % invoke_id, error, headers)


def _agent():
    return "aws-lambda-python/%d.%d.%d-lamplight" % sys.version_info[:3]


# Logs. `logging` is set up when it is there: at once in a parked process, else when the function imports it.

TEXT_FRAME, JSON_FRAME = 0xA55A0003, 0xA55A0002
FRAME_LEVELS = {10: 0x08, 20: 0x0C, 30: 0x10, 40: 0x14, 50: 0x18}
STAMP = "%Y-%m-%dT%H:%M:%S"


class Unbuffered:
    """Standard output and error of a function: what is written is out, whatever becomes of the process."""

    def __init__(self, stream):
        self.stream = stream

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def write(self, msg):
        self.stream.write(msg)
        self.stream.flush()

    def writelines(self, msgs):
        self.stream.writelines(msgs)
        self.stream.flush()


def _is_pipe(fd):
    try:
        return os.fstat(fd).st_mode & 0o170000 == 0o010000
    except OSError:
        return False


class StandardLogSink:
    """Events as lines of standard output: an error's own lines are joined by carriage returns."""

    def log(self, msg, frame_type=None):
        sys.stdout.write(msg)

    def log_error(self, lines, _frame_type):
        sys.stdout.write("\r".join(lines) + "\n")


MARK_FD = 61
MARK = b"\xff\xfemark\xff\n"
MARKED_FRAME = 0x00010000


def _identity(fd):
    """Which file it is, or None."""
    try:
        stat = os.fstat(fd)
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


class FramedTelemetryLogSink:
    """Events as frames of the host's log pipe; a mark on standard output says where each belongs among what is printed."""

    def __init__(self, fd):
        self._fd = fd
        os.set_inheritable(fd, False)
        self._marks = _identity(MARK_FD) if _is_pipe(MARK_FD) else None
        if self._marks:
            os.set_inheritable(MARK_FD, False)

    def log(self, msg, frame_type=TEXT_FRAME):
        data = msg.encode("utf8")
        if self._marks and self._marks != _identity(MARK_FD):
            self._marks = None  # the function closed it, and may have given its number to a file
        marks = self._marks
        if marks:
            frame_type |= MARKED_FRAME
        head = frame_type.to_bytes(4, "big") + len(data).to_bytes(4, "big")
        data = head + (time.time_ns() // 1000).to_bytes(8, "big") + data
        while data:
            data = data[os.write(self._fd, data) :]
        if marks:
            try:
                os.write(MARK_FD, MARK)
            except OSError:
                self._marks = None

    def log_error(self, lines, frame_type):
        self.log("\n".join(lines), frame_type)


class Logs:
    """Where log events go, and in which form."""

    def __init__(self):
        fd = os.environ.pop("_LAMBDA_TELEMETRY_LOG_FD", None)
        self.sink = StandardLogSink() if fd is None else FramedTelemetryLogSink(int(fd))
        self.is_json = os.environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"
        level = os.environ.get("AWS_LAMBDA_LOG_LEVEL", "")
        self.level = "DEBUG" if level == "TRACE" else level.upper()
        if "logging" in sys.modules:
            self.set_up(sys.modules["logging"])
        else:
            sys.meta_path.insert(0, _OnLogging(self))

    def set_up(self, logging):
        """Gives the root logger its handler."""
        framed = self.is_json or self.level

        class LambdaLoggerFilter(logging.Filter):
            def filter(self, record):
                record.aws_request_id = _request_id or ""
                record.tenant_id = _tenant_id
                return True

        class LambdaLoggerHandler(logging.Handler):
            def __init__(self, log_sink):
                logging.Handler.__init__(self)
                self.log_sink = log_sink

            def emit(self, record):
                msg = self.format(record)
                frame = getattr(record, "_frame_type", None) if framed else None
                if framed and frame is None:
                    frame = TEXT_FRAME | FRAME_LEVELS.get(_rounded(record.levelno), 0)
                self.log_sink.log(msg, frame or TEXT_FRAME)

        if framed:
            LambdaLoggerHandler.__name__ = "LambdaLoggerHandlerWithFrameType"
        logging.Formatter.converter = time.gmtime
        handler = LambdaLoggerHandler(self.sink)
        if self.is_json:
            handler.setFormatter(_json_formatter(logging))
        else:
            line = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n"
            handler.setFormatter(logging.Formatter(line, STAMP))
        root = logging.getLogger()
        if self.level in logging._nameToLevel:
            root.setLevel(self.level)
        handler.addFilter(LambdaLoggerFilter())
        root.addHandler(handler)

    def error(self, error):
        """An error's own event, as AWS writes it."""
        if self.is_json:
            stamp = time.strftime(STAMP + "Z", time.gmtime())
            event = dict({"timestamp": stamp, "level": "ERROR"}, **error)
            self.sink.log_error([to_json(event)], JSON_FRAME | 0x14)
            return
        head = " ".join(filter(None, ["[ERROR]", ": ".join(filter(None, [error["errorType"], error["errorMessage"]]))]))
        lines = [head, "Traceback (most recent call last):"]
        for entry in error["stackTrace"]:
            for line in entry.splitlines() or [""]:
                text = line.lstrip(" ")
                lines.append("\u00a0" * (len(line) - len(text)) + text)
        self.sink.log_error(lines, TEXT_FRAME | 0x14)


def _rounded(level):
    return min(50, max(0, level)) // 10 * 10


def _json_formatter(logging):
    """Records as JSON objects; what a record has beyond `logging`'s own attributes goes along."""
    own = set(logging.LogRecord("", 0, "", 0, "", (), None).__dict__)
    own |= {"aws_request_id", "tenant_id", "_frame_type", "exc_text", "stack_info"}
    own.discard("taskName")

    class JsonFormatter(logging.Formatter):
        def __init__(self):
            super().__init__(datefmt=STAMP + "Z")
            import json

            # What is not JSON is told as text: no event is lost for what came along with it.
            self._encode = json.JSONEncoder(ensure_ascii=False, default=str).encode

        def format(self, record):
            record.levelno = _rounded(record.levelno)
            record.levelname = logging.getLevelName(record.levelno)
            record._frame_type = JSON_FRAME | FRAME_LEVELS.get(record.levelno, 0)
            raised = record.exc_info
            if raised:
                import traceback
            event = {
                "timestamp": self.formatTime(record, self.datefmt),
                "level": record.levelname,
                "message": record.msg if isinstance(record.msg, dict) and not record.args else record.getMessage(),
                "logger": record.name,
                "stackTrace": traceback.format_tb(raised[2]) if raised else None,
                "errorType": raised[0].__name__ if raised else None,
                "errorMessage": str(raised[1]) if raised else None,
                "requestId": getattr(record, "aws_request_id", None),
                "location": "%s:%s:%s" % (record.pathname, record.funcName, record.lineno) if raised else None,
            }
            if getattr(record, "tenant_id", None) is not None:
                event["tenantId"] = record.tenant_id
            for name, value in record.__dict__.items():
                if name not in own and name not in event:
                    event[name] = value
            return self._encode({name: value for name, value in event.items() if value is not None}) + "\n"

    return JsonFormatter()


class _OnLogging:
    """Waits on the search path of imports for `logging`, sets it up as soon as it is loaded, and is gone."""

    def __init__(self, logs):
        self._logs = logs

    def find_spec(self, name, path=None, target=None):
        if name != "logging":
            return None
        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                break
        else:
            return None
        loader, run = spec.loader, spec.loader.exec_module

        def exec_module(module):
            del loader.exec_module
            run(module)
            self._logs.set_up(module)

        loader.exec_module = exec_module
        return spec


# The context of an invocation.


class _Record:
    """An object whose attributes are its slots, each taken from a mapping."""

    __slots__ = ()

    def __init__(self, values=None):
        if values is not None:
            for name in self.__slots__:
                setattr(self, name, values.get(name))

    def __repr__(self):
        values = ",".join("%s=%s" % (name, getattr(self, name)) for name in self.SHOWN)
        return "%s([%s])" % (self.__class__.__name__, values)


class CognitoIdentity(_Record):
    __slots__ = ("cognito_identity_id", "cognito_identity_pool_id")
    SHOWN = __slots__


class Client(_Record):
    __slots__ = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")
    SHOWN = __slots__


class ClientContext(_Record):
    __slots__ = ("custom", "env", "client")
    SHOWN = __slots__


class LambdaContext:
    """What a handler learns of its invocation."""

    _W3C = ("traceparent", "tracestate", "baggage")

    def __init__(self, invoke_id, client_context, cognito_identity, epoch_deadline_time_in_ms, invoked_function_arn=None, tenant_id=None):
        self.aws_request_id = invoke_id
        self.log_group_name = _from_environment(b"AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = _from_environment(b"AWS_LAMBDA_LOG_STREAM_NAME")
        self.function_name = _from_environment(b"AWS_LAMBDA_FUNCTION_NAME")
        self.memory_limit_in_mb = _from_environment(b"AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.function_version = _from_environment(b"AWS_LAMBDA_FUNCTION_VERSION")
        self.invoked_function_arn = invoked_function_arn
        self.tenant_id = tenant_id
        self.client_context = None
        traced = client_context.pop("w3c", None) if isinstance(client_context, dict) else None
        known = traced if isinstance(traced, dict) else {}
        self._w3c = {name: known[name] for name in self._W3C if isinstance(known.get(name), str)}
        if client_context is not None:
            self.client_context = ClientContext(client_context)
            if self.client_context.client is not None:
                self.client_context.client = Client(self.client_context.client)
        known = cognito_identity or {}
        self.identity = CognitoIdentity()
        self.identity.cognito_identity_id = known.get("cognitoIdentityId")
        self.identity.cognito_identity_pool_id = known.get("cognitoIdentityPoolId")
        self._epoch_deadline_time_in_ms = epoch_deadline_time_in_ms

    def get_remaining_time_in_millis(self):
        return max(0, self._epoch_deadline_time_in_ms - int(time.time() * 1000))

    def w3c(self):
        """The trace context that came along in the client context, which does not show it."""
        return dict(self._w3c)

    def log(self, msg):
        logging = sys.modules.get("logging")
        if logging is None:
            return _logs.sink.log(str(msg))
        for handler in logging.getLogger().handlers:
            if hasattr(handler, "log_sink"):
                return handler.log_sink.log(str(msg))
        sys.stdout.write(str(msg))

    def __repr__(self):
        shown = "aws_request_id log_group_name log_stream_name function_name memory_limit_in_mb function_version"
        shown += " invoked_function_arn client_context identity tenant_id"
        values = ",".join("%s=%s" % (name, getattr(self, name)) for name in shown.split())
        return "%s([%s])" % (self.__class__.__name__, values)


_known = {}


def _from_environment(name):
    """A variable of `os.environ` as it is now, without decoding it anew for each invocation."""
    raw = os.environ._data.get(name)
    known = _known.get(name)
    if known is None or known[0] is not raw:
        _known[name] = known = (raw, None if raw is None else os.fsdecode(raw))
    return known[1]


# Errors, loading, and the loop.


def make_error(error_message, error_type, stack_trace, invoke_id=None):
    return {
        "errorMessage": error_message or "",
        "errorType": error_type or "",
        "requestId": invoke_id or "",
        "stackTrace": stack_trace or [],
    }


def extract_traceback(raised):
    """The frames of a traceback from the first that is not this file's."""
    import traceback

    frames = [(frame.filename, frame.lineno, frame.name, frame.line) for frame in traceback.extract_tb(raised)]
    theirs = (index for index, frame in enumerate(frames) if "/bootstrap.py" not in frame[0])
    frames = frames[next(theirs, 0) :]
    return frames, traceback.format_list(frames)


def make_xray_fault(kind, message, folder, frames):
    stack = [{"label": label, "path": path, "line": line} for path, line, label, _ in frames]
    exceptions = [{"message": message, "type": kind, "stack": stack}]
    return {"working_directory": folder, "exceptions": exceptions, "paths": list({frame[0] for frame in frames})}


def _parsed(text, name):
    """A header's JSON; the frames may bring it as an object."""
    if not text:
        return None
    if not isinstance(text, str):
        return text
    try:
        return from_json(text.encode("utf-8"))
    except Exception as error:
        raise FaultException("Runtime.LambdaContextUnmarshalError", "Unable to parse %s JSON: %s" % (name, error))


def _event(data, content_type):
    if content_type != "application/json":
        return data
    try:
        return from_json(data)
    except Exception as error:
        raise FaultException("Runtime.UnmarshalError", "Unable to unmarshal input: %s" % error)


def _response(value):
    if isinstance(value, bytes):
        return value, "application/unknown"
    try:
        return to_json(value), "application/json"
    except Exception as error:
        raise FaultException("Runtime.MarshalError", "Unable to marshal response: %s" % error)


def handle_event_request(
    lambda_runtime_client,
    request_handler,
    invoke_id,
    event_body,
    content_type,
    client_context_json,
    cognito_identity_json,
    invoked_function_arn,
    epoch_deadline_time_in_ms,
    tenant_id,
    log_sink,
    invocation_id=None,
):
    """One event. Instrumentation wraps this function, so name and arguments are AWS's."""
    try:
        client = _parsed(client_context_json, "Client Context")
        identity = _parsed(cognito_identity_json, "Cognito Identity")
        lambda_context = LambdaContext(invoke_id, client, identity, epoch_deadline_time_in_ms, invoked_function_arn, tenant_id)
        event = _event(event_body, content_type)
        response = request_handler(event, lambda_context)
        result, result_type = _response(response)
    except FaultException as fault:
        error = make_error(fault.msg, fault.exception_type, fault.trace, invoke_id)
        cause = ("LambdaValidationError", fault.msg, [])
    except Exception as raised:
        kind = type(raised).__name__
        frames, lines = extract_traceback(raised.__traceback__)
        error = make_error(str(raised), kind, lines, invoke_id)
        cause = (kind, str(raised), frames)
    else:
        lambda_runtime_client.post_invocation_result(invoke_id, result, result_type)
        return
    _logs.error(error)
    response = None  # what it says when it goes belongs to this invocation
    fault = to_json(make_xray_fault(cause[0], cause[1], os.getcwd(), cause[2]))
    lambda_runtime_client.post_invocation_error(invoke_id, to_json(error), fault)


def _get_handler(handler):
    modname, dot, fname = handler.rpartition(".")
    if not dot:
        why = "not enough values to unpack (expected 2, got 1)"
        raise FaultException("Runtime.MalformedHandlerName", "Bad handler '%s': %s" % (handler, why))
    import importlib

    try:
        if modname.split(".")[0] in sys.builtin_module_names:
            why = "Cannot use built-in module %s as a handler module" % modname
            raise FaultException("Runtime.BuiltInModuleConflict", why)
        module = importlib.import_module(modname.replace("/", "."))
    except ImportError as error:
        raise FaultException("Runtime.ImportModuleError", "Unable to import module '%s': %s" % (modname, error))
    except SyntaxError as error:
        trace = ['  File "%s" Line %s\n    %s' % (error.filename, error.lineno, error.text)]
        raise FaultException("Runtime.UserCodeSyntaxError", "Syntax error in module '%s': %s" % (modname, error), trace)
    try:
        return getattr(module, fname)
    except AttributeError:
        raise FaultException("Runtime.HandlerNotFound", "Handler '%s' missing on module '%s'" % (fname, modname))


def _load(client):
    """The handler; without one the process ends, as on AWS."""
    try:
        return _get_handler(os.environ["_HANDLER"])
    except FaultException as fault:
        error = make_error(fault.msg, fault.exception_type, fault.trace)
    except Exception as raised:
        error = make_error(str(raised), type(raised).__name__, extract_traceback(raised.__traceback__)[1])
    import logging

    logging.warning(WARNING)
    _logs.error(error)
    client.post_init_error(error)
    sys.exit(1)


def _load_template(client, frames):
    """The handler in a process of which others are to be copies, if that may be: `watch.py` knows what may not. Then this one, or a
    copy of it, waits to hear which instance it is."""
    import gc, importlib, json, logging, marshal, traceback, warnings  # noqa: E401,F401

    if sys.version_info < (3, 9):
        import uuid  # noqa: F401  it runs a program to learn of the machine, which later versions do not
    def refuse(why):
        frames.send(UNFIT, 0, why[:1000].encode("utf-8", "replace"))
        os._exit(0)

    parts = {"__name__": "watch"}
    exec(compile(frames.watch, "<watch>", "exec"), parts)
    frames.watch = None
    watch = parts["Watch"](refuse)
    watch.begin()
    handler = _load(client)
    watch.end()
    frames.send(HARMLESS, 0)
    os.environ.update(from_json(frames.receive()[2])["env"])
    parts["renew"](watch)
    return handler


def _take_environment(variables):
    """Makes the function's environment the process's own."""
    os.environ.clear()
    os.environ.update(variables)
    time.tzset()


def _set_search_path():
    """AWS's order. A folder that does not exist yet comes once more at the end, as `site.addsitedir` leaves it there."""
    version = "python%d.%d" % sys.version_info[:2]
    task = os.environ.get("LAMBDA_TASK_ROOT", "/var/task")
    runtime = os.environ.get("LAMBDA_RUNTIME_DIR", "/var/runtime")
    # Elsewhere only where the operator wants no isolation.
    opt = os.environ.pop("_LAMP_OPT", "/opt")
    layers = ["%s/python/lib/%s/site-packages" % (opt, version), opt + "/python"]
    packages = "%s/lib/%s/site-packages" % (sys.prefix, version)
    own = os.path.dirname(os.path.abspath(__file__))
    sys.path[: 1 if sys.path[:1] == [own] else 0] = [runtime]
    if packages not in sys.path:
        sys.path.append(packages)
    custom = "PYTHONPATH" in os.environ
    first = [task] if custom else [task] + layers + ([packages] if sys.version_info >= (3, 11) else [])
    sys.path[:0] = first
    for folder in [task] if custom else [task] + layers:
        _add_site(folder)
    os.environ.setdefault("PYTHONPATH", runtime)
    try:
        os.chdir(task)
    except OSError:
        pass


def _add_site(folder):
    """`site.addsitedir`, which is imported only where there is a .pth file to read."""
    try:
        if any(name.endswith(".pth") for name in os.listdir(folder)):
            import site

            site.addsitedir(folder)
    except OSError:
        sys.path.append(folder)


def _add_builtins():
    """What `site` adds for interactive use, and programs use too."""
    import builtins
    import _sitebuiltins

    if not hasattr(builtins, "exit"):
        builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D (i.e. EOF)")
        builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D (i.e. EOF)")
        builtins.help = _sitebuiltins._Helper()


def _add_modules():
    """The names under which AWS's runtime has these parts."""
    module = type(sys)
    context = module("awslambdaric.lambda_context")
    for part in (LambdaContext, ClientContext, Client, CognitoIdentity):
        part.__module__ = context.__name__
        setattr(context, part.__name__, part)
    fault = module("awslambdaric.lambda_runtime_exception")
    fault.FaultException = FaultException
    client = module("awslambdaric.lambda_runtime_client")
    client.LambdaRuntimeClient = LambdaRuntimeClient
    package = module("awslambdaric")
    package.__path__ = []
    package.bootstrap = sys.modules["__main__"]
    sys.modules["awslambdaric"] = package
    sys.modules["awslambdaric.bootstrap"] = package.bootstrap
    for part in (context, fault, client):
        sys.modules[part.__name__] = part
        setattr(package, part.__name__.rpartition(".")[2], part)
    if sys.version_info >= (3, 12):
        hooks = module("snapshot_restore_py")
        for part in (register_before_snapshot, register_after_restore, get_before_snapshot, get_after_restore):
            setattr(hooks, part.__name__, part)
        sys.modules["snapshot_restore_py"] = hooks


_INDEX_BYTES_MAX = 8_388_608


def _use_prepared(file):
    """Has modules whose code the host compiled for this version (`prepare.py`) loaded from `file`: their tree is read-only, so
    nothing of it can be stale. The class stays the importer's own, and so does what a traceback shows of it. Whether `file` is
    of any use."""
    import gc
    import marshal

    external = sys.modules["_frozen_importlib_external"]
    loader = external.SourceFileLoader
    try:
        with open(file, "rb", 0) as opened:
            size = os.fstat(opened.fileno()).st_size
            length = int.from_bytes(opened.read(8), "little")
            if length > min(_INDEX_BYTES_MAX, size):
                return False
            head = opened.read(length)
            start = opened.tell()
        magic, places = marshal.loads(head)
    except (OSError, EOFError, ValueError, TypeError):
        return False
    if magic != external.MAGIC_NUMBER or type(places) is not dict or sys.flags.optimize:
        return False
    compile_it, to_code, get_data = loader.get_code, loader.source_to_code, loader.get_data

    def get_code(self, fullname):
        place = places.get(self.path)
        # Whoever changes how source becomes code has it become so.
        if place is None or type(self) is not loader or fullname != self.name:
            return compile_it(self, fullname)
        if loader.source_to_code is not to_code or loader.get_data is not get_data:
            return compile_it(self, fullname)
        collects = gc.isenabled()
        try:
            if not 0 <= place[0] <= place[0] + place[1] <= size - start:
                return compile_it(self, fullname)
            fd = os.open(file, os.O_RDONLY)
            try:
                data = os.pread(fd, place[1], start + place[0])
            finally:
                os.close(fd)
            gc.disable()  # what is read has no garbage in it
            return marshal.loads(data)
        except (OSError, EOFError, ValueError, TypeError):
            return compile_it(self, fullname)
        finally:
            if collects:
                gc.enable()

    get_code.__code__ = get_code.__code__.replace(co_filename="<frozen importlib._bootstrap_external>")
    get_code.__module__, get_code.__qualname__ = compile_it.__module__, compile_it.__qualname__
    loader.get_code = get_code
    return True


def _prepare():
    """What needs no environment."""
    _add_builtins()
    _add_modules()
    sys.stdout = Unbuffered(sys.stdout)
    sys.stderr = Unbuffered(sys.stderr)


def _connect():
    """The transport, with the function's environment taken over."""
    fd = os.environ.pop("_LAMP_CONTROL_FD", None)
    if fd is None:
        _prepare()
        return Http(os.environ["AWS_LAMBDA_RUNTIME_API"])
    own = os.environ.get("AWS_LAMBDA_RUNTIME_API")
    log_fd = os.environ.get("_LAMBDA_TELEMETRY_LOG_FD")
    frames = Frames(int(fd))
    _prepare()
    if not frames.waiting():  # a parked process has time: what AWS's runtime has imported is there before the function is
        import gc, importlib, json, logging, marshal, traceback, warnings  # noqa: E401,F401
    frames.send(PARKED, 0)
    told = from_json(frames.receive()[2])
    variables = told["env"]
    _take_environment(variables)
    _renew()
    logging = sys.modules.get("logging")
    if logging is not None:  # it tells how long ago the runtime began, which may have waited for hours
        logging._startTime = time.time_ns() if type(logging._startTime) is int else time.time()
    if "prepared" in told:
        frames.rejects = not _use_prepared(told["prepared"])
    frames.watch = told.get("template")
    if log_fd is not None:
        os.environ.setdefault("_LAMBDA_TELEMETRY_LOG_FD", log_fd)
    named = variables.get("AWS_LAMBDA_RUNTIME_API")
    return Http(named) if own and named and named != own else frames


_request_id = None
_tenant_id = None
_logs = None


def run():
    global _logs, _request_id, _tenant_id
    transport = _connect()
    _set_search_path()
    _logs = Logs()
    client = LambdaRuntimeClient(transport)
    watched = getattr(transport, "watch", None)
    handler = _load(client) if watched is None else _load_template(client, transport)
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
        _pass_snapshot(client)
    transport.ready()
    while True:
        it = client.wait_next_invocation()
        _request_id, _tenant_id = it.request_id, it.tenant_id
        if it.trace_id is None:
            os.environ.pop("_X_AMZN_TRACE_ID", None)
        else:
            os.environ["_X_AMZN_TRACE_ID"] = it.trace_id
        handle_event_request(
            client, handler, it.request_id, it.event, it.type, it.client, it.identity, it.arn, it.deadline_ms, it.tenant_id,
            _logs.sink,
        )  # fmt: skip


if __name__ == "__main__":
    run()
