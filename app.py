def handler(event, context): print("given", [record["body"] for record in event["Records"]])
