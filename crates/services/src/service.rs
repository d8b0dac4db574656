//! How a service folder says what it is: its description and its operations.

use std::collections::HashMap;
use std::sync::Arc;

use base::AwsError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::schema::{self, LoadError, Summary};
use wire::{Events, Handler, Output, Value};

use crate::{Cloud, Ctx};

type Bound = Box<dyn FnOnce(Arc<Cloud>) -> Handler>;

/// A service before it is bound to a cloud.
pub struct Service {
    name: &'static str,
    model: &'static str,
    overlay: &'static str,
    operations: Vec<(&'static str, Bound)>,
    body_bytes_max: HashMap<&'static str, u64>,
    actions: HashMap<&'static str, &'static str>,
}

impl Service {
    /// `model` and `overlay` are the folder's files of these names.
    pub fn new(name: &'static str, model: &'static str, overlay: &'static str) -> Self {
        let (body_bytes_max, actions) = (HashMap::new(), HashMap::new());
        Self { name, model, overlay, operations: Vec::new(), body_bytes_max, actions }
    }

    /// Adds an operation. `run` takes the members that it implements. An input type denies the members that it does not
    /// know, so that what is not built is refused by name and never dropped.
    pub fn operation<I, O, F>(self, name: &'static str, run: fn(Ctx, I) -> F) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize + 'static,
        F: Future<Output = Result<O, AwsError>> + Send + 'static,
    {
        self.bind_operation(name, move |ctx, input: Value| async move {
            let output = run(ctx, input.into_typed()?).await?;
            Ok(Value::of(&output)?.into())
        })
    }

    /// As [`operation`](Self::operation), for one whose answer goes on as a stream of events.
    pub fn streaming_operation<I, O, F>(self, name: &'static str, run: fn(Ctx, I) -> F) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize + 'static,
        F: Future<Output = Result<(O, Option<Events>), AwsError>> + Send + 'static,
    {
        self.bind_operation(name, move |ctx, input: Value| async move {
            let (output, events) = run(ctx, input.into_typed()?).await?;
            Ok(Output { events, ..Value::of(&output)?.into() })
        })
    }

    fn bind_operation<F>(mut self, name: &'static str, run: impl Fn(Ctx, Value) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Output, AwsError>> + Send + 'static,
    {
        let bind: Bound =
            Box::new(move |cloud| Arc::new(move |cx, input| Box::pin(run(Ctx { cx, cloud: cloud.clone() }, input))));
        self.operations.push((name, bind));
        self
    }

    /// Adds the operations of one noun.
    pub fn with(self, operations: fn(Self) -> Self) -> Self {
        operations(self)
    }

    /// Lets `operation` have bodies larger or smaller than the default.
    pub fn body_bytes_max(mut self, operation: &'static str, bytes: u64) -> Self {
        self.body_bytes_max.insert(operation, bytes);
        self
    }

    /// Says what policies and messages call `operation`, where that is another name.
    pub fn action(mut self, operation: &'static str, action: &'static str) -> Self {
        self.actions.insert(operation, action);
        self
    }

    /// The service as the server routes to it. The whole description is read when the first request comes.
    pub(crate) fn bind(self, cloud: &Arc<Cloud>) -> Result<(Summary, Arc<wire::Service>), LoadError> {
        let Self { name, model, overlay, operations, body_bytes_max, actions } = self;
        let summary = Summary::read(name, model, overlay)?;
        #[expect(clippy::expect_used, reason = "the description is compiled in, and a test loads every one")]
        let load = move || schema::load(name, model, overlay).expect("a service's own description loads");
        let mut service = wire::Service::new(name, load);
        service.handlers = operations.into_iter().map(|(name, bind)| (name, bind(cloud.clone()))).collect();
        service.body_bytes_max = body_bytes_max;
        service.actions = actions;
        Ok((summary, Arc::new(service)))
    }
}
