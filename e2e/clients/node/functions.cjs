// The JavaScript SDK walks through the life of a function.
const assert = require("node:assert/strict");
const { execFileSync } = require("node:child_process");
const lambda = require("@aws-sdk/client-lambda");
const { STSClient, GetCallerIdentityCommand } = require("@aws-sdk/client-sts");

const zip = execFileSync("python3", ["-c", `
import io, sys, zipfile
buffer = io.BytesIO()
with zipfile.ZipFile(buffer, "w") as archive:
    archive.writestr("index.mjs", "export const handler = async (event) => event;")
sys.stdout.buffer.write(buffer.getvalue())`]);

async function main() {
  const identity = await new STSClient({}).send(new GetCallerIdentityCommand({}));
  assert.equal(identity.Account, "000000000000");

  const client = new lambda.LambdaClient({ maxAttempts: 1 });
  const created = await client.send(new lambda.CreateFunctionCommand({
    FunctionName: "from-node", Runtime: "nodejs22.x", Handler: "index.handler",
    Role: "arn:aws:iam::000000000000:role/r", Code: { ZipFile: zip }, Tags: { team: "lamp" },
  }));
  assert.equal(created.State, "Pending");
  assert.equal(created.CodeSize, zip.length);
  await lambda.waitUntilFunctionActiveV2({ client, maxWaitTime: 10 }, { FunctionName: "from-node" });

  const got = await client.send(new lambda.GetFunctionCommand({ FunctionName: created.FunctionArn }));
  assert.deepEqual(got.Tags, { team: "lamp" });
  const code = Buffer.from(await (await fetch(got.Code.Location)).arrayBuffer());
  assert.ok(code.equals(zip));

  await client.send(new lambda.TagResourceCommand({ Resource: created.FunctionArn, Tags: { stage: "test" } }));
  const { Tags } = await client.send(new lambda.ListTagsCommand({ Resource: created.FunctionArn }));
  assert.deepEqual(Tags, { stage: "test", team: "lamp" });

  await assert.rejects(
    client.send(new lambda.GetFunctionCommand({ FunctionName: "nobody" })),
    (error) => error instanceof lambda.ResourceNotFoundException && error.$metadata.httpStatusCode === 404
      && error.$metadata.requestId !== undefined && error.message.startsWith("Function not found: arn:"),
  );
  await client.send(new lambda.DeleteFunctionCommand({ FunctionName: "from-node" }));
  assert.equal((await client.send(new lambda.ListFunctionsCommand({}))).Functions.length, 0);
}

main().catch((error) => { console.error(error); process.exit(1); });
