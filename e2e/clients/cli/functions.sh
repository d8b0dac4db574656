#!/usr/bin/env bash
# The AWS CLI walks through the life of a function. $AWS is the program.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() { echo "$*" >&2; exit 1; }
same() { [ "$1" = "$2" ] || fail "expected '$2', got '$1'"; }

same "$("$AWS" sts get-caller-identity --query Account --output text)" 000000000000

echo 'def handler(event, context): return event' > app.py
python3 -m zipfile -c function.zip app.py
"$AWS" lambda create-function --function-name hello --runtime python3.13 --handler app.handler \
    --role arn:aws:iam::000000000000:role/r --zip-file fileb://function.zip --tags team=lamp > created.json
"$AWS" lambda wait function-active-v2 --function-name hello
same "$("$AWS" lambda get-function --function-name hello --query Configuration.State --output text)" Active
same "$("$AWS" lambda list-functions --query 'Functions[].FunctionName' --output text)" hello
"$AWS" lambda update-function-configuration --function-name hello --environment 'Variables={ONE=1,TWO=two}' > updated.json
same "$("$AWS" lambda get-function-configuration --function-name hello --query Environment.Variables.TWO --output text)" two
arn=$("$AWS" lambda get-function --function-name hello --query Configuration.FunctionArn --output text)
"$AWS" lambda tag-resource --resource "$arn" --tags stage=test
same "$("$AWS" lambda list-tags --resource "$arn" --query Tags.stage --output text)" test
"$AWS" lambda untag-resource --resource "$arn" --tag-keys stage team
same "$("$AWS" lambda list-tags --resource "$arn" --query 'length(Tags)' --output text)" 0
"$AWS" lambda delete-function --function-name hello
if said=$("$AWS" lambda get-function --function-name hello 2>&1); then fail "hello is still there"; fi
case $said in *"(ResourceNotFoundException)"*"Function not found: $arn"*) ;; *) fail "$said" ;; esac
if said=$("$AWS" sns list-topics 2>&1); then fail "sns is not built, yet it answered"; fi
case $said in *NotImplemented*ListTopics*) ;; *) fail "$said" ;; esac
