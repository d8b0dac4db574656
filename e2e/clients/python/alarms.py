"""boto3 makes alarms and dashboards; metrics, missing data and other alarms change their states, and functions are told."""

import datetime
import io
import json
import time
import zipfile

import boto3
import botocore.exceptions
from botocore.config import Config
from refusal import refused

cloudwatch = boto3.client("cloudwatch", config=Config(retries={"total_max_attempts": 1}))
awslambda = boto3.client("lambda")
logs = boto3.client("logs")
ARN = "arn:aws:cloudwatch:us-east-1:000000000000:alarm:"
TOPIC = "arn:aws:sns:us-east-1:000000000000:topic"
BOTH = ["MetricAlarm", "CompositeAlarm"]


def put(name, **more):
    alarm = dict(
        AlarmName=name, MetricName="depth", Namespace="e2e", Statistic="Sum", Period=60, EvaluationPeriods=1, Threshold=3,
        ComparisonOperator="GreaterThanThreshold",
    )
    alarm.update(more)
    cloudwatch.put_metric_alarm(**{name: value for name, value in alarm.items() if value is not None})


def alarm(name):
    found = cloudwatch.describe_alarms(AlarmNames=[name], AlarmTypes=BOTH)
    return (found["MetricAlarms"] + found["CompositeAlarms"])[0]


def history(name, **more):
    return cloudwatch.describe_alarm_history(AlarmName=name, AlarmTypes=BOTH, **more)["AlarmHistoryItems"]


def until(what, wanted, within=40):
    """AWS evaluates beside the requests, every ten seconds at most here."""
    deadline = time.time() + within
    while True:
        found = what()
        if found == wanted:
            return
        assert time.time() < deadline, (found, wanted)
        time.sleep(0.2)


def state(name):
    return alarm(name)["StateValue"]


# What is put is shown, and its state is not known yet.
put("minimal", Tags=[{"Key": "team", "Value": "lamp"}])
found = alarm("minimal")
assert found["AlarmArn"] == ARN + "minimal" and found["StateValue"] == "INSUFFICIENT_DATA", found
assert found["StateReason"] == "Unchecked: Initial alarm creation" and "StateReasonData" not in found, found
assert found["ActionsEnabled"] and found["OKActions"] == [] == found["Dimensions"], found
assert found["Threshold"] == 3.0 and "TreatMissingData" not in found and "Metrics" not in found, found
put("p99", Statistic=None, ExtendedStatistic="p99", EvaluateLowSampleCountPercentile="ignore", Unit="Seconds",
    Dimensions=[{"Name": "Queue", "Value": "q"}], DatapointsToAlarm=2, EvaluationPeriods=3, AlarmActions=[TOPIC])
found = alarm("p99")
assert (found["ExtendedStatistic"], found["DatapointsToAlarm"], found["Unit"]) == ("p99", 2, "Seconds"), found
math = [
    {"Id": "rate", "Expression": "100 * bad / good", "Label": "rate"},
    *({"Id": name, "ReturnData": False, "MetricStat": {
        "Metric": {"Namespace": "e2e", "MetricName": name}, "Period": 60, "Stat": "Sum"}} for name in ["good", "bad"]),
]
whole = dict(MetricName=None, Namespace=None, Statistic=None, Period=None)
put("math", Metrics=math, **whole)
found = alarm("math")["Metrics"]
assert [(query["Id"], query["ReturnData"]) for query in found] == [("rate", True), ("good", False), ("bad", False)], found

# What AWS does not take.
invalid = lambda words, **more: refused("ValidationError", words, put, name="no", **more)
invalid("Period must be 10, 20, 30 or a multiple of 60", Period=61)
invalid("across more than a day", Period=300, EvaluationPeriods=289)
invalid("across more than a week", Period=3600, EvaluationPeriods=169)
invalid("DatapointsToAlarm must be less than or equal to EvaluationPeriods", DatapointsToAlarm=2)
invalid("The value p101 for parameter ExtendedStatistic is not supported.", Statistic=None, ExtendedStatistic="p101")
invalid("Invalid arn syntax: topic", OKActions=["topic"])
invalid("Invalid region eu-west-1 specified. Only us-east-1 is supported.", AlarmActions=[TOPIC.replace("us-east-1", "eu-west-1")])
invalid("MetricName must not be null", MetricName=None)
invalid("Statistic should not be set if list of Metrics is set.", Metrics=math, MetricName=None, Namespace=None, Period=None)
invalid("Exactly one element of the metrics list should return data.", Metrics=math[1:], **whole)
invalid("SEARCH is not supported on Metric Alarms", **whole, Metrics=[{"Id": "s", "Expression": "SUM(SEARCH('depth', 'Sum'))", "Period": 60}])
invalid("Value 'Mean' at 'statistic'", Statistic="Mean")
assert cloudwatch.describe_alarms(AlarmNames=["no"])["MetricAlarms"] == []

# Finding them.
names = lambda answer: [found["AlarmName"] for found in answer["MetricAlarms"] + answer["CompositeAlarms"]]
assert names(cloudwatch.describe_alarms()) == ["math", "minimal", "p99"]
assert names(cloudwatch.describe_alarms(AlarmNamePrefix="m")) == ["math", "minimal"]
assert names(cloudwatch.describe_alarms(ActionPrefix="arn:aws:sns")) == ["p99"]
assert names(cloudwatch.describe_alarms(StateValue="ALARM")) == []
pages = cloudwatch.get_paginator("describe_alarms").paginate(PaginationConfig={"PageSize": 1})
assert [name for page in pages for name in names(page)] == ["math", "minimal", "p99"]
refused("InvalidNextToken", "", cloudwatch.describe_alarms, NextToken="x")
of = dict(MetricName="depth", Namespace="e2e")
assert names({**cloudwatch.describe_alarms_for_metric(**of), "CompositeAlarms": []}) == ["minimal"]
found = cloudwatch.describe_alarms_for_metric(**of, Dimensions=[{"Name": "Queue", "Value": "q"}], ExtendedStatistic="p99")
assert names({**found, "CompositeAlarms": []}) == ["p99"]

# Tags.
tags = lambda name: {tag["Key"]: tag["Value"] for tag in cloudwatch.list_tags_for_resource(ResourceARN=ARN + name)["Tags"]}
cloudwatch.tag_resource(ResourceARN=ARN + "minimal", Tags=[{"Key": "stage", "Value": "test"}])
put("minimal", Threshold=4, Tags=[{"Key": "other", "Value": "ignored"}])
assert tags("minimal") == {"team": "lamp", "stage": "test"} and alarm("minimal")["Threshold"] == 4.0
cloudwatch.untag_resource(ResourceARN=ARN + "minimal", TagKeys=["team"])
assert tags("minimal") == {"stage": "test"} and tags("gone") == {}
refused("ResourceNotFoundException", "", cloudwatch.tag_resource, ResourceARN=ARN + "gone", Tags=[])

# A state that is set lasts until the next evaluation, and is told with what was tried.
put("set", AlarmActions=[TOPIC], TreatMissingData="ignore")
cloudwatch.set_alarm_state(AlarmName="set", StateValue="ALARM", StateReason="trying", StateReasonData='{"why": 1}')
found = alarm("set")
assert (found["StateValue"], found["StateReason"], found["StateReasonData"]) == ("ALARM", "trying", '{"why": 1}'), found
action, update, created = history("set")
assert (action["HistoryItemType"], update["HistoryItemType"], created["HistoryItemType"]) == ("Action", "StateUpdate", "ConfigurationUpdate")
assert action["HistorySummary"].startswith(f"Failed to execute action {TOPIC}. Received error:"), action
assert update["HistorySummary"] == "Alarm updated from INSUFFICIENT_DATA to ALARM", update
assert json.loads(update["HistoryData"])["newState"] == {"stateValue": "ALARM", "stateReason": "trying", "stateReasonData": {"why": 1}}
assert created["HistorySummary"] == 'Alarm "set" created' and json.loads(created["HistoryData"])["type"] == "Create", created
cloudwatch.disable_alarm_actions(AlarmNames=["set", "gone"])
assert not alarm("set")["ActionsEnabled"]
cloudwatch.set_alarm_state(AlarmName="set", StateValue="OK", StateReason="trying")
cloudwatch.set_alarm_state(AlarmName="set", StateValue="ALARM", StateReason="trying")
assert len(history("set", HistoryItemType="Action")) == 1
cloudwatch.enable_alarm_actions(AlarmNames=["set"])
assert alarm("set")["ActionsEnabled"]
refused("ResourceNotFound", "", cloudwatch.set_alarm_state, AlarmName="gone", StateValue="OK", StateReason="x")
refused("ValidationError", "enum value set: [INSUFFICIENT_DATA, ALARM, OK]", cloudwatch.set_alarm_state, AlarmName="set", StateValue="BAD", StateReason="x")
refused("InvalidFormat", "JSON", cloudwatch.set_alarm_state, AlarmName="set", StateValue="OK", StateReason="x", StateReasonData="{")
items = [(item["HistoryItemType"], item["HistorySummary"]) for item in history("set")]
pages = cloudwatch.get_paginator("describe_alarm_history").paginate(
    AlarmName="set", ScanBy="TimestampAscending", PaginationConfig={"PageSize": 2})
assert [(item["HistoryItemType"], item["HistorySummary"]) for page in pages for item in page["AlarmHistoryItems"]] == items[::-1]
pages = cloudwatch.get_paginator("describe_alarm_history").paginate(PaginationConfig={"PageSize": 3})
everyone = [(item["AlarmName"], item["HistorySummary"]) for page in pages for item in page["AlarmHistoryItems"]]
assert [told for told in everyone if told[0] == "set"] == [("set", summary) for _, summary in items] and ("math", 'Alarm "math" created') in everyone
tomorrow = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)
assert history("set", StartDate=tomorrow) == [] and len(history("set", EndDate=tomorrow)) == len(items)

# Where there is no data, each rule means another state.
rules = {"breaching": "ALARM", "notBreaching": "OK", "ignore": "INSUFFICIENT_DATA", "missing": "INSUFFICIENT_DATA"}
for rule in rules:
    put(rule, Period=10, EvaluationPeriods=2, TreatMissingData=rule)
for rule, wanted in rules.items():
    until(lambda: state(rule), wanted)
found = alarm("breaching")
words = "no datapoints were received for 2 periods and 2 missing datapoints were treated as [Breaching]."
assert found["StateReason"] == f"Threshold Crossed: {words}", found
assert json.loads(found["StateReasonData"])["recentDatapoints"] == [], found

# Composite alarms follow others.
composite = lambda name, rule, **more: cloudwatch.put_composite_alarm(AlarmName=name, AlarmRule=rule, **more)
for name in ["a", "b", "quiet"]:
    put(name, TreatMissingData="ignore")
composite("either", f'ALARM(a) OR ALARM("{ARN}b")', AlarmDescription="either")
until(lambda: state("either"), "OK")
assert alarm("either")["StateReason"] == f"{ARN}either was created and its alarm rule evaluates to OK"
composite("above", "ALARM(either) AND NOT OK(a)")
cloudwatch.set_alarm_state(AlarmName="a", StateValue="ALARM", StateReason="x")
until(lambda: (state("either"), state("above")), ("ALARM", "ALARM"))
found = alarm("either")
assert found["StateReason"].startswith(f"{ARN}a transitioned to ALARM at ") and found["AlarmRule"].startswith("ALARM(a)"), found
assert json.loads(found["StateReasonData"])["triggeringAlarms"][0]["arn"] == ARN + "a", found
assert names(cloudwatch.describe_alarms(ChildrenOfAlarmName="either")) == ["a", "b"]
assert names(cloudwatch.describe_alarms(ParentsOfAlarmName="either")) == ["above"]
refused("ValidationError", "MaxRecords", cloudwatch.describe_alarms, ParentsOfAlarmName="a", AlarmNamePrefix="x")
refused("ValidationError", "Cannot delete a,b as there are composite alarm(s) depending on them.", cloudwatch.delete_alarms, AlarmNames=["a", "b"])
refused("ValidationError", "alarms [gone] in the alarm rule do not exist", composite, name="no", rule="OK(gone)")
refused("ValidationError", "Error in AlarmRule [Unsupported token 'ALARMED' at char 0", composite, name="no", rule="ALARMED(a)")
refused("ValidationError", "leading or trailing whitespace", composite, name="no", rule=" TRUE")
cloudwatch.set_alarm_state(AlarmName="a", StateValue="OK", StateReason="x")
until(lambda: (state("either"), state("above")), ("OK", "OK"))
# A suppressor in alarm holds actions back, and lets them go when its time is over.
composite("held", "ALARM(b)", AlarmActions=[TOPIC], ActionsSuppressor="quiet", ActionsSuppressorWaitPeriod=60, ActionsSuppressorExtensionPeriod=1)
until(lambda: state("held"), "OK")
cloudwatch.set_alarm_state(AlarmName="b", StateValue="ALARM", StateReason="x")
until(lambda: alarm("held").get("ActionsSuppressedBy"), "WaitPeriod")
cloudwatch.set_alarm_state(AlarmName="quiet", StateValue="ALARM", StateReason="x")
until(lambda: alarm("held").get("ActionsSuppressedBy"), "Alarm")
assert alarm("held")["ActionsSuppressedReason"] == "Actions suppressed by Alarm" and not history("held", HistoryItemType="Action")
cloudwatch.set_alarm_state(AlarmName="quiet", StateValue="OK", StateReason="x")
until(lambda: len(history("held", HistoryItemType="Action")), 1)
assert "ActionsSuppressedBy" not in alarm("held")
refused("ValidationError", "at most one composite alarm", cloudwatch.delete_alarms, AlarmNames=["above", "held"])

# A function is told, if its policy lets CloudWatch in.
buffer = io.BytesIO()
with zipfile.ZipFile(buffer, "w") as archive:
    archive.writestr("app.py", "import json\ndef handler(event, context): print(json.dumps(event))\n")
function = awslambda.create_function(
    FunctionName="told", Runtime="python3.13", Handler="app.handler", Role="arn:aws:iam::000000000000:role/r",
    Code={"ZipFile": buffer.getvalue()},
)["FunctionArn"]
awslambda.get_waiter("function_active_v2").wait(FunctionName="told")
put("tells", AlarmDescription="tells", AlarmActions=[function], TreatMissingData="ignore", Dimensions=[{"Name": "Queue", "Value": "q"}])
cloudwatch.set_alarm_state(AlarmName="tells", StateValue="ALARM", StateReason="one")
(item,) = history("tells", HistoryItemType="Action")
assert "CloudWatch Alarms is not authorized to perform: lambda:InvokeFunction" in item["HistorySummary"], item
awslambda.add_permission(
    FunctionName="told", StatementId="s", Action="lambda:InvokeFunction", Principal="lambda.alarms.cloudwatch.amazonaws.com",
    SourceAccount="000000000000", SourceArn=ARN + "tells",
)
cloudwatch.set_alarm_state(AlarmName="tells", StateValue="OK", StateReason="two")
cloudwatch.set_alarm_state(AlarmName="tells", StateValue="ALARM", StateReason="three")
item = history("tells", HistoryItemType="Action")[0]
assert item["HistorySummary"] == f"Successfully executed action {function}", item


def heard():
    try:
        found = logs.filter_log_events(logGroupName="/aws/lambda/told", filterPattern='{ $.source = "aws.cloudwatch" }')
    except botocore.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == "ResourceNotFoundException", error
        return []
    return [json.loads(event["message"]) for event in found["events"]]


until(lambda: [event["alarmData"]["state"]["reason"] for event in heard()], ["three"])
(event,) = heard()
assert json.loads(json.loads(item["HistoryData"])["publishedMessage"]) == event, (item, event)
assert event["alarmArn"] == ARN + "tells" and (event["accountId"], event["region"]) == ("000000000000", "us-east-1"), event
data = event["alarmData"]
assert data["alarmName"] == "tells" and data["state"]["value"] == "ALARM" and data["previousState"]["value"] == "OK", data
(metric,) = data["configuration"]["metrics"]
assert data["configuration"]["description"] == "tells" and metric["returnData"] is True and len(metric.pop("id")) == 36, data
assert metric["metricStat"] == {
    "metric": {"namespace": "e2e", "name": "depth", "dimensions": {"Queue": "q"}}, "period": 60, "stat": "Sum",
}, metric

# Lambda's own metrics are watched as any: this function has been invoked once.
put("busy", Namespace="AWS/Lambda", MetricName="Invocations", Threshold=0, Dimensions=[{"Name": "FunctionName", "Value": "told"}])

# Dashboards: an account's, in no region.
properties = {"region": "us-east-1", "metrics": [["e2e", "depth"]]}
body = json.dumps({"widgets": [{"type": "metric", "width": 6, "height": 6, "properties": properties}]})
assert cloudwatch.put_dashboard(DashboardName="one", DashboardBody=body)["DashboardValidationMessages"] == []
cloudwatch.put_dashboard(DashboardName="two", DashboardBody='{"widgets": []}', Tags=[{"Key": "team", "Value": "lamp"}])
found = cloudwatch.get_dashboard(DashboardName="one")
dashboard = "arn:aws:cloudwatch::000000000000:dashboard/"
assert found["DashboardBody"] == body and found["DashboardArn"] == dashboard + "one", found
entries = cloudwatch.list_dashboards(DashboardNamePrefix="o")["DashboardEntries"]
assert [(entry["DashboardName"], entry["Size"]) for entry in entries] == [("one", len(body))], entries
elsewhere = boto3.client("cloudwatch", region_name="eu-west-1")
assert [entry["DashboardName"] for entry in elsewhere.list_dashboards()["DashboardEntries"]] == ["one", "two"]
assert cloudwatch.list_tags_for_resource(ResourceARN=dashboard + "two")["Tags"] == [{"Key": "team", "Value": "lamp"}]
refused("InvalidParameterValue", "only contain alphanumerics", cloudwatch.put_dashboard, DashboardName="no:", DashboardBody="{}")
refused("InvalidParameterInput", "must be a valid JSON object", cloudwatch.put_dashboard, DashboardName="no", DashboardBody="{")
refused("InvalidParameterInput", "there are 1 validation errors", cloudwatch.put_dashboard, DashboardName="no", DashboardBody='{"widgets": [1]}')
blank = json.dumps({"widgets": [{"type": "metric", "properties": {"region": "us-east-1"}}]})
refused("InvalidParameterInput", "have specified a region and a data source", cloudwatch.put_dashboard, DashboardName="no", DashboardBody=blank)
refused("ResourceNotFound", "Dashboard no does not exist", cloudwatch.get_dashboard, DashboardName="no")
refused("ResourceNotFound", "does not exist", cloudwatch.delete_dashboards, DashboardNames=["one", "no"])
assert [entry["DashboardName"] for entry in cloudwatch.list_dashboards()["DashboardEntries"]] == ["two"]
cloudwatch.delete_dashboards(DashboardNames=["two"])
assert cloudwatch.list_dashboards()["DashboardEntries"] == []

# A metric crosses a threshold, and comes back; an expression over two does the same.
fine = lambda name, value: {"MetricName": name, "Value": value, "StorageResolution": 1}
put("crossed", Period=10, Statistic="Maximum")
put("ratio", **whole, Metrics=[
    {"Id": "rate", "Expression": "100 * bad / good"},
    *({"Id": name, "ReturnData": False, "MetricStat": {
        "Metric": {"Namespace": "e2e", "MetricName": name}, "Period": 10, "Stat": "Sum"}} for name in ["good", "bad"]),
])


def publish(depth, bad):
    cloudwatch.put_metric_data(Namespace="e2e", MetricData=[fine("depth", depth), fine("good", 50), fine("bad", bad)])
    return state("crossed"), state("ratio")


until(lambda: publish(7, 10), ("ALARM", "ALARM"))
found = alarm("crossed")
assert found["StateReason"].startswith("Threshold Crossed: 1 datapoint [7.0 ("), found
assert found["StateReason"].endswith("was greater than the threshold (3.0)."), found
data = json.loads(found["StateReasonData"])
assert (data["statistic"], data["period"], data["recentDatapoints"]) == ("Maximum", 10, [7.0]), data
until(lambda: publish(1, 0), ("OK", "OK"))
assert "was not greater than the threshold (3.0)" in alarm("crossed")["StateReason"]

until(lambda: state("busy"), "ALARM", within=100)
assert alarm("busy")["StateReason"].startswith("Threshold Crossed: 1 datapoint [1.0 ("), alarm("busy")

# What is deleted is gone, but for its history.
cloudwatch.delete_alarms(AlarmNames=["above", "crossed", "gone"])
assert cloudwatch.describe_alarms(AlarmNames=["above", "crossed"], AlarmTypes=BOTH)["MetricAlarms"] == []
assert history("crossed")[0]["HistorySummary"] == 'Alarm "crossed" deleted'
cloudwatch.delete_alarms(AlarmNames=["either"])
cloudwatch.delete_alarms(AlarmNames=["held"])
cloudwatch.delete_alarms(AlarmNames=["a", "b", "quiet", "tells", "set", "math", "minimal", "p99", "ratio", "busy", *rules])
assert names(cloudwatch.describe_alarms(AlarmTypes=BOTH)) == []
