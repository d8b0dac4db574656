#!/usr/bin/env bash
# The AWS CLI puts metric data and reads it: statistics, percentiles, math, and which metrics there are. $AWS is the program.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() { echo "$*" >&2; exit 1; }
same() { [ "$1" = "$2" ] || fail "expected '$2', got '$1'"; }
range=(--start-time "$(date -u -d '-10 minutes' +%FT%TZ)" --end-time "$(date -u -d '+2 minutes' +%FT%TZ)")

"$AWS" cloudwatch put-metric-data --namespace shop --metric-name sold --unit Count --value 2 --dimensions till=1
"$AWS" cloudwatch put-metric-data --namespace shop --metric-data '[
  {"MetricName": "sold", "Unit": "Count", "Values": [1, 9], "Counts": [3, 1], "Dimensions": [{"Name": "till", "Value": "1"}]}]'
same "$("$AWS" cloudwatch get-metric-statistics --namespace shop --metric-name sold --dimensions Name=till,Value=1 "${range[@]}" \
    --period 3600 --statistics Sum SampleCount Maximum --query 'sum(Datapoints[].Sum)')" 14.0
same "$("$AWS" cloudwatch get-metric-statistics --namespace shop --metric-name sold --dimensions Name=till,Value=1 "${range[@]}" \
    --period 3600 --extended-statistics p100 --query 'max(Datapoints[].ExtendedStatistics.p100)')" 9.0
cat > queries.json <<'EOF'
[{"Id": "sold", "ReturnData": false, "MetricStat": {"Period": 60, "Stat": "Sum",
  "Metric": {"Namespace": "shop", "MetricName": "sold", "Dimensions": [{"Name": "till", "Value": "1"}]}}},
 {"Id": "all", "Expression": "RUNNING_SUM(sold)"}]
EOF
same "$("$AWS" cloudwatch get-metric-data --metric-data-queries file://queries.json "${range[@]}" --scan-by TimestampDescending \
    --query 'MetricDataResults[0].Values[0]')" 14.0
same "$("$AWS" cloudwatch list-metrics --namespace shop --dimensions Name=till --query 'Metrics[].MetricName' --output text)" sold
"$AWS" cloudwatch put-metric-data --namespace AWS/Lambda --metric-name x --value 1 2> refused && fail "AWS/ is AWS's"
grep -q "The value AWS/ for parameter Namespace is invalid." refused || fail "$(cat refused)"
