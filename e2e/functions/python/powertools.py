"""AWS Powertools for Python, as its documentation has it: logger, metrics, event handler, batch, a tracer that is off."""

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, SqsFifoPartialProcessor, process_partial_response

logger = Logger(service="orders")
metrics = Metrics(namespace="Shop", service="orders")
app = APIGatewayHttpResolver()
processor = BatchProcessor(event_type=EventType.SQS)
in_order = SqsFifoPartialProcessor(skip_group_on_error=True)


@app.get("/orders/<number>")
def order(number):
    if number == "0":
        raise NotFoundError("no order")
    logger.info("looked up", extra={"order": number})
    metrics.add_metric(name="Orders", unit=MetricUnit.Count, value=1)
    return {"order": number, "kind": app.current_event.get_query_string_value("kind", "any")}


@app.get("/plain")
def plain():
    return Response(status_code=201, content_type="text/plain", body="plain")


@logger.inject_lambda_context(log_event=True)
@metrics.log_metrics(capture_cold_start_metric=True)
def http(event, context):
    return app.resolve(event, context)


def record(record):
    is_first = record.body.startswith("flaky") and record.attributes.approximate_receive_count == "1"
    if record.body == "bad" or is_first:
        raise ValueError("as asked")
    logger.info("did", extra={"body": record.body})
    return record.body


def batch(event, context):
    return process_partial_response(event=event, record_handler=record, processor=processor, context=context)


def steps(event, context):
    return process_partial_response(event=event, record_handler=record, processor=in_order, context=context)
