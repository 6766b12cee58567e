//! What one seed keeps, and who comes back for it.

use std::time::Duration;

use fastrand::Rng;

use crate::config::{Config, HistoryRule, StreamKind};
use crate::streams::{Kind, Rules, Wish};

/// Drawn once from the seed.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// Those who come back.
    pub followers: usize,
    /// How many connections all of them have.
    pub lives_max: usize,
    /// What is kept before a reload and after it.
    rules: [Vec<HistoryRule>; 2],
    bytes: [usize; 2],
    pub reloads: bool,
    /// They are bound to other uids, and so move.
    pub rebinds: bool,
    /// Messages are thrown away.
    pub discards: bool,
    /// They say positions that are none.
    pub errs: bool,
    /// For how long pushes wish to be kept.
    pub times: [Duration; 2],
    /// Nothing goes that is kept.
    pub is_roomy: bool,
}

const LONG: Duration = Duration::from_secs(20 * 24 * 3_600);

impl Keeping {
    pub fn draw(rng: &mut Rng) -> Keeping {
        let is_roomy = rng.u8(..) < 100;
        let reloads = rng.u8(..) < 60;
        let first = rules(rng, is_roomy);
        let second = match reloads {
            true => rules(rng, is_roomy),
            false => first.clone(),
        };
        let mut bytes = || match is_roomy {
            true => 64 << 20,
            false => [1_500, 6_000, 64 << 10, 64 << 20][rng.usize(0..4)],
        };
        let bytes = [bytes(), bytes()];
        let short = Duration::from_millis(rng.u64(1..4_000));
        Keeping {
            followers: rng.usize(1..8),
            lives_max: rng.usize(4..40),
            rules: [first, second],
            bytes,
            reloads,
            rebinds: rng.u8(..) < 80,
            discards: !is_roomy && rng.bool(),
            errs: rng.u8(..) < 60,
            times: [LONG, if is_roomy { LONG } else { short }],
            is_roomy,
        }
    }

    /// As it is configured before a reload, or after it.
    pub fn configure(&self, config: &mut Config, reloaded: bool) {
        config.history = self.rules[usize::from(reloaded)].clone();
        config.history_bytes_core_max = self.bytes[usize::from(reloaded)];
    }

    /// Whether a message is kept before a reload, and after it.
    pub fn keeps(&self, kind: Kind, name: &str, wish: Wish) -> [bool; 2] {
        self.rules.each_ref().map(|rules| {
            let rules = Rules::new(rules);
            rules.what_to_keep(kind, name, wish).is_some()
        })
    }

    pub fn wish(&self, rng: &mut Rng) -> Wish {
        match rng.u8(0..4) {
            0 => Wish::For(self.times[rng.usize(0..2)]),
            1 => Wish::Never,
            _ => Wish::AsRuled,
        }
    }
}

fn rules(rng: &mut Rng, is_roomy: bool) -> Vec<HistoryRule> {
    let kinds = [StreamKind::Uid, StreamKind::Group, StreamKind::All];
    let names = [["*", "u1*", "u0"], ["*", "g0", "g*1"], ["*", "*", "*"]];
    let mut rules = Vec::new();
    for (kind, names) in kinds.into_iter().zip(names) {
        if rng.u8(..) < 160 {
            let ttl = [1, 4, 600][rng.usize(0..3)];
            let size = [1, 3, 20, 1_000][rng.usize(0..4)];
            rules.push(HistoryRule {
                kind,
                name: names[rng.usize(0..3)].to_owned(),
                size: if is_roomy { u32::MAX } else { size },
                ttl: if is_roomy {
                    LONG
                } else {
                    Duration::from_secs(ttl)
                },
                queue: false,
            });
        }
    }
    rules
}
