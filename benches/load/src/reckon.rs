//! From a run's readings to its [`Outcome`]: what is divided by what, and who was the limit.

use super::clock;
use super::conductor::{Reading, Readings};
use super::generator::Effort;
use super::meter::{CpuSpent, Meter};
use super::outcome::{Clients, IdleCost, Latency, Limit, Machine, Moment, Outcome, Server, Setup};
use super::plan::{Kind, Plan};

/// A generator, or a server's CPU, that is busy for this part of the time has no more to give.
const FULL: f64 = 0.9;
/// Whoever waits for a CPU for this part of the time is not alone on it.
const DISTURBED: f64 = 0.15;

/// Everything beside the readings.
pub struct Scene<'a> {
    pub name: &'a str,
    pub plan: &'a Plan,
    pub meter: Option<&'a Meter>,
    /// Where the generators were pinned.
    pub cpus: &'a [usize],
    /// The server before the first run: memory that an earlier run has left is no news.
    pub first: &'a Reading,
}

/// The figures.
pub fn outcome(scene: &Scene<'_>, readings: Readings) -> Outcome {
    let plan = scene.plan;
    let (from, to) = (&readings.from, &readings.to);
    let seconds = clock::seconds(to.time - from.time);
    let deliveries = to.delivered - from.delivered;
    let server = server(scene, from, to, deliveries, seconds);
    let clients = clients(
        scene,
        &readings,
        server.as_ref(),
        deliveries as f64 / seconds,
    );
    Outcome {
        name: scene.name.to_owned(),
        workload: plan.kind,
        url: plan.target.url.clone(),
        connections: plan.connections,
        senders: match plan.kind {
            Kind::Echo => plan.senders.min(plan.connections),
            Kind::Broadcast | Kind::Prove => 1,
            Kind::Connect | Kind::Idle | Kind::Reconnect => 0,
            Kind::Flood => plan.senders,
            _ => plan.senders.max(plan.generators).min(plan.connections),
        },
        in_flight: plan.in_flight,
        rate: plan.rate,
        size: plan.size,
        seconds,
        deliveries,
        unit: plan.kind.deliveries(),
        deliveries_per_second: deliveries as f64 / seconds,
        deliveries_checked: readings.record.delivered,
        faults: readings.record.faults,
        problem: readings.record.problem.clone(),
        latency: Latency::of(&readings.record.latency, plan.rate.is_some()),
        joining: Latency::of(&readings.record.joining, false),
        quiet: Latency::of(&readings.record.quiet, true),
        calm: Latency::of(&readings.record.calm, true),
        during: Latency::of(&readings.record.during, true),
        command_seconds: readings.command_seconds,
        turns: readings.turns,
        setup: setup(plan, &readings),
        idle: match plan.kind {
            Kind::Idle => Some(idle(scene, &readings, from, to)),
            Kind::Prove => Some(idle(scene, &readings, &readings.rested, from)),
            _ => None,
        },
        server,
        clients,
        machine: machine(from, to, seconds),
        others: readings.record.others.clone(),
        course: readings
            .course
            .iter()
            .map(|one| moment(from, one))
            .collect(),
    }
}

fn spent(from: &Reading, to: &Reading) -> Option<CpuSpent> {
    Some(to.cpu?.since(&from.cpu?))
}

fn server(
    scene: &Scene<'_>,
    from: &Reading,
    to: &Reading,
    deliveries: u64,
    seconds: f64,
) -> Option<Server> {
    let cpu = spent(from, to)?;
    let meter = scene.meter?;
    let cpus = meter.cpus();
    let is_alone =
        !scene.cpus.is_empty() && scene.cpus.iter().all(|generator| !cpus.contains(generator));
    let million = deliveries as f64 / 1e6;
    Some(Server {
        pids: meter.pids().to_vec(),
        cpu,
        per_million: (deliveries > 0).then(|| cpu.per(million)),
        cpus_per_million: (deliveries > 0 && is_alone)
            .then(|| to.machine.busy_since(&from.machine, &cpus) / million),
        busy: cpu.total / seconds,
        cpus: cpus.into_iter().collect(),
        resident_bytes: to.resident_bytes.unwrap_or(0),
    })
}

fn machine(from: &Reading, to: &Reading, seconds: f64) -> Machine {
    let all = to.machine.since(&from.machine);
    let server = spent(from, to).map_or(0.0, |cpu| cpu.total);
    Machine {
        // Ticks are coarse.
        others_busy: ((all.busy - all.own - server) / seconds).max(0.0),
        stolen: all.stolen / seconds,
    }
}

fn setup(plan: &Plan, readings: &Readings) -> Option<Setup> {
    // Here nothing is set up: connecting is the work itself.
    if plan.kind == Kind::Connect {
        return None;
    }
    let (before, ready) = (&readings.before, &readings.ready);
    let cpu = spent(before, ready);
    Some(Setup {
        seconds: clock::seconds(ready.time - before.time),
        cpu_us_per_connection: cpu.map(|cpu| cpu.total * 1e6 / plan.connections as f64),
    })
}

/// What was used and held at rest, between two moments.
fn idle(scene: &Scene<'_>, readings: &Readings, from: &Reading, now: &Reading) -> IdleCost {
    let seconds = clock::seconds(now.time - from.time);
    let each = |bytes: i64| bytes as f64 / scene.plan.connections as f64;
    let grown = |then: u64, now: u64| each(now as i64 - then as i64);
    let (first, before) = (scene.first, &readings.before);
    IdleCost {
        user_bytes_per_connection: first
            .resident_bytes
            .zip(now.resident_bytes)
            .map(|(then, now)| grown(then, now)),
        kernel_bytes_per_connection: grown(before.kernel.slab_bytes, now.kernel.slab_bytes),
        memory_bytes_per_connection: grown(
            now.kernel.available_bytes,
            before.kernel.available_bytes,
        ),
        is_both_ends: scene.meter.is_some(),
        cpu_ms_per_second: spent(from, now).map(|cpu| cpu.total * 1e3 / seconds),
    }
}

fn moment(from: &Reading, at: &Reading) -> Moment {
    Moment {
        second: clock::seconds(at.time - from.time),
        deliveries: at.delivered - from.delivered,
        server_cpu_seconds: spent(from, at).map(|cpu| cpu.total),
    }
}

fn clients(scene: &Scene<'_>, readings: &Readings, server: Option<&Server>, rate: f64) -> Clients {
    let generators: Vec<Effort> = readings.done.iter().map(|done| done.effort).collect();
    let (busy_max, waited) = effort(&generators, scene.cpus.len());
    let of_each_cpu = |server: &Server, seconds: f64| seconds / server.cpus.len().max(1) as f64;
    let server_full = server.is_some_and(|server| of_each_cpu(server, server.busy) >= FULL);
    let server_waited = server.map_or(0.0, |server| {
        of_each_cpu(server, server.cpu.waited)
            / clock::seconds(readings.to.time - readings.from.time)
    });
    let kept_up = scene.plan.rate.is_none_or(|asked| match scene.plan.kind {
        Kind::Broadcast => rate >= asked * scene.plan.connections as f64 * 0.98,
        _ => rate >= asked * 0.98,
    });
    let is_light = scene.plan.kind == Kind::Idle || (scene.plan.rate.is_some() && kept_up);
    let limit = match () {
        () if is_light => Limit::Load,
        () if server_full && !scene.cpus.is_empty() => Limit::Server,
        // Without CPUs of its own, what a generator waits for the server has, or somebody else.
        () if waited.max(server_waited) >= DISTURBED => match scene.cpus.is_empty() {
            true => Limit::SharedCpus,
            false => Limit::Others,
        },
        () if busy_max >= FULL => Limit::Client,
        () => Limit::Load,
    };
    let waited = waited.max(server_waited);
    Clients {
        verdict: verdict(limit, scene.plan, busy_max, waited, kept_up),
        generators,
        busy_max,
        waited_max: waited,
        cpus: scene.cpus.to_vec(),
        limit,
    }
}

/// How busy the busiest generator was, and how long one waited for a CPU that somebody else had, as
/// parts of the time. Where several share a pinned CPU they wait for each other: that is no
/// disturbance, and the CPU is what is busy.
fn effort(generators: &[Effort], cpus: usize) -> (f64, f64) {
    if cpus == 0 || generators.len() <= cpus {
        let busy = generators.iter().map(Effort::busy).fold(0.0, f64::max);
        let part = |one: &Effort| one.wait_seconds / one.wall_seconds.max(1e-9);
        return (busy, generators.iter().map(part).fold(0.0, f64::max));
    }
    let mut of_cpu = vec![0.0; cpus];
    for (number, one) in generators.iter().enumerate() {
        of_cpu[number % cpus] += one.cpu_seconds / one.wall_seconds.max(1e-9);
    }
    (of_cpu.into_iter().fold(0.0, f64::max), 0.0)
}

fn verdict(limit: Limit, plan: &Plan, busy: f64, waited: f64, kept_up: bool) -> String {
    let mut text = format!(
        "{} generator{}, the busiest {:.0} % busy",
        plan.generators,
        if plan.generators == 1 { "" } else { "s" },
        busy * 100.0
    );
    if waited >= 0.05 {
        text.push_str(&format!(
            "; {:.0} % of the time a side waited for a CPU",
            waited * 100.0
        ));
    }
    text.push_str(match limit {
        Limit::Client => {
            ". The client was the limit: the rate and the latencies are its own, not the server's. \
             Take more --generators, or more CPUs for them (--cpus)."
        }
        Limit::Server => ". The server was the limit: its CPUs were full.",
        Limit::SharedCpus => {
            ". Client and server shared their CPUs: the rate and the latencies are of both together. \
             The server's CPU time per delivery holds all the same."
        }
        Limit::Others => {
            ". The run was disturbed: other programs had the CPUs, so the rate and the latencies are \
             not the server's own. Its CPU time per delivery holds better; a quiet machine is best."
        }
        Limit::Load if !kept_up => {
            ". The rate asked for was not reached, and neither side was full: the way between them, or \
             what is in flight, was the limit."
        }
        Limit::Load if plan.rate.is_some() || plan.kind == Kind::Idle => {
            ". Neither side was full: the load was what was asked for."
        }
        Limit::Load => ". Neither side was full: more in flight would give a higher rate.",
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generators_on_one_cpu_wait_for_each_other() {
        let one = Effort {
            cpu_seconds: 0.48,
            wait_seconds: 0.5,
            wall_seconds: 1.0,
        };
        let near = |figures: (f64, f64), busy: f64, waited: f64| {
            assert!((figures.0 - busy).abs() < 1e-9, "{figures:?}");
            assert!((figures.1 - waited).abs() < 1e-9, "{figures:?}");
        };
        near(effort(&[one, one], 1), 0.96, 0.0);
        near(effort(&[one, one], 2), 0.98, 0.5);
        near(effort(&[one, one], 0), 0.98, 0.5);
        near(effort(&[], 1), 0.0, 0.0);
    }

    #[test]
    fn the_verdict_says_client_in_so_many_words() {
        let plan = Plan {
            kind: Kind::Echo,
            target: super::super::wire::target::Target::parse("ws://127.0.0.1:1").unwrap(),
            backend: None,
            token: None,
            metrics: None,
            connections: 1,
            senders: 1,
            quiet: 0,
            to: super::super::plan::To::All,
            during: None,
            in_flight: 1,
            rate: None,
            size: 64,
            warmup: 0.0,
            seconds: 1.0,
            generators: 1,
            sources: Vec::new(),
            seed: 1,
            run: 1,
        };
        let text = verdict(Limit::Client, &plan, 0.97, 0.0, true);
        assert!(text.contains("The client was the limit"), "{text}");
        assert!(text.contains("97 % busy"), "{text}");
        let text = verdict(Limit::Server, &plan, 0.3, 0.5, true);
        assert!(text.contains("server was the limit"), "{text}");
        assert!(text.contains("50 % of the time"), "{text}");
    }
}
