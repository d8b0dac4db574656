//! Functions where the operator wants no isolation: they find what they look for all the same.

use serde_json::{Value, json};

use crate::bed::Bed;

const PYTHON: &str = "
import os, sibling
import shared
def handler(event, context):
    with open(os.path.join(os.environ['LAMBDA_TASK_ROOT'], 'data')) as data:
        return {'data': data.read(), 'sibling': sibling.name, 'shared': shared.name, 'here': os.getcwd() == os.environ['LAMBDA_TASK_ROOT']}
";

const NODE: &str = "
const shared = require('shared');
exports.handler = async () => ({ shared: shared.name, here: process.cwd() === process.env.LAMBDA_TASK_ROOT });
";

/// Answers one event after another.
const CUSTOM: &str = r#"#!/bin/bash
api="http://${AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime"
while true; do
  headers=$(mktemp)
  event=$(curl -sS -LD "$headers" "$api/invocation/next")
  id=$(grep -Fi Lambda-Runtime-Aws-Request-Id "$headers" | tr -d '[:space:]' | cut -d: -f2)
  curl -sS -o /dev/null -X POST "$api/invocation/$id/response" -d "{\"echo\":$event,\"data\":\"$(cat data)\"}"
done
"#;

async fn answer(bed: &Bed, runtime: &str, handler: &str, files: &[(&str, &str)], layer: &[(&str, &str)]) -> Value {
    let mut function = bed.function(runtime, handler, files).await;
    function.layers = vec![bed.code(layer).await];
    let answer = bed.invoke(&function, "7").await;
    assert_eq!(answer.failed, None, "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

#[tokio::test]
async fn functions_run_without_walls() {
    let bed = Bed::bare().await;
    let files = [("app.py", PYTHON), ("sibling.py", "name = 'sibling'"), ("data", "own")];
    let found = answer(&bed, "python3.11", "app.handler", &files, &[("python/shared.py", "name = 'layer'")]).await;
    assert_eq!(found, json!({"data": "own", "sibling": "sibling", "shared": "layer", "here": true}));
    let layer = [("nodejs/node_modules/shared/index.js", "exports.name = 'layer'")];
    let found = answer(&bed, "nodejs20.x", "app.handler", &[("app.js", NODE)], &layer).await;
    assert_eq!(found, json!({"shared": "layer", "here": true}));
    let found = answer(&bed, "provided.al2023", "h", &[("bootstrap", CUSTOM), ("data", "own")], &[("x", "")]).await;
    assert_eq!(found, json!({"echo": 7, "data": "own"}));
}
