//! [`Successor`]: the process that is to go on in our place, as long as it may still fail.
//!
//! If it is dropped before it has been let go of, it is killed: it has touched no socket yet.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::channel::Channel;
use super::fault;
use super::messages::{
    Abilities, ClusterAbilities, Commit, Hello, OfferEnd, OfferRest, Sent, SuccessorPlaces,
    SuccessorReply, UpgradeOffer, VERSION,
};
use super::parting::STANDSTILL_MAX;
use super::program::Program;
use crate::escape::Escaped;
use crate::handover;
use crate::migration;

/// For a process that has closed its end to say with what status it ends.
const END_TIME_MAX: Duration = Duration::from_secs(1);

/// See the module.
pub struct Successor {
    child: Option<Child>,
    control: Channel,
    /// Its release.
    release: String,
    abilities: Abilities,
    cluster_abilities: ClusterAbilities,
}

/// What the new process has a place for, and a channel to each of its cores, and to its cluster's thread.
pub struct SuccessorReady {
    pub places: SuccessorPlaces,
    pub channels: Vec<Channel>,
    pub to_cluster: Option<UnixStream>,
}

impl Successor {
    /// Starts it, and waits until it has read its configuration.
    pub fn start(program: &Program, until: Instant) -> Result<Successor, String> {
        let path = program.path().display();
        let (control, theirs) = Channel::pair(until).map_err(|error| error.to_string())?;
        let child = program.start(&theirs);
        let child = child.map_err(|error| format!("{path} cannot be started: {error}"))?;
        drop(theirs);
        fault::other_is(child.id());
        let mut successor = Successor {
            child: Some(child),
            control,
            release: String::new(),
            abilities: Abilities::default(),
            cluster_abilities: ClusterAbilities::default(),
        };
        let heard = successor.control.hear_more();
        let heard = heard.map_err(|error| successor.why("to have read its configuration", &error));
        let (hello, abilities, cluster_abilities): (Hello, _, _) = heard?;
        let reads = hello.migrations.contains(&migration::VERSION)
            && hello.records.contains(&handover::VERSION);
        if hello.version != VERSION || !reads {
            return Err(format!(
                "the new program, release {}, reads connections in versions {:?}, and what is kept in {:?}, and speaks \
                 version {} of an upgrade; this one, release {}, writes {} and {} and speaks {VERSION}. Restart instead",
                Escaped(&hello.release),
                hello.migrations,
                hello.records,
                hello.version,
                env!("CARGO_PKG_VERSION"),
                migration::VERSION,
                handover::VERSION
            ));
        }
        successor.release = hello.release;
        successor.abilities = abilities;
        successor.cluster_abilities = cluster_abilities;
        Ok(successor)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Whether it takes copies before it gets the connections, and tells how far it is.
    pub fn takes_copies(&self) -> bool {
        self.abilities.copies
    }

    /// Its release.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// Offers what there is.
    pub fn offer(
        &mut self,
        offer: &(UpgradeOffer, OfferRest, OfferEnd),
        sockets: &[impl AsFd],
        until: Instant,
    ) -> Result<SuccessorReady, String> {
        let said = self.control.say(offer, &[]);
        let sent = said.and_then(|()| self.control.send_all(sockets));
        sent.map_err(|error| self.why("to take the listening sockets", &error))?;
        let places = match self.hear("to be ready")? {
            SuccessorReply::Ready(ready) => ready,
            SuccessorReply::Refused(why) => return Err(refused(&why)),
            SuccessorReply::Taken(_) | SuccessorReply::Working(_) => {
                return Err("the new process has said what is not its turn".to_owned());
            }
        };
        let ends = self.control.receive_all(usize::from(places.cores));
        let ends = ends.map_err(|error| self.why("to be ready", &error))?;
        let channels = ends
            .into_iter()
            .map(|end| Channel::new(UnixStream::from(end), until));
        let has_cluster = offer.2.cluster.is_some() && self.cluster_abilities.goes_on_as_node;
        let to_cluster = self.control.receive_all(usize::from(has_cluster));
        let to_cluster = to_cluster.map_err(|error| self.why("to be ready", &error))?;
        Ok(SuccessorReady {
            places,
            channels: channels.collect(),
            to_cluster: to_cluster.into_iter().next().map(UnixStream::from),
        })
    }

    /// All has been sent, but for what is no core's. Whether it has all.
    pub fn confirm(
        &mut self,
        connections: u64,
        records: Vec<Zeroizing<Vec<u8>>>,
    ) -> Result<(), String> {
        let count = records.len() as u32;
        let said = self.control.say(
            &Sent {
                connections,
                records: count,
            },
            &[],
        );
        let mut records = records.iter();
        let said = said.and_then(|()| records.try_for_each(|one| self.control.send(one, &[])));
        said.map_err(|error| self.why("to take the connections", &error))?;
        match self.hear_taken()? {
            SuccessorReply::Taken(taken) if taken == connections => Ok(()),
            SuccessorReply::Taken(taken) => Err(format!(
                "{connections} connections were sent, and the new process has {taken}"
            )),
            SuccessorReply::Refused(why) => Err(refused(&why)),
            SuccessorReply::Ready(_) | SuccessorReply::Working(_) => {
                Err("the new process has said what is not its turn".to_owned())
            }
        }
    }

    /// What it says in the end. While it gets on with what there is to do, it has time for it.
    fn hear_taken(&mut self) -> Result<SuccessorReply, String> {
        let what = "to have taken all connections";
        if !self.abilities.copies {
            return self.hear(what);
        }
        let until = self.control.until();
        let (mut done, mut moved) = (None, Instant::now());
        loop {
            self.control.set_until(until.min(moved + STANDSTILL_MAX));
            match self.control.hear() {
                Ok((SuccessorReply::Working(now), _)) => {
                    if done.replace(now) != Some(now) {
                        moved = Instant::now();
                    }
                }
                Ok((reply, _)) => {
                    self.control.set_until(until);
                    return Ok(reply);
                }
                Err(error) if error.kind() == io::ErrorKind::TimedOut && Instant::now() < until => {
                    return Err(format!(
                        "the new process has stood still for {STANDSTILL_MAX:?}"
                    ));
                }
                Err(error) => return Err(self.why(what, &error)),
            }
        }
    }

    /// Why sending to its cores has failed, by what it says itself.
    pub fn explain(&mut self, otherwise: String) -> String {
        let until = Instant::now() + END_TIME_MAX;
        self.control.set_until(until);
        loop {
            return match self.control.hear() {
                // It has said so before.
                Ok((SuccessorReply::Working(_), _)) if Instant::now() < until => continue,
                Ok((SuccessorReply::Refused(why), _)) => refused(&why),
                Ok(_) => otherwise,
                Err(error) if error.kind() == io::ErrorKind::TimedOut => otherwise,
                Err(error) => self.why("to take the connections", &error),
            };
        }
    }

    /// The last word. From now on it is not ours, and goes on when we are gone.
    pub fn commit(mut self, pause: Duration) -> Result<(), String> {
        let pause = pause.as_millis() as u64;
        let said = self.control.say(&Commit { pause }, &[]);
        said.map_err(|error| self.why("to go on", &error))?;
        // It is no child that is waited for.
        self.child = None;
        Ok(())
    }

    fn hear<T: serde::de::DeserializeOwned>(&mut self, what: &str) -> Result<T, String> {
        let heard = self.control.hear();
        let heard = heard.map_err(|error| self.why(what, &error));
        heard.map(|(value, _)| value)
    }

    /// What has become of it, where this went wrong.
    fn why(&mut self, what: &str, error: &io::Error) -> String {
        match error.kind() {
            io::ErrorKind::TimedOut => {
                format!("upgrade_timeout was not enough for the new process {what}")
            }
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset => match self.status() {
                Some(status) => format!(
                    "the new process has ended ({status}) where it was {what}; what it says of that is in the log"
                ),
                None => format!("the new process has left where it was {what}"),
            },
            _ => format!("the new process was {what}: {error}"),
        }
    }

    /// With what it has ended, if it does within a moment.
    fn status(&mut self) -> Option<std::process::ExitStatus> {
        let until = Instant::now() + END_TIME_MAX;
        let child = self.child.as_mut()?;
        loop {
            if let Ok(Some(status)) = child.try_wait() {
                return Some(status);
            }
            if Instant::now() >= until {
                return None;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn refused(why: &str) -> String {
    format!("the new process refuses: {}", Escaped(why))
}

impl Drop for Successor {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // One that has ended cannot be killed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
