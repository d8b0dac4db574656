import time


def handler(event, context):
    print("an event came")
    if "sleep_ms" in event:
        time.sleep(event["sleep_ms"] / 1000)
    return event
