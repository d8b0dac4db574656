// AWS's SDK for JavaScript, bundled with the handler into one file: it finds the platform by the function's variables alone.

import { LambdaClient, ListFunctionsCommand } from '@aws-sdk/client-lambda';
import { ListBucketsCommand, S3Client } from '@aws-sdk/client-s3';
import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts';

const lambda = new LambdaClient({});
const s3 = new S3Client({ maxAttempts: 1 });
const sts = new STSClient({});

export const handler = async () => {
  const { Functions } = await lambda.send(new ListFunctionsCommand({}));
  const { Account, Arn } = await sts.send(new GetCallerIdentityCommand({}));
  const buckets = await s3.send(new ListBucketsCommand({})).catch((error) => ({ code: error.name, status: error.$metadata?.httpStatusCode }));
  return { functions: Functions.map((one) => one.FunctionName), account: Account, arn: Arn, buckets };
};
