"""However the server is reached from outside, functions find it at their own loopback address, and need no certificate."""

import os

from calling import check_that_functions_run, succeed, write

check_that_functions_run()
CALLS = """
import http.client, os
def handler(event, context):
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    connection = http.client.HTTPConnection(endpoint.removeprefix("http://"), timeout=5)
    connection.request("GET", "/_lamp/health")
    return [endpoint, connection.getresponse().status]
"""
write("calls", "python3.13", "app.handler", "app.py", CALLS)
port = os.environ["AWS_ENDPOINT_URL"].rsplit(":", 1)[1]
assert succeed("calls")[0] == [f"http://127.0.0.1:{port}", 200], succeed("calls")
print("done")
