//! What a server leaves to the process that goes on in its place and is no core's: TLS tickets' keys, webhooks, and what was
//! counted for all ([`ProcessRecord`]).
//!
//! Before anything is packed, webhooks are held ([`WebhookDelivery::hold`]). The new process unpacks before its cores begin,
//! and delivers nothing until then.

use tracing::warn;
use zeroize::Zeroizing;

use super::webhooks::WebhookDelivery;
use crate::handover::{ProcessRecord, WrittenTickets};
use crate::net::webhooks::Inheritance;
use crate::tls::TlsListeners;

/// All of it, while this process still has it. The webhooks are held.
pub fn pack(tls: Option<&TlsListeners>, webhooks: &WebhookDelivery) -> Vec<ProcessRecord> {
    let mut records = vec![ProcessRecord::LogLost(crate::log::lost())];
    for (files, secrets) in tls.map(TlsListeners::ticket_secrets).unwrap_or_default() {
        let keys = secrets.into_iter();
        records.push(ProcessRecord::Tickets(WrittenTickets {
            files: files.into(),
            keys: keys.map(|(made, secret)| (made, secret.to_vec())).collect(),
        }));
    }
    if let Some(inherited) = webhooks.pack() {
        records.extend(inherited.records());
    }
    records
}

/// Takes it over, in order.
pub fn unpack(
    records: impl IntoIterator<Item = ProcessRecord>,
    tls: Option<&TlsListeners>,
    webhooks: &WebhookDelivery,
) {
    let mut inherited: Option<Inheritance> = None;
    for record in records {
        match record {
            ProcessRecord::LogLost(lost) => crate::log::count_on_from(lost),
            ProcessRecord::Tickets(written) => {
                let keys = written.keys.iter();
                let keys = keys.map(|(made, secret)| (*made, Zeroizing::new(secret.clone())));
                let keys = keys.collect();
                if !tls.is_some_and(|tls| tls.take_ticket_secrets(&written.files, keys)) {
                    warn!(
                        "TLS tickets of other certificate files are good no more: whoever has one makes a full handshake"
                    );
                }
            }
            ProcessRecord::Webhooks(written) => {
                inherited.get_or_insert_default().written = written;
            }
            ProcessRecord::Event(event) => inherited.get_or_insert_default().events.push(*event),
        }
    }
    if let Some(inherited) = inherited {
        webhooks.take_over(inherited);
    }
}
