// AWS Powertools for TypeScript and middy, as their documentation has them: logger, metrics, router, batch, middleware.

import { BatchProcessor, EventType, processPartialResponse, SqsFifoPartialProcessorAsync } from '@aws-lambda-powertools/batch';
import { NotFoundError, Router } from '@aws-lambda-powertools/event-handler/http';
import { Logger } from '@aws-lambda-powertools/logger';
import { injectLambdaContext } from '@aws-lambda-powertools/logger/middleware';
import { Metrics, MetricUnit } from '@aws-lambda-powertools/metrics';
import { logMetrics } from '@aws-lambda-powertools/metrics/middleware';
import middy from '@middy/core';
import httpErrorHandler from '@middy/http-error-handler';
import httpJsonBodyParser from '@middy/http-json-body-parser';

const logger = new Logger({ serviceName: 'orders' });
const metrics = new Metrics({ namespace: 'Shop', serviceName: 'orders' });

const app = new Router({ logger });
app.get('/orders/:number', async ({ params, req }) => {
  if (params.number === '0') throw new NotFoundError('no order');
  logger.info('looked up', { order: params.number });
  metrics.addMetric('Orders', MetricUnit.Count, 1);
  return { order: params.number, kind: new URL(req.url).searchParams.get('kind') ?? 'any' };
});

export const http = middy((event, context) => app.resolve(event, context))
  .use(injectLambdaContext(logger, { logEvent: true }))
  .use(logMetrics(metrics, { captureColdStartMetric: true }));

export const order = middy()
  .use(httpJsonBodyParser())
  .use(httpErrorHandler())
  .handler(async (event) => ({ statusCode: 200, body: JSON.stringify({ doubled: event.body.number * 2 }) }));

const processor = new BatchProcessor(EventType.SQS);
const inOrder = new SqsFifoPartialProcessorAsync();
const record = async ({ body, attributes }) => {
  const isFirst = body.startsWith('flaky') && attributes.ApproximateReceiveCount === '1';
  if (body === 'bad' || isFirst) throw new RangeError('as asked');
  logger.info('did', { body });
};

export const batch = async (event, context) => processPartialResponse(event, record, processor, { context });
export const steps = async (event, context) =>
  processPartialResponse(event, record, inOrder, { context, skipGroupOnError: true });
