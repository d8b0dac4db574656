#!/usr/bin/env bash
# Makes the application with the AWS CLI alone, at $AWS_ENDPOINT_URL. $ACTIVATION_DELAY_SECONDS is how long activation waits.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

delay=${ACTIVATION_DELAY_SECONDS:-30}
account=$(aws sts get-caller-identity --query Account --output text)
queues=arn:aws:sqs:$AWS_DEFAULT_REGION:$account
# Version 1 of the AWS CLI heeds AWS_ENDPOINT_URL for every service but SQS.
sqs() { aws --endpoint-url "$AWS_ENDPOINT_URL" sqs "$@"; }

# The ledger, and the queue, whose messages go to the dead letters when the third try fails.
aws logs create-log-group --log-group-name /registration/ledger
aws logs create-log-stream --log-group-name /registration/ledger --log-stream-name users
sqs create-queue --queue-name registration-dead > "$work/dead.json"
queue=$(sqs create-queue --queue-name registration-activations --query QueueUrl --output text --attributes \
    '{"RedrivePolicy": "{\"deadLetterTargetArn\": \"'"$queues"':registration-dead\", \"maxReceiveCount\": 3}"}')

role=$(aws iam create-role --role-name registration --query Role.Arn --output text --assume-role-policy-document '{
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]}')
aws iam put-role-policy --role-name registration --policy-name registration --policy-document '{
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["logs:*", "sqs:*", "lambda:InvokeFunction"], "Resource": "*"}]}'

# Three functions of one file.
python3 -m zipfile -c "$work/code.zip" app.py
for name in register activate welcome; do
    aws lambda create-function --function-name "registration-$name" --handler "app.$name" --runtime python3.13 --role "$role" \
        --zip-file "fileb://$work/code.zip" --timeout 15 --environment "Variables={LEDGER=/registration/ledger,QUEUE_URL=$queue,\
ACTIVATION_DELAY_SECONDS=$delay,LISTENER=registration-welcome}" > "$work/function.json"
    aws lambda wait function-active-v2 --function-name "registration-$name"
done
aws lambda create-event-source-mapping --function-name registration-activate --event-source-arn "$queues:registration-activations" \
    --batch-size 1 > "$work/mapping.json"
# A confirmation that nobody could hear, after its retries, is kept too.
aws lambda put-function-event-invoke-config --function-name registration-welcome \
    --destination-config "OnFailure={Destination=$queues:registration-dead}" > "$work/config.json"
echo "made: aws lambda invoke --function-name registration-register"
