"""The Python bootstrap on every interpreter that is here: `python_test.py [INTERPRETER..]`; ONLY=part picks tests.

Interpreters are those on PATH (python3.8 to python3.14, python3), pyenv's, and those that PYTHONS (a list of paths, by colons) names."""

import glob
import json
import marshal
import os
import re
import signal
import sys

import host
import prepared
import templates
from host import CREDIT_BYTES, INIT, PARKED, READY, Gone, Host, OverHttp, RuntimeApi

BOOTSTRAP = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "python", "bootstrap.py")
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"


def start(command, code, handler="app.handler", files=(), **more):
    return Host(command, dict({"app.py": code}, **dict(files)), handler, **more)


def answers(command, code, event=None, **more):
    with start(command, code, **more) as function:
        assert function.init() is None
        return function.invoke(event)


def init_error(command, code, handler="app.handler", **more):
    with start(command, code, handler, **more) as function:
        error = function.init()
        assert error is not None, "loaded"
        assert function.exited() == 1
        return error, function.text()


def test_event_and_response(command):
    event = {"text": "é\u2028\U0001f600", "n": [1, -2.5, 1e300, None, True], "big": 2**70}
    assert answers(command, "def handler(event, context): return event", event).value == event


def test_response_text_by_version(command):
    code = "def handler(event, context): return {'a': 'é', 'b': [1, 2]}"
    old = answers(command, code, execution_env="AWS_Lambda_python3.11").body
    new = answers(command, code, execution_env="AWS_Lambda_python3.12").body
    assert old == b'{"a": "\\u00e9", "b": [1, 2]}', old
    assert new == '{"a": "é", "b": [1, 2]}'.encode(), new


def test_context(command):
    code = """
def handler(event, context):
    names = 'aws_request_id log_group_name log_stream_name function_name memory_limit_in_mb function_version'
    names += ' invoked_function_arn tenant_id'
    left = context.get_remaining_time_in_millis()
    client = context.client_context
    return {
        'values': {name: getattr(context, name) for name in names.split()}, 'left': left, 'type': str(type(context)),
        'text': repr(context), 'identity': [context.identity.cognito_identity_id, context.identity.cognito_identity_pool_id],
        'client': client and [client.custom, client.env, client.client.app_title, client.client.installation_id],
    }
"""
    with start(command, code) as function:
        function.init()
        plain = function.invoke(None, request_id="id-1").value
        assert plain["client"] is None and plain["identity"] == [None, None]
        assert plain["values"] == {
            "aws_request_id": "id-1",
            "log_group_name": "/aws/lambda/probe",
            "log_stream_name": "2026/01/01/[$LATEST]00",
            "function_name": "probe",
            "memory_limit_in_mb": "128",
            "function_version": "$LATEST",
            "invoked_function_arn": "arn:aws:lambda:us-east-1:000000000000:function:probe",
            "tenant_id": None,
        }
        assert 2000 < plain["left"] <= 3000
        assert plain["type"] == "<class 'awslambdaric.lambda_context.LambdaContext'>"
        assert plain["text"].startswith("LambdaContext([aws_request_id=id-1,log_group_name=/aws/lambda/probe,")
        assert plain["text"].endswith(
            ",client_context=None,identity=CognitoIdentity([cognito_identity_id=None,cognito_identity_pool_id=None]),tenant_id=None])"
        )
        w3c = '{"w3c": {"traceparent": "00-1", "baggage": 1, "other": "x"}, "custom": null}'
        code = "def handler(event, context): return [context.w3c(), repr(context.client_context), context.w3c() is context.w3c()]"
        with start(command, code) as traced:
            traced.init()
            assert traced.invoke(None, clientContext=w3c).value == [{"traceparent": "00-1"}, "ClientContext([custom=None,env=None,client=None])", False]
        full = function.invoke(
            None,
            clientContext='{"client": {"app_title": "t"}, "custom": {"k": 1}, "env": {"e": "v"}}',
            cognitoIdentity='{"cognitoIdentityId": "i", "cognitoIdentityPoolId": "p"}',
            tenantId="blue",
            deadlineMs=5,
        ).value
        assert full["client"] == [{"k": 1}, {"e": "v"}, "t", None]
        assert full["identity"] == ["i", "p"]
        assert full["values"]["tenant_id"] == "blue" and full["left"] == 0
        broken = function.invoke(None, clientContext="{").failure
        assert broken["errorType"] == "Runtime.LambdaContextUnmarshalError"
        assert broken["errorMessage"].startswith("Unable to parse Client Context JSON: "), broken


def test_environment_is_that_of_init(command):
    code = """
import os, sys, time
early = dict(os.environ)
def handler(event, context): return {'env': early, 'now': os.environ.get('_X_AMZN_TRACE_ID'), 'zone': time.tzname[0], 'cwd': os.getcwd(), 'argv': sys.argv[1:]}
"""
    with start(command, code, env={"TZ": "America/New_York", "MINE": "1"}, process_env={"HOSTS_OWN": "1"}) as function:
        function.init()
        first = function.invoke(None, traceId="Root=1").value
        assert first["env"] == dict(function.env, PYTHONPATH="/var/runtime"), first["env"]
        assert first["now"] == "Root=1" and first["zone"] == "EST"
        assert os.path.realpath(first["cwd"]) == os.path.realpath(function.folder)
        assert function.invoke(None).value["now"] is None


def test_search_path(command, name):
    code = "import sys\ndef handler(event, context): return [sys.path, sys.version_info[:2], sys.prefix]"
    with start(command, code) as function:
        function.init()
        path, version, prefix = function.invoke(None).value
        version = "python%d.%d" % tuple(version)
        layers = ["/opt/python/lib/%s/site-packages" % version, "/opt/python"]
        packages = ["%s/lib/%s/site-packages" % (prefix, version)]
        newer = packages if version not in ("python3.8", "python3.9", "python3.10") else []
        before = [function.folder] + layers + newer + ["/var/runtime"]
        assert path[: len(before)] == before, path
        assert path.count(packages[0]) >= 1 and path[-2:] == layers, path
        isolated = [command[0], "-I"] + command[1:]
    with start(isolated, code) as function:
        function.init()
        assert function.invoke(None).value[0][: len(before)] == [function.folder] + before[1:]
    with start(command, code, env={"PYTHONPATH": "/mine"}) as function:
        function.init()
        assert "/opt/python" not in function.invoke(None).value[0]


def test_pth_files_and_builtins(command):
    files = {"more.pth": "vendored\n", "vendored/inside.py": "x = 5"}
    code = "import inside\ndef handler(event, context):\n    return [inside.x, callable(exit), callable(quit), callable(help)]"
    assert answers(command, code, files=files).value == [5, True, True, True]


def test_handler_names(command):
    files = {"pkg/sub/mod.py": "def f(event, context): return __name__", "pkg/__init__.py": "", "pkg/sub/__init__.py": ""}
    for handler in ("pkg/sub/mod.f", "pkg.sub.mod.f"):
        assert answers(command, "", handler=handler, files=files).value == "pkg.sub.mod"


def test_load_failures(command):
    error, text = init_error(command, "import nothing_like_it")
    assert error == {
        "errorMessage": "Unable to import module 'app': No module named 'nothing_like_it'",
        "errorType": "Runtime.ImportModuleError",
        "requestId": "",
        "stackTrace": [],
    }
    lines = text.splitlines()
    assert re.match(r"\[WARNING\]\t%s\.\d{3}Z\t\tLAMBDA_WARNING: Unhandled exception\. " % STAMP, lines[0]), lines
    assert "[ERROR] Runtime.ImportModuleError: Unable to import module 'app': No module named 'nothing_like_it'" in text
    assert init_error(command, "", "gone.handler")[0]["errorMessage"] == "Unable to import module 'gone': No module named 'gone'"
    error = init_error(command, "")[0]
    assert (error["errorType"], error["errorMessage"]) == ("Runtime.HandlerNotFound", "Handler 'handler' missing on module 'app'")
    error = init_error(command, "def handler(:\n")[0]
    assert error["errorType"] == "Runtime.UserCodeSyntaxError"
    assert error["errorMessage"].startswith("Syntax error in module 'app': "), error
    assert re.match(r'  File ".*/app.py" Line 1\n    def handler\(:\n', error["stackTrace"][0]), error
    error = init_error(command, "", "handler")[0]
    assert error["errorType"] == "Runtime.MalformedHandlerName"
    assert error["errorMessage"] == "Bad handler 'handler': not enough values to unpack (expected 2, got 1)"
    error = init_error(command, "", "time.sleep")[0]
    assert error["errorType"] == "Runtime.BuiltInModuleConflict"
    assert error["errorMessage"] == "Cannot use built-in module time as a handler module"


def test_exception_while_loading(command):
    error, text = init_error(command, "def f():\n    raise KeyError('k')\nf()\n")
    assert error["errorType"] == "KeyError" and error["errorMessage"] == "'k'"
    assert "in import_module" in error["stackTrace"][0], error
    assert error["stackTrace"][-1].endswith("line 2, in f\n    raise KeyError('k')\n"), error
    assert not any("bootstrap.py" in entry for entry in error["stackTrace"])


def test_errors_of_handlers(command):
    code = """
class Mine(Exception): pass
def handler(event, context):
    if event == 'chain':
        try: 1 / 0
        except ZeroDivisionError as e: raise Mine('second') from e
    raise Mine()
"""
    with start(command, code) as function:
        function.init()
        answer = function.invoke("chain", request_id="r-1")
        line = '  File "%s/app.py", line 6, in handler\n    except ZeroDivisionError as e: raise Mine(\'second\') from e\n'
        expected = '{"errorMessage": "second", "errorType": "Mine", "requestId": "r-1", "stackTrace": [%s]}'
        assert answer.error.decode() == expected % json.dumps(line % function.folder), answer.error
        assert function.invoke("bare").failure["errorMessage"] == ""
        text = function.text().split("\n")
        head, trace, where, source = text[0].split("\r")
        assert head == "[ERROR] Mine: second" and trace == "Traceback (most recent call last):"
        assert where == '\u00a0\u00a0File "%s/app.py", line 6, in handler' % function.folder
        assert source.startswith("\u00a0\u00a0\u00a0\u00a0except ")
        assert text[1].startswith("[ERROR] Mine\rTraceback"), text
    # What fails before the first line of the function shows the line that calls it.
    (frame,) = answers(command, "def handler(): pass").failure["stackTrace"]
    assert frame.endswith(", in handle_event_request\n    response = request_handler(event, lambda_context)\n"), frame


def test_what_json_cannot_say(command):
    code = """
import collections, decimal
P = collections.namedtuple('P', 'x y')
values = {
    'set': {1}, 'key': {(1, 2): 3}, 'decimal': [decimal.Decimal('1.10'), decimal.Decimal('NaN')], 'bytes': b'raw', 'inner': [b'in'],
    'tuple': P(1, (2,)), 'nan': [float('nan'), float('-inf')], 'none': None, 'lone': '\\ud800',
}
def handler(event, context): return values[event]
"""
    with start(command, code) as function:
        function.init()
        assert function.invoke("set").failure["errorMessage"] == "Unable to marshal response: Object of type set is not JSON serializable"
        failure = function.invoke("key").failure
        assert failure["errorMessage"] == "Unable to marshal response: keys must be str, int, float, bool or None, not tuple"
        assert failure["errorType"] == "Runtime.MarshalError" and failure["stackTrace"] == []
        assert function.invoke("decimal").body == b"[1.10, NaN]"
        assert function.invoke("bytes").body == b"raw"
        assert function.invoke("inner").body == b'["in"]'
        assert function.invoke("tuple").body == b'{"x": 1, "y": [2]}'
        assert function.invoke("nan").body == b"[NaN, -Infinity]"
        assert function.invoke("none").body == b"null"
        failure = function.invoke(raw=b"{broken").failure
        assert failure["errorType"] == "Runtime.UnmarshalError"
        assert failure["errorMessage"].startswith("Unable to unmarshal input: Expecting property name"), failure


LOGGING = """
import logging
log = logging.getLogger()
log.info('loading')
def handler(event, context):
    if event:
        log.setLevel(event)
    log.debug('d')
    log.info('i %s', 1)
    logging.getLogger('mine').warning('w\\nsecond', extra={'more': {'a': 1}})
    try: 1 / 0
    except ZeroDivisionError: log.exception('e')
    context.log('bare')
"""


def test_logging_as_text(command):
    for early in (False, True):  # logging loaded before INIT, and by the function
        with start(command, LOGGING, early=early) as function:
            if early:
                function.expect(PARKED), function.expect(READY)
            else:
                function.init()
            function.invoke(None, request_id="r-1")
            lines = function.text()
            assert re.match(r"\[WARNING\]\t%s\.\d{3}Z\tr-1\tw\nsecond\n\[ERROR\]\t%s\.\d{3}Z\tr-1\te\nTraceback " % (STAMP, STAMP), lines), lines
            assert lines.endswith("ZeroDivisionError: division by zerobare"), lines  # as AWS: the form ends before the trace
            function.invoke("INFO")
            assert re.search(r"bare\[INFO\]\t.*\ti 1\n", function.text())


def test_logging_as_json(command):
    env = {"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "INFO"}
    with start(command, LOGGING, env=env) as function:
        function.init()
        function.invoke(None, request_id="r-1", tenantId="t")
        loading, info, warning, error = [json.loads(line) for line in function.text().replace("bare", "").splitlines()]
        assert loading["message"] == "loading" and loading["requestId"] == "" and loading["logger"] == "root"
        assert info["message"] == "i 1" and info["level"] == "INFO" and re.fullmatch(STAMP + "Z", info["timestamp"])
        assert warning["more"] == {"a": 1} and warning["logger"] == "mine" and warning["tenantId"] == "t"
        assert list(error)[:4] == ["timestamp", "level", "message", "logger"], error
        assert error["errorType"] == "ZeroDivisionError" and error["errorMessage"] == "division by zero"
        assert "    try: 1 / 0\n" in error["stackTrace"][0] and re.search(r"app\.py:handler:\d+$", error["location"])
    with start(command, "def handler(event, context): raise ValueError('v')", env=env) as function:
        function.init()
        function.invoke(None, request_id="r-2")
        event = json.loads(function.text())
        assert list(event) == ["timestamp", "level", "errorMessage", "errorType", "requestId", "stackTrace"], event
        assert event["level"] == "ERROR" and event["requestId"] == "r-2"
    code = """
import logging
def handler(event, context):
    logging.error({'order': 7}), logging.error({'a': '%s'}, 'b'), logging.error('x', extra={'kind': object})
    return [type(one).__name__ for one in logging.getLogger().handlers]
"""
    with start(command, code, env=env) as function:
        function.init()
        assert function.invoke(None).value == ["LambdaLoggerHandlerWithFrameType"]
        whole, formatted, stringified = [json.loads(line) for line in function.text().splitlines()]
        assert whole["message"] == {"order": 7} and formatted["message"] == "{'a': 'b'}", (whole, formatted)
        assert stringified["kind"] == "<class 'object'>", stringified


def test_log_pipe(command):
    code = LOGGING + "    raise ValueError('v')\n"
    with start(command, code, log_pipe=True, env={"AWS_LAMBDA_LOG_LEVEL": "TRACE"}) as function:
        function.init()
        function.invoke(None)
        kinds = [(hex(kind), text.split("\t")[-1].split("\n")[0]) for kind, text in function.log_frames()]
        assert kinds == [
            ("0xa55a000f", "loading"),
            ("0xa55a000b", "d"),
            ("0xa55a000f", "i 1"),
            ("0xa55a0013", "w"),
            ("0xa55a0017", "e"),
            ("0xa55a0003", "bare"),
            ("0xa55a0017", "[ERROR] ValueError: v"),
        ], kinds
        assert function.text() == ""
    with start(command, code, log_pipe=True, env={"AWS_LAMBDA_LOG_FORMAT": "json"}) as function:
        function.init()
        function.invoke(None)
        assert [hex(kind) for kind, _ in function.log_frames()] == ["0xa55a0012", "0xa55a0016", "0xa55a0003", "0xa55a0016"]
    code = "import os\ndef handler(event, context): return '_LAMBDA_TELEMETRY_LOG_FD' in os.environ"
    assert answers(command, code, log_pipe=True).value is False


def test_marks_go_nowhere_else(command):
    """What a function does with the number of the marks' pipe is its own business."""
    code = """
import logging, os, sys
def handler(event, context):
    logging.warning('before')
    os.close(61)
    logging.warning('closed')
    os.dup2(os.open('other', os.O_RDWR | os.O_CREAT), 61)
    logging.warning('reused')
    return os.path.getsize('other')
"""
    marked = ["bash", "-c", 'exec "$0" "$@" 61>&1', *command]
    with start(marked, code, log_pipe=True) as function:
        assert function.init() is None
        assert function.invoke(None).value == 0
        kinds = [(hex(kind), text.split("\t")[-1].strip()) for kind, text in function.log_frames()]
        assert kinds == [("0xa55b0003", "before"), ("0xa55a0003", "closed"), ("0xa55a0003", "reused")], kinds
        assert function.out == b"\xff\xfemark\xff\n", function.out


def test_what_is_printed_survives_a_crash(command):
    code = """
import os, signal, sys
def handler(event, context):
    print('line')
    sys.stderr.write('error')
    sys.stdout.write('no end of line')
    os.kill(os.getpid(), signal.SIGSEGV)
"""
    with start(command, code) as function:
        function.init()
        try:
            function.invoke(None)
            raise AssertionError("answered")
        except Gone:
            pass
        assert function.exited() == -signal.SIGSEGV
        assert function.out.decode() == "line\nno end of line" and function.err.decode() == "error"


def test_exits(command):
    code = """
import atexit, os, sys
atexit.register(lambda: print('at exit'))
if os.environ.get('WHEN') == 'init': sys.exit(3)
def handler(event, context): exit(event) if event == 5 else sys.exit(event)
"""
    for event, status in ((0, 0), (4, 4), (5, 5), ("words", 1)):
        with start(command, code) as function:
            function.init()
            try:
                function.invoke(event)
                raise AssertionError("answered")
            except Gone:
                assert function.exited() == status
                assert function.out == b"at exit\n"
                assert function.err == (b"words\n" if event == "words" else b"")
    with start(command, code, env={"WHEN": "init"}) as function:
        try:
            function.init()
            raise AssertionError("loaded")
        except Gone:
            assert function.exited() == 3


def test_interrupts_are_not_errors_of_the_handler(command):
    with start(command, "def handler(event, context): raise KeyboardInterrupt()") as function:
        function.init()
        try:
            function.invoke(None)
            raise AssertionError("answered")
        except Gone:
            assert function.exited() != 0 and b"KeyboardInterrupt" in function.err


def test_forks_do_not_answer(command):
    code = """
import multiprocessing, os, subprocess, sys
def work(q): q.put('from the child')
def handler(event, context):
    if event == 'fork':
        if os.fork() == 0: return 'child'
        os.wait()
        return 'parent'
    if event == 'multiprocessing':
        method = multiprocessing.get_context('fork')
        q = method.Queue()
        p = method.Process(target=work, args=(q,))
        p.start(); said = q.get(); p.join()
        return said
    return subprocess.check_output([sys.executable, '-S', '-c', 'import os; print(sorted(os.listdir("/proc/self/fd")))']).decode()
"""
    with start(command, code) as function:
        function.init()
        assert function.invoke("fork").value == "parent"
        assert function.invoke("multiprocessing").value == "from the child"
        assert function.invoke("run").value == "['0', '1', '2', '3']\n"
        assert function.invoke("fork").value == "parent"


def test_a_child_does_not_keep_the_socket_open(command):
    code = "import os, time\ndef handler(event, context):\n    if os.fork() == 0: time.sleep(30)\n    os._exit(9)"
    with start(command, code) as function:
        function.init()
        function.process.stdout.close()
        try:
            function.invoke(None)
            raise AssertionError("answered")
        except Gone:
            pass
        assert function.process.wait(host.WAIT_SECONDS) == 9


def test_closed_descriptors_and_threads(command):
    code = """
import os, threading, time
seen = []
def work(): seen.append('worked')
def handler(event, context):
    if event == 'close':
        for fd in (0, 1, 2): os.close(fd)
        return [os.open('/dev/null', os.O_RDWR) for _ in range(3)]
    threading.Thread(target=work).start()
    return len(seen)
"""
    with start(command, code) as function:
        function.init()
        assert function.invoke("close").value == [0, 1, 2]
        function.invoke("thread")
        assert function.invoke("thread").value >= 1


def test_large_events_and_responses(command):
    with start(command, "def handler(event, context): return event") as function:
        function.init()
        event = "x" * (6 * 1024 * 1024 - 2)
        assert function.invoke(event).value == event
        assert function.invoke("small").value == "small"


def test_credit(command):
    with start(command, "def handler(event, context): return 'x' * event") as function:
        function.init()
        size = CREDIT_BYTES + 1000
        function.answers_in_pieces(str(size).encode(), size + 2)
        function.invocations = 9
        assert function.invoke(3).value == "xxx"


def test_frames_in_pieces(command):
    with start(command, "def handler(event, context): return event") as function:
        function.expect(PARKED)
        env = json.dumps({"env": function.env}).encode()
        data = host.frame(INIT, 0, env[:10], more=True) + host.frame(INIT, 0, env[10:])
        data += host.question(1, b'["a', b'b"]')
        for at in range(len(data)):
            function.socket.sendall(data[at : at + 1])
        function.expect(READY)
        assert function.collect(1).value == ["ab"]


def test_without_a_host_there_is_no_process(command):
    with start(command, "def handler(event, context): return 1") as function:
        function.init()
        function.socket.close()
        assert function.exited() == 1
    with start(command, "") as function:
        function.expect(PARKED)
        function.socket.close()
        assert function.exited() == 1
    with start(command, "def handler(event, context): return 1") as function:
        function.init()
        function.socket.sendall(host.frame(host.SHUTDOWN, 0))
        assert function.exited() == 0


def test_signals_reach_the_function(command):
    code = """
import signal
signal.signal(signal.SIGTERM, lambda *_: print('terminated'))
def handler(event, context): return event
"""
    with start(command, code) as function:
        function.init()
        function.process.send_signal(signal.SIGTERM)
        assert function.invoke(1).value == 1
        assert function.text() == "terminated\n"


def test_instrumentation_can_wrap_the_runtime(command):
    code = """
import sys
main = sys.modules['__main__']
assert sys.modules['awslambdaric.bootstrap'] is main
handle, post = main.handle_event_request, main.LambdaRuntimeClient.post_invocation_result
def handled(client, handler, *args, **kwargs): return handle(client, lambda e, c: ['wrapped', handler(e, c)], *args, **kwargs)
def posted(*args, **kwargs): print('posted'); return post(*args, **kwargs)
main.handle_event_request = handled
main.LambdaRuntimeClient.post_invocation_result = posted
from awslambdaric.lambda_context import LambdaContext
def handler(event, context): return isinstance(context, LambdaContext)
"""
    with start(command, code) as function:
        function.init()
        assert function.invoke(None).value == ["wrapped", True]
        assert function.text() == "posted\n"


def test_compiled(command):
    import subprocess
    import tempfile

    compiled = os.path.join(tempfile.mkdtemp(), "bootstrap.pyc")
    script = "import py_compile, sys; py_compile.compile(sys.argv[1], sys.argv[2], '/var/runtime/bootstrap.py', True)"
    subprocess.check_call([command[0], "-c", script, BOOTSTRAP, compiled])
    failure = answers(command[:-1] + [compiled], "def handler(event, context): raise ValueError('v')").failure
    assert len(failure["stackTrace"]) == 1, failure


def test_http(command):
    code = "import os\ndef handler(event, context):\n    print('hi')\n    return [event, 1 / event, os.environ['_X_AMZN_TRACE_ID'], context.client_context.custom]"
    for chunked, close in ((False, False), (True, False), (False, True)):
        api = RuntimeApi(chunked, close)
        with OverHttp(command, {"app.py": code}, "app.handler", api) as function:
            more = {"Lambda_Runtime_Trace_Id": "Root=1", "Lambda_Runtime_Client_Context": '{"custom": {"c": 1}}'}
            path, headers, body, _ = api.invoke(2, "r-1", **more)
            assert path == "/2018-06-01/runtime/invocation/r-1/response", path
            assert json.loads(body) == [2, 0.5, "Root=1", {"c": 1}] and headers["content-type"] == "application/json"
            path, headers, body, _ = api.invoke(0, "r-2", **more)
            assert path == "/2018-06-01/runtime/invocation/r-2/error"
            assert headers["lambda-runtime-function-error-type"] == "ZeroDivisionError"
            assert json.loads(headers["lambda-runtime-function-xray-error-cause"])["exceptions"][0]["type"] == "ZeroDivisionError"
            assert json.loads(body)["errorMessage"] == "division by zero"
            assert function.text().startswith("hi\nhi\n[ERROR] ZeroDivisionError")
    api = RuntimeApi()
    with OverHttp(command, {"app.py": "import gone"}, "app.handler", api) as function:
        path, headers, body, _ = api.post()
        assert path == "/2018-06-01/runtime/init/error" and headers["lambda-runtime-function-error-type"] == "Runtime.ImportModuleError"
        assert function.exited() == 1
    api = RuntimeApi()
    with OverHttp(command, {"app.py": "def handler(event, context): return len(event)"}, "app.handler", api) as function:
        assert api.invoke("x" * 6_000_000)[2] == b"6000000"


LOOKS = """
import importlib.machinery, inspect, os, sys, traceback, warnings
import pack.inner, spaces.deep.module, cookie, warned

def handler(event, context):
    seen = {}
    for module in (pack, pack.inner, spaces.deep.module, cookie):
        spec = module.__spec__
        seen[module.__name__] = [
            module.__file__, module.__cached__, repr(spec), type(spec.loader) is importlib.machinery.SourceFileLoader,
            repr(module), inspect.getsource(module), spec.loader.get_code(module.__name__).co_filename, sorted(vars(module)),
        ]
    seen["text"] = cookie.TEXT
    seen["files"] = sorted(os.listdir(os.path.dirname(__file__)))
    seen["of the class"] = [importlib.machinery.SourceFileLoader.get_code.__qualname__, importlib.machinery.SourceFileLoader.get_code.__module__]
    seen["finders"] = [repr(sys.meta_path), repr(sys.path_hooks)[:70], sys.pycache_prefix, sorted(sys.modules), sys.path[:3]]
    for what in (pack.inner.fail, lambda: __import__("broken"), lambda: __import__("raises"), lambda: __import__("absent")):
        try:
            what()
        except Exception:
            seen.setdefault("traces", []).append(traceback.format_exc())
    return seen
"""

LOOKED_AT = {
    "pack/__init__.py": "VALUE = 1\n",
    "pack/inner.py": "from . import VALUE\ndef fail():\n    return {}['absent']  # a line to be shown\n",
    "spaces/deep/module.py": "'Of a namespace package.'\nNAME = __name__\n",
    "cookie.py": "# -*- coding: latin-1 -*-\nTEXT = '\xe9'\n".encode("latin-1"),
    "warned.py": "PATTERN = 'a\\d'; SAME = 1 is 1\n",
    "broken.py": "def f(:\n",
    "raises.py": "import pack.inner\npack.inner.fail()\n",
}


def test_prepared_code_is_not_seen(command):
    seen = []
    for has_prepared in (False, True):
        with start(command, LOOKS, files=LOOKED_AT, process_env={"PYTHONDONTWRITEBYTECODE": "1"}) as function:
            if has_prepared:
                function.told = prepared.python(command, function.folder)
            assert function.init() is None
            text = json.dumps(function.invoke().value).replace(function.folder, "FOLDER")
            warned = function.error_text().replace(function.folder, "FOLDER")
            seen.append(dict(json.loads(re.sub("0x[0-9a-f]+", "0x", text)), warned=warned))
    for name in seen[0]:
        assert seen[0][name] == seen[1][name], "%s:\n%s\n%s" % (name, seen[0][name], seen[1][name])
    assert "SyntaxWarning" in seen[0]["warned"]


def changed(command, changes=()):
    """The answer of a function whose module is another than was prepared: which of them speaks?"""
    now = "def answer(): return 'now'"
    files = {"inner.py": "def answer(): return 'prepared'"}
    code = "import inner\ndef handler(event, context): return inner.answer()"
    with start(command, code, files=files, process_env={"PYTHONDONTWRITEBYTECODE": "1"}) as function:
        function.told = prepared.python(command, function.folder)
        with open(function.folder + "/inner.py", "w") as file:
            file.write(now)
        for change in changes:
            change(function.told["prepared"])
        assert function.init() is None
        return function.invoke().value, function.rejected


def test_prepared_code_is_used(command):
    assert changed(command) == ("prepared", False)


def test_prepared_code_that_does_not_fit_is_ignored(command):
    def rewritten(change):
        def rewrite(path):
            with open(path, "rb") as file:
                data = file.read()
            with open(path, "wb") as file:
                file.write(change(data))

        return rewrite

    def index(change):
        def rewrite(data):
            length = int.from_bytes(data[:8], "little")
            magic, places = marshal.loads(data[8 : 8 + length])
            head = marshal.dumps((magic, change(places)))
            return len(head).to_bytes(8, "little") + head + data[8 + length :]

        return rewritten(rewrite)

    assert changed(command, [rewritten(lambda data: b"")]) == ("now", True)
    assert changed(command, [rewritten(lambda data: data[:40])]) == ("now", True)
    assert changed(command, [rewritten(lambda data: data[: 8 + int.from_bytes(data[:8], "little")])]) == ("now", False)
    other = lambda data: data.replace(b"\r\n", b"\n\r", 1)  # the magic number of another version
    assert changed(command, [rewritten(other)]) == ("now", True)
    assert changed(command, [os.remove]) == ("now", True)
    # Lengths are taken for what they claim only as far as the file goes: who believed these would ask for a terabyte.
    assert changed(command, [rewritten(lambda data: (1 << 40).to_bytes(8, "little") + data[8:])]) == ("now", True)
    assert changed(command, [index(lambda places: {path: (0, 1 << 40) for path in places})]) == ("now", False)
    assert changed(command, [index(lambda places: {path: (-9, 9) for path in places})]) == ("now", False)
    assert changed(command, [index(list)]) == ("now", True)


def test_whoever_changes_the_loader_is_asked(command):
    code = """
import importlib.machinery
loader = importlib.machinery.SourceFileLoader
original = loader.source_to_code
loader.source_to_code = lambda self, data, path, **more: original(self, data.replace(b"now", b"changed"), path, **more)
import inner
def handler(event, context): return inner.answer()
"""
    with start(command, code, files={"inner.py": "def answer(): return 'now'"}, process_env={"PYTHONDONTWRITEBYTECODE": "1"}) as function:
        function.told = prepared.python(command, function.folder)
        assert function.init() is None
        assert function.invoke().value == "changed"


def test_bounds_of_what_is_prepared(command):
    def size(function, **bounds):
        return os.path.getsize(prepared.python(command, function.folder, **bounds)["prepared"])

    with start(command, "", files={"large.py": "TEXT = '%s'" % ("x" * 9000)}) as function:
        assert size(function) > 9000
        assert size(function, bytes_max=4000) < 4000
        assert size(function, seconds=0) < 100


def test_harmless_imports_may_be_copied(command):
    wrong = []
    for code in templates.FIT:
        with start(command, code + templates.HANDLER, told=templates.TOLD, process_env=templates.READ_ONLY) as function:
            why = templates.verdict(function)
            if why is None:
                templates.become(function, AWS_LAMBDA_LOG_STREAM_NAME="its own")
                assert function.invoke().error is None
            else:
                wrong.append((code, why))
    assert not wrong, wrong


def test_what_may_not_be_copied(command):
    wrong = []
    for code, why in templates.NOT:
        with start(command, code + templates.HANDLER, told=templates.TOLD, process_env=templates.READ_ONLY) as function:
            found = templates.verdict(function)
            if found is None or not found.startswith(why):
                wrong.append((code, found))
    assert not wrong, wrong


def usual():
    root = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    folders = glob.glob(root + "/versions/3.*/bin") + os.environ["PATH"].split(os.pathsep)
    paths = [path for folder in folders for path in sorted(glob.glob(folder + "/python3*"))]
    return [path for path in paths if re.search(r"/python3(\.([89]|1\d))?$", path) and "/shims/" not in path]


if __name__ == "__main__":
    found = host.interpreters("Python", (3, 8), "PYTHONS", usual())
    sys.exit(host.run(dict(globals()), {name: [path, "-S", BOOTSTRAP] for name, path in found.items()}))
