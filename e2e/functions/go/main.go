// The handlers that every client's function has, by what the event asks for, on the official Go runtime client.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

type question struct {
	Do    string `json:"do"`
	Bytes int    `json:"bytes"`
}

func answer(ctx context.Context, event json.RawMessage) (any, error) {
	var asked question
	_ = json.Unmarshal(event, &asked) // whatever is no question is echoed
	switch asked.Do {
	case "context":
		told, _ := lambdacontext.FromContext(ctx)
		deadline, _ := ctx.Deadline()
		return map[string]any{
			"request": told.AwsRequestID, "arn": told.InvokedFunctionArn, "deadline": deadline.UnixMilli(),
			"client": map[string]any{"custom": told.ClientContext.Custom}, "function": lambdacontext.FunctionName,
			"version": lambdacontext.FunctionVersion, "memory": lambdacontext.MemoryLimitInMB,
		}, nil
	case "fail":
		return nil, errors.New("as asked")
	case "panic":
		panic("as asked")
	case "big":
		return strings.Repeat("x", asked.Bytes), nil
	case "sleep":
		time.Sleep(time.Hour)
	case "exit":
		os.Exit(3)
	}
	return event, nil
}

// Three pieces, or one and a failure behind it.
func stream(_ context.Context, asked question) (io.Reader, error) {
	body, writer := io.Pipe()
	go func() {
		for _, piece := range []string{"one,", "two,", "three"} {
			_, _ = writer.Write([]byte(piece))
			if asked.Do == "fail" {
				_ = writer.CloseWithError(errors.New("as asked"))
				return
			}
		}
		_ = writer.Close()
	}()
	return body, nil
}

func main() {
	if os.Getenv("FAIL_INIT") != "" {
		panic("no init")
	}
	if os.Getenv("_HANDLER") == "stream" {
		lambda.Start(stream)
	}
	lambda.Start(answer)
}
