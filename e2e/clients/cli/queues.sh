#!/usr/bin/env bash
# The AWS CLI uses queues: dead letters and back, batches, purges, moves, and a queue that feeds a function. $AWS is the program.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() { echo "$*" >&2; exit 1; }
same() { [ "$1" = "$2" ] || fail "expected '$2', got '$1'"; }
# Version 1 heeds AWS_ENDPOINT_URL for every service but this one.
sqs() { "$AWS" --endpoint-url "$AWS_ENDPOINT_URL" sqs "$@"; }
refused() {
    local code=$1
    shift
    if "$@" 2> refused; then fail "not refused: $*"; fi
    grep -q "$code" refused || fail "$(cat refused)"
}
arn=arn:aws:sqs:us-east-1:000000000000

# A message that is received too often goes to the dead letters, and a move brings it back.
dead=$(sqs create-queue --queue-name dead --query QueueUrl --output text)
cat > jobs.json <<EOF
{"VisibilityTimeout": "0", "RedrivePolicy": "{\"deadLetterTargetArn\": \"$arn:dead\", \"maxReceiveCount\": 1}"}
EOF
jobs=$(sqs create-queue --queue-name jobs --attributes file://jobs.json --tags team=lamp --query QueueUrl --output text)
same "$(sqs list-queue-tags --queue-url "$jobs" --query Tags.team --output text)" lamp
same "$(sqs list-dead-letter-source-queues --queue-url "$dead" --query queueUrls --output text)" "$jobs"
sqs send-message --queue-url "$jobs" --message-body first \
    --message-attributes '{"kind": {"DataType": "String", "StringValue": "x"}}' > sent.json
same "$(sqs receive-message --queue-url "$jobs" --message-attribute-names All --attribute-names All \
    --query 'Messages[0].[Body, MessageAttributes.kind.StringValue, Attributes.ApproximateReceiveCount]' --output text)" "first	x	1"
same "$(sqs receive-message --queue-url "$jobs")" ""
count() { sqs get-queue-attributes --queue-url "$1" --attribute-names "$2" --query "Attributes.$2" --output text; }
same "$(count "$dead" ApproximateNumberOfMessages)" 1
sqs set-queue-attributes --queue-url "$jobs" --attributes VisibilityTimeout=30
sqs start-message-move-task --source-arn $arn:dead --max-number-of-messages-per-second 50 > task.json
for _ in $(seq 50); do
    state=$(sqs list-message-move-tasks --source-arn $arn:dead --output text \
        --query 'Results[0].[Status, ApproximateNumberOfMessagesMoved]')
    if [ "$state" = "COMPLETED	1" ]; then break; fi
    sleep 0.1
done
same "$state" "COMPLETED	1"

# What was moved back is hidden for longer, and deleted.
receipt=$(sqs receive-message --queue-url "$jobs" --visibility-timeout 30 --query 'Messages[0].ReceiptHandle' --output text)
sqs change-message-visibility --queue-url "$jobs" --receipt-handle "$receipt" --visibility-timeout 60
same "$(count "$jobs" ApproximateNumberOfMessagesNotVisible)" 1
sqs delete-message --queue-url "$jobs" --receipt-handle "$receipt"

# A batch fails in part; a purge leaves nothing, and is not done twice.
cat > entries.json <<'EOF'
[{"Id": "a", "MessageBody": "1"}, {"Id": "b", "MessageBody": "2", "DelaySeconds": 901}, {"Id": "c", "MessageBody": "3"}]
EOF
sqs send-message-batch --queue-url "$jobs" --entries file://entries.json > batch.json
same "$(python3 -c 'import json
told = json.load(open("batch.json"))
print([sent["Id"] for sent in told["Successful"]], [(failed["Id"], failed["Code"], failed["SenderFault"]) for failed in told["Failed"]])')" \
    "['a', 'c'] [('b', 'InvalidParameterValue', True)]"
sqs purge-queue --queue-url "$jobs"
same "$(sqs receive-message --queue-url "$jobs")" ""
refused PurgeQueueInProgress sqs purge-queue --queue-url "$jobs"
refused "(AWS.SimpleQueueService.NonExistentQueue)" sqs receive-message --queue-url "${jobs}x"

# A queue feeds a function, whose words say so.
echo 'def handler(event, context): print("given", [record["body"] for record in event["Records"]])' > app.py
python3 -m zipfile -c function.zip app.py
"$AWS" lambda create-function --function-name worker --runtime python3.13 --handler app.handler \
    --role arn:aws:iam::000000000000:role/r --zip-file fileb://function.zip > created.json
"$AWS" lambda create-event-source-mapping --function-name worker --event-source-arn $arn:jobs --batch-size 5 > mapping.json
read -r uuid state size < <("$AWS" lambda list-event-source-mappings --function-name worker \
    --query 'EventSourceMappings[0].[UUID, State, BatchSize]' --output text)
same "$state $size" "Enabled 5"
sqs send-message --queue-url "$jobs" --message-body "for a function" > sent.json
for _ in $(seq 60); do
    told=$("$AWS" logs filter-log-events --log-group-name /aws/lambda/worker --filter-pattern given \
        --query 'events[].message' --output text 2> /dev/null || true)
    if [ -n "$told" ]; then break; fi
    sleep 0.2
done
same "$told" "given ['for a function']"
same "$("$AWS" lambda update-event-source-mapping --uuid "$uuid" --no-enabled --query State --output text)" Disabling
same "$("$AWS" lambda delete-event-source-mapping --uuid "$uuid" --query State --output text)" Deleting
sqs delete-queue --queue-url "$jobs"
refused "(AWS.SimpleQueueService.NonExistentQueue)" sqs get-queue-url --queue-name jobs
