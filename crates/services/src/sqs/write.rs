//! What is decided of a queue's messages, on its way to the disk, and what then becomes of them.
//!
//! It is written down by a task of its own, so that it is written and remembered also when the one who asked has gone.

use std::sync::Arc;

use base::{AwsError, Timestamp};
use engine::queue::{self, Fate, Sent, Seq};
use store::Batch;
use tokio::sync::oneshot;

use super::live::{Live, New, Told};
use super::message::{self, MESSAGES, PLACES, Place, RECENT};
use super::meter::Event;
use crate::Cloud;
use crate::under_way::Going;

/// What is written down together, and what then becomes of whose messages. They are as they were if it never is.
#[derive(Default)]
pub struct Write {
    batch: Batch,
    changes: Vec<Change>,
    /// Until it is written down.
    going: Option<Going>,
}

struct Change {
    live: Arc<Live>,
    seq: Seq,
    fate: Fate,
    otherwise: Otherwise,
    /// For those who want to see what is sent.
    told: Option<Told>,
    /// For those who want to know how much happens.
    measured: Option<Event>,
}

/// What becomes of a message when its change is not written down.
enum Otherwise {
    /// It is new, and by this it is known when it is sent again: it never was.
    Goes(Option<u128>),
    /// It was to be received: it was not.
    NotReceived,
    Stays,
}

/// Whether something was written down.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Written,
    NotWritten,
    /// It may be on the disk.
    Unknown,
}

impl Write {
    /// It is under way as this until it is written down.
    pub fn under_way(mut self, going: Going) -> Self {
        self.going = Some(going);
        self
    }

    /// A claimed message goes.
    pub fn remove(mut self, live: &Arc<Live>, seq: Seq) -> Self {
        self.batch = message::remove(std::mem::take(&mut self.batch), live.scope(), live.key(seq));
        self.change(live, seq, (Fate::Removed, Otherwise::Stays))
    }

    /// A message that was taken to go elsewhere goes, or was never taken.
    pub fn remove_taken(mut self, live: &Arc<Live>, seq: Seq) -> Self {
        self = self.remove(live, seq);
        self.last(|change| change.otherwise = Otherwise::NotReceived)
    }

    /// A busy message is hidden until another time.
    pub fn hide(self, live: &Arc<Live>, seq: Seq, place: &Place) -> Self {
        self.place(live, seq, place, (Fate::Hidden(place.visible_at), Otherwise::Stays))
    }

    /// Gives back what was received, and shown to nobody.
    pub fn unseen(self, live: &Arc<Live>, now: Timestamp, seq: Seq, mut message: queue::Message) -> Self {
        message.unseen(now);
        self.place(live, seq, &message.into(), (Fate::Unseen(now), Otherwise::Stays))
    }

    /// A busy message is received, as was decided.
    pub fn receive(self, live: &Arc<Live>, seq: Seq, place: &Place) -> Self {
        self.place(live, seq, place, (Fate::Stays, Otherwise::NotReceived))
    }

    fn place(mut self, live: &Arc<Live>, seq: Seq, place: &Place, (fate, otherwise): (Fate, Otherwise)) -> Self {
        self.batch = std::mem::take(&mut self.batch).put(&PLACES, live.scope(), live.key(seq), place);
        self.change(live, seq, (fate, otherwise))
    }

    fn change(mut self, live: &Arc<Live>, seq: Seq, (fate, otherwise): (Fate, Otherwise)) -> Self {
        self.changes.push(Change { live: live.clone(), seq, fate, otherwise, told: None, measured: None });
        self
    }

    /// Says more of what was added last.
    fn last(mut self, say: impl FnOnce(&mut Change)) -> Self {
        if let Some(change) = self.changes.last_mut() {
            say(change);
        }
        self
    }

    /// A message is new. With what tells it apart it is known when it is sent again.
    pub fn add(mut self, live: &Arc<Live>, now: Timestamp, seq: Seq, new: &New) -> Self {
        let (key, batch) = (live.key(seq), std::mem::take(&mut self.batch));
        let mut batch =
            batch.put(&MESSAGES, live.scope(), key, &new.message).put(&PLACES, live.scope(), key, &new.place);
        if let Some(twin) = new.twin {
            let sent = Sent { at: now, seq, id: new.message.id };
            batch = live.forget_old(now, batch.put(&RECENT, live.scope(), (key.0, twin), &sent.into()));
        }
        self.batch = batch;
        let told = live.is_tapped().then(|| Arc::new((seq, new.place.clone(), new.message.clone())));
        self.change(live, seq, (Fate::Stays, Otherwise::Goes(new.twin))).last(|change| change.told = told)
    }

    /// What was added last is measured as this, once it is written down.
    pub fn measured(self, event: Event) -> Self {
        self.last(|change| change.measured = Some(event))
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// What is to be written, for a commit that has more in it than this. It is to be told what became of that.
    pub fn take_batch(&mut self) -> Batch {
        std::mem::take(&mut self.batch)
    }

    /// The commit that has its batch has happened, or never will.
    pub fn settled(mut self, is_written: bool) {
        let outcome = if is_written { Outcome::Written } else { Outcome::NotWritten };
        settle(std::mem::take(&mut self.changes), outcome);
    }

    /// Writes it down, and says when it is.
    pub async fn commit(self, cloud: &Cloud) -> Result<(), AwsError> {
        self.begin(cloud).done().await
    }

    /// Begins to write it down, which goes on whatever becomes of the caller.
    pub fn begin(mut self, cloud: &Cloud) -> Written {
        let (batch, changes) = (std::mem::take(&mut self.batch), std::mem::take(&mut self.changes));
        let going = self.going.take();
        let (tell, told) = oneshot::channel();
        let store = cloud.store.clone();
        let write = async move {
            let written = store.commit(batch).await;
            settle(changes, Outcome::of(&written));
            drop(going);
            // Nobody may be there to hear it.
            tell.send(written.map(drop)).ok();
        };
        cloud.spawn.spawn("a change of a queue", Box::pin(write));
        Written(Some(told))
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        settle(std::mem::take(&mut self.changes), Outcome::NotWritten);
    }
}

impl Outcome {
    fn of(written: &Result<store::Outcome, store::Error>) -> Self {
        match written {
            Ok(_) => Self::Written,
            Err(store::Error::Unavailable { .. }) => Self::NotWritten,
            Err(_) => Self::Unknown,
        }
    }
}

impl Change {
    fn done(self) {
        self.live.settle(self.seq, self.fate);
        if let Some(event) = self.measured {
            self.live.meter.add(event);
        }
        if let Some(told) = self.told {
            self.live.tell(told);
        }
    }
}

fn settle(changes: Vec<Change>, outcome: Outcome) {
    for change in changes {
        match (outcome, &change.otherwise) {
            (Outcome::Written, _) => change.done(),
            (_, Otherwise::Goes(twin)) => change.live.take_back(change.seq, *twin),
            (Outcome::NotWritten, Otherwise::NotReceived) => change.live.settle(change.seq, Fate::NotReceived),
            // What was received and may be on the disk stays hidden as it was decided.
            _ => change.live.settle(change.seq, Fate::Stays),
        }
    }
}

/// What is on its way to the disk.
pub struct Written(Option<oneshot::Receiver<Result<(), store::Error>>>);

impl Written {
    pub fn nothing() -> Self {
        Self(None)
    }

    pub async fn done(self) -> Result<(), AwsError> {
        let Some(told) = self.0 else { return Ok(()) };
        told.await.map_err(|_| AwsError::unavailable("the server ends"))??;
        Ok(())
    }
}
