// Bundled by esbuild into one file of some 5 MB, all of which is run at start.
import * as dynamodb from "@aws-sdk/client-dynamodb";
import * as ec2 from "@aws-sdk/client-ec2";
import * as s3 from "@aws-sdk/client-s3";
import * as sagemaker from "@aws-sdk/client-sagemaker";

export const handler = async (event) => {
  console.log("an event came", Object.keys({ ...dynamodb, ...ec2, ...s3, ...sagemaker }).length > 0);
  return event;
};
