#!/usr/bin/env bash
# The AWS CLI writes log events and reads them: by stream, and by search. $AWS is the program.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() { echo "$*" >&2; exit 1; }
same() { [ "$1" = "$2" ] || fail "expected '$2', got '$1'"; }
put() {
    "$AWS" logs put-log-events --log-group-name shop --log-stream-name till \
        --log-events "timestamp=$(date +%s%3N),message=$1" > put.json
}

"$AWS" logs create-log-group --log-group-name shop
"$AWS" logs create-log-stream --log-group-name shop --log-stream-name till
put "opened"
put "sold"
same "$("$AWS" logs get-log-events --log-group-name shop --log-stream-name till --query 'events[].message' --output text)" "opened	sold"
same "$("$AWS" logs filter-log-events --log-group-name shop --filter-pattern sold --query 'events[].message' --output text)" sold
same "$("$AWS" logs describe-log-groups --query 'logGroups[].logGroupName' --output text)" shop
