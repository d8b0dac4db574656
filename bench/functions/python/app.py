import time


def handler(event, context):
    for _ in range(event.get("lines", 1)):
        print("an event came")
    if "sleep_ms" in event:
        time.sleep(event["sleep_ms"] / 1000)
    return event
