#!/usr/bin/env bash
# Removes what deploy.sh made, as far as it is there.
set -uo pipefail
sqs() { aws --endpoint-url "$AWS_ENDPOINT_URL" sqs "$@"; }

mappings=$(aws lambda list-event-source-mappings --function-name registration-activate \
    --query 'EventSourceMappings[].UUID' --output text)
for mapping in $mappings; do
    aws lambda delete-event-source-mapping --uuid "$mapping" --query State
done
for name in register activate welcome; do
    aws lambda delete-function --function-name "registration-$name"
    aws logs delete-log-group --log-group-name "/aws/lambda/registration-$name"
done
for queue in registration-activations registration-dead; do
    url=$(sqs get-queue-url --queue-name "$queue" --output text) && sqs delete-queue --queue-url "$url"
done
aws logs delete-log-group --log-group-name /registration/ledger
aws iam delete-role-policy --role-name registration --policy-name registration
aws iam delete-role --role-name registration
exit 0
