"""However the server is reached from outside, functions find it at their own loopback address, and need no certificate."""

import os

from calling import check_that_functions_reach_the_platform, check_that_functions_run

check_that_functions_run()
port = os.environ["AWS_ENDPOINT_URL"].rsplit(":", 1)[1]
check_that_functions_reach_the_platform(f"http://127.0.0.1:{port}")
print("done")
