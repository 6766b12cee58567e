//! What requests say: their bodies, read into [`ApiCommand`]s.
//!
//! Bounds: [`UIDS_MAX`] uids, [`NESTING_MAX`] levels of `data`. Nothing of `data` is built: it is passed on as it is
//! written, but for the white space around its parts, so that no number loses a digit and no key its place.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use ahash::AHashSet;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::errors::ApiError;
use super::names;
use crate::config::KEEP_MAX;
use crate::ident::{EVERYBODY, UidError, check_uid};
use crate::protocol::http::Request;
use crate::streams::Wish;

/// Most uids of one push.
pub const UIDS_MAX: usize = 10_000;
/// Most levels of arrays and objects in `data`.
const NESTING_MAX: usize = 128;

/// Something to be done.
pub enum ApiCommand<'r> {
    Push(PushCommand<'r>),
    /// The connections of a uid; whether what is kept for it goes, too.
    Kick(Cow<'r, str>, bool),
    Join(MembershipCommand<'r>),
    Leave(MembershipCommand<'r>),
}

/// A uid, and a group that it is to be in or not.
pub struct MembershipCommand<'r> {
    pub group: Cow<'r, str>,
    pub uid: Cow<'r, str>,
    /// Connections that are to come are meant, too.
    pub sticky: bool,
}

pub struct PushCommand<'r> {
    pub target: PushTarget<'r>,
    pub message: Cow<'r, str>,
    /// By which a back end knows the request again.
    pub id: Option<Cow<'r, str>>,
    /// Whether it is to be kept.
    pub wish: Wish,
}

pub enum PushTarget<'r> {
    /// `all` is everybody.
    Uid(Cow<'r, str>),
    /// Each once.
    Uids(Vec<Cow<'r, str>>),
    Group(Cow<'r, str>),
    Everybody,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PushBody<'r> {
    #[serde(default, borrow, deserialize_with = "present")]
    uid: Option<Uid<'r>>,
    #[serde(default, borrow, deserialize_with = "present")]
    uids: Option<UidSet<'r>>,
    #[serde(default, borrow, deserialize_with = "present")]
    group: Option<Text<'r>>,
    #[serde(default, borrow, deserialize_with = "present")]
    data: Option<&'r RawValue>,
    #[serde(default, borrow, deserialize_with = "present")]
    text: Option<Text<'r>>,
    #[serde(default, borrow, deserialize_with = "present")]
    id: Option<Text<'r>>,
    #[serde(default)]
    keep: Keeping,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BroadcastBody<'r> {
    #[serde(default, borrow, deserialize_with = "present")]
    data: Option<&'r RawValue>,
    #[serde(default, borrow, deserialize_with = "present")]
    text: Option<Text<'r>>,
    #[serde(default, borrow, deserialize_with = "present")]
    id: Option<Text<'r>>,
    #[serde(default)]
    keep: Keeping,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UidBody<'r> {
    #[serde(borrow)]
    uid: Uid<'r>,
    #[serde(default, deserialize_with = "present")]
    sticky: Option<bool>,
}

/// What says nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmptyBody {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KickBody<'r> {
    #[serde(borrow)]
    uid: Uid<'r>,
    #[serde(default)]
    forget: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MemberBody<'r> {
    #[serde(borrow)]
    group: Text<'r>,
    #[serde(borrow)]
    uid: Uid<'r>,
    #[serde(default, deserialize_with = "present")]
    sticky: Option<bool>,
}

/// One of a batch: `{"push":{…}}`.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum EntryBody<'r> {
    #[serde(borrow)]
    Push(PushBody<'r>),
    #[serde(borrow)]
    Broadcast(BroadcastBody<'r>),
    #[serde(borrow)]
    Kick(KickBody<'r>),
    #[serde(borrow)]
    Join(MemberBody<'r>),
    #[serde(borrow)]
    Leave(MemberBody<'r>),
}

/// So that `null` is a value, of the wrong kind for all but `data`, and not an absent one.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// A time, as `"10m"`, or whether at all.
#[derive(Default)]
struct Keeping(Wish);

impl<'de> Deserialize<'de> for Keeping {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;

        impl Visitor<'_> for Read {
            type Value = Keeping;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("keep: a time such as \"10m\", true or false")
            }

            fn visit_bool<E: Error>(self, keep: bool) -> Result<Keeping, E> {
                Ok(Keeping(if keep { Wish::AsRuled } else { Wish::Never }))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Keeping, E> {
                let most = humantime::format_duration(KEEP_MAX);
                match humantime::parse_duration(text) {
                    Ok(time) if (KEEP_MIN..=KEEP_MAX).contains(&time) => {
                        Ok(Keeping(Wish::For(time)))
                    }
                    Ok(_) => Err(E::custom(format!(
                        "keep: a message is kept for 1s to {most}"
                    ))),
                    Err(error) => Err(E::custom(format!("keep: {error}"))),
                }
            }
        }

        from.deserialize_any(Read)
    }
}

/// The shortest time that a message is kept for.
const KEEP_MIN: Duration = Duration::from_secs(1);

struct Text<'r>(Cow<'r, str>);

impl<'de: 'r, 'r> Deserialize<'de> for Text<'r> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        from.deserialize_str(TextVisitor)
    }
}

/// A string, or an integer's digits as written.
struct Uid<'r>(Cow<'r, str>);

impl<'de: 'r, 'r> Deserialize<'de> for Uid<'r> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(from)?.get();
        match raw.as_bytes() {
            [b'"', ..] => match serde_json::from_str::<Text<'de>>(raw) {
                Ok(Text(uid)) => Ok(Uid(uid)),
                Err(error) => Err(D::Error::custom(error)),
            },
            [b'-' | b'0'..=b'9', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
                Ok(Uid(Cow::Borrowed(raw)))
            }
            _ => Err(D::Error::custom("a uid is a string or an integer")),
        }
    }
}

/// Up to [`UIDS_MAX`] of them; what follows is not even read.
struct UidSet<'r>(Vec<Cow<'r, str>>);

impl<'de: 'r, 'r> Deserialize<'de> for UidSet<'r> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct UidsVisitor;

        impl<'de> Visitor<'de> for UidsVisitor {
            type Value = UidSet<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of uids")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<UidSet<'de>, A::Error> {
                let mut uids = Vec::new();
                while let Some(Uid(uid)) = seq.next_element()? {
                    if uids.len() == UIDS_MAX {
                        let words = format!("a push has at most {UIDS_MAX} uids");
                        return Err(A::Error::custom(words));
                    }
                    uids.push(uid);
                }
                Ok(UidSet(uids))
            }
        }

        from.deserialize_seq(UidsVisitor)
    }
}

pub fn push(request: &Request) -> Result<ApiCommand<'_>, ApiError> {
    const SHAPE: &str = "{\"uid\", \"uids\" or \"group\", and \"data\" or \"text\"}";
    read::<PushBody<'_>>(request, SHAPE)?.command()
}

pub fn broadcast(request: &Request) -> Result<ApiCommand<'_>, ApiError> {
    read::<BroadcastBody<'_>>(request, "{\"data\" or \"text\"}")?.command()
}

pub fn kick(request: &Request) -> Result<ApiCommand<'_>, ApiError> {
    read::<KickBody<'_>>(request, "{\"uid\":\"…\"}").and_then(KickBody::command)
}

pub fn join<'r>(request: &'r Request, group: &str) -> Result<ApiCommand<'r>, ApiError> {
    member(request, group, JOIN_STICKS).map(ApiCommand::Join)
}

pub fn leave<'r>(request: &'r Request, group: &str) -> Result<ApiCommand<'r>, ApiError> {
    member(request, group, LEAVE_STICKS).map(ApiCommand::Leave)
}

/// A group that is to be emptied.
pub fn ungroup(request: &Request, group: &str) -> Result<String, ApiError> {
    let EmptyBody {} = read(request, "{}")?;
    names::group(group)
}

/// Whether connections that are to come are meant, too, unless the request says so: whoever has left is not to be in
/// it again.
const JOIN_STICKS: bool = false;
const LEAVE_STICKS: bool = true;

fn member<'r>(
    request: &'r Request,
    group: &str,
    sticks: bool,
) -> Result<MembershipCommand<'r>, ApiError> {
    let group = Cow::Owned(names::group(group)?);
    let UidBody { uid, sticky } = read(request, "{\"uid\":\"…\"}")?;
    Ok(MembershipCommand {
        group,
        uid: checked(uid)?,
        sticky: sticky.unwrap_or(sticks),
    })
}

/// The body as text, without the byte-order mark that some editors and libraries put before it.
pub fn text(request: &Request) -> Result<&str, ApiError> {
    let body = request.body.as_slice();
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    simdutf8::basic::from_utf8(body).map_err(|_| ApiError::bad_request("the body is not UTF-8"))
}

fn read<'r, T: Deserialize<'r>>(request: &'r Request, shape: &str) -> Result<T, ApiError> {
    serde_json::from_str(text(request)?)
        .map_err(|error| ApiError::bad_request(format!("expected {shape}: {error}")))
}

/// One entry of a batch: the outer error is that it is no JSON.
pub fn entry(text: &str) -> Result<Result<ApiCommand<'_>, ApiError>, serde_json::Error> {
    match serde_json::from_str(text) {
        Ok(EntryBody::Push(push)) => Ok(push.command()),
        Ok(EntryBody::Broadcast(broadcast)) => Ok(broadcast.command()),
        Ok(EntryBody::Kick(kick)) => Ok(kick.command()),
        Ok(EntryBody::Join(member)) => Ok(member.command(JOIN_STICKS).map(ApiCommand::Join)),
        Ok(EntryBody::Leave(member)) => Ok(member.command(LEAVE_STICKS).map(ApiCommand::Leave)),
        Err(error) if error.is_data() => Ok(Err(ApiError::bad_request(format!(
            "expected {{\"push\":{{…}}}}, or broadcast, kick, join or leave: {error}"
        )))),
        Err(error) => Err(error),
    }
}

impl<'r> PushBody<'r> {
    fn command(self) -> Result<ApiCommand<'r>, ApiError> {
        let target = match (self.uid, self.uids, self.group) {
            (Some(Uid(uid)), None, None) if uid == EVERYBODY => PushTarget::Uid(uid),
            (Some(uid), None, None) => PushTarget::Uid(checked(uid)?),
            (None, Some(UidSet(uids)), None) => PushTarget::Uids(each_once(uids)?),
            (None, None, Some(group)) => PushTarget::Group(group_name(group)?),
            _ => {
                let words = "expected exactly one of uid, uids and group";
                return Err(ApiError::bad_request(words));
            }
        };
        push_to(target, (self.data, self.text), self.id, self.keep)
    }
}

impl<'r> BroadcastBody<'r> {
    fn command(self) -> Result<ApiCommand<'r>, ApiError> {
        let target = PushTarget::Everybody;
        push_to(target, (self.data, self.text), self.id, self.keep)
    }
}

/// What a push and a broadcast have in common.
fn push_to<'r>(
    target: PushTarget<'r>,
    (data, text): (Option<&'r RawValue>, Option<Text<'r>>),
    own_id: Option<Text<'r>>,
    Keeping(wish): Keeping,
) -> Result<ApiCommand<'r>, ApiError> {
    Ok(ApiCommand::Push(PushCommand {
        target,
        message: message(data, text)?,
        id: id(own_id)?,
        wish,
    }))
}

impl<'r> MemberBody<'r> {
    fn command(self, sticks: bool) -> Result<MembershipCommand<'r>, ApiError> {
        Ok(MembershipCommand {
            group: group_name(self.group)?,
            uid: checked(self.uid)?,
            sticky: self.sticky.unwrap_or(sticks),
        })
    }
}

impl<'r> KickBody<'r> {
    fn command(self) -> Result<ApiCommand<'r>, ApiError> {
        Ok(ApiCommand::Kick(checked(self.uid)?, self.forget))
    }
}

fn checked(Uid(uid): Uid<'_>) -> Result<Cow<'_, str>, ApiError> {
    check_uid(&uid).map_err(|error| ApiError::new(400, "bad_uid", error.to_string()))?;
    Ok(uid)
}

/// A uid that comes twice gets one message.
fn each_once(uids: Vec<Cow<'_, str>>) -> Result<Vec<Cow<'_, str>>, ApiError> {
    let mut seen = AHashSet::with_capacity(uids.len());
    let mut each = Vec::with_capacity(uids.len());
    for uid in &uids {
        check_uid(uid).map_err(|error| {
            let words = match error {
                UidError::Reserved => "\"all\" is not one of many: see /v1/broadcast".to_owned(),
                error => error.to_string(),
            };
            ApiError::new(400, "bad_uid", words)
        })?;
        if seen.insert(&**uid) {
            each.push(uid.clone());
        }
    }
    Ok(each)
}

fn group_name(Text(group): Text<'_>) -> Result<Cow<'_, str>, ApiError> {
    let bad = |error: UidError| ApiError::new(400, "bad_group", error.to_string());
    check_uid(&group).map_err(bad)?;
    Ok(group)
}

fn id(id: Option<Text<'_>>) -> Result<Option<Cow<'_, str>>, ApiError> {
    let Some(Text(id)) = id else { return Ok(None) };
    match check_uid(&id) {
        Ok(()) | Err(UidError::Reserved) => Ok(Some(id)),
        Err(_) => {
            let words = "an id has 1 to 128 bytes and no control characters";
            Err(ApiError::new(400, "bad_id", words))
        }
    }
}

fn message<'r>(
    data: Option<&'r RawValue>,
    text: Option<Text<'r>>,
) -> Result<Cow<'r, str>, ApiError> {
    match (data, text) {
        (Some(data), None) => compact(data.get()).ok_or_else(|| {
            let words = format!("data nests more than {NESTING_MAX} levels deep");
            ApiError::bad_request(words)
        }),
        (None, Some(Text(text))) => Ok(text),
        _ => Err(ApiError::bad_request(
            "expected exactly one of data and text",
        )),
    }
}

/// Valid JSON without the white space around its parts; `None` if it nests too deeply.
fn compact(json: &str) -> Option<Cow<'_, str>> {
    let mut compacted = String::new();
    // What has been copied, and whether anything was left out.
    let mut copied = 0;
    let (mut depth, mut at) = (0_usize, 0);
    let bytes = json.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = string_end(bytes, at),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b' ' | b'\t' | b'\r' | b'\n' => {
                compacted.push_str(&json[copied..at]);
                copied = at + 1;
            }
            _ => {}
        }
        if depth > NESTING_MAX {
            return None;
        }
        at += 1;
    }
    if copied == 0 {
        return Some(Cow::Borrowed(json));
    }
    compacted.push_str(&json[copied..]);
    Some(Cow::Owned(compacted))
}

/// Where the string that begins at `start` has its closing quote, or the text its end.
pub fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(next) = memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
        match bytes[at + next] {
            b'"' => return at + next,
            _ => at += next + 2,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests;
