//! What this host lends of a sandbox's parts, and what would make it lend the rest.

use std::io;

use crate::features::{EGRESS, Features};
use crate::process::cgroup::{Controller, Trees};
use crate::process::nft;

/// What control groups do, with walls and without.
fn of_groups(is_root: bool, trees: &Trees) -> Features {
    let mut features = Features { is_root, list: Vec::new() };
    let delegate = if is_root {
        "let lamp divide its control group: by Delegate=yes in its service, or as the first process of a privileged container"
    } else {
        "run lamp as root, or in a control group of its own: `systemd-run --user --scope -p Delegate=yes lamp start`, or \
         Delegate=yes in its service"
    };
    let missing = |controller| {
        let found = trees.missing.iter().find(|(missing, _)| *missing == controller);
        found.map(|(_, why)| why.clone())
    };
    features.add("memory limit", missing(Controller::Memory), delegate);
    features.add("CPU share", missing(Controller::Cpu), delegate);
    features.add("process limit", missing(Controller::Pids), delegate);
    features.add("freezing", missing(Controller::Freezer), delegate);
    features
}

pub fn of_bare(is_root: bool, trees: &Trees) -> Features {
    let mut features = of_groups(is_root, trees);
    let off = Some("the operator has turned it off".to_owned());
    features.add("isolation", off, "start lamp without --isolation none");
    features.add(EGRESS, None, "");
    features
}

pub fn of_confined(is_root: bool, trees: &Trees, no_landlock: Option<&io::Error>, no_egress: Option<&str>) -> Features {
    let mut features = of_groups(is_root, trees);
    let not_root = (!is_root).then(|| "lamp does not run as root".to_owned());
    features.add("uid for each sandbox", not_root, "run lamp as root, if functions do not trust each other");
    let no_landlock = no_landlock.map(|error| format!("the kernel refuses: {error}"));
    features.add("landlock", no_landlock, "boot a kernel with CONFIG_SECURITY_LANDLOCK and landlock in its lsm= list");
    let remedy = if is_root {
        "a kernel with nftables, and leave to forward packets (or `sysctl -w net.ipv4.ip_forward=1`)"
    } else {
        "install pasta (in Debian the package passt) on a kernel with nftables, and let users open /dev/net/tun; or run \
         lamp as root"
    };
    features.add(EGRESS, no_egress.map(str::to_owned), remedy);
    // The spawner is in the network whose packets these are.
    if no_egress.is_none() {
        let chains = nft::chains_that_drop().unwrap_or_default();
        let dropped = (!chains.is_empty()).then(|| {
            let chains = chains.join(", ");
            format!("this host's firewall drops forwarded packets that none of its rules accepts: chain {chains}")
        });
        let remedy =
            "if functions do not reach the internet: iptables -I FORWARD -i 'lmp+' -j ACCEPT, and the same with -o";
        features.add("forwarding", dropped, remedy);
    }
    features
}
