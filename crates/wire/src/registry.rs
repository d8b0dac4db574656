//! Which operations exist and who handles them.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use base::{AwsError, BoxFuture, Cx};
use tokio::sync::mpsc;

use crate::schema::Model;
use crate::{Value, limits};

/// Runs one operation. The value has been validated against the model.
pub type Handler = Arc<dyn Fn(Cx, Value) -> BoxFuture<'static, Result<Output, AwsError>> + Send + Sync>;

/// What an operation answers.
#[derive(Debug, Default)]
pub struct Output {
    pub value: Value,
    /// Overrides the model's status, where AWS answers several.
    pub status: Option<u16>,
    /// Events that follow, for an operation whose output is an event stream. The bound of the channel is the
    /// back-pressure: a slow client slows the producer.
    pub events: Option<mpsc::Receiver<Result<Value, AwsError>>>,
}

impl From<Value> for Output {
    fn from(value: Value) -> Self {
        Self { value, ..Self::default() }
    }
}

/// A service: its description, read on first use, and the handlers that are built.
pub struct Service {
    pub name: &'static str,
    pub model: LazyLock<Model, Box<dyn FnOnce() -> Model + Send>>,
    pub handlers: HashMap<&'static str, Handler>,
    /// Operations whose requests may be longer than [`limits::BODY_BYTES_MAX`], or must be shorter.
    pub body_bytes_max: HashMap<&'static str, u64>,
}

impl Service {
    pub fn new(name: &'static str, model: impl FnOnce() -> Model + Send + 'static) -> Self {
        let model: Box<dyn FnOnce() -> Model + Send> = Box::new(model);
        Self { name, model: LazyLock::new(model), handlers: HashMap::new(), body_bytes_max: HashMap::new() }
    }

    /// Registers what runs `operation`.
    pub fn handle<F>(mut self, operation: &'static str, run: impl Fn(Cx, Value) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Output, AwsError>> + Send + 'static,
    {
        self.handlers.insert(operation, Arc::new(move |cx, input| Box::pin(run(cx, input))));
        self
    }

    pub fn limit_body(mut self, operation: &'static str, bytes_max: u64) -> Self {
        self.body_bytes_max.insert(operation, bytes_max);
        self
    }

    pub fn body_limit(&self, operation: &str) -> u64 {
        self.body_bytes_max.get(operation).copied().unwrap_or(limits::BODY_BYTES_MAX)
    }
}
