"""A pytest plugin that lets LocalStack's test-suite judge a server that is already running, and tells the runner how it goes.

`cargo xtask conformance` (xtask/src/conformance) starts pytest with it. It reads its orders from `LAMP_CONFORMANCE_TESTS`
(a file with one test id a line) and `LAMP_CONFORMANCE_PORT`, and writes one JSON object a line to standard output; all
that pytest and the tests themselves say goes to standard error.
"""

import json
import os
import re
import socket
import sys
import types
import zipfile

import pytest

PORT = int(os.environ["LAMP_CONFORMANCE_PORT"])
REASON_MAX = 4000

# This module is loaded before pytest captures anything: from here on only `tell` reaches the runner.
_runner = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)


def tell(**event):
    print(json.dumps(event), file=_runner)


# A packaged suite has this module; a checkout does not.
_version = types.ModuleType("localstack.version")
_version.__version__ = _version.version = "0"
_version.__version_tuple__ = _version.version_tuple = (0,)
sys.modules["localstack.version"] = _version


# The suite gives every service and bucket a host of its own. Public DNS maps those names to 127.0.0.1; here they resolve
# without a network too.
_resolve = socket.getaddrinfo


def _resolve_ours(host, *arguments, **options):
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    if isinstance(name, str) and ("." + name).endswith((".localhost.localstack.cloud", ".localhost")):
        host = "127.0.0.1"
    return _resolve(host, *arguments, **options)


socket.getaddrinfo = _resolve_ours


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests():
    # Functions in compiled languages are built in containers. Tests of the control plane take any zip in their place.
    from localstack.testing.aws import lambda_utils

    build = lambda_utils.package_for_lang

    def build_or_stand_in(scenario, runtime, root_folder):
        try:
            return build(scenario, runtime, root_folder)
        except Exception:
            stand_in = os.environ["LAMP_CONFORMANCE_TESTS"] + ".stand-in.zip"
            with zipfile.ZipFile(stand_in, "w") as archive:
                archive.writestr("README", "Stands in for a function that could not be built on this machine.")
            return stand_in

    lambda_utils.package_for_lang = build_or_stand_in


def _plain(endpoint):
    return lambda client, operation: endpoint(client, operation).replace("https://", "http://", 1)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    # The suite's own configuration has set its own address by now.
    from localstack import config as suite

    suite.GATEWAY_LISTEN = suite.UniqueHostAndPortList([suite.HostAndPort(host="127.0.0.1", port=PORT)])
    suite.LOCALSTACK_HOST = suite.HostAndPort(host="localhost.localstack.cloud", port=PORT)

    # Some tests of CloudWatch speak its protocols by hand, by TLS, to the address that they found when they were imported.
    by_hand = sys.modules.get("tests.aws.services.cloudwatch.utils")
    for client in list(vars(by_hand).values()) if by_hand else []:
        if isinstance(client, type) and "_build_endpoint" in vars(client):
            client._build_endpoint = _plain(client._build_endpoint)
    if by_hand:
        by_hand.LOCALSTACK_HOST = suite.LOCALSTACK_HOST

    with open(os.environ["LAMP_CONFORMANCE_TESTS"], encoding="utf-8") as file:
        wanted = {line.rstrip("\n") for line in file}
    kept = [item for item in items if item.nodeid in wanted]
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in wanted])
    items[:] = kept
    tell(collected=len(kept))


# What is known of the test under way. A failed setup or call decides; how it cleans up after itself does not.
_outcome, _reason, _seconds = "passed", "", 0.0


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    global _outcome, _reason, _seconds
    report = (yield).get_result()
    if report.when == "setup":
        _outcome, _reason, _seconds = "passed", "", 0.0
    _seconds += report.duration
    if report.when != "teardown" and report.outcome != "passed":
        _outcome, _reason = report.outcome, _why(report)
    if report.when == "teardown":
        tell(test=item.nodeid, outcome=_outcome, seconds=round(_seconds, 2), reason=_reason[-REASON_MAX:])


# How a difference is dressed up for a terminal, and the advice of how to ignore it.
_COLOUR = re.compile("\x1b\\[[0-9;]*m")
_ADVICE = re.compile(r"\s*Ignore list \(.*\n.*")


def _why(report):
    if report.skipped and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])
    text = _ADVICE.sub("", _COLOUR.sub("", str(report.longrepr)))
    # Of a traceback, what was raised; a difference to the recording is shown whole.
    raised = [line[1:].strip() for line in text.splitlines() if line.startswith("E ")]
    return "\n".join(raised) or text.strip()
