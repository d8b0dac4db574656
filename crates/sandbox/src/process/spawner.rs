//! The spawner: a process with one thread that makes sandboxes for a server with many.
//!
//! It is the server's own binary, run again. It takes orders over a socket on its standard input, makes what a sandbox
//! needs outside (groups, network, detached mounts), and gives birth to the init, which confines itself. It buries
//! what dies: a sandbox is reported gone when its groups are removed and its uid is free. When the server's end of the
//! socket closes, it kills everything and goes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::net::RecvFlags;
use rustix::process::{DumpableBehavior, Gid, Pid, Resource, Rlimit, Signal, Uid, WaitOptions};
use rustix::thread::{CapabilitySet, UnshareFlags};

use crate::features::Features;
use crate::limits::IMAGE_SECONDS_MAX;
use crate::message::{self, Order, Report, Took};
use crate::process::bare::{self, Bare};
use crate::process::cgroup::{Group, Trees};
use crate::process::enter::{self, write_proc};
use crate::process::helpers::{Asked, Help, Helpers, no_image};
use crate::process::image::Whom;
use crate::process::init::{self, Entry};
use crate::process::network::{Networks, Outside};
use crate::process::step::{Failure, Laps, Step};
use crate::process::template::{Template, attach, clone_tree, seal};
use crate::process::{Kind, Settings, lent};
use crate::spec::{Mount, Spec};
use crate::sys::{self, Alone};

/// How soon to try again to remove a group that the kernel still holds.
const BURIAL_RETRY: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };

const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// The namespaces into which every init is born; its files and its network are the spawner's at that moment.
const NAMESPACES: i32 = libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;

pub fn main() -> ExitCode {
    let Ok(socket) = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3) else { return ExitCode::FAILURE };
    match begin(&socket) {
        Ok((mut spawner, features)) => {
            let has_set_switch = spawner.house.networks().is_some_and(Networks::has_set_switch);
            let groups = spawner.all.clone();
            if spawner.report(&Report::Ready { features, has_set_switch, groups }, &[]).is_err() {
                return ExitCode::FAILURE;
            }
            let served = spawner.serve();
            spawner.end();
            if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(failure) => {
            let errno = failure.errno();
            let _ = message::send(&socket, &Report::Refused { step: failure.step, errno }, &[]);
            ExitCode::FAILURE
        }
    }
}

fn begin(socket: &OwnedFd) -> Result<(Spawner, Features), Failure> {
    let alone = Alone::prove().step("be alone in the spawner")?;
    // The server ends us by closing the socket, in its own time: not the terminal, and not a service manager.
    sys::block_signals(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP]).step("block signals")?;
    let _ = rustix::process::setsid();
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let order = message::receive(socket, RecvFlags::empty()).step("receive the settings")?;
    let Some((Order::Begin { settings, kind, server }, _)) = order else {
        return Err(Failure { step: "receive the settings".to_owned(), source: io::ErrorKind::InvalidData.into() });
    };
    if let Some(user) = settings.as_user {
        become_user(user).step("become an ordinary user")?;
    }
    let is_root = is_full_root();
    // Two descriptors a sandbox; programs get a limit of their own.
    let files = rustix::process::getrlimit(Resource::Nofile).maximum;
    let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: files, maximum: files });
    let trees = Trees::claim(server).step("claim control groups")?;
    let all = trees.of_all(settings.memory_bytes).step("limit the memory of all sandboxes")?;
    let (house, features) = match kind {
        Kind::Confined => confined(&alone, is_root, &trees, &settings)?,
        Kind::Bare => (House::Bare(Bare::begin()?), lent::of_bare(is_root, &trees)),
    };
    let children = sys::signal_fd(libc::SIGCHLD).step("listen for exits")?;
    let socket = socket.try_clone().step("keep the socket")?;
    let (cells, dead, slots) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
    let spawner = Spawner {
        alone,
        socket,
        children,
        settings,
        is_root,
        trees,
        all,
        house,
        cells,
        dead,
        slots,
        helpers: Helpers::default(),
        is_lost: false,
        server,
    };
    Ok((spawner, features))
}

/// The walls, and what of them this host lends.
fn confined(alone: &Alone, is_root: bool, trees: &Trees, settings: &Settings) -> Result<(House, Features), Failure> {
    let networks = if is_root {
        Networks::of_host(settings)?
    } else {
        // After the groups are claimed, which may move this process, and before the host is out of reach.
        let outside = settings.has_egress.then(|| Outside::begin(alone));
        own_user_namespace(alone)?;
        Networks::of_own(alone, outside, settings)?
    };
    let template = Template::build(alone, is_root)?;
    let landlock = sys::landlock_abi();
    let features = lent::of_confined(is_root, trees, landlock.as_ref().err(), networks.no_egress());
    Ok((House::Confined { networks, template, wants_landlock: landlock.is_ok() }, features))
}

/// Root of the host, with what root can do: neither of a container's user namespace nor stripped. All others do as
/// ordinary users do.
fn is_full_root() -> bool {
    let needed = CapabilitySet::SYS_ADMIN
        | CapabilitySet::SYS_CHROOT
        | CapabilitySet::SETUID
        | CapabilitySet::SETGID
        | CapabilitySet::MKNOD
        | CapabilitySet::NET_ADMIN;
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let is_whole = map.split_whitespace().eq(["0", "0", "4294967295"]);
    let held = rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(needed));
    rustix::process::geteuid().is_root() && is_whole && held
}

fn become_user(user: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    // A change of uid makes /proc/self root's.
    Ok(rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)?)
}

/// Without root: a user namespace in which we are, and in it the rights over the namespaces that we make.
fn own_user_namespace(alone: &Alone) -> Result<(), Failure> {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    sys::unshare(alone, UnshareFlags::NEWUSER).step("make a user namespace")?;
    let proc = rustix::fs::open("/proc", rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC, Mode::empty());
    let proc = proc.step("open /proc")?;
    write_proc(&proc, "self/setgroups", "deny").step("deny setgroups")?;
    write_proc(&proc, "self/uid_map", &format!("0 {uid} 1")).step("map the uid")?;
    write_proc(&proc, "self/gid_map", &format!("0 {gid} 1")).step("map the gid")?;
    sys::unshare(alone, UnshareFlags::NEWNS).step("make a mount namespace")
}

struct Spawner {
    alone: Alone,
    socket: OwnedFd,
    children: OwnedFd,
    settings: Settings,
    is_root: bool,
    trees: Trees,
    /// The group of all sandboxes.
    all: Group,
    house: House,
    /// By the init's pid.
    cells: BTreeMap<i32, Cell>,
    /// Whose init is dead, and whose groups are not yet removed.
    dead: Vec<Cell>,
    slots: BTreeSet<u32>,
    /// Who takes and resumes images.
    helpers: Helpers,
    /// It could not go back to its own namespaces.
    is_lost: bool,
    #[cfg_attr(not(feature = "testing"), expect(dead_code, reason = "tests have it killed"))]
    server: u32,
}

/// What sandboxes are made of.
enum House {
    Confined { networks: Networks, template: Template, wants_landlock: bool },
    Bare(Bare),
}

impl House {
    fn kind(&self) -> Kind {
        match self {
            House::Confined { .. } => Kind::Confined,
            House::Bare(_) => Kind::Bare,
        }
    }

    fn networks(&self) -> Option<&Networks> {
        match self {
            House::Confined { networks, .. } => Some(networks),
            House::Bare(_) => None,
        }
    }

    fn networks_mut(&mut self) -> Option<&mut Networks> {
        match self {
            House::Confined { networks, .. } => Some(networks),
            House::Bare(_) => None,
        }
    }

    /// Back from a sandbox's namespaces.
    fn go_home(&self) -> Result<(), Failure> {
        match self {
            House::Confined { networks, template, .. } => template.leave().and_then(|()| networks.go_home()),
            House::Bare(_) => Ok(()),
        }
    }
}

struct Cell {
    token: u64,
    slot: u32,
    init: OwnedFd,
    /// Its mount namespace, behind walls.
    files: Option<OwnedFd>,
    group: Group,
    /// When it died: how often the kernel had killed in it for memory.
    out_of_memory: u64,
}

/// What is made outside before the init is born.
struct Preparation {
    entry: Entry,
    control: (OwnedFd, OwnedFd),
    listeners: Vec<OwnedFd>,
    group: Group,
    slot: u32,
    /// Without walls.
    folder: Option<PathBuf>,
    took: Took,
}

impl Spawner {
    fn report(&self, report: &Report, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        message::send(&self.socket, report, fds)
    }

    /// Until the server goes.
    fn serve(&mut self) -> io::Result<()> {
        loop {
            let wants_more = self.house.networks().is_some_and(Networks::wants_more);
            let timeout = match (wants_more, self.dead.is_empty()) {
                (true, _) => Some(&AT_ONCE),
                (false, false) => Some(&BURIAL_RETRY),
                (false, true) => None,
            };
            let mut waited = vec![PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&self.children, PollFlags::IN)];
            let watched = self.house.networks().and_then(Networks::watched);
            waited.extend(watched.into_iter().flatten().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            let ready = rustix::io::retry_on_intr(|| poll(&mut waited, timeout))?;
            let happened: Vec<bool> = waited.iter().map(|fd| !fd.revents().is_empty()).collect();
            let [orders, exits, way_out_ended, new_addresses] =
                [0, 1, 2, 3].map(|at| happened.get(at).copied().unwrap_or(false));
            if way_out_ended {
                // The next one has another.
                return Err(io::Error::other("the way out is gone"));
            }
            if let Some(networks) = self.house.networks_mut() {
                if new_addresses {
                    networks.close_new_addresses()?;
                }
                if ready == 0 {
                    // Nobody waits for us: the dearest part of the next start can be made now.
                    networks.make_one_ahead(&self.alone).map_err(|failure| failure.source)?;
                }
            }
            if exits {
                let mut pending = [0_u8; 128];
                let _ = rustix::io::read(&self.children, &mut pending);
                self.collect()?;
            }
            self.bury()?;
            self.help_next()?;
            if orders {
                let Some((order, fds)) = message::receive(&self.socket, RecvFlags::empty())? else { return Ok(()) };
                self.obey(order, fds)?;
            }
        }
    }

    fn obey(&mut self, order: Order, fds: Vec<OwnedFd>) -> io::Result<()> {
        let report = match order {
            Order::Begin { .. } => return Ok(()),
            Order::Start { token, spec } => match self.start(token, &spec) {
                Ok(()) => return Ok(()),
                Err(failure) => Report::NotStarted { token, errno: failure.errno(), step: failure.step },
            },
            Order::Mount { token, mounts } => {
                let errno = self.mount(token, &mounts).err().map_or(0, |failure| failure.errno());
                Report::Mounted { token, errno }
            }
            Order::Take { token, request, process } => {
                return self.help(Asked { token, request, process, help: Help::Take });
            }
            Order::Learn { token, request, process, image } => {
                return self.help(Asked { token, request, process, help: Help::Learn(image, fds) });
            }
            Order::Resume { token, request, process, image } => {
                return self.help(Asked { token, request, process, help: Help::Resume(image, fds) });
            }
            Order::GoTo { token, request, process, directory } => {
                return self.help(Asked { token, request, process, help: Help::GoTo(directory) });
            }
        };
        if self.is_lost {
            // In a sandbox's namespaces, it would make the next one of the wrong parts.
            return Err(io::Error::other("the way back is lost"));
        }
        self.report(&report, &[])
    }

    fn start(&mut self, token: u64, spec: &Spec) -> Result<(), Failure> {
        #[cfg(feature = "testing")]
        crate::process::step::fault::plan(self.settings.fault, token, self.server);
        let mut laps = Laps::begin();
        let slot = (0..).find(|slot| !self.slots.contains(slot)).unwrap_or(u32::MAX);
        let group = self.trees.group(&format!("{}-{slot}", spec.name), &spec.limits, self.house.kind());
        let group = group.map_err(Failure::of("make control groups"))?;
        let groups = laps.lap();
        let prepared = self.prepare(spec, group.clone(), slot, &mut laps);
        let born = prepared.and_then(|mut prepared| {
            prepared.took.groups = groups;
            self.give_birth(token, prepared, &mut laps)
        });
        // Back from the sandbox's namespaces, whatever came of it.
        let home = self.house.go_home();
        self.is_lost = home.is_err();
        if !self.cells.values().any(|cell| cell.slot == slot) {
            group.remove();
        }
        home.and(born)
    }

    fn prepare(&mut self, spec: &Spec, group: Group, slot: u32, laps: &mut Laps) -> Result<Preparation, Failure> {
        let doors = group.doors().step("open the control groups")?;
        // At home: a socket keeps the network in which it was made, and this one outlives the sandbox at the server's
        // end.
        let control = message::pair().step("make a control socket")?;
        match &mut self.house {
            House::Confined { networks, template, wants_landlock } => {
                let mut mounts = Vec::with_capacity(spec.mounts.len());
                for mount in &spec.mounts {
                    mounts.push((sealed(mount)?, mount.inside.to_string_lossy().into_owned()));
                }
                let mut took = Took { mounts: laps.lap(), ..Took::default() };
                let listeners = networks.prepare(&self.alone, spec.network, &spec.listen)?;
                took.network = laps.lap();
                let entry = Entry::Confined(enter::Entry {
                    doors,
                    mounts,
                    limits: spec.limits.clone(),
                    host_id: self.is_root.then(|| self.settings.uid_base.saturating_add(slot)),
                    covers_proc: template.covers_proc,
                    wants_landlock: *wants_landlock,
                });
                Ok(Preparation { entry, control, listeners, group, slot, folder: None, took })
            }
            House::Bare(bare) => {
                spec.mounts.iter().try_for_each(bare::check)?;
                let listeners = bare::listen(spec.listen.len())?;
                let folder = Some(bare.prepare(slot)?);
                let entry = Entry::Bare(doors);
                Ok(Preparation { entry, control, listeners, group, slot, folder, took: Took::default() })
            }
        }
    }

    /// Leaves the caller in the sandbox's files.
    fn give_birth(&mut self, token: u64, prepared: Preparation, laps: &mut Laps) -> Result<(), Failure> {
        let Preparation { entry, control: (ours, theirs), listeners, group, slot, folder, mut took } = prepared;
        let (files, namespaces) = match &self.house {
            House::Confined { template, .. } => (Some(template.enter_copy(&self.alone)?), NAMESPACES),
            House::Bare(_) => (None, 0),
        };
        took.files = laps.lap();
        let v2 = entry.doors().v2.as_ref().map(AsFd::as_fd);
        let born = sys::clone_into(&self.alone, namespaces as u64, v2);
        match born.map_err(Failure::of("start the sandbox's init"))? {
            None => init::live(&self.alone, theirs, entry),
            Some((pid, init)) => {
                self.slots.insert(slot);
                let mut fds = vec![ours.as_fd(), init.as_fd()];
                fds.extend(listeners.iter().map(AsFd::as_fd));
                took.birth = laps.lap();
                let told = self.report(&Report::Started { token, group: group.clone(), folder, took }, &fds);
                self.cells.insert(pid.as_raw_pid(), Cell { token, slot, init, files, group, out_of_memory: 0 });
                told.step("hand the sandbox out")
            }
        }
    }

    /// Shows directories in a sandbox that runs already.
    fn mount(&mut self, token: u64, mounts: &[Mount]) -> Result<(), Failure> {
        let cell = self.cells.values().find(|cell| cell.token == token);
        let cell = cell.ok_or(io::Error::from_raw_os_error(libc::ESRCH)).step("find the sandbox")?;
        let (House::Confined { template, .. }, Some(files)) = (&self.house, &cell.files) else {
            return mounts.iter().try_for_each(bare::check);
        };
        let trees = mounts.iter().map(sealed).collect::<Result<Vec<_>, _>>()?;
        template.enter(files)?;
        let attached = trees.iter().zip(mounts).try_for_each(|(tree, mount)| {
            attach(tree, &mount.inside.to_string_lossy()).step("mount a directory of the host")
        });
        let home = template.leave();
        self.is_lost = home.is_err();
        home.and(attached)
    }

    fn help(&mut self, asked: Asked) -> io::Result<()> {
        let request = asked.request;
        if self.helpers.ask(asked) {
            return self.help_next();
        }
        let busy = io::Error::from_raw_os_error(libc::EBUSY);
        self.report(&no_image(request, Failure { step: "find a helper for an image".to_owned(), source: busy }), &[])
    }

    /// Begins what there is room for.
    fn help_next(&mut self) -> io::Result<()> {
        while let Some(asked) = self.helpers.next() {
            self.begin_to_help(asked)?;
        }
        Ok(())
    }

    /// Has a helper do what may take long with a program that nobody trusts. It answers the server itself.
    fn begin_to_help(&mut self, asked: Asked) -> io::Result<()> {
        let cell = self.cells.iter().find(|(_, cell)| cell.token == asked.token && cell.files.is_some());
        let init = cell.and_then(|(init, _)| Pid::from_raw(*init));
        let init = init.ok_or(io::Error::from_raw_os_error(libc::ESRCH)).step("find the sandbox");
        match init.and_then(|init| Ok((sys::fork(&self.alone).step("start a helper")?, init))) {
            Ok((Some(helper), _)) => {
                self.helpers.has_begun(helper, &asked);
                Ok(())
            }
            Ok((None, init)) => {
                #[cfg(feature = "testing")]
                crate::process::step::fault::plan_helper(self.settings.fault);
                sys::end_after(IMAGE_SECONDS_MAX);
                // If memory is short, none of ours is to die before it, and the image that it copies goes with it.
                let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
                let is_tied = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).is_ok();
                let whom = Whom { init, process: asked.process };
                let has_told = is_tied && {
                    let (report, memory) = asked.help.give(asked.request, whom);
                    self.report(&report, &memory.iter().map(AsFd::as_fd).collect::<Vec<_>>()).is_ok()
                };
                std::process::exit(i32::from(!has_told))
            }
            Err(failure) => self.report(&no_image(asked.request, failure), &[]),
        }
    }

    /// Takes note of the dead.
    fn collect(&mut self) -> io::Result<()> {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if let Some(request) = self.helpers.has_ended(pid)
                        && status.exit_status() != Some(0)
                    {
                        let late = io::Error::from_raw_os_error(libc::ETIMEDOUT);
                        let failure = Failure { step: "stop a program in time".to_owned(), source: late };
                        self.report(&no_image(request, failure), &[])?;
                    }
                    if let Some(mut cell) = self.cells.remove(&pid.as_raw_pid()) {
                        cell.out_of_memory = cell.group.out_of_memory().unwrap_or(0);
                        self.dead.push(cell);
                    }
                }
                Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Removes the groups of the dead, and reports those of whom nothing is left.
    fn bury(&mut self) -> io::Result<()> {
        if self.dead.is_empty() {
            return Ok(());
        }
        let (gone, dead): (Vec<Cell>, Vec<Cell>) = match self.kill_orphans() {
            Ok(0) => std::mem::take(&mut self.dead).into_iter().partition(|cell| cell.group.remove()),
            Ok(_) => return Ok(()),
            Err(error) => return Err(error),
        };
        self.dead = dead;
        for cell in gone {
            self.slots.remove(&cell.slot);
            if let House::Bare(bare) = &self.house {
                bare.remove(cell.slot);
            }
            self.report(&Report::Gone { token: cell.token, out_of_memory: cell.out_of_memory }, &[])?;
        }
        Ok(())
    }

    /// Without walls: who is our child and no init was a dead one's. Behind them nobody outlives an init.
    fn kill_orphans(&self) -> io::Result<usize> {
        match &self.house {
            House::Confined { .. } => Ok(0),
            House::Bare(_) => bare::kill_children(|pid| self.cells.contains_key(&pid)),
        }
    }

    /// Kills every sandbox and gives all back.
    fn end(&mut self) {
        for helper in self.helpers.pids() {
            let _ = rustix::process::kill_process(helper, Signal::KILL);
        }
        for cell in self.cells.values() {
            let _ = rustix::process::pidfd_send_signal(&cell.init, Signal::KILL);
            let _ = cell.group.freeze(false);
        }
        for pid in std::mem::take(&mut self.cells).into_iter().filter_map(|(pid, cell)| {
            self.dead.push(cell);
            Pid::from_raw(pid)
        }) {
            let _ = rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(pid), WaitOptions::empty()));
        }
        const TRIES: usize = 500;
        for _ in 0..TRIES {
            let orphans = self.kill_orphans().unwrap_or(0);
            let _ = self.collect();
            self.dead.retain(|cell| !cell.group.remove());
            if self.dead.is_empty() && orphans == 0 {
                break;
            }
            let _ = poll(&mut [], Some(&BURIAL_RETRY));
        }
        if let House::Bare(bare) = &self.house {
            bare.release();
        }
        self.trees.release();
    }
}

/// A directory of the host, ready to be attached inside.
fn sealed(mount: &Mount) -> Result<OwnedFd, Failure> {
    let tree = clone_tree(&mount.host).step("open a directory to mount")?;
    seal(&tree).step("make a directory read-only")?;
    Ok(tree)
}
