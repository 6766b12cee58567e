//! How far clients of `ringpost.v1` have handled their streams, for all nodes ([`Party`]): noted as they say it, and told when
//! they come back. Bounds: what is said between two batches; [`PLACES_MAX`] places of a uid in Redis, for [`KEPT`].

use std::time::Duration;

use super::keeper::{Purpose, tell};
use super::party::Party;
use super::scripts::{Script, ScriptCall, ScriptValue};
use crate::app::abroad_streams::{HandledAt, HandledPlace, StreamNews};
use crate::app::envelope::Body;
use crate::bus::Endpoint;
use crate::ident::{CoreId, NamespaceId};
use crate::streams::{Kind, Position};

/// Places of all clients of a uid; with one more they begin anew.
const PLACES_MAX: u32 = 256;
/// How long they are known after the last word.
const KEPT: Duration = Duration::from_secs(24 * 3_600);

/// Where a client of this name stands, without the stream: it has its length in front, so that no two are mistaken.
fn stem(client: &str) -> String {
    format!("{}:{client}", client.len())
}

fn letter(kind: Kind) -> char {
    match kind {
        Kind::Uid => 'u',
        Kind::Group => 'g',
        Kind::All => 'a',
    }
}

impl Party {
    fn key_of_handled(&mut self, namespace: NamespaceId, uid: &str) -> String {
        let namespace = self.spaces.key_name(namespace);
        format!("{}{{c:{namespace}:{uid}}}", self.prefix)
    }

    /// A client has said it. What is not noted is sent to it once more.
    pub(super) fn note_handled(&mut self, place: HandledPlace, is_joined: bool) {
        let HandledPlace { of, kind, name, at } = place;
        if is_joined {
            let field = format!("{}{}{name}", stem(&of.2), letter(kind));
            let key = self.key_of_handled(of.0, &of.1);
            self.keeper
                .handled
                .entry(key)
                .or_default()
                .insert(field, at);
        }
    }

    /// What waits for the next batch.
    pub(super) fn note_all_handled(&mut self) {
        for (key, places) in std::mem::take(&mut self.keeper.handled) {
            let mut args = vec![
                KEPT.as_millis().to_string().into_bytes(),
                PLACES_MAX.to_string().into_bytes(),
            ];
            for (field, at) in places {
                args.extend([field.into_bytes(), at.to_string().into_bytes()]);
            }
            let call = ScriptCall {
                script: Script::Handled,
                keys: vec![key],
                args,
            };
            self.run(call, Purpose::Delivered);
        }
    }

    /// A client has come whose places a core wants to know.
    pub(super) fn ask_handled(
        &mut self,
        bus: &mut Endpoint<Body>,
        core: CoreId,
        mut at: HandledAt,
        is_joined: bool,
    ) {
        if !is_joined {
            at.places.clear();
            return tell(bus, core, 0, StreamNews::Handled(Box::new(at)));
        }
        // Behind what was said here before.
        self.note_all_handled();
        let call = ScriptCall {
            script: Script::HandledOf,
            keys: vec![self.key_of_handled(at.of.0, &at.of.1)],
            args: vec![stem(&at.of.2).into_bytes()],
        };
        self.run(call, Purpose::Handled(core, Box::new(at)));
    }

    /// Redis has told them; or, with nothing, it has not.
    pub(super) fn tell_handled(
        bus: &mut Endpoint<Body>,
        core: CoreId,
        at: &HandledAt,
        value: Option<&ScriptValue>,
    ) {
        let list = value.and_then(ScriptValue::list).unwrap_or_default();
        let (places, _) = list.as_chunks::<2>();
        let place = |[name, position]: &[ScriptValue; 2]| -> Option<(Kind, Box<str>, Position)> {
            let name = name.text()?;
            let kind = match name.as_bytes().first()? {
                b'u' => Kind::Uid,
                b'g' => Kind::Group,
                b'a' => Kind::All,
                _ => return None,
            };
            Some((kind, Box::from(&name[1..]), position.text()?.parse().ok()?))
        };
        let at = HandledAt {
            connection: at.connection,
            token: at.token,
            of: at.of.clone(),
            places: places.iter().filter_map(place).collect(),
        };
        tell(bus, core, 0, StreamNews::Handled(Box::new(at)));
    }
}
