//! The doorbell in every order that its steps may take, under loom:
//! `RUSTFLAGS="--cfg loom" cargo test --manifest-path tests/loom/Cargo.toml`
//!
//! The doorbell is the real one. The mailbox and the counts of returned credit are stand-ins: one
//! count each, released by the poster and acquired by the owner, which is the least that the real
//! ones do. A lock would not do: it would order what the fences are there to order. The eventfd's stand-in
//! keeps a ring until somebody waits. A lost wake-up is a deadlock, which loom reports.
#![cfg(loom)]

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use ringpost_loom::{Doorbell, Notify, WakeFor};

/// The eventfd.
struct Chime {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Notify for Chime {
    fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

impl Chime {
    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.changed.wait(rung).unwrap();
        }
        *rung = false;
    }
}

struct Core<const FENCED: bool> {
    bell: Doorbell<Chime, FENCED>,
    /// Envelopes posted so far.
    mail: AtomicUsize,
    /// Credits given back so far.
    credit: AtomicUsize,
}

impl<const FENCED: bool> Core<FENCED> {
    fn new() -> Arc<Self> {
        Arc::new(Core {
            bell: Doorbell::new(Chime {
                rung: Mutex::new(false),
                changed: Condvar::new(),
            }),
            mail: AtomicUsize::new(0),
            credit: AtomicUsize::new(0),
        })
    }

    fn post(&self) {
        self.mail.fetch_add(1, Ordering::Release);
        self.bell.mail_posted();
    }

    fn give_back(&self) {
        self.credit.fetch_add(1, Ordering::Release);
        self.bell.credit_returned();
    }

    /// The owner's loop until it has seen so much of each.
    fn run(&self, wake_for: WakeFor, mail: usize, credit: usize) {
        let (mut taken, mut settled) = (0, 0);
        loop {
            taken = self.mail.load(Ordering::Acquire).max(taken);
            settled = self.credit.load(Ordering::Acquire).max(settled);
            if taken >= mail && settled >= credit {
                return;
            }
            let nothing_waits = || {
                self.mail.load(Ordering::Acquire) == taken
                    && (wake_for == WakeFor::Mail || self.credit.load(Ordering::Acquire) == settled)
            };
            if self.bell.arm(wake_for, nothing_waits) {
                self.bell.ring().wait();
                self.bell.disarm();
            }
        }
    }
}

/// Every order with at most three preemptions, which is where such errors show and takes seconds
/// instead of hours.
fn model(run: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(run);
}

fn two_posters<const FENCED: bool>() {
    model(|| {
        let core = Core::<FENCED>::new();
        let posters = [0; 2].map(|_| {
            let core = core.clone();
            thread::spawn(move || core.post())
        });
        core.run(WakeFor::Mail, 2, 0);
        for poster in posters {
            poster.join().unwrap();
        }
    });
}

fn one_poster_twice<const FENCED: bool>() {
    model(|| {
        let core = Core::<FENCED>::new();
        let theirs = core.clone();
        let poster = thread::spawn(move || {
            theirs.post();
            theirs.post();
        });
        core.run(WakeFor::Mail, 2, 0);
        poster.join().unwrap();
    });
}

fn credit_alone<const FENCED: bool>() {
    model(|| {
        let core = Core::<FENCED>::new();
        let theirs = core.clone();
        let taker = thread::spawn(move || theirs.give_back());
        core.run(WakeFor::MailAndCredit, 0, 1);
        taker.join().unwrap();
    });
}

#[test]
fn two_posters_wake_the_owner() {
    two_posters::<true>();
}

#[test]
fn each_post_of_one_poster_is_seen() {
    one_poster_twice::<true>();
}

#[test]
fn returned_credit_wakes_the_owner() {
    credit_alone::<true>();
}

#[test]
fn mail_and_credit_at_once() {
    model(|| {
        let core = Core::<true>::new();
        let (poster, taker) = (core.clone(), core.clone());
        let poster = thread::spawn(move || poster.post());
        let taker = thread::spawn(move || taker.give_back());
        core.run(WakeFor::MailAndCredit, 1, 1);
        poster.join().unwrap();
        taker.join().unwrap();
    });
}

/// The owner first wants credit, then mail alone: a taker that saw it want credit may still turn it
/// awake, and must then ring.
#[test]
fn a_late_credit_does_not_silence_the_bell() {
    model(|| {
        let core = Core::<true>::new();
        let (poster, taker) = (core.clone(), core.clone());
        let poster = thread::spawn(move || poster.post());
        let taker = thread::spawn(move || taker.give_back());
        if core.bell.arm(WakeFor::MailAndCredit, || true) {
            core.bell.disarm();
        }
        core.run(WakeFor::Mail, 1, 0);
        poster.join().unwrap();
        taker.join().unwrap();
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_fences_mail_is_lost() {
    two_posters::<false>();
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_fences_credit_is_lost() {
    credit_alone::<false>();
}
