//! The task, driven by a clock that moves only when told.

use std::sync::Arc;

use base::{BoxFuture, Clock, ManualClock, Spawn};
use engine::math::Metric;
use engine::metric::aggregate::Aggregate;
use engine::metric::alarm::{Setting, State};
use metrics::{Datum, Unit};
use serde_json::json;
use store::Watch as Hints;
use tempfile::TempDir;

use super::super::{Actions, Suppressor};
use super::*;
use crate::cloud::testing::{self, NoFunctions};

const NOON: i64 = 1_795_348_800;

struct Nobody;

impl Spawn for Nobody {
    fn spawn(&self, _: &'static str, _: BoxFuture<'static, ()>) {}
}

struct World {
    ctx: Ctx,
    clock: ManualClock,
    keeper: Keeper,
    alarms: Hints,
    standings: Hints,
    taken: u64,
    _dir: TempDir,
}

impl World {
    async fn new() -> World {
        let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(Timestamp::from_secs(NOON)));
        let ctx = testing::ctx(dir.path(), Arc::new(clock.clone()), Arc::new(NoFunctions)).await;
        let store = &ctx.cloud.store;
        let (alarms, standings) = (ALARMS.watch_all(store), STANDINGS.watch_all(store));
        let keeper = Keeper::new(post(&ctx, &clock));
        World { ctx, clock, keeper, alarms, standings, taken: 0, _dir: dir }
    }

    /// Lets the task hear of everything, and do what is due.
    async fn settle(&mut self) {
        loop {
            self.keeper.run_due().await;
            let alarms = self.alarms.try_changed().map(Woken::Alarms);
            let Some(woken) = alarms.or_else(|| self.standings.try_changed().map(Woken::Standings)) else { return };
            self.keeper.hear(woken).await;
        }
    }

    async fn pass(&mut self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        self.settle().await;
    }

    async fn put(&self, name: &str, watches: Watches) {
        let actions = Actions {
            are_enabled: true,
            ok: Vec::new(),
            alarm: vec!["arn:aws:sns:us-east-1:000000000000:t".to_owned()],
            insufficient_data: Vec::new(),
        };
        let configured = self.clock.now().trunc_millis();
        let alarm = Alarm { description: None, configured, actions, tags: Default::default(), watches };
        super::super::put_metric::save(&self.ctx, name, alarm).await.unwrap();
    }

    async fn watch(&self, name: &str, missing: &str) {
        let watch = json!({
            "MetricName": "depth", "Namespace": "n", "Statistic": "Sum", "Dimensions": [], "Period": 60,
            "EvaluationPeriods": 1, "Threshold": 3.0, "ComparisonOperator": "GreaterThanThreshold",
            "TreatMissingData": missing,
        });
        self.put(name, Watches::Metric(serde_json::from_value(watch).unwrap())).await;
    }

    async fn compose(&self, name: &str, rule: &str, suppressor: Option<&str>) {
        let suppressor = suppressor.map(|alarm| Suppressor { alarm: alarm.to_owned(), wait_s: 20, extension_s: 30 });
        self.put(name, Watches::Alarms(Composition { rule: rule.to_owned(), suppressor })).await;
    }

    async fn set(&self, name: &str, state: State) {
        let setting = Setting { state, reason: "set".to_owned(), reason_data: None };
        assert!(step(&self.ctx, name, &Happened::Set(setting)).await.unwrap());
    }

    fn measure(&mut self, value: f64) {
        self.taken += 1;
        let datum = Datum {
            scope: self.ctx.scope(),
            metric: Metric::new("n", "depth", Vec::new()),
            unit: Unit::NONE,
            time: self.clock.now(),
            resolution_s: 60,
            aggregate: Aggregate::of_values([(value, 1.0)]),
        };
        self.ctx.cloud.metrics.take(&[datum], self.taken);
    }

    async fn standing(&self, name: &str) -> KeptStanding {
        STANDINGS.get(&self.ctx.cloud.store, &self.ctx.scope(), name).await.unwrap().unwrap().value
    }

    async fn states(&self, names: &[&str]) -> Vec<String> {
        let mut states = Vec::new();
        for name in names {
            states.push(self.standing(name).await.state);
        }
        states
    }

    /// Kinds of what the history tells, the newest first.
    async fn told(&self, name: &str) -> Vec<String> {
        let asked = json!({ "AlarmName": name, "AlarmTypes": ["MetricAlarm", "CompositeAlarm"] });
        let answer = history::describe(self.ctx.clone(), serde_json::from_value(asked).unwrap()).await.unwrap();
        let answer = serde_json::to_value(answer).unwrap();
        let items = answer["AlarmHistoryItems"].as_array().unwrap().clone();
        items.iter().map(|item| item["HistoryItemType"].as_str().unwrap().to_owned()).collect()
    }
}

fn post(ctx: &Ctx, clock: &ManualClock) -> Post {
    let chance = Arc::new(base::Seeded::new(2));
    Post { cloud: ctx.cloud.clone(), spawn: Arc::new(Nobody), clock: Arc::new(clock.clone()), chance }
}

#[tokio::test]
async fn a_metric_alarm_follows_its_metric_from_minute_to_minute() {
    let mut world = World::new().await;
    world.watch("deep", "missing").await;
    world.settle().await;
    world.measure(7.0);
    world.pass(59).await;
    assert_eq!(world.states(&["deep"]).await, ["INSUFFICIENT_DATA"]);
    world.pass(1).await;
    let standing = world.standing("deep").await;
    assert_eq!(standing.state, "ALARM");
    assert_eq!(
        standing.reason,
        "Threshold Crossed: 1 datapoint [7.0 (22/11/26 12:00:00)] was greater than the threshold (3.0)."
    );
    assert_eq!(world.told("deep").await, ["Action", "StateUpdate", "ConfigurationUpdate"]);
    world.measure(1.0);
    world.pass(60).await;
    assert_eq!(world.states(&["deep"]).await, ["OK"]);
    // Three minutes later all that is known is out of sight.
    world.pass(240).await;
    assert_eq!(world.states(&["deep"]).await, ["INSUFFICIENT_DATA"]);
}

#[tokio::test]
async fn points_of_another_configuration_change_nothing() {
    let world = World::new().await;
    world.watch("deep", "breaching").await;
    let configured = world.clock.now().plus(Duration::from_secs(1));
    let happened = Happened::Read { configured, points: Vec::new() };
    assert!(step(&world.ctx, "deep", &happened).await.unwrap());
    assert_eq!(world.states(&["deep"]).await, ["INSUFFICIENT_DATA"]);
    assert!(!step(&world.ctx, "gone", &happened).await.unwrap());
}

#[tokio::test]
async fn composite_alarms_follow_through_each_other() {
    let mut world = World::new().await;
    world.watch("a", "ignore").await;
    world.compose("b", "ALARM(a)", None).await;
    world.compose("c", "NOT ALARM(b)", None).await;
    world.settle().await;
    assert_eq!(world.states(&["a", "b", "c"]).await, ["INSUFFICIENT_DATA", "OK", "ALARM"]);
    world.set("a", State::Alarm).await;
    world.settle().await;
    assert_eq!(world.states(&["b", "c"]).await, ["ALARM", "OK"]);
    // A rule that leads back to itself is left alone, and goes on once it does not.
    world.compose("b", "OK(c)", None).await;
    world.settle().await;
    world.set("c", State::Alarm).await;
    world.settle().await;
    assert_eq!(world.states(&["b", "c"]).await, ["ALARM", "ALARM"]);
    world.compose("b", "FALSE", None).await;
    world.settle().await;
    assert_eq!(world.states(&["b", "c"]).await, ["OK", "ALARM"]);
}

#[tokio::test]
async fn what_was_missed_is_made_up_for_at_the_next_start() {
    let mut world = World::new().await;
    world.watch("a", "ignore").await;
    world.compose("b", "ALARM(a)", None).await;
    world.settle().await;
    world.clock.advance(Duration::from_secs(5));
    world.set("a", State::Alarm).await;
    let mut next = Keeper::new(post(&world.ctx, &world.clock));
    next.load_all().await;
    let standing = world.standing("b").await;
    assert_eq!(standing.state, "ALARM");
    assert!(standing.reason.contains("alarm:a transitioned to ALARM"), "{}", standing.reason);
    // What was set meanwhile stays: nothing has happened since.
    world.clock.advance(Duration::from_secs(5));
    world.set("b", State::Ok).await;
    next.load_all().await;
    assert_eq!(world.states(&["b"]).await, ["OK"]);
}

#[tokio::test]
async fn actions_that_are_held_back_are_let_go_in_time() {
    let mut world = World::new().await;
    world.watch("a", "ignore").await;
    world.watch("quiet", "ignore").await;
    world.compose("b", "ALARM(a)", Some("quiet")).await;
    world.settle().await;
    world.pass(60).await;
    world.set("a", State::Alarm).await;
    world.settle().await;
    let held = |standing: KeptStanding| standing.suppressed.map(|(by, _)| by);
    assert_eq!(held(world.standing("b").await).as_deref(), Some("WaitPeriod"));
    world.set("quiet", State::Alarm).await;
    world.settle().await;
    assert_eq!(held(world.standing("b").await).as_deref(), Some("Alarm"));
    world.pass(100).await;
    world.set("quiet", State::Ok).await;
    world.settle().await;
    assert_eq!(held(world.standing("b").await).as_deref(), Some("ExtensionPeriod"));
    world.pass(29).await;
    assert!(!world.told("b").await.contains(&"Action".to_owned()));
    world.pass(1).await;
    assert_eq!(held(world.standing("b").await), None);
    assert_eq!(world.told("b").await.first().map(String::as_str), Some("Action"));
}

#[tokio::test]
async fn history_is_forgotten_after_thirty_days() {
    let mut world = World::new().await;
    world.watch("old", "ignore").await;
    world.pass(29 * 86_400).await;
    world.watch("young", "ignore").await;
    world.keeper.forget().await;
    assert_eq!(world.told("old").await.len(), 1);
    world.pass(2 * 86_400).await;
    world.keeper.forget().await;
    assert_eq!((world.told("old").await.len(), world.told("young").await.len()), (0, 1));
}
