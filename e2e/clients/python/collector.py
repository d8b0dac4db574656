"""A collector of OpenTelemetry, as far as its protocol's own definitions go, gets what functions said and how they ran."""

import base64
import gzip
import http.server
import json
import os
import ssl
import threading
import time

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

FORMS = {"/v1/logs": ExportLogsServiceRequest, "/v1/traces": ExportTraceServiceRequest, "/v1/metrics": ExportMetricsServiceRequest}
taken = {path: [] for path in FORMS}
refusals = [503]
# With its key beside it: then it speaks TLS, and wants to be spoken to as services beyond want it.
CERTIFICATE = os.environ.get("COLLECTOR_CERTIFICATE")


def ids_as_protobuf_has_them(value):
    """The protocol's JSON has ids in hexadecimal digits, that of protobuf in base64."""
    if isinstance(value, list):
        return [ids_as_protobuf_has_them(one) for one in value]
    if isinstance(value, dict):
        ids = ("traceId", "spanId")
        return {
            key: base64.b64encode(bytes.fromhex(one)).decode() if key in ids else ids_as_protobuf_has_them(one)
            for key, one in value.items()
        }
    return value


class Collector(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if refusals:
            self.send_response(refusals.pop())
        else:
            assert self.headers["content-type"] == "application/json"
            if CERTIFICATE:
                assert (self.headers["content-encoding"], self.headers["api-key"]) == ("gzip", "a key"), self.headers
                body = gzip.decompress(body)
            read = json_format.ParseDict(ids_as_protobuf_has_them(json.loads(body)), FORMS[self.path]())
            taken[self.path].append(read)
            self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", int(os.environ["COLLECTOR_PORT"])), Collector)
if CERTIFICATE:
    settings = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    settings.load_cert_chain(CERTIFICATE, os.path.join(os.path.dirname(CERTIFICATE), "key.pem"))
    server.socket = settings.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()


def attributes(pairs):
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


def logs():
    return [
        (attributes(resource.resource.attributes), record)
        for request in taken["/v1/logs"]
        for resource in request.resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]


def spans():
    return [
        (attributes(resource.resource.attributes), span)
        for request in taken["/v1/traces"]
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def counts():
    """What the last word on metrics was."""
    return {
        (attributes(resource.resource.attributes)["faas.name"], metric.name): metric.sum.data_points[0].as_int
        for request in taken["/v1/metrics"]
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.sum.is_monotonic
    }


from say_and_fail import ids  # noqa: E402

until = time.monotonic() + 60
while time.monotonic() < until:
    said = [record.body.string_value for _, record in logs()]
    ran = {attributes(span.attributes)["faas.invocation_id"]: (resource, span) for resource, span in spans()}
    if "said 1" in said and "said 0" in said and set(ids) <= set(ran):
        break
    time.sleep(0.1)
else:
    raise AssertionError((said, list(ran)))
assert not refusals, "it was sent again after a refusal"
resource, span = ran[ids[0]]
assert resource["faas.name"] == "told" and resource["faas.version"] == "$LATEST", resource
assert resource["cloud.resource_id"] == "arn:aws:lambda:us-east-1:000000000000:function:told", resource
assert len(span.trace_id) == 16 and len(span.span_id) == 8, span
assert 0 < span.end_time_unix_nano - span.start_time_unix_nano < 60e9, span
assert attributes(span.attributes)["faas.coldstart"] is True and span.status.code == 0, span
_, failed = ran[ids[1]]
assert failed.status.code == 2 and attributes(failed.attributes)["faas.coldstart"] is False, failed
assert attributes(failed.attributes)["error.type"] .startswith("Function."), failed

while time.monotonic() < until and counts().get(("told", "faas.invocations"), 0) < len(ids):
    time.sleep(0.1)
assert counts()["told", "faas.invocations"] == len(ids), counts()
assert counts()["told", "faas.errors"] == 1 and counts()["told", "faas.coldstarts"] >= 1, counts()
