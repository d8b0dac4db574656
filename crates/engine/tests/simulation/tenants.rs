//! Ten thousand tenants of one function, and one of them has left it a hundred thousand slow events: nobody else waits.

use std::collections::{BTreeMap, VecDeque};

use base::Timestamp;
use engine::events::pace::ATTEMPTS_MAX;
use engine::events::shards::{Lengths, Shard};
use engine::events::turns::{Turn, Turns};

const TENANTS: usize = 10_000;
const BACKLOG: usize = 100_000;
/// In tenths of seconds: how long an event of the noisy tenant takes, one of another, and how often one of those comes.
const SLOW: usize = 100;
const FAST: usize = 5;
const EVERY: usize = 1;

struct Waiting {
    is_noisy: bool,
    since: usize,
}

#[test]
fn a_backlog_of_one_tenant_delays_no_other() {
    let (mut lengths, mut turns) = (Lengths::default(), Turns::default());
    let mut lines: BTreeMap<Shard, VecDeque<Waiting>> = BTreeMap::new();
    let mut ends: BTreeMap<usize, Vec<Shard>> = BTreeMap::new();
    let send = |lengths: &mut Lengths, turns: &mut Turns, lines: &mut BTreeMap<_, VecDeque<_>>, tenant: &str, since| {
        let shard = lengths.enter(tenant);
        turns.expect(shard, Timestamp::default());
        lines.entry(shard).or_default().push_back(Waiting { is_noisy: tenant == "noisy", since });
    };
    (0..BACKLOG).for_each(|_| send(&mut lengths, &mut turns, &mut lines, "noisy", 0));
    let (mut delay_max, mut others, mut noisy) = (0, 0, 0);
    for tick in 0..TENANTS * EVERY {
        for shard in ends.remove(&tick).into_iter().flatten() {
            turns.ended(shard);
            lengths.leave(shard);
        }
        if tick.is_multiple_of(EVERY) {
            send(&mut lengths, &mut turns, &mut lines, &format!("tenant-{}", tick / EVERY), tick);
        }
        while let Turn::Take(shard, most) = turns.next(Timestamp::default(), ATTEMPTS_MAX) {
            let line = lines.get_mut(&shard).unwrap();
            for Waiting { is_noisy, since } in line.drain(..most.min(line.len())) {
                turns.started(shard);
                ends.entry(tick + if is_noisy { SLOW } else { FAST }).or_default().push(shard);
                if is_noisy {
                    noisy += 1;
                } else {
                    others += 1;
                    delay_max = delay_max.max(tick - since);
                }
            }
            if line.is_empty() {
                turns.taken(shard, None);
            }
        }
    }
    assert_eq!((others, delay_max), (TENANTS, 0), "others start at once");
    // It has half of what may run, and nobody else can use that up.
    assert_eq!(noisy, 52 * TENANTS * EVERY / SLOW);
}
