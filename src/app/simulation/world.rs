//! The world of one seed: hosts on one thread, clients, and the transport's part between them.
//!
//! `step` lets one small thing happen, chosen by the seed; `rest` takes turns as the server does, woken by
//! the doorbells alone, until nothing is under way.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use fastrand::Rng;

use super::Tally;
use super::actor::{Actor, Console, Desk, Lobby, Part, Talk};
use super::client::{Client, Place};
use super::followers::{Follower, Logs};
use super::model::{Model, Sender, Shared, Target, Track};
use super::scene::Scene;
use crate::app::envelope::Body;
use crate::app::host::Host;
use crate::app::hosted::{Hosted, Hosting};
use crate::app::namespaces::Registry;
use crate::app::outcome::Delivered;
use crate::app::promise::Promise;
use crate::app::query::QueryResult;
use crate::app::{App, Login};
use crate::bus::{ENVELOPE_COST, Endpoint, RECEIVER_COST, Route, connect_by};
use crate::ident::{ConnId, NamespaceId};
use crate::payload::Message;
use crate::protocol::Codec;
use crate::shard::ListenerSpec;
use crate::streams::Wish;

/// What a task waits for.
pub enum Task {
    Push(Promise<Delivered>),
    Query(Promise<Vec<QueryResult>>),
}

pub struct World {
    pub scene: Scene,
    pub rng: Rng,
    pub model: Shared,
    pub hosts: Vec<Host>,
    pub clients: Vec<Client>,
    pub links: Vec<HashMap<ConnId, usize>>,
    pub asleep: Vec<bool>,
    pub now: Instant,
    pub tasks: Vec<(usize, Task)>,
    pub followers: Vec<Follower>,
    pub logs: Logs,
    pub alive: Arc<()>,
    pub listeners: Rc<[ListenerSpec]>,
    pub tally: Tally,
    /// The most that one message can have put on the way.
    pub charge: usize,
}

/// Of those whose clients hold no positions.
const COMMON_LISTENERS: u16 = 7;

fn listen<P: Part>(scene: &Scene, codec: Codec) -> ListenerSpec {
    let binds = P::LOGIN != Login::Never;
    ListenerSpec {
        binds,
        optional: P::LOGIN == Login::Optional,
        pauses: !binds,
        message_bytes_max: 1 << 16,
        outbox_bytes_max: scene.outbox,
        ..ListenerSpec::new(P::NUMBER, codec, NamespaceId(P::NUMBER.into()))
    }
}

fn hosting<P: Part>(model: &Shared, alive: &Arc<()>) -> Box<dyn Hosted> {
    let app = Actor::<P>::new(Shared::clone(model), Arc::clone(alive));
    assert_eq!(<Actor<P> as App>::NAMESPACE, P::NAMESPACE);
    Box::new(Hosting::new(app, P::NUMBER, P::REACH))
}

impl World {
    pub fn new(seed: u64) -> World {
        let mut rng = Rng::with_seed(seed);
        let scene = Scene::draw(&mut rng);
        let now = Instant::now();
        let route = Route::with_seed(scene.cores, seed).expect("a few cores");
        let model = Model::new(scene.clone(), route.clone(), now);
        let model = Rc::new(Mutex::new(model));
        let alive = Arc::new(());
        let listeners: Rc<[ListenerSpec]> = Rc::from([
            listen::<Talk>(&scene, Codec::Text),
            listen::<Talk>(&scene, Codec::WebSocket),
            listen::<Talk>(&scene, Codec::Frame),
            listen::<Desk>(&scene, Codec::WebSocket),
            listen::<Desk>(&scene, Codec::Text),
            listen::<Console>(&scene, Codec::Text),
            listen::<Lobby>(&scene, Codec::WebSocket),
            listen::<Talk>(&scene, Codec::Sse),
            listen::<Desk>(&scene, Codec::Sse),
            listen::<Talk>(&scene, Codec::V1),
            listen::<Desk>(&scene, Codec::V1),
        ]);
        // Nothing is kept where nobody can come back for it.
        let events = COMMON_LISTENERS..listeners.len() as u16;
        let registry = Registry::new(4);
        let host = |bus: Endpoint<Body>| {
            let apps = vec![
                hosting::<Talk>(&model, &alive),
                hosting::<Desk>(&model, &alive),
                hosting::<Console>(&model, &alive),
                hosting::<Lobby>(&model, &alive),
            ];
            let registry = Arc::clone(&registry);
            let listeners = Rc::clone(&listeners);
            let mut host = Host::new(&scene.config(false), bus, listeners, registry, apps, now);
            host.start();
            host
        };
        let endpoints = connect_by(route).expect("the doorbells open");
        let mut world = World {
            hosts: endpoints.into_iter().map(host).collect(),
            clients: Vec::new(),
            links: vec![HashMap::new(); scene.cores],
            asleep: vec![false; scene.cores],
            tasks: Vec::new(),
            followers: Vec::new(),
            logs: Logs::new(),
            tally: Tally::new(),
            charge: 0,
            scene,
            rng,
            model,
            now,
            alive,
            listeners,
        };
        world.draw_followers(events);
        world
    }

    pub fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().expect("no callback has panicked")
    }

    pub fn step(&mut self) {
        self.model().step();
        let core = self.rng.usize(0..self.scene.cores);
        if !self.followers.is_empty() && self.rng.u8(..) < 60 {
            return self.step_of_streams(core);
        }
        match self.rng.u32(0..100) {
            0..5 => self.accept(core),
            5..25 => self.say(),
            25..45 => {
                let count = [1, 1, 3, 100][self.rng.usize(0..4)];
                self.deliver(core, count);
            }
            45..67 => {
                if let Some(client) = self.any_client() {
                    let count = self.rng.usize(1..6);
                    self.read(client, count);
                }
            }
            67..82 => self.write(core),
            82..86 => self.unblock_one(),
            86..89 => self.hosts[core].settle_credits(),
            89..91 => self.sleep(core),
            91..94 => {
                self.now += self.scene.pause(&mut self.rng);
                self.tick(core);
            }
            94..96 => self.finish(core),
            96..98 => self.lose_one(),
            _ => self.ask_as_task(core),
        }
    }

    pub fn any_client(&mut self) -> Option<usize> {
        match self.clients.len() {
            0 => None,
            count => Some(self.rng.usize(0..count)),
        }
    }

    fn accept(&mut self, core: usize) {
        let lives: usize = self.followers.iter().map(|one| one.lives.len()).sum();
        if self.clients.len() - lives >= self.scene.clients_max {
            return;
        }
        self.wake(core);
        let client = self.clients.len();
        let listener = self.rng.usize(0..usize::from(COMMON_LISTENERS));
        let peer = ([127, 0, 0, 1], client as u16).into();
        let id = self.hosts[core].connect(listener as u16, peer);
        let spec = &self.listeners[listener];
        self.clients
            .push(Client::new(spec.codec, Place::Opening(core, id)));
        let track = Track::new(spec.namespace, spec.codec, self.now);
        self.model().clients.push(track);
        self.links[core].insert(id, client);
        if self.rng.bool() {
            self.read(client, 1);
        }
    }

    fn say(&mut self) {
        for _ in 0..4 {
            let Some(client) = self.any_client() else {
                return;
            };
            let one = &mut self.clients[client];
            if one.place == Place::Gone || one.dead || one.hung_up || one.unread.len() > 8 {
                continue;
            }
            if one.codec == Codec::V1 {
                self.request(client);
                continue;
            }
            let message = match one.life {
                None => Some(self.scene.message(&mut self.rng, !one.asks_to_bind)),
                Some(_) => {
                    let model = self.model.lock().expect("no callback has panicked");
                    let is_home = model.clients[client].home.is_some();
                    self.scene.message_of_follower(&mut self.rng, is_home)
                }
            };
            let Some(message) = message else { continue };
            one.asks_to_bind |= message.contains("bind");
            one.unread.push_back(format!("{} {message}", one.said));
            one.said += 1;
        }
    }

    fn lose_one(&mut self) {
        let Some(client) = self.any_client() else {
            return;
        };
        if self.rng.u32(0..50) < self.scene.deaths {
            match self.rng.bool() {
                true => self.clients[client].dead = true,
                false => self.clients[client].hung_up = true,
            }
        }
    }

    /// A push of a request's, which no connection pays for.
    fn ask_as_task(&mut self, core: usize) {
        if self.rng.u8(..) < 180 {
            return;
        }
        self.wake(core);
        let uid = match self.rng.u8(..) {
            0..40 => "all".to_owned(),
            _ => self.scene.uid(&mut self.rng),
        };
        let group = Scene::group(&mut self.rng);
        let one = self.any_client();
        let one =
            one.filter(|one| self.rng.u8(..) < 60 && self.model().clients[*one].name.is_some());
        let target = match &*uid {
            _ if one.is_some() => Target::Connection(one.unwrap_or_default()),
            "all" => Target::Everybody,
            _ if self.rng.u8(..) < 80 => Target::Group(group.clone()),
            _ => Target::Uid(uid.clone()),
        };
        let reach = Desk::REACH;
        let (path, by_mail) = self.hosts[core].tasks().path();
        let who = (Sender::Task(core as u16), core as u16);
        let path = (&path[..], by_mail);
        let is_for_many = matches!(target, Target::Group(_) | Target::Everybody);
        let leaves_out = is_for_many && self.rng.u8(..) < 100;
        // What is kept is there for all that come back.
        let wish = match leaves_out {
            true => Wish::Never,
            false => Wish::AsRuled,
        };
        let mut model = self.model();
        let text = model.send(who, target.clone(), reach, path, 20, wish);
        let number = model.last_sent().0;
        drop(model);
        let except = leaves_out.then(|| self.leave_out(number));
        let message = Message::Text(&text);
        let name = one.and_then(|one| self.model().clients[one].name);
        let promise = match target {
            _ if name.is_some() => {
                let name = name.expect("it is some");
                self.hosts[core]
                    .tasks()
                    .push_to_connection(reach, name, message)
            }
            Target::Group(_) => {
                self.hosts[core]
                    .tasks()
                    .push_to_group(reach, &group, message, (wish, except))
            }
            Target::Everybody if leaves_out => {
                let mut tasks = self.hosts[core].tasks();
                tasks.broadcast(reach, message, (wish, except))
            }
            _ => self.hosts[core]
                .tasks()
                .push(reach, &uid, message, Wish::AsRuled),
        };
        self.tasks.push((number, Task::Push(promise)));
    }

    /// What must hold at any time.
    pub fn check(&mut self) {
        let lives: usize = self.followers.iter().map(|one| one.lives.len()).sum();
        for host in &mut self.hosts {
            host.shard().check();
            let local = host.local();
            assert!(local.effects.is_empty(), "a callback was left undone");
            for id in local.shard.connections.ids() {
                let owed = local.outgoing.bus().owed_by(id) + local.pending.owed_by(id);
                assert_eq!(
                    local.shard.connections.transit(id),
                    owed,
                    "credit of one connection"
                );
            }
            let on_the_way = local.outgoing.bus().in_transit_bytes() + local.pending.bytes();
            if !self.scene.says_when_bound {
                // Who has little on the way goes on beyond what one core may have, up to twice that.
                // What tasks push is bounded by their waiting, which these do not.
                let pushes = self.tasks.len() * self.scene.cores * self.scene.namespaces();
                let task = 3 * ENVELOPE_COST + 364 + self.clients.len() * RECEIVER_COST;
                // And one that follows groups joins them unasked.
                let joins = 2 * lives * (2 * ENVELOPE_COST + 64);
                let most = 2 * self.scene.transit_core + self.charge + pushes * task + joins;
                assert!(
                    on_the_way <= most,
                    "{on_the_way} on the way, at most {most}"
                );
            }
        }
    }
}
