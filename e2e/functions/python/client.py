"""The handlers that every client's function has, by what the event asks for, on awslambdaric."""

import os
import time

if "FAIL_INIT" in os.environ:
    raise RuntimeError("no init")


def answer(event, context):
    asked = event.get("do") if isinstance(event, dict) else None
    if asked == "context":
        custom = context.client_context and context.client_context.custom
        return {
            "request": context.aws_request_id, "arn": context.invoked_function_arn, "client": {"custom": custom},
            "deadline": context.get_remaining_time_in_millis() + int(time.time() * 1000),
            "function": context.function_name, "version": context.function_version, "memory": context.memory_limit_in_mb,
        }  # fmt: skip
    if asked == "fail":
        raise ValueError("as asked")
    if asked == "big":
        return "x" * event["bytes"]
    if asked == "sleep":
        time.sleep(3600)
    if asked == "exit":
        os._exit(3)
    return event
