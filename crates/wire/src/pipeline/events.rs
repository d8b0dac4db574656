//! An answer that goes on as a stream of events, each made and encoded when the connection asks for it. The connection
//! asks when the client has taken what came before, so a slow client slows whoever makes the events.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll, ready};

use base::AwsError;
use bytes::Bytes;

use crate::eventstream;
use crate::protocol::EncodeError;
use crate::route::Route;
use crate::schema::ShapeId;
use crate::server::Source;
use crate::{Events, Value};

/// Events on their way out.
pub(super) struct Encoded {
    route: Route,
    stream: ShapeId,
    /// Frames that go before the first event.
    ready: VecDeque<Bytes>,
    incoming: Events,
    has_ended: bool,
}

impl Encoded {
    /// `output` is what the operation answered beside its events. `None` if the model knows of no stream there.
    pub fn new(route: &Route, output: &Value, incoming: Events) -> Result<Option<Self>, EncodeError> {
        let model = &route.service.model;
        let Some(operation) = route.operation() else { return Ok(None) };
        let Some(member) = eventstream::stream_member(model, operation) else { return Ok(None) };
        let first = eventstream::initial_response(model, operation, route.protocol, output)?;
        let ready = first.into_iter().collect();
        Ok(Some(Self { route: route.clone(), stream: member.shape, ready, incoming, has_ended: false }))
    }

    /// The frame of an event, or of the error that ends the stream.
    fn frame(&mut self, event: Result<Value, AwsError>) -> Result<Bytes, EncodeError> {
        let (model, protocol) = (&self.route.service.model, self.route.protocol);
        let event = event
            .and_then(|event| eventstream::event(model, self.stream, protocol, &event).map_err(AwsError::internal));
        event.or_else(|error| {
            tracing::debug!(?error, "an event stream ends with an error");
            self.has_ended = true;
            eventstream::exception(model, self.stream, protocol, &error)
        })
    }
}

impl Source for Encoded {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if let Some(frame) = self.ready.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        if self.has_ended {
            return Poll::Ready(None);
        }
        let event = ready!(self.incoming.poll_next(cx));
        Poll::Ready(event.map(|event| self.frame(event).map_err(io::Error::other)))
    }
}
