// What this costs is what is measured.
const { S3Client } = require("@aws-sdk/client-s3");

exports.handler = async (event) => {
  console.log("an event came", S3Client.name);
  return event;
};
