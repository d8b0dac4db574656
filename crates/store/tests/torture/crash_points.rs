//! Crash points enumerated: short lives, from an existing database to an orderly close, cut before each operation, the
//! unsynced ones in every order that a bounded number of tries shows. Pass line: every state recovers.

use base::Seeded;

use crate::disk::Luck;
use crate::power::{block_on, record};
use crate::workload::{commits, sized};

#[test]
fn every_crash_point_of_short_lives_recovers() {
    let (life_count, state_count_max) = (sized(4, 30), sized(300, 5_000));
    block_on(async {
        let mut state_count = 0;
        let per_life = state_count_max / life_count;
        for life in 0..life_count {
            let record = record(&commits(100 + life as u64, 1 + life % 3), life % 5 == 0, None).await.unwrap();
            let chance = Seeded::new(life as u64);
            let point_count = record.trace.len() + 1;
            // Each prefix as the disk would have it at worst and at best, and in some order between.
            let lucks = [Luck::Nothing, Luck::All, Luck::Random(&chance)];
            let step = (point_count * lucks.len()).div_ceil(per_life).max(1);
            for cut in (0..point_count).step_by(step) {
                for luck in &lucks {
                    record.verify(cut, luck).await.unwrap_or_else(|error| panic!("life {life}: {error}"));
                    state_count += 1;
                }
            }
            record.verify(record.trace.len(), &Luck::Random(&chance)).await.unwrap();
        }
        eprintln!("{state_count} states");
    });
}
