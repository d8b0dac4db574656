"""The Ruby bootstrap on every interpreter that is here: `ruby_test.py [INTERPRETER..]`; ONLY=part picks tests.

Interpreters are `ruby` on PATH and those that RUBIES (a list of paths, by colons) names."""

import json
import os
import re
import shutil
import signal
import sys

import host
from host import PARKED, READY, Gone, Host, OverHttp, RuntimeApi

BOOTSTRAP = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "ruby", "bootstrap.rb")


def start(command, code, handler="app.handler", files=(), **more):
    more.setdefault("execution_env", "AWS_Lambda_ruby3.4")
    return Host(command, dict({"app.rb": code}, **dict(files)), handler, **more)


def answers(command, code, event=None, **more):
    with start(command, code, **more) as function:
        assert function.init() is None
        return function.invoke(event)


def failed(function, event=None):
    """Invokes a function whose process ends with an error: that error, and the exit status."""
    return function.fails_for_good(event)


def test_event_and_response(command):
    event = {"text": "é\u2028\U0001f600", "n": [1, -2.5, None, True]}
    assert answers(command, "def handler(event:, context:) = event", event).value == event
    assert answers(command, "def handler(event:, context:); end").body == b"null"
    code = "class Mine; module Inner; end; def self.act(event:, context:) = 'class'; end"
    assert answers(command, code, handler="app.Mine.act").value == "class"
    assert answers(command, "", files={"dir/app.rb": "def act(event:, context:) = __FILE__"}, handler="dir/app.act").value.endswith("dir/app.rb")
    assert answers(command, "def handler(event:, context:) = StringIO.new('raw')").body == b"raw"


def test_context(command):
    code = """
def handler(event:, context:)
  names = %i[aws_request_id invoked_function_arn log_group_name log_stream_name function_name memory_limit_in_mb function_version identity tenant_id client_context]
  { values: names.to_h { |name| [name, context.send(name)] }, left: context.get_remaining_time_in_millis }
end
"""
    with start(command, code) as function:
        function.init()
        value = function.invoke(None, request_id="r-1", clientContext='{"custom": {"k": 1}}', cognitoIdentity='{"cognitoIdentityId": "i"}', tenantId="blue").value
        assert 2000 < value["left"] <= 3000
        values = value["values"]
        assert values["aws_request_id"] == "r-1" and values["tenant_id"] == "blue" and values["client_context"] == {"custom": {"k": 1}}
        assert values["identity"] == {"cognitoIdentityId": "i"} and values["memory_limit_in_mb"] == "128" and values["function_version"] == "$LATEST"
        assert function.invoke(None, deadlineMs=5).value["left"] == 0


def test_environment_is_that_of_init(command):
    code = "EARLY = ENV.to_h\ndef handler(event:, context:) = { env: EARLY, trace: ENV['_X_AMZN_TRACE_ID'], zone: Time.at(0).zone, cwd: Dir.pwd, path: $LOAD_PATH, gems: Gem.path }"
    env = {"TZ": "America/New_York", "RUBYLIB": "/opt/ruby/lib", "GEM_PATH": "/opt/ruby/gems/3.4.0"}
    with start(command, code, env=env, process_env={"HOSTS_OWN": "1"}) as function:
        function.init()
        value = function.invoke(None, traceId="Root=1").value
        assert value["env"] == function.env and value["trace"] == "Root=1" and value["zone"] == "EST"
        assert os.path.realpath(value["cwd"]) == os.path.realpath(function.folder)
        assert value["path"][0] == value["cwd"] and "/opt/ruby/lib" in value["path"] and "/opt/ruby/gems/3.4.0" in value["gems"]


def test_load_failures(command):
    for code, handler, kind, words in (
        ("require 'nothing_like_it'", "app.handler", "LoadError", "cannot load such file -- nothing_like_it"),
        ("", "gone.handler", "LoadError", "cannot load such file -- gone"),
        ("raise 'while loading'", "app.handler", "RuntimeError", "while loading"),
        ("def handler(", "app.handler", "SyntaxError", "app.rb"),
        ("", "handler", "ArgumentError", 'Invalid handler ["handler"], must be of form FILENAME.METHOD or FILENAME.CLASS.METHOD'),
        ("exit 3", "app.handler", "SystemExit", "exit"),
    ):
        with start(command, code, handler) as function:
            error = function.init()
            assert error["errorType"] == "Init<%s>" % kind and words in error["errorMessage"], error
            assert list(error) == ["errorMessage", "errorType", "stackTrace"]
            assert not any("bootstrap.rb" in entry for entry in error["stackTrace"])
            assert function.exited() == 252
            assert function.out.startswith(b'Init error when loading handler \n{\n  "errorMessage": "'), function.out


def test_errors_of_handlers(command):
    code = """
class Mine < StandardError; end
def handler(event:, context:)
  raise Mine, 'm' if event == 'mine'
  exit 3 if event == 'exit'
  return Float::NAN if event == 'nan'
  nothing_like_it
end
"""
    with start(command, code) as function:
        function.init()
        failure = function.invoke("mine").failure
        assert failure["errorType"] == "Function<Mine>" and failure["errorMessage"] == "m"
        assert len(failure["stackTrace"]) == 1 and re.search(r"app\.rb:4:in [`'](Object#)?handler'", failure["stackTrace"][0]), failure
        assert function.text().startswith('Error raised from handler method\n{\n  "errorMessage": "m",\n')
        assert "NaN" in function.invoke("nan").failure["errorMessage"]
    for event, kind in (("exit", "SystemExit"), ("name", "NameError")):
        with start(command, code) as function:
            function.init()
            error, status = failed(function, event)
            assert error["errorType"] == "Function<%s>" % kind and status == 255, (error, status)
            assert function.out.startswith(b"Critical exception from handler\n")
    with start(command, "") as function:
        function.init()
        error, status = failed(function)
        assert error["errorType"] == "Function<NoMethodError>" and "undefined method" in error["errorMessage"] and status == 255


def test_output(command):
    code = """
Logger.new($stdout).info('loading')
def handler(event:, context:)
  puts 'put', ['nested']
  Logger.new($stdout).warn('warned')
  $stdout.print 'no end of line'
  Process.kill(:SEGV, $$) if event
end
"""
    with start(command, code) as function:
        function.init()
        function.invoke(None)
        assert re.search(r"INFO -- : loading\nput\nnested\nW, \[.*\]  WARN -- : warned\nno end of line", function.text()), function.text()
    with start(command, code, log_pipe=True) as function:
        function.init()
        function.invoke(None, request_id="r-1")
        events = function.log_frames()
        assert {kind for kind, _ in events} == {0xA55A0003}
        assert [text for _, text in events][1] == "put\nnested\n"
        assert re.match(r"W, \[.* #\d+\]  WARN r-1 -- : warned$", events[2][1]), events
        assert function.text() == "no end of line"
    with start(command, "def handler(event:, context:); print 'line'; Process.kill(:KILL, $$); end") as function:
        function.init()
        try:
            function.invoke(None)
            raise AssertionError("answered")
        except Gone:
            assert function.exited() == -signal.SIGKILL and function.out == b"line"


def test_marks_go_nowhere_else(command):
    """What a function does with the number of the marks' pipe is its own business."""
    code = """
def handler(event:, context:)
  puts 'before'
  IO.for_fd(61).close
  puts 'closed'
  opened = []
  opened << File.open('other', 'a') until opened.last&.fileno == 61
  puts 'reused'
  File.size('other')
end
"""
    marked = ["bash", "-c", 'exec "$0" "$@" 61>&1', *command]
    with start(marked, code, log_pipe=True) as function:
        assert function.init() is None
        assert function.invoke(None).value == 0
        kinds = [(hex(kind), text.strip()) for kind, text in function.log_frames()]
        assert kinds == [("0xa55b0003", "before"), ("0xa55a0003", "closed"), ("0xa55a0003", "reused")], kinds
        assert function.out == b"\xff\xfemark\xff\n", function.out


def test_marshaller_can_be_replaced(command):
    code = """
module AwsLambda
  class Marshaller
    def self.marshall_request(raw) = [raw['lambda-runtime-aws-request-id'], raw.body.upcase]
  end
end
def handler(event:, context:) = event
"""
    assert answers(command, code, "up").value[1] == '"UP"'


def test_forks_do_not_answer(command):
    code = """
def handler(event:, context:)
  return `ls /proc/self/fd` if event == 'run'
  child = fork { sleep 30 } if event == 'sleep'
  Process.exit!(9) if event == 'sleep'
  child = fork
  return 'child' unless child
  Process.wait(child)
  'parent'
end
"""
    with start(command, code) as function:
        function.init()
        assert function.invoke("fork").value == "parent"
        assert function.invoke("run").value == "0\n1\n2\n3\n"
        assert function.invoke("fork").value == "parent"
        function.process.stdout.close()
        try:
            function.invoke("sleep")
            raise AssertionError("answered")
        except Gone:
            assert function.process.wait(host.WAIT_SECONDS) == 9


def test_large_events_and_credit(command):
    with start(command, "def handler(event:, context:) = event.is_a?(Integer) ? 'x' * event : event") as function:
        function.init()
        event = "é" * (3 * 1024 * 1024 - 1)
        assert function.invoke(raw=('"%s"' % event).encode()).value == event
        function.answers_in_pieces(b"262998", 263_000)


def test_without_a_host_there_is_no_process(command):
    with start(command, "def handler(event:, context:); end", early=True) as function:
        function.expect(PARKED), function.expect(READY)
        function.socket.close()
        assert function.exited() == 1
    with start(command, "def handler(event:, context:); end") as function:
        function.init()
        function.socket.sendall(host.frame(host.SHUTDOWN, 0))
        assert function.exited() == 0


def test_http(command):
    code = "def handler(event:, context:); raise 'zéro' if event == 0; [event, context.client_context, ENV['_X_AMZN_TRACE_ID']]; end"
    api = RuntimeApi()
    with OverHttp(command, {"app.rb": code}, "app.handler", api) as function:
        more = {"Lambda_Runtime_Trace_Id": "Root=1", "Lambda_Runtime_Client_Context": '{"custom": 1}'}
        path, headers, body, _ = api.invoke("é", "r-1", **more)
        assert path == "/2018-06-01/runtime/invocation/r-1/response" and json.loads(body) == ["é", {"custom": 1}, "Root=1"]
        path, headers, body, _ = api.invoke(0, "r-2", **more)
        assert path == "/2018-06-01/runtime/invocation/r-2/error" and json.loads(body)["errorType"] == "Function<RuntimeError>"
        assert headers["lambda-runtime-function-error-type"] == "Function<UserException>"
        assert json.loads(headers["lambda-runtime-function-xray-error-cause"])["exceptions"][0]["message"] == "zéro"
        assert api.invoke("again", "r-3")[2].startswith(b'["again"')


if __name__ == "__main__":
    found = host.interpreters("Ruby", (3, 1), "RUBIES", [shutil.which("ruby")])
    sys.exit(host.run(dict(globals()), {name: [path, BOOTSTRAP] for name, path in found.items()}))
