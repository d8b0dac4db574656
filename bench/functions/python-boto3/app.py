import boto3  # what it costs is what is measured


def handler(event, context):
    print("an event came", boto3.__version__)
    return event
