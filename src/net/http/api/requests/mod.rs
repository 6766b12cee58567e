//! What requests say: their bodies, read into [`ApiCommand`]s.
//!
//! Bounds: [`UIDS_MAX`] uids, [`NESTING_MAX`] levels of `data`. Nothing of `data` is built: it is passed on as it is
//! written, but for the white space around its parts, so that no number loses a digit and no key its place.

mod keep;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use ahash::AHashSet;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use self::keep::Keeping;
use super::errors::ApiError;
use super::names;
use crate::app::bulk::{Except, Exceptions};
use crate::close::CLOSE_TEXT_BYTES_MAX;
use crate::ident::{ConnName, EVERYBODY, UidError, check_uid};
use crate::payload::{Message, Payload};
use crate::protocol::http::Request;
use crate::protocol::json::{NESTING_MAX, compact};
use crate::shard::Farewell;
use crate::streams::Wish;

/// Most uids of one push.
pub const UIDS_MAX: usize = 10_000;
/// Most uids and connections that a message to many is not for.
pub const EXCEPT_MAX: usize = 1_000;

/// Something to be done.
pub enum ApiCommand<'r> {
    Push(PushCommand<'r>),
    Kick(KickCommand<'r>),
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

/// Whose connections are to be closed, or which one.
pub struct KickCommand<'r> {
    pub target: KickTarget<'r>,
    /// What it is told last.
    pub last: Option<Box<Farewell>>,
}

pub enum KickTarget<'r> {
    /// The connections of a uid; whether what is kept for it goes, too.
    Uid(Cow<'r, str>, bool),
    Connection(ConnName),
}

pub struct PushCommand<'r> {
    pub target: PushTarget<'r>,
    pub message: Cow<'r, str>,
    /// Whom one to many is not for.
    pub except: Exceptions,
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
    /// As it is written, too.
    Connection(ConnName, Cow<'r, str>),
    Everybody,
}

impl PushTarget<'_> {
    /// Whether it is for many who are not named.
    pub fn is_many(&self) -> bool {
        match self {
            PushTarget::Group(_) | PushTarget::Everybody => true,
            PushTarget::Uid(uid) => uid == EVERYBODY,
            PushTarget::Uids(_) | PushTarget::Connection(..) => false,
        }
    }
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
    connection: Option<Text<'r>>,
    #[serde(default, borrow, deserialize_with = "present")]
    except: Option<ExceptBody<'r>>,
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
    except: Option<ExceptBody<'r>>,
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
    #[serde(default, borrow, deserialize_with = "present")]
    uid: Option<Uid<'r>>,
    #[serde(default, borrow, deserialize_with = "present")]
    connection: Option<Text<'r>>,
    #[serde(default)]
    forget: bool,
    #[serde(default, borrow, deserialize_with = "present")]
    data: Option<&'r RawValue>,
    #[serde(default, borrow, deserialize_with = "present")]
    text: Option<Text<'r>>,
    #[serde(default, borrow, deserialize_with = "present")]
    reason: Option<Text<'r>>,
}

/// Whom a message to many is not for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExceptBody<'r> {
    #[serde(default, borrow)]
    uids: UidSet<'r>,
    #[serde(default, borrow)]
    connections: Vec<Text<'r>>,
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
#[derive(Default)]
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
    const SHAPE: &str =
        "{\"uid\", \"uids\", \"group\" or \"connection\", and \"data\" or \"text\"}";
    read::<PushBody<'_>>(request, SHAPE)?.command()
}

pub fn broadcast(request: &Request) -> Result<ApiCommand<'_>, ApiError> {
    read::<BroadcastBody<'_>>(request, "{\"data\" or \"text\"}")?.command()
}

pub fn kick(request: &Request) -> Result<ApiCommand<'_>, ApiError> {
    read::<KickBody<'_>>(request, "{\"uid\" or \"connection\"}").and_then(KickBody::command)
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BindBody<'r> {
    #[serde(borrow)]
    uid: Uid<'r>,
}

/// The uid that a connection is to be bound to.
pub fn bind(request: &Request) -> Result<Cow<'_, str>, ApiError> {
    let BindBody { uid } = read(request, "{\"uid\":\"…\"}")?;
    checked(uid)
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

pub fn read<'r, T: Deserialize<'r>>(request: &'r Request, shape: &str) -> Result<T, ApiError> {
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
        let target = match (self.uid, self.uids, self.group, self.connection) {
            (Some(Uid(uid)), None, None, None) if uid == EVERYBODY => PushTarget::Uid(uid),
            (Some(uid), None, None, None) => PushTarget::Uid(checked(uid)?),
            (None, Some(UidSet(uids)), None, None) => PushTarget::Uids(each_once(uids)?),
            (None, None, Some(group), None) => PushTarget::Group(group_name(group)?),
            (None, None, None, Some(Text(connection))) => {
                PushTarget::Connection(names::connection(&connection)?, connection)
            }
            _ => {
                let words = "expected exactly one of uid, uids, group and connection";
                return Err(ApiError::bad_request(words));
            }
        };
        if matches!(target, PushTarget::Connection(..)) && matches!(self.keep.0, Wish::For(_)) {
            let words =
                "a message for one connection is not kept: push to its uid, or leave keep out";
            return Err(ApiError::bad_request(words));
        }
        if self.except.is_some() && !target.is_many() {
            let words = "except goes with a group or with everybody";
            return Err(ApiError::bad_request(words));
        }
        push_to(
            target,
            (self.data, self.text),
            self.id,
            (self.keep, self.except),
        )
    }
}

impl<'r> BroadcastBody<'r> {
    fn command(self) -> Result<ApiCommand<'r>, ApiError> {
        let target = PushTarget::Everybody;
        push_to(
            target,
            (self.data, self.text),
            self.id,
            (self.keep, self.except),
        )
    }
}

/// What a push and a broadcast have in common.
fn push_to<'r>(
    target: PushTarget<'r>,
    (data, text): (Option<&'r RawValue>, Option<Text<'r>>),
    own_id: Option<Text<'r>>,
    (Keeping(wish), except): (Keeping, Option<ExceptBody<'r>>),
) -> Result<ApiCommand<'r>, ApiError> {
    Ok(ApiCommand::Push(PushCommand {
        target,
        message: message(data, text)?,
        except: except.map(ExceptBody::exceptions).transpose()?.flatten(),
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
        let target = match (self.uid, self.connection) {
            (Some(uid), None) => KickTarget::Uid(checked(uid)?, self.forget),
            (None, Some(_)) if self.forget => {
                let words = "forget goes with a uid: what is kept is a uid's";
                return Err(ApiError::bad_request(words));
            }
            (None, Some(Text(name))) => KickTarget::Connection(names::connection(&name)?),
            _ => {
                let words = "expected exactly one of uid and connection";
                return Err(ApiError::bad_request(words));
            }
        };
        let message = match (self.data, self.text) {
            (None, None) => None,
            (data, text) => Some(Payload::new(Message::Text(&message(data, text)?))),
        };
        let text = self.reason.map(close_text).transpose()?;
        let last =
            (message.is_some() || text.is_some()).then(|| Box::new(Farewell { message, text }));
        Ok(ApiCommand::Kick(KickCommand { target, last }))
    }
}

impl ExceptBody<'_> {
    /// Them, if there are any.
    fn exceptions(self) -> Result<Exceptions, ApiError> {
        let ExceptBody {
            uids: UidSet(uids),
            connections,
        } = self;
        if uids.len() + connections.len() > EXCEPT_MAX {
            let words = format!("except has at most {EXCEPT_MAX} uids and connections");
            return Err(ApiError::new(400, "too_many", words));
        }
        let uids: Result<Box<[Box<str>]>, ApiError> = uids
            .into_iter()
            .map(|uid| Ok(Box::from(&*checked(Uid(uid))?)))
            .collect();
        let connections: Result<Box<[ConnName]>, ApiError> = connections
            .iter()
            .map(|Text(name)| names::connection(name))
            .collect();
        let except = Except {
            uids: uids?,
            connections: connections?,
        };
        Ok((except != Except::default()).then(|| Arc::new(except)))
    }
}

/// What a close frame is to say.
fn close_text(Text(text): Text<'_>) -> Result<Box<str>, ApiError> {
    if text.len() > CLOSE_TEXT_BYTES_MAX || text.chars().any(char::is_control) {
        let words = format!(
            "reason: expected at most {CLOSE_TEXT_BYTES_MAX} bytes without control characters, as a close frame has"
        );
        return Err(ApiError::new(400, "bad_reason", words));
    }
    Ok(Box::from(&*text))
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

#[cfg(test)]
mod tests;
