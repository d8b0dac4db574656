"""The Node.js bootstrap on every interpreter that is here: `node_test.py [INTERPRETER..]`; ONLY=part picks tests.

Interpreters are `node` on PATH and those that NODES (a list of paths, by colons) names."""

import base64
import hashlib
import json
import os
import re
import shutil
import signal
import sys
import time

import host
import prepared
from host import CREDIT, CREDIT_BYTES, HEAD, PARKED, READY, RESPONSE, Gone, Host, OverHttp, RuntimeApi

BOOTSTRAP = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "node", "bootstrap.cjs")
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def version(name):
    return int(name.split()[-1])


def start(command, name, code, handler="app.handler", files=(), file="app.js", **more):
    more.setdefault("execution_env", "AWS_Lambda_nodejs%d.x" % version(name))
    return Host(command, dict({file: code}, **dict(files)), handler, **more)


def answers(command, name, code, event=None, **more):
    with start(command, name, code, **more) as function:
        assert function.init() is None
        return function.invoke(event)


def init_error(command, name, code, handler="app.handler", **more):
    with start(command, name, code, handler, **more) as function:
        error = function.init()
        assert error is not None, "loaded"
        return error, function.exited(), function.out.decode()


def gone(function, event=None):
    """Invokes a function that dies instead of answering: its exit status."""
    try:
        answer = function.invoke(event)
    except Gone:
        return function.exited()
    raise AssertionError("answered %r" % answer.body)


def failed(function, event=None):
    """Invokes a function whose process ends with an error: that error, and the exit status."""
    function.invocations += 1
    return function.fails_for_good(event)


def test_event_and_response(command, name):
    event = {"text": "é\u2028\U0001f600", "n": [1, -2.5, None, True]}
    answer = answers(command, name, "exports.handler = async (event) => event", event)
    assert answer.value == event and "é".encode() in answer.body


def test_kinds_of_handlers(command, name):
    code = "exports.async = async (e) => e; exports.promise = (e) => Promise.resolve(e); exports.a = {b: {c: async () => 'deep'}}; exports.void = async () => {}; exports.thenable = (e) => ({then(f) { f(e) }})"
    for handler, expected in (("async", 1), ("promise", 1), ("a.b.c", "deep"), ("void", None), ("thenable", 1)):
        assert answers(command, name, code, 1, handler="app." + handler).value == expected, handler


def test_callbacks(command, name):
    code = """
exports.handler = (event, context, callback) => {
  if (event === 'late') return void setTimeout(() => callback(null, 'late'), 20);
  if (event === 'waits') { setTimeout(() => console.log('after'), 30); return callback(null, 'waits'); }
  if (event === 'not') { context.callbackWaitsForEmptyEventLoop = false; setTimeout(() => console.log('much later'), 200); return callback(null, 'not'); }
  if (event === 'done') return context.done(null, 'done');
  if (event === 'succeed') { callback.call; return context.succeed('succeed'); }
  if (event === 'fail') return context.fail(new TypeError('t'));
  if (event === 'string') return callback('words');
  if (event === 'nothing') return;
  if (event === 'twice') { callback(null, 1); callback(null, 2); return; }
  if (event === 'throw') throw new RangeError('r');
};
"""
    if version(name) >= 24:
        error, status, _ = init_error(command, name, code)
        assert error["errorType"] == "Runtime.CallbackHandlerDeprecated" and status == 1
        assert error["errorMessage"].startswith("ERROR: AWS Lambda has removed support for callback-based function handlers"), error
        return
    with start(command, name, code) as function:
        function.init()
        assert "WARN\tAWS Lambda plans to remove support for callback-based" in function.text()
        for event in ("late", "done", "succeed"):
            assert function.invoke(event).value == event
        assert function.invoke("waits").value == "waits" and function.text().endswith("INFO\tafter\n")
        before = time.time()
        assert function.invoke("not").value == "not" and "much later" not in function.text()
        failure = function.invoke("fail").failure
        assert failure["errorType"] == "TypeError" and failure["errorMessage"] == "t"
        assert function.invoke("string").failure == {"errorType": "string", "errorMessage": "words", "trace": []}
        assert function.invoke("nothing").value is None
        assert function.invoke("twice").value == 1
        assert function.invoke("throw").failure["errorType"] == "RangeError"


def test_context(command, name):
    code = "exports.handler = async (event, context) => ({ ...context, left: context.getRemainingTimeInMillis(), keys: Object.keys(context) })"
    with start(command, name, code) as function:
        function.init()
        value = function.invoke(
            None,
            request_id="r-1",
            clientContext='{"custom": {"k": 1}}',
            cognitoIdentity='{"cognitoIdentityId": "i", "cognitoIdentityPoolId": "p"}',
            tenantId="blue",
            traceId="Root=1",
        ).value
        assert 2000 < value["left"] <= 3000
        assert value["clientContext"] == {"custom": {"k": 1}} and value["identity"]["cognitoIdentityPoolId"] == "p"
        assert value["awsRequestId"] == "r-1" and value["tenantId"] == "blue" and value["functionVersion"] == "$LATEST"
        assert value["memoryLimitInMB"] == "128" and value["logStreamName"].startswith("2026/")
        old = ["callbackWaitsForEmptyEventLoop", "succeed", "fail", "done"]
        assert [key for key in value["keys"] if key in old] == ([] if version(name) >= 24 else old)
        if version(name) < 24:
            failure = function.invoke(None, clientContext="{").failure
            assert failure["errorMessage"].startswith("Cannot parse ClientContext as json: SyntaxError"), failure


def test_environment_is_that_of_init(command, name):
    code = """
const early = { ...process.env };
exports.handler = async () => ({ env: early, trace: process.env._X_AMZN_TRACE_ID, zone: new Date(0).getHours(), cwd: process.cwd(), argv: process.argv.slice(1), main: typeof require.main, cached: Object.keys(require.cache), tz: new Date(2026, 0).getTimezoneOffset() });
"""
    more = {"env": {"TZ": "America/New_York", "MINE": "1"}, "process_env": {"HOSTS_OWN": "1"}}
    with start(command, name, code, **more) as function:
        function.init()
        value = function.invoke(None, traceId="Root=1").value
        assert value["env"] == function.env, value["env"]
        assert value["trace"] == "Root=1" and value["tz"] == 300 and value["main"] == "undefined"
        assert os.path.realpath(value["cwd"]) == os.path.realpath(function.folder)
        assert value["argv"] == ["/var/runtime/index.mjs"]
        assert not any("bootstrap" in path for path in value["cached"]), value["cached"]
        assert "trace" not in function.invoke(None).value


def test_node_path(command, name):
    files = {"elsewhere/lib/index.js": "module.exports = 7"}
    with start(command, name, "exports.handler = async () => require('lib')", files=files) as function:
        function.env["NODE_PATH"] = function.folder + "/elsewhere"
        function.init()
        assert function.invoke(None).value == 7


def test_files(command, name):
    module = "export const handler = async () => import.meta.url.split('/').pop()"
    common = "exports.handler = async () => __filename.split('/').pop()"
    assert answers(command, name, module, file="app.mjs").value == "app.mjs"
    assert answers(command, name, common, file="app.cjs").value == "app.cjs"
    assert answers(command, name, module, files={"package.json": '{"type": "module"}'}).value == "app.js"
    assert answers(command, name, common, files={"package.json": '{"type": "commonjs"}'}).value == "app.js"
    assert answers(command, name, common, file="dir/sub/app.js", handler="dir/sub/app.handler").value == "app.js"
    assert answers(command, name, common, file="node_modules/lib/index.js", handler="lib.handler").value == "index.js"
    late = "const value = await new Promise((done) => setTimeout(done, 10, 'late'));\nexport const handler = async () => value"
    assert answers(command, name, late, file="app.mjs").value == "late"
    default = "module.exports.handler = async () => 'default'; module.exports['not-a-name'] = 1"
    assert answers(command, name, default).value == "default"


def test_load_failures(command, name):
    modern = version(name) >= 24
    title = "Init Error" if modern else "Uncaught Exception"
    error, status, text = init_error(command, name, "require('nothing-like-it')")
    assert error["errorType"] == "Runtime.ImportModuleError" and status == (1 if modern else 129)
    assert error["errorMessage"].startswith("Error: Cannot find module 'nothing-like-it'\nRequire stack:\n- /"), error
    line = r'%s\t%s\tERROR\t%s \t{"errorType":"Runtime.ImportModuleError","errorMessage":"Error: Cannot find module' % (STAMP, "-" if modern else "undefined", title)
    assert re.match(line, text), text
    error, _, _ = init_error(command, name, "", handler="gone.handler")
    assert error["errorType"] == "Runtime.ImportModuleError" and "Cannot find module 'gone'\nRequire stack:\n- /var/runtime/index.mjs" in error["errorMessage"]
    error, _, _ = init_error(command, name, "exports.x = {", handler="app.x")
    assert error["errorType"] == "Runtime.UserCodeSyntaxError" and error["errorMessage"].startswith("SyntaxError: "), error
    error, _, _ = init_error(command, name, "exports.x = 1", handler="app.x")
    assert error["errorType"] == "Runtime.HandlerNotFound" and error["errorMessage"] == "app.x is not a function"
    error, _, _ = init_error(command, name, "exports.x = 1", handler="app.y.z")
    assert error["errorMessage"] == "app.y.z is undefined or not exported"
    assert error["trace"][0] == "Runtime.HandlerNotFound: app.y.z is undefined or not exported", error
    error, _, _ = init_error(command, name, "", handler="app")
    assert error["errorType"] == "Runtime.MalformedHandlerName" and error["errorMessage"] == "Bad handler"
    error, _, _ = init_error(command, name, "", handler="../app.handler")
    assert error["errorMessage"].startswith("'../app.handler' is not a valid handler name. Use absolute paths")
    error, _, _ = init_error(command, name, "throw new TypeError('while loading')")
    assert error["errorType"] == "TypeError" and error["trace"][0] == "TypeError: while loading"


def test_a_module_that_never_loads(command, name):
    with start(command, name, "await new Promise(() => {}); export const handler = 1", file="app.mjs") as function:
        try:
            function.init()
            raise AssertionError("loaded")
        except Gone:
            assert function.exited() == (0 if version(name) >= 24 else 13)


def test_errors_of_handlers(command, name):
    code = """
class Mine extends Error { constructor(m) { super(m); this.name = 'Mine'; this.extra = 1; this.code = 'E'; } }
exports.handler = async (event) => {
  if (event === 'string') throw 'words';
  if (event === 'undefined') throw undefined;
  if (event === 'cycle') { const a = {}; a.a = a; return a; }
  throw new Mine('m');
};
"""
    with start(command, name, code) as function:
        function.init()
        failure = function.invoke(None, request_id="r-1").failure
        assert list(failure) == ["errorType", "errorMessage", "trace"]
        assert failure["errorType"] == "Mine" and failure["trace"][0] == "Mine: m", failure
        assert re.match(r"    at (Runtime\.)?(exports\.)?handler \(.*/app\.js:7:9\)", failure["trace"][1]), failure
        text = function.text()
        assert re.match(STAMP + r'\tr-1\tERROR\tInvoke Error \t{"errorType":"Mine","errorMessage":"m","code":"E",', text), text
        assert '"extra":1' in text and '"stack":["Mine: m",' in text
        assert function.invoke("string").failure == {"errorType": "string", "errorMessage": "words", "trace": []}
        failure = function.invoke("undefined").failure
        if version(name) < 24:
            assert failure == {"errorType": "string", "errorMessage": "handled", "trace": []}, failure
        failure = function.invoke("cycle").failure
        assert failure["errorMessage"] == "Unable to stringify response body"
        assert failure["errorType"] == ("Runtime.JSONStringifyError" if version(name) >= 24 else "Error")


def test_failures_that_nobody_catches(command, name):
    code = """
exports.handler = async (event) => {
  if (event === 'rejection') { Promise.reject(new TypeError('t')); await new Promise((done) => setTimeout(done, 1000)); }
  if (event === 'exception') { setTimeout(() => { throw new RangeError('r') }, 1); await new Promise((done) => setTimeout(done, 1000)); }
  await new Promise(() => {});
};
"""
    if version(name) >= 24:
        for event, status in (("rejection", 1), ("exception", 1), ("never", 0)):
            with start(command, name, code) as function:
                function.init()
                assert gone(function, event) == status, event
                assert (b"TypeError: t" in function.err) == (event == "rejection")
        return
    with start(command, name, code) as function:
        function.init()
        error, status = failed(function, "rejection")
        assert status == 128 and error["errorType"] == "Runtime.UnhandledPromiseRejection" and error["errorMessage"] == "TypeError: t"
        assert b'\tERROR\tUnhandled Promise Rejection \t{"errorType":"Runtime.UnhandledPromiseRejection"' in function.out
        assert b'"reason":{"errorType":"TypeError"' in function.out
    with start(command, name, code) as function:
        function.init()
        error, status = failed(function, "exception")
        assert status == 129 and error["errorType"] == "RangeError" and b"\tERROR\tUncaught Exception \t{" in function.out
    with start(command, name, code) as function:
        function.init()
        failure = function.invoke("never").failure
        assert failure["errorType"] == "Runtime.NodeJsExit", failure
        assert failure["errorMessage"].startswith("The Lambda runtime client detected an unexpected Node.js exit code.")
        assert function.invoke("never").failure["errorType"] == "Runtime.NodeJsExit"


def test_a_failure_between_invocations(command, name):
    code = "const later = () => setTimeout(() => { throw new RangeError('r') }, 30); exports.handler = async () => { later() }; if (process.env.NOW) later()"
    for env in ({}, {"NOW": "1"}):
        with start(command, name, code, env=env) as function:
            function.init()
            if not env:
                function.invoke(None)
            try:
                function.frame()
                raise AssertionError("said something")
            except Gone:
                assert function.exited() == (1 if version(name) >= 24 else 129)


def test_a_failure_right_after_loading(command, name):
    code = "Promise.reject(new RangeError('r')); exports.handler = async () => 1"
    with start(command, name, code) as function:
        function.expect(PARKED)
        function.send_init()
        said = []
        try:
            while True:
                said.append(function.frame()[0])
        except Gone:
            # From 24 on the failure may come before the handler counts as loaded; never is it told behind READY.
            assert said in ([READY], [host.INIT_ERROR], []), said
            assert function.exited() == (1 if version(name) >= 24 else 128)


def test_what_json_has_no_text_for(command, name):
    with start(command, name, "exports.handler = async (event) => event === 1 ? () => 1 : Symbol('s')") as function:
        function.init()
        for event in (1, 2):
            failure = function.invoke(event).failure
            assert (failure["errorType"], failure["errorMessage"]) == ("TypeError", "Wrong arguments"), failure


def test_a_stream_that_never_ends(command, name):
    for write in ("stream.write('one')", "new Promise(() => {})"):
        with start(command, name, "exports.handler = awslambda.streamifyResponse(async (event, stream) => { %s; await new Promise(() => {}) })" % write) as function:
            function.init()
            function.ask(None)
            if "write" in write:
                function.expect(HEAD), function.expect_part(b"one")
            function.stays_silent()
            assert function.process.poll() is None  # until its time is over


LOGGING = """
console.log('loading');
exports.handler = async (event, context) => {
  console.trace('t'); console.debug('d %s', 1); console.info({a: 1}); console.warn('w\\nsecond'); console.error('e', new Error('inner')); console.fatal('f');
  console.error(new TypeError('alone'));
};
"""


def test_console_as_text(command, name):
    with start(command, name, LOGGING) as function:
        function.init()
        function.invoke(None, request_id="r-1")
        lines = function.text().split("\n")
        assert re.fullmatch(STAMP + "\t%s\tINFO\tloading" % ("-" if version(name) >= 24 else "undefined"), lines[0]), lines
        tails = [re.sub(STAMP, "T", line) for line in lines[1:]]
        assert tails[:4] == ["T\tr-1\tTRACE\tt", "T\tr-1\tDEBUG\td 1", "T\tr-1\tINFO\t{ a: 1 }", "T\tr-1\tWARN\tw\rsecond"], tails
        assert tails[4].startswith("T\tr-1\tERROR\te Error: inner\r    at "), tails
        assert tails[5] == "T\tr-1\tFATAL\tf"
        assert function.error_text() == ""


def test_console_as_json(command, name):
    env = {"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "INFO"}
    with start(command, name, LOGGING, env=env) as function:
        function.init()
        function.invoke(None, request_id="r-1", tenantId="t")
        events = [json.loads(line) for line in function.text().splitlines()]
        assert [event["level"] for event in events] == ["INFO", "INFO", "WARN", "ERROR", "FATAL", "ERROR"]
        loading, info, warn, error, fatal, alone = events
        assert loading.get("requestId") == ("-" if version(name) >= 24 else None)
        assert list(info) == ["timestamp", "level", "requestId", "tenantId", "message"] and info["message"] == {"a": 1}
        assert re.fullmatch(STAMP, info["timestamp"]) and info["requestId"] == "r-1" and info["tenantId"] == "t"
        assert error["errorType"] == "Error" and error["errorMessage"] == "inner" and error["stackTrace"][0] == "Error: inner"
        assert alone["message"]["errorType"] == "TypeError" and alone["message"]["stackTrace"][0] == "TypeError: alone"
    with start(command, name, "exports.handler = async () => { throw new Error('v') }", env=env) as function:
        function.init()
        function.invoke(None)
        event = json.loads(function.text())
        assert event["level"] == "ERROR" and event["message"]["errorMessage"] == "v"


def test_log_pipe(command, name):
    with start(command, name, LOGGING, log_pipe=True, env={"AWS_LAMBDA_LOG_LEVEL": "debug"}) as function:
        function.init()
        function.invoke(None)
        events = function.log_frames()
        assert [hex(kind) for kind, _ in events] == ["0xa55a00" + level for level in ("0f", "0b", "0f", "13", "17", "1b", "17")], events
        assert events[3][1].endswith("w\nsecond\n") and function.text() == ""
    with start(command, name, LOGGING, log_pipe=True, env={"AWS_LAMBDA_LOG_FORMAT": "JSON"}) as function:
        function.init()
        function.invoke(None)
        kind, text = function.log_frames()[-1]
        assert kind == 0xA55A0016 and json.loads(text)["level"] == "ERROR"
    code = "exports.handler = async () => process.env._LAMBDA_TELEMETRY_LOG_FD === undefined"
    assert answers(command, name, code, log_pipe=True).value is True


def test_marks_go_nowhere_else(command, name):
    """What a function does with the number of the marks' pipe is its own business."""
    code = """
const fs = require('fs')
exports.handler = async () => {
  console.log('before')
  fs.closeSync(61)
  console.log('closed')
  const opened = []
  while (opened.at(-1) !== 61) opened.push(fs.openSync('other', 'a'))
  console.log('reused')
  return fs.statSync('other').size
}
"""
    marked = ["bash", "-c", 'exec "$0" "$@" 61>&1', *command]
    with start(marked, name, code, log_pipe=True) as function:
        assert function.init() is None
        assert function.invoke(None).value == 0
        kinds = [(hex(kind), text.split("\t")[-1].strip()) for kind, text in function.log_frames()]
        assert kinds == [("0xa55b000f", "before"), ("0xa55a000f", "closed"), ("0xa55a000f", "reused")], kinds
        assert function.out == b"\xff\xfemark\xff\n", function.out


def test_what_is_printed_survives_a_crash(command, name):
    code = "exports.handler = async () => { console.log('line'); process.stdout.write('no end of line'); process.stderr.write('error'); process.kill(process.pid, 'SIGSEGV'); await new Promise((done) => setTimeout(done, 5000)) }"
    with start(command, name, code) as function:
        function.init()
        assert gone(function) == -signal.SIGSEGV
        assert function.out.endswith(b"INFO\tline\nno end of line") and function.err == b"error"


def test_exits(command, name):
    code = "process.on('exit', () => process.stdout.write('at exit')); exports.handler = async (event) => process.exit(event)"
    for status in (0, 4):
        with start(command, name, code) as function:
            function.init()
            assert gone(function, status) == status and function.out == b"at exit"
    with start(command, name, "process.exit(3)") as function:
        try:
            function.init()
            raise AssertionError("loaded")
        except Gone:
            assert function.exited() == 3


STREAM = """
const { pipeline } = require('stream/promises'), { Readable } = require('stream');
exports.handler = awslambda.streamifyResponse(async (event, stream, context) => {
  context.callbackWaitsForEmptyEventLoop = false;
  if (event === 'http') stream = awslambda.HttpResponseStream.from(stream, { statusCode: 201, headers: { a: 'b' } });
  if (event === 'type') stream.setContentType('text/plain');
  if (event === 'object') { stream.write({ a: 1 }); stream.end(); return; }
  if (event === 'middle') { stream.write('begun'); throw new TypeError('t'); }
  if (event === 'before') throw new TypeError('t');
  if (event === 'late') { stream.write('x'); try { stream.setContentType('y') } catch (e) { stream.end(e.name + ': ' + e.message) } return; }
  if (event === 'unfinished') { stream.write('begun'); stream.destroy(); return; }
  if (event === 'large') { await pipeline(Readable.from(function* () { for (let i = 0; i < 100; i++) yield Buffer.alloc(100000, i) }()), stream); return; }
  if (event === 'empty') { stream.end(); return; }
  stream.write('one,'); await new Promise((done) => setTimeout(done, 5)); stream.write('two'); stream.end();
});
"""


def test_streams(command, name):
    with start(command, name, STREAM) as function:
        function.init()
        answer = function.invoke(None)
        assert answer.head == {"contentType": "application/octet-stream", "streaming": True} and answer.body == b"one,two"
        assert answer.chunks[:2] == [b"one,", b"two"], answer.chunks
        answer = function.invoke("http")
        assert answer.head["contentType"] == "application/vnd.awslambda.http-integration-response"
        assert answer.body == b'{"statusCode":201,"headers":{"a":"b"}}' + b"\0" * 8 + b"one,two", answer.body
        assert function.invoke("type").head["contentType"] == "text/plain"
        assert function.invoke("object").body == b'{"a":1}'
        assert function.invoke("empty").body == b""
        assert function.invoke("late").body == b"xRuntime.InvalidStreamingOperation: Cannot set content-type, too late."
        answer = function.invoke("middle")
        assert answer.body == b"begun" and answer.failure["errorType"] == "TypeError"
        assert function.invoke("before").failure["errorMessage"] == "t"
        answer = function.invoke("large")
        assert len(answer.body) == 10_000_000 and answer.body[-1] == 99 and answer.error is None
        assert function.invoke("object").body == b'{"a":1}'
        assert "Invoke Error \t" in function.text()


def test_stream_waits_for_credit(command, name):
    code = "exports.handler = awslambda.streamifyResponse(async (event, stream) => { let n = 0; while (n < 20) { n++; if (!stream.write(Buffer.alloc(50000))) { console.log('full ' + n); await new Promise((done) => stream.once('drain', done)); } } stream.end(); })"
    with start(command, name, code) as function:
        function.init()
        function.ask(None)
        function.expect(HEAD)
        function.waits_for_credit(1)
        written = [int(n) for n in re.findall(r"full (\d+)", function.text())]
        assert written and written[-1] < 10, written  # what the stream's own buffer holds beyond the credit, and no more
        function.socket.sendall(host.frame(CREDIT, 1, (2_000_000).to_bytes(4, "little")))
        have, more = CREDIT_BYTES, True
        while more:
            kind, more, _, payload = function.frame()
            have += len(payload)
        assert kind == RESPONSE and have == 1_000_000
        function.expect(host.NEXT)


def test_large_events_and_responses(command, name):
    with start(command, name, "exports.handler = async (event) => event") as function:
        function.init()
        event = "é" * (3 * 1024 * 1024 - 1)
        assert function.invoke(raw=('"%s"' % event).encode()).value == event
        assert function.invoke("small").value == "small"


def test_frames_in_pieces(command, name):
    with start(command, name, "exports.handler = async (event) => event") as function:
        function.expect(PARKED)
        data = host.message(host.INIT, 0, json.dumps({"env": function.env}).encode())
        event = '["é"]'.encode()
        data += host.question(1, event[:3], event[3:])
        for at in range(len(data)):
            function.socket.sendall(data[at : at + 1])
        function.expect(READY)
        assert function.collect(1).value == ["é"]


def test_children_and_descriptors(command, name):
    code = """
const { execFileSync } = require('child_process'), fs = require('fs');
exports.handler = async (event) => {
  if (event === 'close') { for (const fd of [0, 1, 2]) fs.closeSync(fd); return 'closed'; }
  return execFileSync('ls', ['/proc/self/fd']).toString();
};
"""
    with start(command, name, code) as function:
        function.init()
        assert function.invoke(None).value == "0\n1\n2\n3\n"
        assert function.invoke("close").value == "closed"


def test_background_work_goes_on_with_the_next_event(command, name):
    code = "let n = 0; exports.handler = async () => { setTimeout(() => n++, 1); if (n === 0) return n; await new Promise((done) => setTimeout(done, 20)); return n; }"
    with start(command, name, code) as function:
        function.init()
        assert function.invoke(None).value == 0
        # Five calls can be over before the first timer is due.
        until = time.monotonic() + 10
        while function.invoke(None).value == 0:
            assert time.monotonic() < until, "no timer fired in ten seconds of calls"


def test_without_a_host_there_is_no_process(command, name):
    code = "exports.handler = async (event) => { if (event) await new Promise((done) => setTimeout(done, 60000)) }"
    with start(command, name, code) as function:
        function.init()
        function.socket.close()
        assert function.exited() == 1
    with start(command, name, code) as function:
        function.init()
        function.ask(1)
        function.socket.close()
        assert function.exited() == 1
    with start(command, name, code) as function:
        function.init()
        function.socket.sendall(host.frame(host.SHUTDOWN, 0))
        assert function.exited() == 0


def test_globals(command, name):
    code = "exports.handler = async () => [typeof awslambda, typeof globalThis.awslambda?.streamifyResponse, globalThis.awslambda?.InvokeStore?.getRequestId()]"
    with start(command, name, code) as function:
        function.init()
        assert function.invoke(None, request_id="r-1").value == ["object", "function", "r-1" if version(name) >= 24 else None]
    assert answers(command, name, code, env={"AWS_LAMBDA_NODEJS_NO_GLOBAL_AWSLAMBDA": "1"}).value[0] == "undefined"


def test_the_function_decides_the_age(command, name):
    code = "exports.handler = (event, context, callback) => callback(null, 'old')"
    other = "AWS_Lambda_nodejs22.x" if version(name) >= 24 else "AWS_Lambda_nodejs24.x"
    with start(command, name, code, execution_env=other) as function:
        error = function.init()
        assert (error is None) == (version(name) >= 24)


def test_http(command, name):
    env = {"AWS_EXECUTION_ENV": "AWS_Lambda_nodejs%d.x" % version(name)}
    code = "exports.handler = async (event, context) => { if (!event) throw new TypeError('zéro'); return [event, process.env._X_AMZN_TRACE_ID, context.clientContext] }"
    for chunked in (False, True):
        api = RuntimeApi(chunked)
        with OverHttp(command, {"app.js": code}, "app.handler", api, env=env) as function:
            more = {"Lambda_Runtime_Trace_Id": "Root=1", "Lambda_Runtime_Client_Context": '{"custom": 1}'}
            path, headers, body, _ = api.invoke("e", "r-1", **more)
            assert path == "/2018-06-01/runtime/invocation/r-1/response" and json.loads(body) == ["e", "Root=1", {"custom": 1}]
            path, headers, body, _ = api.invoke(0, "r-2", **more)
            assert path == "/2018-06-01/runtime/invocation/r-2/error" and headers["lambda-runtime-function-error-type"] == "TypeError"
            cause = json.loads(headers["lambda-runtime-function-xray-error-cause"])
            assert cause["exceptions"][0]["message"] == "zéro" and cause["exceptions"][0]["stack"][0]["path"].endswith("app.js")
            assert api.invoke("x" * 5_000_000, "r-3", **more)[2].startswith(b'["xxx')
    api = RuntimeApi()
    with OverHttp(command, {"app.js": STREAM}, "app.handler", api, env=env) as function:
        path, headers, body, trailers = api.invoke("http", "r-1")
        assert headers["lambda-runtime-function-response-mode"] == "streaming" and body.endswith(b"\0one,two")
        assert headers["content-type"] == "application/vnd.awslambda.http-integration-response"
        path, headers, body, trailers = api.invoke("middle", "r-2")
        assert body == b"begun" and trailers["lambda-runtime-function-error-type"] == "TypeError", trailers
        assert api.invoke(None, "r-3")[2] == b"one,two"
    api = RuntimeApi()
    with OverHttp(command, {"app.js": "require('gone')"}, "app.handler", api, env=env) as function:
        path, headers, body, _ = api.post()
        assert path == "/2018-06-01/runtime/init/error" and headers["lambda-runtime-function-error-type"] == "Runtime.ImportModuleError"
        assert function.exited() != 0


LOOKS = r"""const first = new Error('on the first line').stack;
const fs = require('fs');
const inner = require('./inner');
const traces = {};
for (const name of ['./throws', './broken', './absent']) {
  try { require(name); } catch (error) { traces[name] = error.stack; }
}
const changed = new module.constructor(__filename, module);
changed._compile("exports.text = 'another text'", __filename);
const extensions = module.constructor._extensions;
const usual = extensions['.js'];
extensions['.js'] = (loaded, file) => {
  const compile = loaded._compile;
  loaded._compile = (text, name) => { loaded._compile = compile; return loaded._compile(text.replace('written', 'transpiled'), name); };
  return usual(loaded, file);
};
const transpiled = [require('./transpiled'), Object.keys(require.cache[require.resolve('./transpiled')])];
extensions['.js'] = usual;
exports.handler = async () => ({
  first, traces, transpiled, other: require('./other'), changed: changed.exports.text,
  texts: [exports.handler.toString(), inner.whole(), inner.add.toString()],
  module: [module.id, module.parent && module.parent.id, module.children.map((child) => child.id), module.paths[0], require.main === undefined, this === exports],
  require: [Object.keys(require), require.resolve('./inner'), Object.keys(require.cache).length, require.length, require.name],
  imported: [(await import('./esm.mjs')).default, (await import('fs')).default === fs, await import('./absent.mjs').catch((error) => error.message)],
  script: require('./script'), strict: inner.strict(), loaded: module.loaded, given: inner.given,
  compile: module.constructor.prototype._compile.length,
});
"""

LOOKED_AT = {
    "inner.js": "exports.whole = ((given) => () => given.callee.toString())(arguments);\nexports.add = function add(a, b) { return a + b; };\nexports.strict = function () { return this === undefined; }; exports.given = arguments.length;\n",
    "transpiled.js": "module.exports = 'written';\n",
    "other.js": "module.exports = 'written';\n",
    "throws.js": "'use strict'; function deep() { throw new TypeError('thrown'); }\n  deep();\n",
    "broken.js": "const a = ;\n",
    "esm.mjs": "export default 'an ES module';\n",
    "script": "#!/usr/bin/env node\nmodule.exports = 'with a first line of its own';\n",
}
LOOKED_AT["script.js"] = LOOKED_AT.pop("script")


def test_prepared_modules_are_not_seen(command, name):
    seen, data, before = [], b"", ""
    for told in ({}, {"prepare": True}, {"prepared": "here"}):
        with start(command, name, LOOKS, files=LOOKED_AT, env={"NODE_PATH": ""}) as function:
            if "prepared" in told:
                # What is known of a module is known by its path, which is the same for all instances on a real host.
                told = prepared.written(data.replace(before.encode(), function.folder.encode()))
            function.told = told
            assert function.init() is None
            answer = function.invoke({})
            assert answer.error is None, answer.error
            seen.append(json.loads(json.dumps(answer.value).replace(function.folder, "FOLDER")))
            if told.get("prepare"):
                data, before = function.prepared(), function.folder
                assert function.prepared() == b"\x02\x00\x00\x00{}", "it is handed over once"
    if version(name) >= 20:
        assert sorted(re.findall(rb"/(\w+)\.js\"", data)) == [b"app", b"inner", b"other", b"script", b"throws", b"transpiled"][version(name) < 22 :], data[:400]
    for part in seen[0]:
        for other in seen[1:]:
            assert seen[0][part] == other[part], "%s:\n%s\n%s" % (part, *(json.dumps(found[part], indent=1) for found in (seen[0], other)))


def test_prepared_modules_are_used(command, name):
    """V8 knows a source by its length alone: what runs under another module's digest tells where it comes from."""
    if version(name) < 20:
        return
    old, new = ("const text = '%s'; exports.handler = async () => text;" % text for text in ("old", "new"))
    digests = [base64.b64encode(hashlib.sha1(text.encode()).digest()) for text in (old, new)]

    def answer(change):
        with start(command, name, old) as function:
            function.told = {"prepare": True}
            assert function.init() is None
            data = function.prepared()
            with start(command, name, new, folder=function.folder, told=prepared.written(change(data))) as other:
                assert other.init() is None
                return other.invoke({}).value, other.rejected

    assert answer(lambda data: data) == ("new", False), "the text decides"
    lie = lambda data: data.replace(*digests)
    assert answer(lie) == ("old", False), "nothing was used"
    assert answer(lambda data: b"") == ("new", True)
    assert answer(lambda data: lie(data)[:-50]) == ("new", False)
    assert answer(lambda data: lie(data)[:20]) == ("new", True)
    # Lengths are taken for what they claim only as far as the file goes.
    assert answer(lambda data: b"\xff\xff\xff\xff" + lie(data)[4:]) == ("new", True)
    long = lambda found: b"[0," + b"9" * len(found[1]) + b","
    assert answer(lambda data: re.sub(rb"\[0,(\d+),", long, lie(data))) == ("new", False)

    def scrambled(data):
        head = 4 + int.from_bytes(data[:4], "little")
        return data[:head] + bytes(len(data) - head)

    assert answer(lambda data: scrambled(lie(data))) == ("new", True), "V8 rejects what it did not write"


if __name__ == "__main__":
    found = host.interpreters("Node.js", (16,), "NODES", [shutil.which("node")])
    sys.exit(host.run(dict(globals()), {name: [path, BOOTSTRAP] for name, path in found.items()}))
