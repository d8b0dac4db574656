// The handlers that every client's function has, by what the event asks for, on aws-lambda-ric.
'use strict';

if (process.env.FAIL_INIT) throw new Error('no init');

exports.answer = async (event, context) => {
  switch (event?.do) {
    case 'context':
      return {
        request: context.awsRequestId, arn: context.invokedFunctionArn, client: context.clientContext,
        deadline: context.getRemainingTimeInMillis() + Date.now(),
        function: context.functionName, version: context.functionVersion, memory: context.memoryLimitInMB,
      };
    case 'fail':
      throw new TypeError('as asked');
    case 'big':
      return 'x'.repeat(event.bytes);
    case 'sleep':
      await new Promise((resolve) => setTimeout(resolve, 3600_000));
      break;
    case 'exit':
      process.reallyExit(3);
  }
  return event;
};

// Three pieces, or one and a failure behind it.
exports.stream = globalThis.awslambda?.streamifyResponse(async (event, stream) => {
  for (const piece of ['one,', 'two,', 'three']) {
    stream.write(piece);
    if (event.do === 'fail') throw new TypeError('as asked');
  }
  stream.end();
});
