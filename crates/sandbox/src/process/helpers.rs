//! Helpers of the spawner: who takes, learns and resumes images and leads programs, how many at once, and who waits for one.
//!
//! A program that runs may hold its helper up until that ends by itself, and many such programs as many helpers. So they
//! are few, and there are others for those who are to become an image: those do not run yet, and somebody waits for
//! them. Whose sandbox dies while he waits is found to be gone when it is his turn.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::process::Pid;

use crate::limits::{IMAGE_LOOKS_MAX, IMAGE_RESUMES_MAX, IMAGE_WAITING_MAX};
use crate::message::Report;
use crate::process::image::{self, Description, Whom};
use crate::process::step::{Failure, Step};

/// What a helper is for. Images come with their memory.
pub enum Help {
    Take,
    Resume(Description, Vec<OwnedFd>),
    Learn(Description, Vec<OwnedFd>),
    GoTo(PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// At a program that runs.
    Look,
    Resume,
}

impl Help {
    fn kind(&self) -> Kind {
        match self {
            Help::Take | Help::Learn(..) => Kind::Look,
            // Nobody's code runs there yet.
            Help::Resume(..) | Help::GoTo(_) => Kind::Resume,
        }
    }

    /// What a helper does, and what it tells of that.
    pub fn give(self, request: u64, whom: Whom) -> (Report, Option<OwnedFd>) {
        let memory = |fds: Vec<OwnedFd>| {
            fds.into_iter().next().ok_or(io::Error::from(io::ErrorKind::InvalidData)).step("receive an image")
        };
        let done = match self {
            Help::Take => image::take(whom).map(|(image, memory)| (Report::Taken { request, image }, Some(memory))),
            Help::Learn(image, fds) => memory(fds)
                .and_then(|memory| image::learn(whom, &memory, image))
                .map(|image| (Report::Learnt { request, image }, None)),
            Help::Resume(image, fds) => memory(fds)
                .and_then(|memory| image::resume(whom, &memory, &image))
                .map(|()| (Report::Resumed { request }, None)),
            Help::GoTo(directory) => image::go_to(whom, &directory).map(|()| (Report::There { request }, None)),
        };
        done.unwrap_or_else(|failure| (no_image(request, failure), None))
    }
}

pub fn no_image(request: u64, failure: Failure) -> Report {
    Report::NoImage { request, errno: failure.errno(), step: failure.step }
}

/// An order, of a program of this sandbox.
pub struct Asked {
    pub token: u64,
    pub request: u64,
    pub process: u32,
    pub help: Help,
}

#[derive(Default)]
pub struct Helpers {
    /// By their pids, and at whose request.
    busy: BTreeMap<i32, (u64, Kind)>,
    waiting: VecDeque<Asked>,
}

impl Helpers {
    /// Whether it will be served, as soon as it is `next`.
    pub fn ask(&mut self, asked: Asked) -> bool {
        let kind = asked.help.kind();
        let is_served = self.waiting.iter().filter(|other| other.help.kind() == kind).count() < IMAGE_WAITING_MAX;
        if is_served {
            self.waiting.push_back(asked);
        }
        is_served
    }

    /// Who has waited longest of those for whom there is room.
    pub fn next(&mut self) -> Option<Asked> {
        let has_room = |kind| {
            let most = match kind {
                Kind::Look => IMAGE_LOOKS_MAX,
                Kind::Resume => IMAGE_RESUMES_MAX,
            };
            self.busy.values().filter(|(_, busy)| *busy == kind).count() < most
        };
        let place = self.waiting.iter().position(|asked| has_room(asked.help.kind()))?;
        self.waiting.remove(place)
    }

    pub fn has_begun(&mut self, helper: Pid, asked: &Asked) {
        self.busy.insert(helper.as_raw_pid(), (asked.request, asked.help.kind()));
    }

    /// At whose request it was, if it was one.
    pub fn has_ended(&mut self, helper: Pid) -> Option<u64> {
        self.busy.remove(&helper.as_raw_pid()).map(|(request, _)| request)
    }

    pub fn pids(&self) -> impl Iterator<Item = Pid> {
        self.busy.keys().filter_map(|pid| Pid::from_raw(*pid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(request: u64, help: Help) -> Asked {
        Asked { token: 0, request, process: 2, help }
    }

    fn resume() -> Help {
        let description = serde_json::json!({
            "at": 0, "bytes": 0, "process": 2, "threads_from": null, "memory_bytes": 0, "descriptors": [],
            "directory": null, "written": []
        });
        Help::Resume(serde_json::from_value(description).unwrap(), Vec::new())
    }

    /// Serves whom it can, from this pid on.
    fn serve(helpers: &mut Helpers, first: i32) -> Vec<u64> {
        let mut served = Vec::new();
        for pid in first.. {
            let Some(asked) = helpers.next() else { break };
            helpers.has_begun(Pid::from_raw(pid).unwrap(), &asked);
            served.push(asked.request);
        }
        served
    }

    #[test]
    fn who_holds_helpers_up_is_in_no_resumes_way() {
        let mut helpers = Helpers::default();
        let looks = IMAGE_LOOKS_MAX as u64;
        (0..looks + IMAGE_WAITING_MAX as u64).for_each(|request| {
            assert!(helpers.ask(asked(request, Help::Take)) || request >= IMAGE_WAITING_MAX as u64);
        });
        assert!(!helpers.ask(asked(999, Help::Take)));
        assert!(helpers.ask(asked(1_000, resume())));
        let mut expected: Vec<u64> = (0..looks).collect();
        expected.push(1_000);
        assert_eq!(serve(&mut helpers, 10), expected);
        // One ends, and the next has its turn.
        assert_eq!(helpers.has_ended(Pid::from_raw(12).unwrap()), Some(2));
        assert_eq!(helpers.has_ended(Pid::from_raw(12).unwrap()), None);
        assert_eq!(serve(&mut helpers, 100), [looks]);
        assert_eq!(helpers.pids().count(), IMAGE_LOOKS_MAX + 1);
    }
}
