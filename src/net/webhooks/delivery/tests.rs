//! Batches, retries and the end, with a receiver that says what it is told to and a clock that moves when it is
//! waited for.

use std::cell::RefCell;
use std::rc::Rc;

use serde_json::Value;

use super::*;
use crate::config::EventKinds;
use crate::events::{KickedBy, Origin, Reporter, Reporting, UidEventKind};
use crate::handover::ProcessRecord;
use crate::ident::{ConnName, CoreId};
use crate::net::webhooks::ListenerName;

/// What all parts of a test share.
#[derive(Default)]
struct Scene {
    /// Time since the start.
    elapsed: Duration,
    pauses: Vec<Duration>,
    until: Option<Duration>,
    /// What the next requests come to, the last first; without any they are delivered.
    outcomes: Vec<AttemptResult>,
    /// How long each takes.
    takes: Duration,
    posts: Vec<(Value, String, Duration)>,
    /// Comes while a batch waits for more, after so many pauses.
    coming: Option<(usize, Reporter)>,
    panics: bool,
    /// What is told while nothing is to be sent, which is so once there were so many requests.
    commands: VecDeque<DeliveryCommand>,
    held_after: usize,
    inherited: Option<Box<Inheritance>>,
}

#[derive(Clone)]
struct Shared(Rc<RefCell<Scene>>, Instant);

impl Clock for Shared {
    fn now(&self) -> Instant {
        self.1 + self.0.borrow().elapsed
    }
    fn wall_seconds(&self) -> u64 {
        1_700_000_000 + self.0.borrow().elapsed.as_secs()
    }
    fn random(&mut self) -> f64 {
        1.0
    }
    fn pause(&mut self, time: Duration) {
        let mut scene = self.0.borrow_mut();
        scene.elapsed += time;
        scene.pauses.push(time);
        let pauses = scene.pauses.len();
        if let Some((after, reporter)) = &mut scene.coming
            && *after == pauses
        {
            tell(reporter, 1);
        }
    }
    fn until(&self) -> Option<Instant> {
        self.0.borrow().until.map(|until| self.1 + until)
    }
    fn wait(&self, queue: &Receiver<UidEvent>) -> Awaited {
        queue.recv().map_or(Awaited::Ended, Awaited::Event)
    }
    fn is_held(&self) -> bool {
        let scene = self.0.borrow();
        !scene.commands.is_empty() && scene.posts.len() >= scene.held_after
    }
    fn command(&self) -> Option<DeliveryCommand> {
        self.0.borrow_mut().commands.pop_front()
    }
    fn inherit(&self) -> Option<Box<Inheritance>> {
        self.0.borrow_mut().inherited.take()
    }
}

impl Post for Shared {
    fn post(&mut self, body: &[u8], signature: &str, timeout: Duration) -> AttemptResult {
        let mut scene = self.0.borrow_mut();
        let body = serde_json::from_slice(body).expect("JSON");
        scene.posts.push((body, signature.to_owned(), timeout));
        let takes = scene.takes;
        scene.elapsed += takes;
        assert!(!std::mem::take(&mut scene.panics), "a mistake");
        scene.outcomes.pop().unwrap_or(AttemptResult::Delivered)
    }
}

fn later() -> AttemptResult {
    AttemptResult::Later {
        why: "status 503".to_owned(),
        after: None,
    }
}

fn tell(reporter: &mut Reporter, events: usize) {
    for _ in 0..events {
        let by = KickedBy::App;
        reporter.tell("tom", UidEventKind::Kick { connections: 1, by });
    }
}

/// Three events a batch, ten waiting.
fn scene() -> (Delivery<Shared, Shared>, Shared, Reporting) {
    let config = Webhooks {
        batch_events_max: 3,
        queue_events_max: 10,
        ..Webhooks::default()
    };
    let (reporting, queue) = Reporting::new(EventKinds::ALL, (config.queue_events_max, 1 << 20), 2);
    let shared = Shared(Rc::default(), Instant::now());
    let sender = BatchSender {
        server: "s".to_owned(),
        node: None,
        listeners: Vec::new(),
    };
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
    let means = (key, shared.clone(), shared.clone());
    let accounts = (reporting.tallies(), reporting.bytes());
    let delivery = Delivery::new(&config, queue, accounts, sender, means);
    (delivery, shared, reporting)
}

/// Runs it to its end: no core is left.
fn run(mut delivery: Delivery<Shared, Shared>, reporting: Reporting) -> [u64; 3] {
    let tallies = reporting.tallies();
    drop(reporting);
    delivery.run();
    let sum = |count: fn(&Tally) -> u64| tallies.iter().map(count).sum();
    [
        sum(|tally| tally.sent.load(Ordering::Relaxed)),
        sum(|tally| tally.failed.load(Ordering::Relaxed)),
        sum(|tally| tally.dropped.load(Ordering::Relaxed)),
    ]
}

/// The numbers of the events of each request.
fn posted(shared: &Shared) -> Vec<Vec<String>> {
    let scene = shared.0.borrow();
    let numbers = |body: &Value| {
        let events = body["events"].as_array().expect("a list").iter();
        events
            .map(|event| event["id"].as_str().expect("an id").to_owned())
            .collect()
    };
    scene.posts.iter().map(|(body, ..)| numbers(body)).collect()
}

#[test]
fn a_full_batch_leaves_at_once_and_a_smaller_one_when_it_is_old() {
    for (events, batches, waited) in [
        (2, vec![2], true),
        (3, vec![3], false),
        (4, vec![3, 1], true),
    ] {
        let (mut delivery, shared, reporting) = scene();
        tell(&mut reporting.reporter(CoreId(0)), events);
        for _ in &batches {
            let first = delivery.queue.recv().unwrap();
            delivery.collect(first);
            delivery.deliver();
        }
        let sizes: Vec<usize> = posted(&shared).iter().map(Vec::len).collect();
        assert_eq!(sizes, batches);
        let elapsed = shared.0.borrow().elapsed;
        let expected = if waited { 100 } else { 0 };
        assert_eq!(elapsed.as_millis(), expected, "{events}");
    }
}

#[test]
fn what_comes_meanwhile_goes_along() {
    let (mut delivery, shared, reporting) = scene();
    let mut reporter = reporting.reporter(CoreId(0));
    tell(&mut reporter, 2);
    shared.0.borrow_mut().coming = Some((4, reporter));
    let first = delivery.queue.recv().unwrap();
    delivery.collect(first);
    assert_eq!(delivery.batch.len(), 3);
    // It was full then, after a few looks and long before it was old.
    assert_eq!(shared.0.borrow().elapsed, 4 * LOOK_INTERVAL);
}

#[test]
fn what_comes_to_nothing_is_tried_again_in_order_and_signed_anew() {
    let (delivery, shared, reporting) = scene();
    tell(&mut reporting.reporter(CoreId(1)), 4);
    let after = Some(Duration::from_secs(7));
    let why = String::new();
    shared.0.borrow_mut().outcomes = vec![AttemptResult::Later { why, after }, later(), later()];
    assert_eq!(run(delivery, reporting), [4, 0, 0]);
    let first = ["s-1-1".to_owned(), "s-1-2".into(), "s-1-3".into()];
    let posts = posted(&shared);
    assert_eq!(posts[..4], [&first[..]; 4].map(<[_]>::to_vec));
    assert_eq!(posts[4], ["s-1-4"]);
    let scene = shared.0.borrow();
    let pauses: Vec<u128> = scene.pauses.iter().map(Duration::as_millis).collect();
    assert_eq!(pauses, [250, 500, 7_000]);
    assert_eq!(
        scene.posts[0].0, scene.posts[3].0,
        "the bytes stay what they are"
    );
    let signed = |number: usize| scene.posts[number].1.split(',').next().unwrap().to_owned();
    assert_eq!(signed(0), "t=1700000000");
    assert_eq!(signed(3), "t=1700000007");
    assert_eq!(scene.posts[3].0["batch"], 1);
    assert_eq!(scene.posts[4].0["batch"], 2);
}

#[test]
fn a_receiver_that_says_at_once_waits_like_any_other() {
    let (delivery, shared, reporting) = scene();
    tell(&mut reporting.reporter(CoreId(0)), 1);
    let at_once = AttemptResult::of(503, Some("0"));
    shared.0.borrow_mut().outcomes = vec![at_once; 3];
    assert_eq!(run(delivery, reporting), [1, 0, 0]);
    let scene = shared.0.borrow();
    let pauses: Vec<u128> = scene.pauses.iter().map(Duration::as_millis).collect();
    assert_eq!(pauses, [250, 500, 1_000]);
}

#[test]
fn a_refused_batch_is_counted_and_told_of_and_the_next_goes() {
    let (delivery, shared, reporting) = scene();
    tell(&mut reporting.reporter(CoreId(0)), 4);
    let why = "status 404".to_owned();
    shared.0.borrow_mut().outcomes = vec![AttemptResult::Refused { why }];
    assert_eq!(run(delivery, reporting), [1, 3, 0]);
    let scene = shared.0.borrow();
    assert_eq!(scene.posts.len(), 2);
    assert_eq!(scene.posts[0].0["dropped"], 0);
    assert_eq!(scene.posts[1].0["dropped"], 3);
    assert!(scene.pauses.is_empty());
}

#[test]
fn what_found_no_room_is_told_of_once() {
    let (delivery, shared, reporting) = scene();
    let mut reporter = reporting.reporter(CoreId(0));
    tell(&mut reporter, 15);
    drop(reporter);
    assert_eq!(run(delivery, reporting), [10, 0, 5]);
    let dropped = |(body, ..): &(Value, String, Duration)| body["dropped"].as_u64().unwrap();
    let scene = shared.0.borrow();
    let told: Vec<u64> = scene.posts.iter().map(dropped).collect();
    assert_eq!(told, [5, 0, 0, 0]);
}

#[test]
fn a_batch_is_given_up_in_the_end() {
    let (delivery, shared, reporting) = scene();
    tell(&mut reporting.reporter(CoreId(0)), 4);
    shared.0.borrow_mut().outcomes = vec![later(); 400];
    assert_eq!(run(delivery, reporting), [0, 4, 0]);
    let scene = shared.0.borrow();
    let hour = Duration::from_secs(3_600);
    let most = 2 * (hour + Duration::from_secs(30));
    assert!(
        (2 * hour..=most).contains(&scene.elapsed),
        "{:?}",
        scene.elapsed
    );
    let longest = scene.pauses.iter().max().copied();
    assert_eq!(longest, Some(Duration::from_secs(30)));
}

#[test]
fn when_the_server_stops_the_time_for_all_of_it_is_bounded() {
    let (delivery, shared, reporting) = scene();
    tell(&mut reporting.reporter(CoreId(0)), 4);
    {
        let mut scene = shared.0.borrow_mut();
        scene.until = Some(Duration::from_secs(3));
        scene.takes = Duration::from_millis(700);
        scene.outcomes = vec![later(); 200];
    }
    let under_way = delivery.under_way();
    assert_eq!(run(delivery, reporting), [0, 0, 0]);
    let scene = shared.0.borrow();
    assert_eq!(scene.elapsed, Duration::from_secs(3));
    // Each request gets no more time than is left.
    let timeouts: Vec<u128> = scene
        .posts
        .iter()
        .map(|(.., time)| time.as_millis())
        .collect();
    assert_eq!(timeouts, [3_000, 2_050, 850]);
    assert_eq!(under_way.load(Ordering::Relaxed), 3);
}

#[test]
fn a_panic_costs_its_batch_alone() {
    let (mut delivery, shared, reporting) = scene();
    tell(&mut reporting.reporter(CoreId(0)), 4);
    shared.0.borrow_mut().panics = true;
    assert!(crate::guard::guard(|| delivery.run()).is_err());
    delivery.give_up_batch();
    assert_eq!(run(delivery, reporting), [1, 3, 0]);
    assert_eq!(posted(&shared)[1], ["s-0-4"]);
}

/// Another process' delivery that gets what this one has not delivered, by way of their written form.
fn succeeded(delivery: &Delivery<Shared, Shared>) -> Inheritance {
    let mut inherited = Inheritance::default();
    for record in delivery.pack().records() {
        let bytes = record.write().expect("it is written");
        match ProcessRecord::read(&bytes).expect("it is read") {
            ProcessRecord::Webhooks(written) => inherited.written = written,
            ProcessRecord::Event(event) => inherited.events.push(*event),
            other => panic!("{other:?}"),
        }
    }
    inherited
}

#[test]
fn another_process_goes_on_with_the_batch_in_hand_and_what_waits() {
    let (mut delivery, shared, reporting) = scene();
    let mut reporter = reporting.reporter(CoreId(1));
    tell(&mut reporter, 8);
    {
        let mut scene = shared.0.borrow_mut();
        scene.outcomes = vec![later(), AttemptResult::Delivered];
        scene.held_after = 2;
        let (reply, _held) = crossbeam_channel::bounded(1);
        scene.commands.push_back(DeliveryCommand::Hold(reply));
    }
    // The first batch is delivered, the second has been tried once; then nothing is to be sent, for good.
    delivery.run();
    tell(&mut reporter, 1);
    delivery.waiting.extend(delivery.queue.try_iter());
    assert_eq!(posted(&shared).len(), 2);
    let (mut second, of_second, others) = scene();
    second.sender.server = "other".to_owned();
    of_second.0.borrow_mut().inherited = Some(Box::new(succeeded(&delivery)));
    let mut reporter_there = others.reporter(CoreId(1));
    reporter_there.tell_behind(reporter.told());
    tell(&mut reporter_there, 1);
    drop(reporter_there);
    let counts = run(second, others);
    assert_eq!(counts, [7, 0, 0]);
    let both = [posted(&shared), posted(&of_second)].concat();
    let ids = |numbers: &[u64]| -> Vec<String> {
        numbers
            .iter()
            .map(|number| format!("s-1-{number}"))
            .collect()
    };
    let tried_again = ids(&[4, 5, 6]);
    let expected = [
        ids(&[1, 2, 3]),
        tried_again.clone(),
        tried_again,
        ids(&[7, 8, 9]),
        ids(&[10]),
    ];
    assert_eq!(both, expected);
    let batches = |shared: &Shared| -> Vec<Value> {
        let scene = shared.0.borrow();
        scene
            .posts
            .iter()
            .map(|(body, ..)| body["batch"].clone())
            .collect()
    };
    assert_eq!(
        [batches(&shared), batches(&of_second)].concat(),
        [1, 2, 2, 3, 4]
    );
    let bodies = (
        &shared.0.borrow().posts[1].0,
        &of_second.0.borrow().posts[0].0,
    );
    assert_eq!(bodies.0, bodies.1, "the same again");
}

#[test]
fn what_was_held_goes_on_as_if_nothing_had_been() {
    let (delivery, shared, reporting) = scene();
    tell(&mut reporting.reporter(CoreId(0)), 4);
    let (reply, held) = crossbeam_channel::bounded(1);
    let (pack, packed) = crossbeam_channel::bounded(1);
    {
        let mut scene = shared.0.borrow_mut();
        scene.outcomes = vec![later()];
        scene.held_after = 1;
        scene.commands = [
            DeliveryCommand::Hold(reply),
            DeliveryCommand::Pack(pack),
            DeliveryCommand::GoOn,
        ]
        .into();
    }
    assert_eq!(run(delivery, reporting), [4, 0, 0]);
    assert_eq!(held.try_recv(), Ok(()));
    assert_eq!(packed.try_recv().expect("it was packed").events.len(), 4);
    let first: Vec<String> = (1..=3).map(|number| format!("s-0-{number}")).collect();
    assert_eq!(
        posted(&shared),
        [first.clone(), first, vec!["s-0-4".to_owned()]]
    );
}

#[test]
fn lost_events_that_nobody_was_told_of_are_told_by_another_process() {
    let (delivery, _, reporting) = scene();
    tell(&mut reporting.reporter(CoreId(1)), 12);
    let inherited = succeeded(&delivery);
    assert_eq!(inherited.written.untold, 2);
    let (second, of_second, others) = scene();
    of_second.0.borrow_mut().inherited = Some(Box::new(inherited));
    tell(&mut others.reporter(CoreId(0)), 1);
    assert_eq!(run(second, others), [1, 0, 0]);
    assert_eq!(of_second.0.borrow().posts[0].0["dropped"], 2);
}

#[test]
fn listeners_are_named_as_they_were() {
    let of = Origin {
        connection: ConnName::from((0, 1)),
        peer: std::net::SocketAddr::from(([127, 0, 0, 1], 1)),
        listener: 1,
        attributes: None,
    };
    let event = UidEvent {
        core: CoreId(7),
        number: 1,
        at: 0,
        uid: "tom".into(),
        what: UidEventKind::Connect {
            of,
            first: true,
            unknown: 0,
        },
    };
    for here in [false, true] {
        let (mut delivery, shared, reporting) = scene();
        let listener = |url: &str| ListenerName {
            app: "push".into(),
            url: url.to_owned(),
        };
        delivery.sender.listeners.push(listener("ws://c"));
        if here {
            delivery.sender.listeners.push(listener("ws://a"));
            delivery.sender.listeners.push(listener("ws://b"));
        }
        let listeners = ["ws://a", "ws://b"].map(|url| ("push".into(), url.into()));
        shared.0.borrow_mut().inherited = Some(Box::new(Inheritance {
            written: WrittenWebhooks {
                listeners: listeners.into(),
                ..WrittenWebhooks::default()
            },
            events: vec![event.clone()],
        }));
        // Of a core that is none here.
        assert_eq!(run(delivery, reporting), [1, 0, 0]);
        let event = &shared.0.borrow().posts[0].0["events"][0];
        assert_eq!(
            (&event["listener"], &event["app"]),
            (&"ws://b".into(), &"push".into())
        );
    }
}
