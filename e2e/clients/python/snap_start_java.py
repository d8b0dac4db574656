"""SnapStart of a function in Java that uses `org.crac` as it is in Maven Central."""

import sys
import threading

from calling import awslambda, check_that_functions_run, make, refused, zipped
from snap_start import SNAP, active, failed, invoke, publish, restored

ZIP = zipped({}, sys.argv[1])


def snap(name, **variables):
    make(
        name, "java21", "Snapped::handleRequest", ZIP, SnapStart=SNAP, MemorySize=512, Timeout=30,
        Environment={"Variables": variables},
    )  # fmt: skip
    return publish(name)


check_that_functions_run()
version = snap("hooked")
active("hooked", version)
(*told, kind, first), log = restored("hooked", version)
assert told == ["before 2", "before 1", "after 1", "after 2"] and kind == "snap-start", told
(*told, kind, second), log = invoke("hooked", version)
assert "Restore Duration" not in log and first != second, log
drawn = []
calls = [threading.Thread(target=lambda: drawn.append(invoke("hooked", version, sleep=2000)[0][-1])) for _ in range(6)]
[call.start() for call in calls]
[call.join() for call in calls]
assert len(set(drawn)) == 6, drawn
failed("before", snap("before", FAILS_BEFORE="1"))
version = snap("after", FAILS_AFTER="2")
active("after", version)
refused("SnapStartException", "afterRestore() runtime hook", awslambda.invoke, FunctionName="after", Qualifier=version)
