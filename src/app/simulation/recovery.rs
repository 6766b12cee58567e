//! Whether those who follow streams have got all of them: what each has read over all its connections, joined, is what
//! was kept, each message once and in order; or it was told of a gap, and what follows that is exact.

use std::collections::HashSet;

use serde_json::Value;

use super::Tally;
use super::followers::{Follower, Kept, Life, StreamName};
use super::logs::{index, is_beginning};
use super::model::Model;
use super::sse::Block;
use super::verdict::{Claim, count};
use super::world::World;
use crate::close::CloseReason;
use crate::ident::NamespaceId;
use crate::protocol::Codec;
use crate::streams::{Kind, Position, Positions};

/// How far a follower is in one stream.
#[derive(Clone, Debug)]
enum Place {
    /// It has had all before this one.
    At(usize),
    /// It begins behind at least so many, and at most, where a life of the stream does; and of those between none is
    /// lost if nothing had to reach it that was sent there.
    Before {
        least: usize,
        most: usize,
        excused: bool,
    },
    /// It has said what is no position, and is to be told of a gap.
    Unknown,
    /// Its uid is another one, and it has been told nothing of that yet.
    Moved,
    /// It begins where it has acknowledged, or now if it has not.
    Acknowledged,
}

#[derive(Clone, Debug)]
struct Standing {
    stream: StreamName,
    place: Place,
    /// What it was told last.
    told: Option<Position>,
}

impl World {
    /// Everything that was to be kept was, once; and all have had it who follow it. Returns what was kept where.
    pub fn judge_streams(&self, model: &Model, tally: &mut Tally) -> HashSet<(usize, NamespaceId)> {
        let kept = self.check_logs(model, tally);
        for follower in &self.followers {
            let mut reading = Reading {
                world: self,
                model,
                follower,
                standings: Vec::new(),
                gaps: HashSet::new(),
                unnamed: None,
            };
            for life in &follower.lives {
                reading.live(life, tally);
            }
        }
        kept
    }

    fn log(&self, stream: &StreamName) -> &[Kept] {
        self.logs.get(stream).map_or(&[], Vec::as_slice)
    }

    /// Whether the home of a stream has forgotten any.
    fn has_forgotten(&self, stream: &StreamName) -> bool {
        let home = self.hosts[0].local.outgoing.home(&stream.2);
        let counters = self.hosts[home.index()].local.streams.store.counters();
        counters.forgotten_by_bytes > 0
    }
}

/// What a follower has read so far.
struct Reading<'w> {
    world: &'w World,
    model: &'w Model,
    follower: &'w Follower,
    standings: Vec<Standing>,
    /// The streams of which this life was told a gap.
    gaps: HashSet<StreamName>,
    /// Where it stood before a life that names nothing of it.
    unnamed: Option<Vec<Standing>>,
}

impl Reading<'_> {
    fn live(&mut self, life: &Life, tally: &mut Tally) {
        let client = &self.world.clients[life.client];
        let track = &self.model.clients[life.client];
        self.gaps.clear();
        self.begin(life, track.namespace);
        let (blocks, _) = client.blocks(&self.follower.groups);
        let mut has_begun = false;
        for block in &blocks {
            self.read(life, block, &mut has_begun, tally);
        }
        if let Some(standings) = self.unnamed.take().filter(|_| !has_begun) {
            self.standings = standings;
        }
        let closed = track.closed.map(|closed| closed.reason);
        if closed == Some(CloseReason::Stopping) && !track.lossy {
            self.end(life, has_begun);
            count(tally, "followed to the end", 1);
        }
    }

    fn speaks(&self, life: &Life) -> bool {
        self.model.clients[life.client].codec == Codec::V1
    }

    fn is_moved(&self, life: &Life) -> bool {
        self.model.clients[life.client].uids.len() > 1
    }

    /// Where it stands when it comes.
    fn begin(&mut self, life: &Life, namespace: NamespaceId) {
        let streams = self.follower.streams(namespace, &life.uid);
        let said: Option<Vec<Option<Position>>> = life.since.as_ref().map(|text| {
            let list: Result<Positions, _> = text.parse();
            list.map_or_else(|_| Vec::new(), |list| list.0)
        });
        if self.standings.is_empty() || life.since.is_none() {
            let kept_before = life.kept_before.iter();
            let begun = streams
                .into_iter()
                .zip(kept_before)
                .map(|(stream, kept)| Standing {
                    place: Place::Before {
                        least: *kept,
                        most: usize::MAX,
                        excused: false,
                    },
                    stream,
                    told: None,
                });
            self.standings = begun.collect();
        } else if self.standings[0].stream != streams[0] {
            self.standings[0] = Standing {
                stream: streams[0].clone(),
                place: Place::Moved,
                told: None,
            };
        }
        if life.by_ack {
            self.unnamed = Some(self.standings.clone());
            for standing in &mut self.standings {
                standing.place = Place::Acknowledged;
                standing.told = None;
            }
        }
        let is_unread = said
            .as_ref()
            .is_some_and(|said| said.iter().all(Option::is_none));
        if let Some(said) = said.filter(|_| life.errs) {
            let own = self.standings.len() - 1;
            let is_list = said.len() == own || said.len() == own + 1;
            for (nth, standing) in self.standings.iter_mut().enumerate() {
                let said = said.get(nth).copied().flatten();
                if is_unread || !is_list || said != standing.told {
                    standing.place = Place::Unknown;
                }
            }
        }
    }

    fn read(&mut self, life: &Life, block: &Block, has_begun: &mut bool, tally: &mut Tally) {
        let client = life.client;
        let positions = block.id.as_ref().map(|id| {
            let list: Positions = id.parse().expect("a list");
            let all = list.0.into_iter();
            let all: Vec<Position> = all.map(|one| one.expect("a position")).collect();
            let own = self.standings.len() - 1;
            assert!(
                all.len() == own || all.len() == own + 1,
                "client {client} was told {id}, of {own} streams and everybody's"
            );
            all
        });
        match (&*block.kind, &block.data, positions) {
            ("", None, Some(positions)) => {
                *has_begun = true;
                self.told(life, block, &positions, None);
            }
            ("gap", Some(data), Some(positions)) => {
                assert!(*has_begun, "a gap before it has begun");
                let nth = self.take_gap(life, block, data, tally);
                self.told(life, block, &positions, Some(nth));
            }
            ("", Some(data), Some(positions)) => {
                assert!(*has_begun, "client {client}: {data:?} before it has begun");
                let nth = self.take_kept(life, data, &positions);
                self.told(life, block, &positions, nth);
            }
            ("", Some(data), None) => self.take_plain(life, data),
            ("close", ..) => {}
            ("presence", Some(_), None) => count(tally, "presence told", 1),
            _ => panic!("no event of ours: {block:?}"),
        }
    }

    /// How much was kept in the nth stream when this block had been received.
    fn kept_until(&self, life: &Life, block: &Block, nth: usize) -> usize {
        let at = life
            .kept_at
            .iter()
            .find(|(received, _)| *received >= block.end);
        at.expect("it was received").1[nth]
    }

    /// What it is told of those streams of which nothing came is what it has had.
    fn told(&mut self, life: &Life, block: &Block, positions: &[Position], but: Option<usize>) {
        for nth in 0..self.standings.len() {
            if matches!(self.standings[nth].place, Place::Acknowledged) {
                let place = self.acknowledged_place(life, nth, positions.get(nth).copied());
                self.standings[nth].place = place;
            }
            let Some(position) = positions.get(nth).copied() else {
                // So nothing of everybody's was ever kept, and all of it follows.
                let standing = &mut self.standings[nth];
                match &mut standing.place {
                    Place::Unknown => {
                        standing.told = None;
                        standing.place = Place::Before {
                            least: 0,
                            most: usize::MAX,
                            excused: true,
                        };
                    }
                    Place::Before { least, .. } => *least = 0,
                    _ => {}
                }
                assert!(
                    standing.told.is_none(),
                    "client {} is told of {:?} no more",
                    life.client,
                    standing.stream
                );
                continue;
            };
            if but != Some(nth) {
                self.told_again(life, block, nth, position);
            }
            self.standings[nth].told = Some(position);
        }
    }

    /// Where one stands that has named nothing, by the first word of a stream.
    fn acknowledged_place(&self, life: &Life, nth: usize, told: Option<Position>) -> Place {
        let (acked, before) = (&self.follower.acked[nth], life.acked_before[nth]);
        let later = &acked[before.saturating_sub(1)..];
        let stream = &self.standings[nth].stream;
        let at = told.filter(|told| later.contains(told));
        if let Some(at) = at.and_then(|at| index(self.world.log(stream), at)) {
            return Place::At(at);
        }
        // Where it was there had been nothing, nor since: it is at the beginning of what comes.
        let is_beginning =
            told.is_none_or(|told| told.offset == 0) && later.iter().any(|at| at.offset == 0);
        assert!(
            before == 0 || is_beginning,
            "client {} has acknowledged {acked:?} of {stream:?}, and begins at {told:?}",
            life.client
        );
        Place::Before {
            least: if before == 0 {
                life.kept_before[nth]
            } else {
                0
            },
            most: usize::MAX,
            excused: false,
        }
    }

    fn told_again(&mut self, life: &Life, block: &Block, nth: usize, position: Position) {
        let kept_until = self.kept_until(life, block, nth);
        let first = self.standings[nth].told.is_none();
        let may_move = nth == 0 && self.is_moved(life);
        let standing = &self.standings[nth];
        let log = self.world.log(&standing.stream);
        let at = index(log, position);
        let place = match (&standing.place, at) {
            // Nothing of everybody's had ever been kept, so that it has missed nothing.
            (Place::Unknown, Some(0)) if standing.stream.1 == Kind::All => Place::At(0),
            // Nor was it known of any to the core that bound it: it begins as one that names nothing.
            (Place::Unknown, Some(at)) if standing.stream.1 == Kind::All && self.speaks(life) => {
                self.check_skipped(life, nth, life.kept_before[nth], at);
                Place::At(at)
            }
            (Place::Unknown, _) => return,
            (Place::At(had), Some(at)) if at == *had => return,
            // The stream was forgotten.
            (Place::At(had), None) if position.offset == 0 && is_beginning(log, *had) => return,
            (_, _) if may_move => Place::Moved,
            (Place::Moved | Place::Acknowledged, _) => return,
            // Its first word: it begins there. What was sent before reached it if that had to.
            (
                Place::Before {
                    least,
                    most,
                    excused,
                },
                Some(at),
            ) => {
                assert!(
                    first || position.offset == 0,
                    "{standing:?} was told {position}"
                );
                assert!(
                    at <= *most,
                    "{standing:?} was told {position}, which came later"
                );
                if !*excused {
                    self.check_skipped(life, nth, *least, at);
                }
                Place::At(at)
            }
            (
                Place::Before {
                    least,
                    most,
                    excused,
                },
                None,
            ) => {
                assert_eq!(position.offset, 0, "{standing:?} was told {position}");
                Place::Before {
                    least: *least,
                    most: if first { kept_until } else { *most },
                    excused: *excused,
                }
            }
            (Place::At(had), _) => panic!(
                "client {} was told {position} of {:?}, having had {had} of {}",
                life.client,
                standing.stream,
                log.len()
            ),
        };
        self.standings[nth].place = place;
    }

    /// None of these was for it: they were sent before it came.
    fn check_skipped(&self, life: &Life, nth: usize, from: usize, to: usize) {
        let stream = &self.standings[nth].stream;
        for kept in self.world.log(stream).get(from..to).unwrap_or_default() {
            let sent = &self.model.sent[kept.number];
            let claim = self.model.claim(sent, life.client);
            assert!(
                claim != Claim::Must,
                "client {} began in {stream:?} behind m{}",
                life.client,
                kept.number
            );
        }
    }

    /// A kept message: the next of its stream.
    fn take_kept(&mut self, life: &Life, data: &str, positions: &[Position]) -> Option<usize> {
        let number = number_of(data);
        let sent = &self.model.sent[number];
        let (kind, name) = sent.stream().expect("what was kept has a stream");
        let own = self.standings.len() - 1;
        let nth = match kind {
            Kind::Uid => Some(0),
            Kind::All => Some(own),
            Kind::Group => self.standings.iter().position(|one| one.stream.2 == name),
        };
        // One of a group that it has come into by itself has none of its own.
        let nth = nth?;
        let position = positions.get(nth).copied().expect("its position is told");
        let may_move = nth == 0 && self.is_moved(life);
        let standing = &mut self.standings[nth];
        if may_move && standing.stream.2 != name {
            standing.stream.2 = name.to_owned();
            standing.place = Place::Moved;
        }
        let standing = &self.standings[nth];
        let log = self.world.log(&standing.stream);
        let at = log.iter().position(|kept| kept.number == number);
        let at = at.unwrap_or_else(|| panic!("m{number} is not kept in {:?}", standing.stream));
        assert_eq!(log[at].position, position, "where m{number} stands");
        match standing.place {
            Place::At(had) if had == at => {}
            Place::At(_) if may_move => {}
            Place::Moved => {}
            Place::Before {
                least,
                most,
                excused,
            } => {
                let begins = is_beginning(log, at);
                assert!(
                    least <= at && at <= most && begins,
                    "client {} got m{number} first, the {at}th: {standing:?}",
                    life.client
                );
                if !excused {
                    self.check_skipped(life, nth, least, at);
                }
            }
            _ => panic!(
                "client {} got m{number}, the {at}th: {standing:?}",
                life.client
            ),
        }
        self.standings[nth].place = Place::At(at + 1);
        Some(nth)
    }

    /// One that is not kept in a stream that it follows.
    fn take_plain(&self, life: &Life, data: &str) {
        if data.starts_with('r') {
            return;
        }
        let number = number_of(data);
        let Some((kind, name)) = self.model.sent[number].stream() else {
            return;
        };
        let mut standings = self.standings.iter();
        let followed = standings.find(|one| one.stream.1 == kind && one.stream.2 == name);
        if let Some(standing) = followed {
            let mut log = self.world.log(&standing.stream).iter();
            assert!(
                log.all(|kept| kept.number != number),
                "client {} got m{number}, which is kept, without a position",
                life.client
            );
        }
    }

    /// It is told that not all can be had. Of which stream.
    fn take_gap(&mut self, life: &Life, block: &Block, data: &str, tally: &mut Tally) -> usize {
        let told: Value = serde_json::from_str(data).expect("JSON");
        let position = |field: &str| -> Option<Position> {
            let text = told[field].as_str()?;
            Some(text.parse().expect("a position"))
        };
        let (kind, name) = (told["kind"].as_str(), told["name"].as_str());
        let is_it = |one: &Standing| {
            let kind_of = one.stream.1.to_string();
            kind == Some(&kind_of) && (one.stream.1 == Kind::Uid || name == Some(&one.stream.2))
        };
        let nth = self.standings.iter().position(is_it);
        let nth = nth.unwrap_or_else(|| panic!("it follows no such stream: {data}"));
        let (asked, first) = (position("asked"), position("first"));
        let top = position("top").expect("where it goes on");
        let kept_until = self.kept_until(life, block, nth);
        let standing = &self.standings[nth];
        self.check_gap(life, standing, (asked, first, top), tally);
        let had = match standing.place {
            Place::At(had) => had,
            Place::Before { least, .. } => least,
            _ => 0,
        };
        let place = match index(self.world.log(&standing.stream), top) {
            Some(at) => Place::At(at),
            None => Place::Before {
                least: had,
                most: kept_until,
                excused: true,
            },
        };
        self.gaps.insert(standing.stream.clone());
        self.standings[nth].place = place;
        self.standings[nth].told = Some(top);
        count(tally, "gaps", 1);
        nth
    }

    /// Nobody is told of a gap where there is none.
    fn check_gap(
        &self,
        life: &Life,
        standing: &Standing,
        (asked, first, top): (Option<Position>, Option<Position>, Position),
        tally: &mut Tally,
    ) {
        let stream = &standing.stream;
        if matches!(standing.place, Place::Unknown | Place::Moved) {
            return count(tally, "gaps of errors", 1);
        }
        if stream.1 == Kind::Uid && self.is_moved(life) {
            return;
        }
        let is_first_of_all = stream.1 == Kind::All && standing.told.is_none();
        // It has named what is none, of a stream that nothing was ever kept in as far as its core knew.
        let has_erred = matches!(standing.place, Place::Before { excused: true, .. });
        if is_first_of_all && has_erred {
            return count(tally, "gaps of errors", 1);
        }
        assert!(
            asked == standing.told || is_first_of_all,
            "client {} is told of a gap after {asked:?}: {standing:?}",
            life.client
        );
        let is_roomy = self
            .world
            .scene
            .keeping
            .as_ref()
            .is_some_and(|one| one.is_roomy);
        assert!(
            !is_roomy,
            "client {} is told of a gap where nothing goes: {standing:?}, {asked:?}, {top:?}",
            life.client
        );
        let is_gone = asked.is_some_and(|asked| {
            let lost = asked.offset + 1;
            asked.epoch == top.epoch
                && asked.offset < top.offset
                && first.is_none_or(|first| first.offset > lost)
        });
        // It was told before the stream was born, or has had nothing of it.
        let is_before = matches!(standing.place, Place::Before { .. });
        let is_gone =
            is_gone || is_before && top.offset > 0 && first.is_none_or(|first| first.offset > 1);
        assert!(
            is_gone || self.world.has_forgotten(stream),
            "client {} is told of a gap and nothing is lost: {standing:?}, {asked:?}, {first:?}, {top:?}",
            life.client
        );
    }

    /// At the end, with nothing under way, it has had everything.
    fn end(&self, life: &Life, has_begun: bool) {
        let client = life.client;
        assert!(has_begun, "client {client} was told no position");
        let is_out = self.world.clients[life.client].left(&self.follower.groups);
        for (nth, standing) in self.standings.iter().enumerate() {
            if is_out.get(nth).copied().unwrap_or_default() {
                continue;
            }
            let log = self.world.log(&standing.stream);
            match standing.place {
                Place::At(had) => assert_eq!(
                    had,
                    log.len(),
                    "client {client} has not had all of {standing:?}"
                ),
                Place::Before {
                    least,
                    most,
                    excused,
                } => {
                    assert!(
                        log.len() <= most,
                        "client {client} has had nothing: {standing:?}"
                    );
                    if !excused {
                        self.check_skipped(life, nth, least, log.len());
                    }
                }
                Place::Unknown => panic!("client {client} was told of no gap: {standing:?}"),
                Place::Moved | Place::Acknowledged => {}
            }
        }
        self.check_moved(life);
    }

    /// Of the uids that it was bound to it has had what was sent meanwhile, or was told of a gap.
    fn check_moved(&self, life: &Life) {
        if !self.is_moved(life) || self.gaps.iter().any(|(_, kind, _)| *kind == Kind::Uid) {
            return;
        }
        let (blocks, _) = self.world.clients[life.client].blocks(&self.follower.groups);
        let texts = blocks.iter().filter_map(|block| block.data.as_deref());
        let texts = texts.filter(|text| text.starts_with('m'));
        let got: HashSet<usize> = texts.map(number_of).collect();
        let track = &self.model.clients[life.client];
        for tenure in &track.uids {
            let stream = (track.namespace, Kind::Uid, tenure.uid.clone());
            for kept in self.world.log(&stream) {
                let sent = &self.model.sent[kept.number];
                let claim = self.model.claim(sent, life.client);
                assert!(
                    claim != Claim::Must || got.contains(&kept.number),
                    "client {} lost m{} of {stream:?}",
                    life.client,
                    kept.number
                );
            }
        }
    }
}

fn number_of(data: &str) -> usize {
    let word = data[1..].split(' ').next().expect("a number");
    word.parse().expect("a message of ours")
}
