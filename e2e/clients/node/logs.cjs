// The JavaScript SDK puts log events and metric data, follows, searches and queries them.
const assert = require("node:assert/strict");
const logs = require("@aws-sdk/client-cloudwatch-logs");
const metrics = require("@aws-sdk/client-cloudwatch");

const group = { logGroupName: "from-node" };
const stream = { ...group, logStreamName: "one" };
const wait = (millis) => new Promise((done) => setTimeout(done, millis));

async function tail(client, arn, seen) {
  const { responseStream } = await client.send(new logs.StartLiveTailCommand({ logGroupIdentifiers: [arn] }));
  for await (const event of responseStream) {
    for (const { message } of event.sessionUpdate?.sessionResults ?? []) seen.push(message);
    if (event.sessionStart) await put(client, 3);
    if (seen.length > 0) return;
  }
}

function put(client, number) {
  const logEvents = [{ timestamp: Date.now(), message: JSON.stringify({ level: "info", number }) }];
  return client.send(new logs.PutLogEventsCommand({ ...stream, logEvents }));
}

async function main() {
  const client = new logs.CloudWatchLogsClient({ maxAttempts: 1, disableHostPrefix: true });
  await client.send(new logs.CreateLogGroupCommand(group));
  await client.send(new logs.CreateLogStreamCommand(stream));
  await put(client, 1);
  await put(client, 2);
  const { events } = await client.send(new logs.FilterLogEventsCommand({ ...group, filterPattern: "{ $.number > 1 }" }));
  assert.deepEqual(events.map(({ message }) => JSON.parse(message).number), [2]);

  const { logGroups } = await client.send(new logs.DescribeLogGroupsCommand({}));
  const seen = [];
  await tail(client, logGroups[0].logGroupArn, seen);
  assert.deepEqual(seen.map((message) => JSON.parse(message).number), [3]);

  const now = Math.floor(Date.now() / 1000);
  const queryString = "stats count(*) as n, max(number) as top by level";
  const times = { startTime: now - 600, endTime: now + 600 };
  const { queryId } = await client.send(new logs.StartQueryCommand({ ...group, ...times, queryString }));
  let answer;
  do {
    await wait(50);
    answer = await client.send(new logs.GetQueryResultsCommand({ queryId }));
  } while (answer.status !== "Complete");
  const [row] = answer.results;
  assert.deepEqual(row.map(({ field, value }) => [field, value]), [["level", "info"], ["n", "3"], ["top", "3"]]);
  await assert.rejects(
    client.send(new logs.StartQueryCommand({ ...group, ...times, queryString: "stats count(* by" })),
    logs.MalformedQueryException,
  );

  const cloudwatch = new metrics.CloudWatchClient({ maxAttempts: 1 });
  const MetricData = [{ MetricName: "Depth", Values: [1, 2, 3], Counts: [1, 1, 2], Unit: "Count" }];
  await cloudwatch.send(new metrics.PutMetricDataCommand({ Namespace: "Node", MetricData }));
  const query = (Id, Stat) => ({ Id, MetricStat: { Metric: { Namespace: "Node", MetricName: "Depth" }, Period: 60, Stat } });
  const { MetricDataResults } = await cloudwatch.send(new metrics.GetMetricDataCommand({
    StartTime: new Date(Date.now() - 600_000), EndTime: new Date(Date.now() + 600_000),
    MetricDataQueries: [query("sum", "Sum"), query("top", "p100"), { Id: "twice", Expression: "sum * 2" }],
  }));
  const values = Object.fromEntries(MetricDataResults.map(({ Id, Values }) => [Id, Values]));
  assert.deepEqual(values, { sum: [9], top: [3], twice: [18] });
}

main().then(() => process.exit(0)).catch((error) => {
  console.error(error);
  process.exit(1);
});
