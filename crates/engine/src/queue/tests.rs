use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const TERMS: Terms = Terms { hidden_for: MINUTE, receives_max: None };

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(1_000_000 + secs)
}

fn message(now: Timestamp, group: Option<&str>) -> Message {
    Message { sent: now, group: group.map(Into::into), visible_at: now, receives: 0, forgiven: 0, first_received: None }
}

fn send(queue: &mut Queue, now: Timestamp, group: Option<&str>) -> Seq {
    let seq = queue.admit(now, message(now, group));
    queue.release(seq, Fate::Stays);
    seq
}

/// Receives, and writes it down.
fn receive(queue: &mut Queue, now: Timestamp, most: usize) -> Vec<Seq> {
    let taken = queue.take(now, most, TERMS).unwrap();
    taken.received.iter().for_each(|(seq, _)| queue.release(*seq, Fate::Stays));
    taken.received.into_iter().map(|(seq, _)| seq).collect()
}

fn delete(queue: &mut Queue, now: Timestamp, seq: Seq) {
    assert!(matches!(queue.claim(now, seq), Claim::Granted(_)));
    queue.release(seq, Fate::Removed);
}

#[test]
fn a_message_is_there_when_it_is_written_down_and_hidden_while_it_is_received() {
    let mut queue = Queue::new(Order::Standard);
    let seq = queue.admit(at(0), message(at(0), None));
    assert!(receive(&mut queue, at(0), 10).is_empty());
    queue.release(seq, Fate::Stays);
    assert_eq!(receive(&mut queue, at(0), 10), [seq]);
    assert_eq!((receive(&mut queue, at(59), 10), queue.next_visible()), (vec![], Some(at(60))));
    assert_eq!(queue.advance(at(59)), Counts { in_flight: 1, ..Counts::default() });
    assert_eq!(queue.advance(at(60)), Counts { waiting: 1, ..Counts::default() });
    let again = queue.take(at(60), 10, TERMS).unwrap();
    assert_eq!((again.received[0].1.receives, again.received[0].1.first_received), (2, Some(at(0))));
}

#[test]
fn a_busy_message_is_nobody_elses() {
    let mut queue = Queue::new(Order::Standard);
    let seq = send(&mut queue, at(0), None);
    queue.take(at(0), 1, TERMS).unwrap();
    assert_eq!(queue.claim(at(0), seq), Claim::Busy);
    queue.release(seq, Fate::Stays);
    delete(&mut queue, at(1), seq);
    assert_eq!((queue.claim(at(1), seq), queue.advance(at(1))), (Claim::Gone, Counts::default()));
}

#[test]
fn what_was_received_too_often_is_dead() {
    let mut queue = Queue::new(Order::Standard);
    let seq = send(&mut queue, at(0), None);
    let terms = Terms { hidden_for: Duration::ZERO, receives_max: Some(2) };
    for _ in 0..2 {
        assert_eq!(queue.take(at(0), 1, terms).unwrap().received.len(), 1);
        queue.release(seq, Fate::Stays);
    }
    let taken = queue.take(at(0), 1, terms).unwrap();
    assert!(taken.received.is_empty() && taken.dead[0].0 == seq);
}

#[test]
fn receiving_what_nobody_saw_counts_but_not_against_it() {
    let mut queue = Queue::new(Order::Standard);
    let seq = send(&mut queue, at(0), None);
    let terms = Terms { hidden_for: MINUTE, receives_max: Some(1) };
    for count in 1..4 {
        let received = queue.take(at(0), 1, terms).unwrap().received;
        assert_eq!(received[0].1.receives, count);
        queue.release(seq, Fate::Stays);
        assert!(matches!(queue.claim(at(0), seq), Claim::Granted(_)));
        queue.release(seq, Fate::Unseen(at(0)));
    }
    assert_eq!(queue.take(at(0), 1, terms).unwrap().received.len(), 1);
    queue.release(seq, Fate::Hidden(at(0)));
    assert_eq!(queue.take(at(0), 1, terms).unwrap().dead.len(), 1);
}

#[test]
fn a_fifo_group_goes_on_only_behind_its_first() {
    let mut queue = Queue::new(Order::Fifo);
    let a: Vec<Seq> = (0..3).map(|_| send(&mut queue, at(0), Some("a"))).collect();
    let b = send(&mut queue, at(1), Some("b"));
    assert_eq!(receive(&mut queue, at(1), 2), a[..2]);
    assert_eq!(receive(&mut queue, at(1), 10), [b], "what is behind them waits");
    delete(&mut queue, at(1), a[1]);
    assert!(receive(&mut queue, at(1), 10).is_empty());
    // The first comes back: it may be received again, and what is behind it with it.
    assert!(matches!(queue.claim(at(2), a[0]), Claim::Granted(_)));
    queue.release(a[0], Fate::Hidden(at(2)));
    assert_eq!(receive(&mut queue, at(2), 10), [a[0], a[2]]);
}

#[test]
fn what_is_not_written_down_yet_holds_up_its_fifo_group() {
    let mut queue = Queue::new(Order::Fifo);
    let first = queue.admit(at(0), message(at(0), Some("a")));
    let second = send(&mut queue, at(0), Some("a"));
    assert!(receive(&mut queue, at(0), 10).is_empty());
    queue.release(first, Fate::Stays);
    assert_eq!(receive(&mut queue, at(0), 10), [first, second]);
}

#[test]
fn a_tenant_with_much_in_flight_comes_behind_the_others() {
    let mut queue = Queue::new(Order::Standard);
    let noisy: Vec<Seq> = (0..100).map(|_| send(&mut queue, at(0), Some("noisy"))).collect();
    let quiet = send(&mut queue, at(1), Some("quiet"));
    assert_eq!(receive(&mut queue, at(1), 10), noisy[..10]);
    assert_eq!(receive(&mut queue, at(1), 2), [quiet, noisy[10]]);
}

#[test]
fn there_is_a_limit_to_what_is_in_flight() {
    let mut queue = Queue::new(Order::Standard);
    for _ in 0..=IN_FLIGHT_MAX {
        send(&mut queue, at(0), None);
    }
    assert_eq!(receive(&mut queue, at(0), IN_FLIGHT_MAX + 1).len(), IN_FLIGHT_MAX);
    assert_eq!(queue.take(at(0), 1, TERMS), Err(OverLimit));
}

#[test]
fn sequence_numbers_grow_also_when_the_clock_does_not() {
    let mut queue = Queue::new(Order::Fifo);
    let seqs: Vec<Seq> = [5, 5, 3].into_iter().map(|secs| send(&mut queue, at(secs), Some("a"))).collect();
    assert!(seqs.is_sorted_by(|a, b| a < b));
    let mut again = Queue::new(Order::Fifo);
    again.restore(seqs[2], message(at(3), Some("a")));
    assert!(send(&mut again, at(0), Some("a")) > seqs[2]);
}

#[test]
fn old_messages_expire() {
    let mut queue = Queue::new(Order::Standard);
    let (old, young) = (send(&mut queue, at(0), None), send(&mut queue, at(50), None));
    assert_eq!(queue.expire(at(60), at(1), 10), [old]);
    queue.release(old, Fate::Removed);
    assert_eq!((receive(&mut queue, at(60), 10), queue.oldest()), (vec![young], Some(at(50))));
}

#[test]
fn what_was_sent_lately_is_known_again() {
    let mut recent = Recent::default();
    let sent = Sent { at: at(0), seq: 1, id: base::Uuid::NIL };
    recent.remember(7, sent);
    assert_eq!((recent.find(at(299), &7), recent.find(at(300), &7)), (Some(sent), None));
    assert_eq!((recent.take_old(at(299), 9), recent.take_old(at(300), 9)), (vec![], vec![7]));
}
