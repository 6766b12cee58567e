//! [`ProcessParts`]: what a server has that is no core's, and another process is to go on with.

use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use crate::handover::ProcessRecord;
use crate::server::process_state;
use crate::server::webhooks::WebhookDelivery;
use crate::tls::TlsListeners;

/// See the module.
pub struct ProcessParts {
    tls: Option<Arc<TlsListeners>>,
    /// Until it is given up, or finishes.
    webhooks: Mutex<Option<WebhookDelivery>>,
}

impl ProcessParts {
    pub fn new(tls: Option<Arc<TlsListeners>>, webhooks: WebhookDelivery) -> ProcessParts {
        ProcessParts {
            tls,
            webhooks: Mutex::new(Some(webhooks)),
        }
    }

    fn with<R>(&self, act: impl FnOnce(&WebhookDelivery) -> R) -> Option<R> {
        let webhooks = self.webhooks.lock().unwrap_or_else(PoisonError::into_inner);
        webhooks.as_ref().map(act)
    }

    /// Webhooks are sent no more. False if the request under way does not end in its time: then they are sent on.
    pub fn hold(&self) -> bool {
        self.with(WebhookDelivery::hold) != Some(false)
    }

    /// As they were.
    pub fn go_on(&self) {
        self.with(WebhookDelivery::go_on);
    }

    /// All of it, in writing; it is here still.
    pub fn pack(&self) -> Result<Vec<Zeroizing<Vec<u8>>>, String> {
        let records = self.with(|webhooks| process_state::pack(self.tls.as_deref(), webhooks));
        let records = records.unwrap_or_default();
        let written = records.iter().map(ProcessRecord::write);
        written
            .collect::<Result<_, _>>()
            .map_err(|bad| bad.to_string())
    }

    /// Goes on with another process'.
    pub fn unpack(&self, records: Vec<ProcessRecord>) {
        self.with(|webhooks| process_state::unpack(records, self.tls.as_deref(), webhooks));
    }

    /// To end it.
    pub fn take_webhooks(&self) -> Option<WebhookDelivery> {
        let mut webhooks = self.webhooks.lock().unwrap_or_else(PoisonError::into_inner);
        webhooks.take()
    }
}
