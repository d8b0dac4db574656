//! The handlers that every client's function has, by what the event asks for; `_HANDLER` chooses how it answers.

use lambda_runtime::streaming::{Body, Response, channel};
use lambda_runtime::{Error, LambdaEvent, MetadataPrelude, run, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    if std::env::var_os("FAIL_INIT").is_some() {
        return Err("no init".into());
    }
    match std::env::var("_HANDLER")?.as_str() {
        "stream" => run(service_fn(stream)).await,
        _ => run(service_fn(answer)).await,
    }
}

async fn answer(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let LambdaEvent { payload, context } = event;
    match payload["do"].as_str() {
        Some("context") => Ok(json!({
            "request": context.request_id, "arn": context.invoked_function_arn, "deadline": context.deadline,
            "client": context.client_context, "function": context.env_config.function_name,
            "version": context.env_config.version, "memory": context.env_config.memory,
        })),
        Some("fail") => Err(std::io::Error::other("as asked").into()),
        Some("big") => Ok("x".repeat(payload["bytes"].as_u64().unwrap_or_default() as usize).into()),
        Some("sleep") => std::future::pending().await,
        Some("exit") => std::process::exit(3),
        _ => Ok(payload),
    }
}

/// Three pieces, or one and a failure behind it.
async fn stream(event: LambdaEvent<Value>) -> Result<Response<Body>, Error> {
    let (mut sender, body) = channel();
    let fails = event.payload["do"] == "fail";
    tokio::spawn(async move {
        for piece in ["one,", "two,", "three"] {
            if sender.send_data(piece.into()).await.is_err() {
                return;
            }
            if fails {
                return sender.abort();
            }
        }
    });
    let metadata_prelude = MetadataPrelude::default();
    Ok(Response { metadata_prelude, stream: body })
}
