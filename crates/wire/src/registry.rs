//! Which operations exist and who handles them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};

use base::{AwsError, BoxFuture, Cx};

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
    /// Events that follow, for an operation whose output is an event stream.
    pub events: Option<Events>,
}

/// Events, each made when the client has taken those before it: a slow client slows whoever makes them, and one that
/// goes away drops them. An error ends them.
pub struct Events(Box<dyn Poller>);

type Made<S> = Option<(Result<Value, AwsError>, S)>;

trait Poller: Send {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Value, AwsError>>>;
}

/// The state between two events, or the event in the making. Neither is there behind the last.
struct Unfold<S, F> {
    state: Option<S>,
    making: Option<BoxFuture<'static, Made<S>>>,
    next: F,
}

impl Events {
    /// Makes event after event out of a state, until there is none.
    pub fn unfold<S, F, Making>(state: S, mut next: F) -> Self
    where
        S: Send + 'static,
        F: FnMut(S) -> Making + Send + 'static,
        Making: Future<Output = Made<S>> + Send + 'static,
    {
        let next = move |state| -> BoxFuture<'static, Made<S>> { Box::pin(next(state)) };
        Self(Box::new(Unfold { state: Some(state), making: None, next }))
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Value, AwsError>>> {
        self.0.poll_next(cx)
    }
}

impl<S: Send, F: FnMut(S) -> BoxFuture<'static, Made<S>> + Send> Poller for Unfold<S, F> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Value, AwsError>>> {
        if let Some(state) = self.state.take() {
            self.making = Some((self.next)(state));
        }
        let Some(making) = &mut self.making else { return Poll::Ready(None) };
        let made = ready!(making.as_mut().poll(cx));
        self.making = None;
        Poll::Ready(made.map(|(event, state)| {
            self.state = Some(state);
            event
        }))
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
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
    /// What policies and messages call operations, where that is another name.
    pub actions: HashMap<&'static str, &'static str>,
}

impl Service {
    pub fn new(name: &'static str, model: impl FnOnce() -> Model + Send + 'static) -> Self {
        let model: Box<dyn FnOnce() -> Model + Send> = Box::new(model);
        let (handlers, body_bytes_max, actions) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { name, model: LazyLock::new(model), handlers, body_bytes_max, actions }
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

    /// The name of an operation in policies and messages.
    pub fn action(&self, operation: &'static str) -> &'static str {
        self.actions.get(operation).copied().unwrap_or(operation)
    }

    pub fn body_limit(&self, operation: &str) -> u64 {
        self.body_bytes_max.get(operation).copied().unwrap_or(limits::BODY_BYTES_MAX)
    }
}
