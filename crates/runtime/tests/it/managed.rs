//! Functions of the managed runtimes, through frames.

use crate::bed::{Bed, call};

const PYTHON: &str = "
import json, os, sys
print('loading')
def handler(event, context):
    print('handling', event)
    if event.get('fail'):
        raise ValueError('as asked')
    return {'event': event, 'name': context.function_name, 'id': context.aws_request_id, 'version': sys.version_info[:2]}
";

#[tokio::test]
async fn a_python_function_answers() {
    let bed = Bed::new().await;
    for runtime in ["python3.13", "python3.11"] {
        let function = bed.function(runtime, "app.handler", &[("app.py", PYTHON)]).await;
        let answer = bed.invoke(&function, r#"{"a": 1}"#).await;
        println!("{answer:?}\n{}", bed.log());
        assert_eq!(answer.failed, None);
    }
}
