//! Which operations exist and who handles them.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use base::{AwsError, BoxFuture, Cx};
use tokio::sync::mpsc;

use crate::Value;
use crate::schema::Model;

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
}

/// All services of this server, in the order of the one list that names them.
#[derive(Default)]
pub struct Registry {
    pub services: Vec<Arc<Service>>,
}
