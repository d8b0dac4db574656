"""What functions print and what they log stands in the order in which they wrote it, at the time at which they did."""

import time

import boto3
from calling import awslambda, make, zipped

PYTHON = """
import logging, os, struct, sys, time
logging.getLogger().setLevel("INFO")
def handler(event, context):
    for number in range(0, 40, 4):
        print("line", number)
        logging.info("line %d", number + 1)
        sys.stdout.write("line ")
        logging.info("line %d", number + 2)
        print(number + 3)
    began = time.time()
    logging.info("early %d", began * 1000)
    time.sleep(0.3)
    for micros in (0, 2**63 - 1, 2**64 - 1):
        os.write(62, struct.pack(">IIQ", 0xA55A0003, 7, micros) + b"forged\\n")
"""

NODE = """
exports.handler = async () => {
  for (let number = 0; number < 40; number += 4) {
    process.stdout.write(`line ${number}\\n`);
    console.log('line %d', number + 1);
    process.stdout.write('line ');
    console.log('line %d', number + 2);
    process.stdout.write(`${number + 3}\\n`);
  }
};
"""

logs = boto3.client("logs")
make("mixed-python", "python3.13", "app.handler", zipped({"app.py": PYTHON}))
make("mixed-node", "nodejs22.x", "index.handler", zipped({"index.js": NODE}))
ROUNDS = 10
for name in ["mixed-python", "mixed-node"]:
    awslambda.get_waiter("function_active_v2").wait(FunctionName=name)
    for _ in range(ROUNDS):
        answer = awslambda.invoke(FunctionName=name)
        assert "FunctionError" not in answer, answer["Payload"].read()
    group, deadline = f"/aws/lambda/{name}", time.time() + 30
    while True:
        try:
            streams = logs.describe_log_streams(logGroupName=group)["logStreams"]
            [stream] = [stream["logStreamName"] for stream in streams]
            events = logs.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True)["events"]
        except logs.exceptions.ResourceNotFoundException:
            # A group that the platform makes is there when its first line is, within a second.
            events = []
        if sum(event["message"].startswith("REPORT") for event in events) == ROUNDS:
            break
        assert time.time() < deadline, events
        time.sleep(0.1)
    assert [event["timestamp"] for event in events] == sorted(event["timestamp"] for event in events), name
    calls = [[]]
    for event in events:
        if event["message"].startswith("START"):
            calls.append([])
        calls[-1].append(event)
    for call in calls[1:]:
        texts = [event["message"].strip() for event in call]
        assert texts[0].startswith("START") and [text.split(" ")[0] for text in texts[-2:]] == ["END", "REPORT"], texts
        numbers = [int(text.split("line ")[1]) for text in texts if "line " in text]
        # What is written by and by is one line, and stands where it ended.
        assert numbers == list(range(40)), (name, texts)
        if name == "mixed-python":
            [(said, event)] = [(int(text.split(" ")[-1]), event) for text, event in zip(texts, call) if "early" in text]
            assert said <= event["timestamp"] <= said + 100, (said, event)
            forged = [event["timestamp"] for text, event in zip(texts, call) if text == "forged"]
            assert len(forged) == 3 and forged[0] >= said and forged[-1] <= call[-1]["timestamp"], (forged, call)
