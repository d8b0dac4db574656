def handler(event, context):
    print("an event came")
    return event
