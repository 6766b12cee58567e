//! What back ends send, shown to those who look ([`Taps`](crate::shard::Taps)): a push to a uid at the uid's home, all others
//! where they are asked for. Where nobody looks, this is a look at a `None` a push; messages to groups are looked at by
//! the HTTP API alone, so that they cost nothing here.

use super::local::Local;
use super::outcome::Delivered;
use super::pending::{Caller, TappedCaller};
use crate::ident::Reach;
use crate::payload::Message;
use crate::shard::{PushedTo, Shown, TapKind, TapPush, TapSubject};

impl Local {
    /// Shows a push to a uid that is at home here.
    #[inline(always)]
    pub(super) fn tap_push_to_uid(
        &mut self,
        reach: Reach,
        uid: &str,
        message: Message<'_>,
        delivered: &Delivered,
    ) {
        if self.shard.is_tapped() {
            let (reached, kept) = (delivered.reached, delivered.position.is_some());
            self.show_push_to_uid(reach, uid, message, (reached, kept));
        }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn show_push_to_uid(
        &mut self,
        reach: Reach,
        uid: &str,
        message: Message<'_>,
        (reached, kept): (u32, bool),
    ) {
        let to = PushedTo::Uid(Box::from(uid));
        let shown = Shown::new(message.bytes(), true);
        self.tap_push(
            reach,
            TapPush {
                to,
                reached,
                kept,
                shown,
            },
        );
    }

    /// Shows a push, whoever it is to.
    pub(super) fn tap_push(&mut self, reach: Reach, push: TapPush) {
        let name = |wanted| match &push.to {
            PushedTo::Uid(name) if wanted == "uid" => Some(&**name),
            PushedTo::Group(name) if wanted == "group" => Some(&**name),
            _ => None,
        };
        let subject = TapSubject {
            reach,
            kind: TapKind::Push,
            uid: name("uid"),
            group: name("group"),
            listener: None,
        };
        self.shard.tap_push(subject, |with_data| TapPush {
            shown: Shown {
                beginning: push.shown.beginning.clone().filter(|_| with_data),
                ..push.shown
            },
            ..push.clone()
        });
    }

    /// The caller of a push to everybody, as it is shown when it is answered, if somebody looks. A task sees to that itself.
    pub(super) fn tapped(&self, reach: Reach, caller: Caller, message: Message<'_>) -> Caller {
        if !matches!(caller, Caller::App { .. }) || !self.shard.is_tapped() {
            return caller;
        }
        let push = TapPush {
            to: PushedTo::Everybody,
            reached: 0,
            kept: false,
            shown: Shown::new(message.bytes(), true),
        };
        Caller::Tapped(Box::new(TappedCaller {
            caller,
            reach,
            push,
        }))
    }

    /// It is answered: shows it. Who has asked.
    pub(super) fn show_answered(&mut self, tapped: TappedCaller, delivered: &Delivered) -> Caller {
        let TappedCaller {
            caller,
            reach,
            push,
        } = tapped;
        let (reached, kept) = (delivered.reached, delivered.position.is_some());
        self.tap_push(
            reach,
            TapPush {
                reached,
                kept,
                ..push
            },
        );
        caller
    }
}
