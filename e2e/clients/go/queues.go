// The Go SDK sends and receives messages, whole and in batches, and knows each error by its type.
package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

func queues(ctx context.Context, cfg aws.Config) {
	client := sqs.NewFromConfig(cfg)
	messages(ctx, client)
	refusals(ctx, client)
	groups(ctx, client)
}

func create(ctx context.Context, client *sqs.Client, name string, attributes map[string]string) *string {
	return must(client.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String(name), Attributes: attributes})).QueueUrl
}

func receive(ctx context.Context, client *sqs.Client, url *string) []types.Message {
	return must(client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl: url, MaxNumberOfMessages: 10, WaitTimeSeconds: 5, MessageAttributeNames: []string{"All"},
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
	})).Messages
}

func messages(ctx context.Context, client *sqs.Client) {
	url := create(ctx, client, "from-go", map[string]string{"VisibilityTimeout": "30"})
	sent := must(client.SendMessage(ctx, &sqs.SendMessageInput{
		QueueUrl: url, MessageBody: aws.String("Grüße\t\"&<\r\n"),
		MessageAttributes: map[string]types.MessageAttributeValue{
			"bytes": {DataType: aws.String("Binary"), BinaryValue: []byte{0, 255, 7}},
			"count": {DataType: aws.String("Number"), StringValue: aws.String("12")},
		},
		MessageSystemAttributes: map[string]types.MessageSystemAttributeValue{
			"AWSTraceHeader": {DataType: aws.String("String"), StringValue: aws.String("Root=1-5759e988-bd862e3fe1be46a994272793")},
		},
	}))
	check(sent.MD5OfMessageSystemAttributes != nil, "MD5 of system attributes", sent)
	got := receive(ctx, client, url)
	check(len(got) == 1 && *got[0].MessageId == *sent.MessageId, "messages", got)
	check(*got[0].Body == "Grüße\t\"&<\r\n", "body", *got[0].Body)
	check(*got[0].MD5OfMessageAttributes == *sent.MD5OfMessageAttributes, "MD5 of attributes", *got[0].MD5OfMessageAttributes)
	check(string(got[0].MessageAttributes["bytes"].BinaryValue) == "\x00\xff\x07", "bytes", got[0].MessageAttributes)
	check(*got[0].MessageAttributes["count"].StringValue == "12", "count", got[0].MessageAttributes)
	check(got[0].Attributes["ApproximateReceiveCount"] == "1", "system attributes", got[0].Attributes)
	check(strings.HasPrefix(got[0].Attributes["AWSTraceHeader"], "Root="), "trace", got[0].Attributes)
	millis := must(strconv.ParseInt(got[0].Attributes["SentTimestamp"], 10, 64))
	check(time.Since(time.UnixMilli(millis)).Abs() < time.Minute, "time", millis)

	// A batch fails in part; so does a batch of deletions.
	entries := []types.SendMessageBatchRequestEntry{
		{Id: aws.String("a"), MessageBody: aws.String("1")},
		{Id: aws.String("b"), MessageBody: aws.String("2"), DelaySeconds: 1_000},
		{Id: aws.String("c"), MessageBody: aws.String("3")},
	}
	batch := must(client.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: url, Entries: entries}))
	check(len(batch.Successful) == 2 && *batch.Successful[1].Id == "c", "sent", batch.Successful)
	check(len(batch.Failed) == 1 && *batch.Failed[0].Id == "b" && batch.Failed[0].SenderFault, "not sent", batch.Failed)
	handles := []types.DeleteMessageBatchRequestEntry{
		{Id: aws.String("first"), ReceiptHandle: got[0].ReceiptHandle},
		{Id: aws.String("none"), ReceiptHandle: aws.String("none")},
	}
	deleted := must(client.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: url, Entries: handles}))
	check(len(deleted.Successful) == 1 && len(deleted.Failed) == 1, "deleted", deleted)
	check(*deleted.Failed[0].Code == "ReceiptHandleIsInvalid", "code", *deleted.Failed[0].Code)

	// Waiting ends with the message that comes; who gives up waiting takes none along.
	must(client.PurgeQueue(ctx, &sqs.PurgeQueueInput{QueueUrl: url}))
	brief, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	_, err := client.ReceiveMessage(brief, &sqs.ReceiveMessageInput{QueueUrl: url, WaitTimeSeconds: 20})
	cancel()
	check(errors.Is(err, context.DeadlineExceeded), "end of waiting", err)
	go func() {
		time.Sleep(300 * time.Millisecond)
		must(client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: url, MessageBody: aws.String("late")}))
	}()
	began := time.Now()
	got = receive(ctx, client, url)
	check(len(got) == 1 && *got[0].Body == "late", "late message", got)
	check(time.Since(began) < 3*time.Second, "wait", time.Since(began))
}

// refusals has an error of each type that callers tell apart.
func refusals(ctx context.Context, client *sqs.Client) {
	url := create(ctx, client, "refusals", nil)
	text := aws.String("x")
	send := func(url *string, entries ...types.SendMessageBatchRequestEntry) error {
		if entries == nil {
			entries = []types.SendMessageBatchRequestEntry{} // which the SDK sends, as it does not nothing
		}
		_, err := client.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: url, Entries: entries})
		return err
	}
	entry := types.SendMessageBatchRequestEntry{Id: text, MessageBody: text}
	many := make([]types.SendMessageBatchRequestEntry, 11)
	for index := range many {
		many[index] = types.SendMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(index)), MessageBody: text}
	}
	long := strings.Repeat("x", 600<<10)
	one := types.SendMessageBatchRequestEntry{Id: aws.String("one"), MessageBody: &long}
	two := types.SendMessageBatchRequestEntry{Id: aws.String("two"), MessageBody: &long}
	bad := types.SendMessageBatchRequestEntry{Id: aws.String("a b"), MessageBody: text}

	refused[*types.QueueDoesNotExist](second(client.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: aws.String("nobody")})))
	refused[*types.QueueDoesNotExist](second(client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: aws.String(*url + "x"), MessageBody: text})))
	refused[*types.QueueNameExists](second(client.CreateQueue(ctx, &sqs.CreateQueueInput{
		QueueName: aws.String("refusals"), Attributes: map[string]string{"DelaySeconds": "5"},
	})))
	refused[*types.InvalidAttributeName](second(client.SetQueueAttributes(ctx, &sqs.SetQueueAttributesInput{
		QueueUrl: url, Attributes: map[string]string{"Colour": "red"},
	})))
	refused[*types.InvalidAttributeValue](second(client.SetQueueAttributes(ctx, &sqs.SetQueueAttributesInput{
		QueueUrl: url, Attributes: map[string]string{"DelaySeconds": "901"},
	})))
	refused[*types.EmptyBatchRequest](send(url))
	refused[*types.TooManyEntriesInBatchRequest](send(url, many...))
	refused[*types.BatchEntryIdsNotDistinct](send(url, entry, entry))
	refused[*types.BatchRequestTooLong](send(url, one, two))
	refused[*types.InvalidBatchEntryId](send(url, bad))
	refused[*types.InvalidMessageContents](second(client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: url, MessageBody: aws.String("\x02")})))
	refused[*types.ReceiptHandleIsInvalid](second(client.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: url, ReceiptHandle: text})))
	refused[*types.ResourceNotFoundException](second(client.StartMessageMoveTask(ctx, &sqs.StartMessageMoveTaskInput{
		SourceArn: aws.String("arn:aws:sqs:us-east-1:000000000000:nobody"),
	})))
	must(client.PurgeQueue(ctx, &sqs.PurgeQueueInput{QueueUrl: url}))
	refused[*types.PurgeQueueInProgress](second(client.PurgeQueue(ctx, &sqs.PurgeQueueInput{QueueUrl: url})))
	must(client.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: url}))
	refused[*types.QueueDeletedRecently](second(client.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("refusals")})))
}

func second[T any](_ T, err error) error { return err }

func refused[E error](err error) {
	var kind E
	check(errors.As(err, &kind), fmt.Sprintf("error instead of %T", kind), err)
}

// groups has order within each group, and nothing twice.
func groups(ctx context.Context, client *sqs.Client) {
	url := create(ctx, client, "steps.fifo", map[string]string{"FifoQueue": "true", "ContentBasedDeduplication": "true"})
	for _, body := range []string{"a1", "b1", "a2", "a1", "b2"} {
		must(client.SendMessage(ctx, &sqs.SendMessageInput{
			QueueUrl: url, MessageBody: aws.String(body), MessageGroupId: aws.String(body[:1]),
		}))
	}
	said := map[string]string{}
	for _, message := range receive(ctx, client, url) {
		said[message.Attributes["MessageGroupId"]] += *message.Body
	}
	check(len(said) == 2 && said["a"] == "a1a2" && said["b"] == "b1b2", "order", said)
}
