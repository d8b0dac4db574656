//! What goes into an instance's machine and what comes out of it.

use std::time::Duration;

use base::ports::Call;
use base::record::Record;
use sandbox::Exit;

use super::extensions::{Ask, Reply, Ticket};
use crate::telemetry::{Dropped, Told, Wanted};

#[derive(Debug)]
pub enum Event {
    /// Begin the first init although no invocation waits.
    Begin,
    /// One more invocation, which the dispatcher sends only to an instance that is new or said `Idle`.
    Invoke(Box<Call>),
    /// The program that `Start` asked for could not be run; in AWS's words for it.
    NotStarted(String),
    Said(Said),
    /// The runtime's process is gone.
    Exited(Exit),
    /// What `Clear` asked for is done.
    Cleared,
    /// An extension's program could not be run; why, and whether it was not allowed.
    ExtensionNotStarted {
        name: String,
        why: String,
        is_forbidden: bool,
    },
    ExtensionExited {
        name: String,
        exit: Exit,
    },
    /// An extension asks something, and waits for `Reply` with this ticket.
    Asked(Ticket, Ask),
    /// Somebody inside wrote something, line end included. It comes before whatever they said after it.
    Output(Source, String),
    /// What `Flush` asked for is done: subscribers of telemetry have all that was told.
    Flushed,
    /// A subscriber of telemetry was too slow.
    Dropped(Dropped),
    /// Nobody needs the instance any more. Sent only after `Idle`.
    Retire,
    /// `deadline` may have passed.
    Tick,
    /// The sandbox is no more.
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Function,
    Extension,
}

/// A program that was started inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    Runtime,
    Extension(String),
}

/// What a runtime says, through whichever transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    Ready,
    /// Under SnapStart: the function is loaded, its hooks before a snapshot have run, and it waits to be restored.
    Loaded,
    InitError {
        kind: String,
        body: Vec<u8>,
    },
    /// The response begins. Need not be said before one that is not streamed.
    Head {
        content_type: Option<String>,
        is_streamed: bool,
    },
    Bytes(Vec<u8>),
    /// The response is whole.
    Done,
    /// The handler failed, before or in the middle of its response.
    Failed {
        kind: String,
        body: Vec<u8>,
    },
    /// The invocation is over.
    Next,
    /// What later instances of this version start sooner with. Nothing that the machine has to do with.
    Prepared(Vec<u8>),
    /// It broke the protocol, or hung up.
    Broken(&'static str),
}

#[derive(Debug)]
pub enum Command {
    /// Run the runtime's program.
    Start,
    /// Run this file of `/opt/extensions`.
    StartExtension(String),
    /// Take the snapshot: the runtime waits. Then say `Retire`.
    Snapshot,
    /// Let a runtime that is `Loaded` go on as one that was restored.
    Restore,
    /// Answer an extension's request.
    Reply(Ticket, Reply),
    Signal(Who, i32),
    /// Give the runtime this invocation, to be over in `time_left`.
    Hand {
        call: Box<Call>,
        time_left: Duration,
    },
    /// For whoever waits for the invocation in hand.
    Answer(Answer),
    Log(String),
    /// What becomes of the invocation in hand. When it began by the clock, what it had of a processor and how many there were
    /// beside it is to be filled in where that is known.
    Record(Box<Record>),
    /// For subscribers of telemetry.
    Tell(Told),
    Subscribe(Wanted),
    /// Nobody else will subscribe.
    CloseTelemetry,
    /// Telemetry is to go out now; then say `Flushed`.
    Flush,
    /// Kill all processes, then say `Cleared`.
    Clear,
    /// Another invocation may come.
    Idle,
    /// The instance is used up: throw it away.
    End,
}

/// Parts of one answer, in this order: `Whole`, or `Begin`, any number of `Piece`s, and `End`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Whole {
        function_error: Option<&'static str>,
        content_type: Option<String>,
        body: Vec<u8>,
        log_tail: Option<Vec<u8>>,
    },
    Begin {
        content_type: Option<String>,
    },
    Piece(Vec<u8>),
    End {
        log_tail: Option<Vec<u8>>,
        error: Option<(String, String)>,
    },
    /// The invocation never began, as its instance was gone.
    Lost,
    /// Nor did this one, as its snapshot was not restored: a hook failed, or it was late.
    NotRestored {
        is_late: bool,
    },
}
