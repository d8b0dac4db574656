import time


def handler(event, context):
    entered = time.time_ns()
    if "Records" in event:
        records = event["Records"]
        print("entered", entered, len(records), *(record["body"][:8] for record in records[:10]))
        return None
    for _ in range(event.get("lines", 1)):
        print("an event came")
    if "sleep_ms" in event:
        time.sleep(event["sleep_ms"] / 1000)
    return event
