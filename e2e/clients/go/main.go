// The Go SDK walks through the life of a function; with the argument "queues", it uses queues.
package main

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

func main() {
	ctx := context.Background()
	cfg := must(config.LoadDefaultConfig(ctx))
	if len(os.Args) > 1 && os.Args[1] == "queues" {
		queues(ctx, cfg)
		return
	}
	identity := must(sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}))
	check(*identity.Account == "000000000000", "account", *identity.Account)

	code := archive()
	client := lambda.NewFromConfig(cfg)
	created := must(client.CreateFunction(ctx, &lambda.CreateFunctionInput{
		FunctionName: aws.String("from-go"),
		Runtime:      types.RuntimeProvidedal2023,
		Handler:      aws.String("bootstrap"),
		Role:         aws.String("arn:aws:iam::000000000000:role/r"),
		Code:         &types.FunctionCode{ZipFile: code},
		Tags:         map[string]string{"team": "lamp"},
	}))
	check(created.State == types.StatePending, "state", created.State)
	waiter := lambda.NewFunctionActiveV2Waiter(client)
	try(waiter.Wait(ctx, &lambda.GetFunctionInput{FunctionName: created.FunctionName}, 10*time.Second))

	got := must(client.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: created.FunctionArn}))
	check(got.Tags["team"] == "lamp", "tags", got.Tags)
	answer := must(http.Get(*got.Code.Location))
	check(bytes.Equal(must(io.ReadAll(answer.Body)), code), "code", answer.Status)

	must(client.TagResource(ctx, &lambda.TagResourceInput{Resource: created.FunctionArn, Tags: map[string]string{"stage": "test"}}))
	tags := must(client.ListTags(ctx, &lambda.ListTagsInput{Resource: created.FunctionArn}))
	check(len(tags.Tags) == 2, "tags", tags.Tags)

	_, err := client.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: aws.String("nobody")})
	var missing *types.ResourceNotFoundException
	check(errors.As(err, &missing), "error", err)

	must(client.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: created.FunctionName}))
	listed := must(client.ListFunctions(ctx, &lambda.ListFunctionsInput{}))
	check(len(listed.Functions) == 0, "functions", len(listed.Functions))
}

func archive() []byte {
	var buffer bytes.Buffer
	writer := zip.NewWriter(&buffer)
	must(must(writer.Create("bootstrap")).Write([]byte("#!/bin/sh\n")))
	try(writer.Close())
	return buffer.Bytes()
}

func must[T any](value T, err error) T {
	try(err)
	return value
}

func try(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func check(holds bool, what string, is any) {
	if !holds {
		log.Fatalf("unexpected %s: %v", what, is)
	}
}
