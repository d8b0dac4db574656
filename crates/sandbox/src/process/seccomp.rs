//! Which syscalls are refused inside, as a table, and the filter made of it.
//!
//! What is refused is what reaches past the sandbox (mounts, namespaces, other processes' memory, the kernel's own
//! state) or has often been the way into the kernel (io_uring, bpf, userfaultfd, keys). All numbers that this table has
//! not seen are refused too, so a new kernel brings nothing in by itself. The filter is a balanced tree over ranges of
//! numbers: the kernel walks it for every number when it is installed, and a list would take ten times as long.
//!
//! Every leaf answers for itself: no block falls through into another.
//!
//! Programs that begin as an image may have a second filter (`keep`), for what they cannot give back of it.

use libc::{
    BPF_ABS, BPF_ADD, BPF_ALU, BPF_AND, BPF_IMM, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_K, BPF_LD, BPF_MEM,
    BPF_MISC, BPF_RET, BPF_ST, BPF_TAX, BPF_W, BPF_X, EINVAL, ENOSYS, EPERM, sock_filter,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Allow,
    Refuse(i32),
    /// Refused with any flag that makes a namespace.
    Clone,
    /// Only families that are namespaced: vsock, for one, would reach the host of a virtual machine.
    Socket,
    /// Not the requests that put input into a terminal.
    Ioctl,
    /// Only the ordinary ones: others switch protections off.
    Personality,
}

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

/// The last syscall that was looked at for the table below.
const KNOWN_MAX: u32 = 469;

const PLAIN: &[(libc::c_long, i32)] = &[
    // Other processes.
    (libc::SYS_ptrace, EPERM),
    (libc::SYS_process_vm_readv, EPERM),
    (libc::SYS_process_vm_writev, EPERM),
    (libc::SYS_kcmp, EPERM),
    (libc::SYS_pidfd_getfd, EPERM),
    (libc::SYS_process_madvise, EPERM),
    (libc::SYS_process_mrelease, EPERM),
    (libc::SYS_migrate_pages, EPERM),
    (libc::SYS_move_pages, EPERM),
    // Files that are not ours to rearrange.
    (libc::SYS_mount, EPERM),
    (libc::SYS_umount2, EPERM),
    (libc::SYS_pivot_root, EPERM),
    (libc::SYS_chroot, EPERM),
    (libc::SYS_open_tree, EPERM),
    (libc::SYS_move_mount, EPERM),
    (libc::SYS_fsopen, EPERM),
    (libc::SYS_fsconfig, EPERM),
    (libc::SYS_fsmount, EPERM),
    (libc::SYS_fspick, EPERM),
    (libc::SYS_mount_setattr, EPERM),
    (STATMOUNT, EPERM),
    (LISTMOUNT, EPERM),
    (OPEN_TREE_ATTR, EPERM),
    (libc::SYS_name_to_handle_at, EPERM),
    (libc::SYS_open_by_handle_at, EPERM),
    (libc::SYS_fanotify_init, EPERM),
    (libc::SYS_fanotify_mark, EPERM),
    (libc::SYS_quotactl, EPERM),
    (libc::SYS_quotactl_fd, EPERM),
    (libc::SYS_swapon, EPERM),
    (libc::SYS_swapoff, EPERM),
    (libc::SYS_acct, EPERM),
    // Namespaces. clone3 hides its flags behind a pointer; without it the C library uses clone.
    (libc::SYS_setns, EPERM),
    (libc::SYS_unshare, EPERM),
    (libc::SYS_clone3, ENOSYS),
    // The kernel's own state.
    (libc::SYS_bpf, EPERM),
    (libc::SYS_perf_event_open, EPERM),
    (libc::SYS_io_uring_setup, ENOSYS),
    (libc::SYS_io_uring_enter, ENOSYS),
    (libc::SYS_io_uring_register, ENOSYS),
    (libc::SYS_userfaultfd, EPERM),
    (libc::SYS_keyctl, EPERM),
    (libc::SYS_add_key, EPERM),
    (libc::SYS_request_key, EPERM),
    (libc::SYS_kexec_load, EPERM),
    (libc::SYS_kexec_file_load, EPERM),
    (libc::SYS_init_module, EPERM),
    (libc::SYS_finit_module, EPERM),
    (libc::SYS_delete_module, EPERM),
    (libc::SYS_reboot, EPERM),
    (libc::SYS_syslog, EPERM),
    (libc::SYS_vhangup, EPERM),
    (libc::SYS_nfsservctl, ENOSYS),
    (libc::SYS_lookup_dcookie, EPERM),
    (libc::SYS_sethostname, EPERM),
    (libc::SYS_setdomainname, EPERM),
    (libc::SYS_settimeofday, EPERM),
    (libc::SYS_clock_settime, EPERM),
    (libc::SYS_clock_adjtime, EPERM),
    (libc::SYS_adjtimex, EPERM),
    (LSM_SET_SELF_ATTR, EPERM),
    (MEMFD_SECRET, ENOSYS),
];

const MEMFD_SECRET: libc::c_long = 447;
const STATMOUNT: libc::c_long = 457;
const LISTMOUNT: libc::c_long = 458;
const LSM_SET_SELF_ATTR: libc::c_long = 460;
const OPEN_TREE_ATTR: libc::c_long = 467;

/// What only the elder architecture has. (335 and 336, the kernel's own trampolines, pass no filter: the kernel ends
/// whoever else calls them.)
#[cfg(target_arch = "x86_64")]
const LEGACY: &[(libc::c_long, i32)] = &[
    (libc::SYS_uselib, ENOSYS),
    (libc::SYS_ustat, ENOSYS),
    (libc::SYS_sysfs, ENOSYS),
    (libc::SYS__sysctl, ENOSYS),
    (libc::SYS_modify_ldt, EPERM),
    (libc::SYS_iopl, EPERM),
    (libc::SYS_ioperm, EPERM),
    // create_module, get_kernel_syms, query_module.
    (174, ENOSYS),
    (177, ENOSYS),
    (178, ENOSYS),
];
#[cfg(not(target_arch = "x86_64"))]
const LEGACY: &[(libc::c_long, i32)] = &[];

const CHECKED: &[(libc::c_long, Action)] = &[
    (libc::SYS_clone, Action::Clone),
    (libc::SYS_socket, Action::Socket),
    (libc::SYS_ioctl, Action::Ioctl),
    (libc::SYS_personality, Action::Personality),
];

/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. NEWTIME does not fit into clone's flags.
const NAMESPACES: u32 = 0x7e02_0000;

const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541c;
const TIOCSETD: u32 = 0x5423;

/// PER_LINUX and PER_LINUX32, with and without UNAME26, and the question what it is now.
const PERSONALITIES: [u32; 5] = [0, 8, 0x0002_0000, 0x0002_0008, 0xffff_ffff];

/// What happens to a syscall.
pub fn action(number: u32) -> Action {
    let is = |known: libc::c_long| u32::try_from(known) == Ok(number);
    if number > KNOWN_MAX {
        return Action::Refuse(ENOSYS);
    }
    if let Some((_, action)) = CHECKED.iter().find(|(known, _)| is(*known)) {
        return *action;
    }
    let refused = PLAIN.iter().chain(LEGACY).find(|(known, _)| is(*known));
    refused.map_or(Action::Allow, |(_, errno)| Action::Refuse(*errno))
}

/// The filter. The same for every sandbox.
pub fn program() -> Vec<sock_filter> {
    let mut ranges: Vec<(u32, Action)> = Vec::new();
    for number in 0..=KNOWN_MAX + 1 {
        let action = action(number);
        if ranges.last().is_none_or(|(_, last)| *last != action) {
            ranges.push((number, action));
        }
    }
    let mut program = vec![load(ARCH_AT), jump(BPF_JEQ, ARCH, 1, 0), answer(libc::SECCOMP_RET_KILL_PROCESS)];
    program.push(load(NUMBER_AT));
    program.extend(tree(&ranges));
    program
}

// Offsets in `struct seccomp_data`. Arguments that the kernel takes as 32 bits are compared as 32 bits.
const NUMBER_AT: u32 = 0;
const ARCH_AT: u32 = 4;
const ARG0_AT: u32 = 16;
const ARG1_AT: u32 = 24;
const ARG2_AT: u32 = 32;
/// From the lower half of an argument.
const HIGH_HALF: u32 = 4;

/// Halves the ranges until one is left. The accumulator holds the number.
fn tree(ranges: &[(u32, Action)]) -> Vec<sock_filter> {
    let (low, high) = ranges.split_at(ranges.len() / 2);
    match (low, high) {
        ([], [(_, action)]) => leaf(*action),
        (_, [(first, _), ..]) => {
            let below = tree(low);
            // A byte holds the distance: the whole filter is shorter, which a test checks.
            let mut program = vec![jump(BPF_JGE, *first, u8::try_from(below.len()).unwrap_or(u8::MAX), 0)];
            program.extend(below);
            program.extend(tree(high));
            program
        }
        (_, []) => leaf(Action::Refuse(ENOSYS)),
    }
}

fn leaf(action: Action) -> Vec<sock_filter> {
    match action {
        Action::Allow => vec![answer(libc::SECCOMP_RET_ALLOW)],
        Action::Refuse(errno) => vec![refuse(errno)],
        Action::Clone => vec![
            load(ARG0_AT),
            sock_filter { code: (BPF_ALU | BPF_AND | BPF_K) as u16, jt: 0, jf: 0, k: NAMESPACES },
            jump(BPF_JEQ, 0, 0, 1),
            answer(libc::SECCOMP_RET_ALLOW),
            refuse(EPERM),
        ],
        Action::Socket => vec![
            load(ARG0_AT),
            jump(BPF_JEQ, libc::AF_UNIX as u32, 5, 0),
            jump(BPF_JEQ, libc::AF_INET as u32, 4, 0),
            jump(BPF_JEQ, libc::AF_INET6 as u32, 3, 0),
            jump(BPF_JEQ, libc::AF_NETLINK as u32, 0, 3),
            load(ARG2_AT),
            jump(BPF_JEQ, libc::NETLINK_ROUTE as u32, 0, 1),
            answer(libc::SECCOMP_RET_ALLOW),
            refuse(EPERM),
        ],
        Action::Ioctl => vec![
            load(ARG1_AT),
            jump(BPF_JEQ, TIOCSTI, 3, 0),
            jump(BPF_JEQ, TIOCLINUX, 2, 0),
            jump(BPF_JEQ, TIOCSETD, 1, 0),
            answer(libc::SECCOMP_RET_ALLOW),
            refuse(EPERM),
        ],
        Action::Personality => {
            let mut program = vec![load(ARG0_AT)];
            let count = PERSONALITIES.len();
            for (at, allowed) in PERSONALITIES.iter().enumerate() {
                program.push(jump(BPF_JEQ, *allowed, (count - at) as u8, 0));
            }
            program.extend([refuse(EPERM), answer(libc::SECCOMP_RET_ALLOW)]);
            program
        }
    }
}

/// Refuses to give these parts of memory back to the kernel, or to move or resize them. They are in order and apart. What
/// the kernel lets through by the number alone it remembers, so all other calls are as fast as without.
pub fn keep(ranges: &[(u64, u64)]) -> Vec<sock_filter> {
    let mut program = vec![
        load(NUMBER_AT),
        jump(BPF_JEQ, libc::SYS_madvise as u32, 1, 0),
        jump(BPF_JEQ, libc::SYS_mremap as u32, 4, 3),
        load(ARG2_AT),
        jump(BPF_JEQ, libc::MADV_DONTNEED as u32, 2, 0),
        jump(BPF_JEQ, MADV_DONTNEED_LOCKED, 1, 0),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    program.extend(find_end());
    program.extend(ranges.iter().flat_map(|range| keep_one(*range)));
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    program
}

/// Words that the filter keeps: the end of what the call is about, in two halves.
const END_LOW: u32 = 0;
const END_HIGH: u32 = 1;

/// Adds address and length.
fn find_end() -> [sock_filter; 16] {
    let (to_x, add_x) = (of(BPF_MISC | BPF_TAX, 0), of(BPF_ALU | BPF_ADD | BPF_X, 0));
    [
        load(ARG1_AT),
        to_x,
        load(ARG0_AT),
        add_x,
        of(BPF_ST, END_LOW),
        // It is less than what was added if there is one to carry.
        sock_filter { code: (BPF_JMP | BPF_JGE | BPF_X) as u16, jt: 0, jf: 2, k: 0 },
        of(BPF_LD | BPF_IMM, 0),
        of(BPF_JMP | BPF_JA, 1),
        of(BPF_LD | BPF_IMM, 1),
        to_x,
        load(ARG1_AT + HIGH_HALF),
        add_x,
        to_x,
        load(ARG0_AT + HIGH_HALF),
        add_x,
        of(BPF_ST, END_HIGH),
    ]
}

/// Answers what begins before the end of this range. The next range is asked about all else.
fn keep_one((start, end): (u64, u64)) -> [sock_filter; 12] {
    let halves = |address: u64| ((address >> 32) as u32, address as u32);
    let ((start_high, start_low), (end_high, end_low)) = (halves(start), halves(end));
    [
        load(ARG0_AT + HIGH_HALF),
        jump(BPF_JGT, end_high, 10, 0),
        jump(BPF_JEQ, end_high, 0, 2),
        load(ARG0_AT),
        jump(BPF_JGE, end_low, 7, 0),
        // Here it does.
        of(BPF_LD | BPF_MEM, END_HIGH),
        jump(BPF_JGT, start_high, 4, 0),
        jump(BPF_JEQ, start_high, 0, 2),
        of(BPF_LD | BPF_MEM, END_LOW),
        jump(BPF_JGT, start_low, 1, 0),
        answer(libc::SECCOMP_RET_ALLOW),
        refuse(EINVAL),
    ]
}

fn of(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

const MADV_DONTNEED_LOCKED: u32 = 24;

/// As the kernel reads it.
pub fn bytes(step: &sock_filter) -> [u8; 8] {
    let ([a, b], [e, f, g, h]) = (step.code.to_ne_bytes(), step.k.to_ne_bytes());
    [a, b, step.jt, step.jf, e, f, g, h]
}

fn load(offset: u32) -> sock_filter {
    sock_filter { code: (BPF_LD | BPF_W | BPF_ABS) as u16, jt: 0, jf: 0, k: offset }
}

fn jump(test: u32, value: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: (BPF_JMP | test | BPF_K) as u16, jt, jf, k: value }
}

fn answer(value: u32) -> sock_filter {
    sock_filter { code: (BPF_RET | BPF_K) as u16, jt: 0, jf: 0, k: value }
}

fn refuse(errno: i32) -> sock_filter {
    answer(libc::SECCOMP_RET_ERRNO | (errno as u32 & 0xffff))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;

    fn refused(errno: i32) -> u32 {
        libc::SECCOMP_RET_ERRNO | errno as u32
    }

    fn run(arch: u32, number: u32, args: [u32; 3]) -> u32 {
        evaluate(&program(), arch, number, args.map(u64::from))
    }

    /// Runs a filter as the kernel would.
    fn evaluate(program: &[sock_filter], arch: u32, number: u32, args: [u64; 3]) -> u32 {
        let (mut at, mut accumulator, mut other, mut kept) = (0, 0_u32, 0_u32, [0_u32; 16]);
        loop {
            let step = program[at];
            at += 1;
            let jump = |is_so: bool| usize::from(if is_so { step.jt } else { step.jf });
            match u32::from(step.code) {
                code if code == BPF_LD | BPF_W | BPF_ABS => {
                    accumulator = match step.k {
                        NUMBER_AT => number,
                        ARCH_AT => arch,
                        ARG0_AT => args[0] as u32,
                        ARG1_AT => args[1] as u32,
                        ARG2_AT => args[2] as u32,
                        20 => (args[0] >> 32) as u32,
                        28 => (args[1] >> 32) as u32,
                        other => panic!("loads {other}"),
                    }
                }
                code if code == BPF_LD | BPF_IMM => accumulator = step.k,
                code if code == BPF_LD | BPF_MEM => accumulator = kept[step.k as usize],
                BPF_ST => kept[step.k as usize] = accumulator,
                code if code == BPF_MISC | BPF_TAX => other = accumulator,
                code if code == BPF_ALU | BPF_ADD | BPF_X => accumulator = accumulator.wrapping_add(other),
                code if code == BPF_ALU | BPF_AND | BPF_K => accumulator &= step.k,
                code if code == BPF_JMP | BPF_JA => at += step.k as usize,
                code if code == BPF_JMP | BPF_JEQ | BPF_K => at += jump(accumulator == step.k),
                code if code == BPF_JMP | BPF_JGE | BPF_K => at += jump(accumulator >= step.k),
                code if code == BPF_JMP | BPF_JGT | BPF_K => at += jump(accumulator > step.k),
                code if code == BPF_JMP | BPF_JGE | BPF_X => at += jump(accumulator >= other),
                code if code == BPF_RET | BPF_K => return step.k,
                code => panic!("code {code}"),
            }
        }
    }

    #[test]
    fn what_is_kept_is_not_given_back_and_all_else_is() {
        // The second crosses 4 GiB, and the third begins there.
        let ranges = [(0x40_0000, 0x40_3000), (0xffff_f000, 0x1_0000_2000), (0x7f00_0000_0000, 0x7f01_0000_0000)];
        let filter = keep(&ranges);
        assert!(keep(&[(0, 1); crate::limits::IMAGE_KEPT_MAX]).len() < 4_096, "the kernel takes no more");
        let edges = ranges.iter().flat_map(|(start, end)| [*start, *end]);
        let near = [0, 1, 0x1000, 0x2000, 0xffff_f000, 0x1_0000_0000, 0x1_0000_1000];
        for address in edges.flat_map(|edge| near.iter().flat_map(move |by| [edge.saturating_sub(*by), edge + by])) {
            for length in near.iter().copied().filter(|length| *length > 0) {
                let overlaps = ranges.iter().any(|(start, end)| address < *end && address + length > *start);
                for (number, advice) in [
                    (libc::SYS_madvise, libc::MADV_DONTNEED),
                    (libc::SYS_madvise, 24),
                    (libc::SYS_madvise, libc::MADV_COLD),
                    (libc::SYS_mremap, 0x1000),
                    (libc::SYS_munmap, 0),
                ] {
                    let said = evaluate(&filter, ARCH, number as u32, [address, length, advice as u64]);
                    let is_refused = overlaps && number != libc::SYS_munmap && advice != libc::MADV_COLD;
                    assert_eq!(
                        said,
                        if is_refused { refused(EINVAL) } else { ALLOWED },
                        "{number} {address:x} {length:x}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_filter_says_what_the_table_says_of_every_number() {
        for number in (0..=KNOWN_MAX + 100).chain([0x3fff_ffff, 0x4000_0000, 0x4000_0038, u32::MAX]) {
            let said = run(ARCH, number, [0, 0, 0]);
            match action(number) {
                Action::Refuse(errno) => assert_eq!(said, refused(errno), "{number}"),
                Action::Socket => assert_eq!(said, refused(EPERM), "a socket of family 0"),
                _ => assert_eq!(said, ALLOWED, "{number}"),
            }
        }
        let refusals = (0..=KNOWN_MAX).filter(|number| matches!(action(*number), Action::Refuse(_))).count();
        assert_eq!(refusals, PLAIN.len() + LEGACY.len(), "an entry of the table is twice there, or beyond its end");
        assert!(program().len() < 256, "the tree's jumps no longer fit a byte: {}", program().len());
    }

    #[test]
    fn other_architectures_end_the_process() {
        for arch in [0x4000_0003, 0xc000_003e, 0xc000_00b7, 0].into_iter().filter(|arch| *arch != ARCH) {
            assert_eq!(run(arch, libc::SYS_getpid as u32, [0; 3]), libc::SECCOMP_RET_KILL_PROCESS);
        }
    }

    #[test]
    fn processes_and_threads_but_no_namespaces() {
        let clone = |flags: u32| run(ARCH, libc::SYS_clone as u32, [flags, 0, 0]);
        let thread = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
        assert_eq!((clone(libc::SIGCHLD as u32), clone(thread as u32)), (ALLOWED, ALLOWED));
        for namespace in [
            libc::CLONE_NEWNS,
            libc::CLONE_NEWCGROUP,
            libc::CLONE_NEWUTS,
            libc::CLONE_NEWIPC,
            libc::CLONE_NEWUSER,
            libc::CLONE_NEWPID,
            libc::CLONE_NEWNET,
        ] {
            assert_eq!(clone(namespace as u32), refused(EPERM));
            assert_eq!(clone((namespace | libc::SIGCHLD) as u32), refused(EPERM));
        }
    }

    #[test]
    fn sockets_only_of_families_with_namespaces() {
        let socket = |family: i32, protocol: u32| run(ARCH, libc::SYS_socket as u32, [family as u32, 1, protocol]);
        for family in 0..64 {
            let is_allowed = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK].contains(&family);
            assert_eq!(socket(family, 0) == ALLOWED, is_allowed, "family {family}");
        }
        assert_eq!(socket(libc::AF_INET, libc::IPPROTO_UDP as u32), ALLOWED);
        for protocol in 1..32 {
            assert_eq!(socket(libc::AF_NETLINK, protocol), refused(EPERM), "netlink {protocol}");
        }
    }

    #[test]
    fn terminals_take_no_input_from_inside_and_protections_stay_on() {
        let ioctl = |request: u32| run(ARCH, libc::SYS_ioctl as u32, [0, request, 0]);
        assert_eq!([ioctl(TIOCSTI), ioctl(TIOCLINUX), ioctl(TIOCSETD)], [refused(EPERM); 3]);
        assert_eq!((ioctl(0x5401), ioctl(0x541b)), (ALLOWED, ALLOWED));
        let personality = |value: u32| run(ARCH, libc::SYS_personality as u32, [value, 0, 0]);
        assert!(PERSONALITIES.iter().all(|value| personality(*value) == ALLOWED));
        assert_eq!((personality(0x0004_0000), personality(1)), (refused(EPERM), refused(EPERM)));
    }
}
