// The JavaScript SDK sends, receives and deletes, checking every MD5; sqs-producer and sqs-consumer work a queue off.
const assert = require("node:assert/strict");
const { createHash } = require("node:crypto");
const { once } = require("node:events");
const sqs = require("@aws-sdk/client-sqs");
const { Consumer } = require("sqs-consumer");
const { Producer } = require("sqs-producer");

const client = new sqs.SQSClient({ maxAttempts: 1 });
const ARN = "arn:aws:sqs:us-east-1:000000000000:";

async function create(QueueName, Attributes) {
  return (await client.send(new sqs.CreateQueueCommand({ QueueName, Attributes }))).QueueUrl;
}

async function receive(QueueUrl, more = {}) {
  const input = { QueueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 2, ...more };
  return (await client.send(new sqs.ReceiveMessageCommand(input))).Messages ?? [];
}

async function counts(QueueUrl) {
  const { Attributes } = await client.send(new sqs.GetQueueAttributesCommand({ QueueUrl, AttributeNames: ["All"] }));
  return ["", "NotVisible", "Delayed"].map((end) => Number(Attributes[`ApproximateNumberOfMessages${end}`]));
}

// The MD5 of attributes as AWS describes it; the SDK itself checks only bodies.
function md5OfAttributes(attributes) {
  const hash = createHash("md5");
  const add = (bytes) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    hash.update(length).update(bytes);
  };
  for (const name of Object.keys(attributes).sort()) {
    const { DataType, StringValue, BinaryValue } = attributes[name];
    add(Buffer.from(name));
    add(Buffer.from(DataType));
    hash.update(Buffer.from([BinaryValue ? 2 : 1]));
    add(Buffer.from(BinaryValue ?? StringValue));
  }
  return hash.digest("hex");
}

async function messages() {
  const url = await create("plain", { VisibilityTimeout: "30" });
  const MessageAttributes = {
    picture: { DataType: "Binary.png", BinaryValue: Uint8Array.from([0, 255, 128, 10, 13]) },
    price: { DataType: "Number.float", StringValue: "1.50" },
    name: { DataType: "String", StringValue: "Grüße 🌍" },
  };
  const body = "line\r\n\t \"quoted\" <&> 🌍";
  const sent = await client.send(new sqs.SendMessageCommand({ QueueUrl: url, MessageBody: body, MessageAttributes }));
  assert.equal(sent.MD5OfMessageAttributes, md5OfAttributes(MessageAttributes));
  const [got] = await receive(url, { MessageAttributeNames: ["All"], MessageSystemAttributeNames: ["All"] });
  assert.deepEqual([got.Body, got.MessageId], [body, sent.MessageId]);
  assert.deepEqual(got.MessageAttributes, MessageAttributes);
  assert.equal(got.MD5OfMessageAttributes, sent.MD5OfMessageAttributes);
  assert.equal(got.Attributes.ApproximateReceiveCount, "1");
  assert.equal(got.Attributes.SenderId.length > 0, true);
  await client.send(new sqs.ChangeMessageVisibilityCommand({ QueueUrl: url, ReceiptHandle: got.ReceiptHandle, VisibilityTimeout: 0 }));
  // Only what is asked for comes along, and has an MD5 of its own.
  const { price } = MessageAttributes;
  const [again] = await receive(url, { MessageAttributeNames: ["pri.*"], MessageSystemAttributeNames: ["ApproximateReceiveCount"] });
  assert.deepEqual(again.MessageAttributes, { price });
  assert.equal(again.MD5OfMessageAttributes, md5OfAttributes({ price }));
  assert.deepEqual(again.Attributes, { ApproximateReceiveCount: "2" });
  await client.send(new sqs.DeleteMessageCommand({ QueueUrl: url, ReceiptHandle: again.ReceiptHandle }));

  // A batch fails in part, at either end.
  const Entries = [{ Id: "one", MessageBody: "1" }, { Id: "two", MessageBody: "\u0001" }, { Id: "three", MessageBody: "3", DelaySeconds: 1 }];
  const batch = await client.send(new sqs.SendMessageBatchCommand({ QueueUrl: url, Entries }));
  assert.deepEqual(batch.Successful.map(({ Id }) => Id), ["one", "three"]);
  assert.deepEqual(batch.Failed.map(({ Id, Code, SenderFault }) => [Id, Code, SenderFault]), [["two", "InvalidMessageContents", true]]);
  const received = [...await receive(url), ...await receive(url)];
  assert.deepEqual(received.map(({ Body }) => Body), ["1", "3"]);
  const handles = [received[0].ReceiptHandle, "nothing", received[1].ReceiptHandle];
  const deleted = await client.send(new sqs.DeleteMessageBatchCommand({
    QueueUrl: url, Entries: handles.map((ReceiptHandle, index) => ({ Id: String(index), ReceiptHandle })),
  }));
  assert.deepEqual(deleted.Successful.map(({ Id }) => Id), ["0", "2"]);
  assert.deepEqual(deleted.Failed.map(({ Id, Code }) => [Id, Code]), [["1", "ReceiptHandleIsInvalid"]]);
  assert.deepEqual(await counts(url), [0, 0, 0]);
}

async function errors() {
  const QueueUrl = await create("errors");
  const refused = (command, type) => assert.rejects(client.send(command), (error) => {
    assert.ok(error instanceof type, `${error.name}: ${error.message}`);
    assert.ok(error.$metadata.requestId !== undefined && error.$fault === "client");
    return true;
  });
  await refused(new sqs.GetQueueUrlCommand({ QueueName: "nobody" }), sqs.QueueDoesNotExist);
  await refused(new sqs.SendMessageCommand({ QueueUrl: `${QueueUrl}x`, MessageBody: "x" }), sqs.QueueDoesNotExist);
  await refused(new sqs.CreateQueueCommand({ QueueName: "errors", Attributes: { DelaySeconds: "9" } }), sqs.QueueNameExists);
  await refused(new sqs.DeleteMessageCommand({ QueueUrl, ReceiptHandle: "x" }), sqs.ReceiptHandleIsInvalid);
  await refused(new sqs.SendMessageBatchCommand({ QueueUrl, Entries: [] }), sqs.EmptyBatchRequest);
  await refused(new sqs.SendMessageCommand({ QueueUrl, MessageBody: "\u0000" }), sqs.InvalidMessageContents);
  const twice = [{ Id: "a", MessageBody: "1" }, { Id: "a", MessageBody: "2" }];
  await refused(new sqs.SendMessageBatchCommand({ QueueUrl, Entries: twice }), sqs.BatchEntryIdsNotDistinct);
  await client.send(new sqs.DeleteQueueCommand({ QueueUrl }));
  await refused(new sqs.ReceiveMessageCommand({ QueueUrl }), sqs.QueueDoesNotExist);
}

async function fifo() {
  const QueueUrl = await create("steps.fifo", { FifoQueue: "true", VisibilityTimeout: "30" });
  const entry = (group, number) => ({
    Id: `${group}${number}`, MessageBody: `${group}${number}`, MessageGroupId: group, MessageDeduplicationId: `${group}${number}`,
  });
  const Entries = ["a", "b"].flatMap((group) => [1, 2, 3].map((number) => entry(group, number)));
  const first = await client.send(new sqs.SendMessageBatchCommand({ QueueUrl, Entries }));
  const again = await client.send(new sqs.SendMessageBatchCommand({ QueueUrl, Entries }));
  assert.deepEqual(again.Successful.map(({ MessageId }) => MessageId), first.Successful.map(({ MessageId }) => MessageId));
  const got = await receive(QueueUrl, { MessageSystemAttributeNames: ["All"] });
  assert.deepEqual(got.map(({ Body }) => Body), ["a1", "a2", "a3", "b1", "b2", "b3"]);
  const numbers = got.map(({ Attributes }) => BigInt(Attributes.SequenceNumber));
  assert.ok(numbers.every((number, index) => index === 0 || number > numbers[index - 1]), String(numbers));
  assert.equal(got[3].Attributes.MessageGroupId, "b");
  assert.deepEqual(await receive(QueueUrl, { WaitTimeSeconds: 0 }), []);
}

// A consumer with a handler that fails on some: what fails at first comes again at once, what always fails ends as a dead letter.
async function consumer() {
  const dead = await create("dead");
  const RedrivePolicy = JSON.stringify({ deadLetterTargetArn: `${ARN}dead`, maxReceiveCount: 3 });
  const queueUrl = await create("jobs", { VisibilityTimeout: "20", RedrivePolicy });
  const producer = Producer.create({ queueUrl, region: "us-east-1", sqs: client });
  const ids = Array.from({ length: 23 }, (_, number) => ({ id: String(number), body: String(number) }));
  assert.equal((await producer.send(ids)).length, 23);
  assert.equal(await producer.queueSize(), 23);
  await producer.send(["poison", { id: "late", body: "late", delaySeconds: 1, messageAttributes: { n: { DataType: "Number", StringValue: "7" } } }]);
  await assert.rejects(producer.send([{ id: "bad", body: "\u0002" }]), /Failed to send messages: bad/);

  const tries = new Map();
  const settings = {
    queueUrl, batchSize: 10, waitTimeSeconds: 5, visibilityTimeout: 2, heartbeatInterval: 1, terminateVisibilityTimeout: true,
    messageAttributeNames: ["All"], messageSystemAttributeNames: ["ApproximateReceiveCount"],
  };
  // By its own client, which takes the queue's URL for the endpoint.
  const app = Consumer.create({ ...settings, region: "us-east-1", handleMessage: async (message) => {
    const { Body, Attributes, MessageAttributes } = message;
    tries.set(Body, (tries.get(Body) ?? 0) + 1);
    assert.equal(Attributes.ApproximateReceiveCount, String(tries.get(Body)));
    if (Body === "late") assert.equal(MessageAttributes.n.StringValue, "7");
    if (Body === "poison" || (Body === "5" && tries.get(Body) < 3)) throw new Error("as asked");
    // Longer than it is hidden, but for the heartbeat.
    if (Body === "7") await new Promise((done) => setTimeout(done, 2600));
    return message;
  } });
  const failed = [];
  app.on("error", (error) => failed.push(error));
  app.on("processing_error", () => {});
  app.start();
  for (let left = 200; left > 0 && (tries.get("poison") !== 3 || !tries.has("late") || (await counts(queueUrl)).some(Boolean)); left -= 1) {
    await new Promise((done) => setTimeout(done, 50));
  }
  assert.deepEqual(await counts(queueUrl), [0, 0, 0]);
  const stopped = once(app, "stopped");
  app.stop({ abort: true });
  await stopped;
  assert.deepEqual(failed.filter(({ name }) => name !== "AbortError").map(String), []);
  const others = [...tries].filter(([body]) => !["poison", "5"].includes(body));
  assert.deepEqual(others.filter(([, count]) => count !== 1), []);
  assert.deepEqual([others.length, tries.get("poison"), tries.get("5")], [23, 3, 3]);
  assert.deepEqual((await receive(dead)).map(({ Body }) => Body), ["poison"]);
}

// A batch at a time, of which some are done.
async function batches() {
  const queueUrl = await create("batches", { VisibilityTimeout: "1" });
  const producer = Producer.create({ queueUrl, region: "us-east-1" });
  await producer.send(["a", "b", "c", "d"]);
  const seen = [];
  const app = Consumer.create({
    queueUrl, region: "us-east-1", batchSize: 10, waitTimeSeconds: 1,
    handleMessageBatch: async (messages) => {
      seen.push(messages.map(({ Body }) => Body).sort().join(""));
      return seen.length === 1 ? messages.filter(({ Body }) => Body < "c") : messages;
    },
  });
  app.on("error", () => {});
  app.start();
  for (let left = 100; left > 0 && (await counts(queueUrl)).some(Boolean); left -= 1) {
    await new Promise((done) => setTimeout(done, 50));
  }
  app.stop({ abort: true });
  assert.deepEqual(seen.slice(0, 2), ["abcd", "cd"]);
  assert.deepEqual(await counts(queueUrl), [0, 0, 0]);
}

Promise.all([messages(), errors(), fifo(), consumer(), batches()]).then(() => process.exit(0)).catch((error) => {
  console.error(error);
  process.exit(1);
});
