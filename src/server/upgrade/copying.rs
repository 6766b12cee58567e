//! [`CopyPass`]: a core's connections are copied to the successor while they are served, so that little is left to be done
//! when they are not: their sockets are there by then, and of most nothing has changed.
//!
//! A later pass copies what is new, and what has changed, again. What ends meanwhile is told at once
//! ([`Parting::tell_lost`]), for the copy holds the socket open. Bound: one parcel for each core there, and [`LOOKS`]
//! connections looked at a turn, of which one parcel is sent.

use std::os::fd::BorrowedFd;

use super::channel::{Channel, DESCRIPTORS_MAX};
use super::messages::Parcel;
use super::moment::nanos_of;
use super::parting::Parting;
use crate::app::host::Host;
use crate::ident::ConnId;
use crate::net::transport::{Copied, CopyDigest, CopyPlace, Transport};

/// Connections looked at in one turn.
const LOOKS: usize = 512;

/// Copies for one core there that have not been sent.
#[derive(Default)]
struct CopyHeap {
    new: Vec<NewCopy>,
    /// Those that are there and were otherwise.
    changed: Vec<(ConnId, u32, Vec<u8>, CopyDigest)>,
}

/// One of which there is none there.
struct NewCopy {
    id: ConnId,
    written: Vec<u8>,
    digest: CopyDigest,
    /// By which its home there was asked for.
    uid: u64,
}

/// See the module.
pub struct CopyPass {
    /// Those still to be looked at, the last ones first.
    ids: Vec<ConnId>,
    /// By core there.
    heaps: Vec<CopyHeap>,
    sent: u64,
}

impl CopyPass {
    pub fn new(host: &mut Host, transport: &mut Transport, parting: &Parting) -> CopyPass {
        if transport.copies().is_none() {
            transport.begin_copies(host);
        }
        let mut ids = host.shard().connections.ids();
        ids.reverse();
        let mut heaps = Vec::new();
        heaps.resize_with(parting.cores(), CopyHeap::default);
        CopyPass {
            ids,
            heaps,
            sent: 0,
        }
    }

    /// Goes on with it. How many copies were sent, once it is over.
    pub fn go_on(
        &mut self,
        host: &mut Host,
        transport: &mut Transport,
        parting: &Parting,
        ours: &mut [Channel],
    ) -> Result<Option<u64>, String> {
        let from = self.ids.len().saturating_sub(LOOKS);
        let looked_at = self.ids.split_off(from);
        let (mut new, mut uids) = (Vec::new(), Vec::new());
        for id in looked_at.into_iter().rev() {
            let listener = host.shard().connections.listener_number(id);
            if !listener.is_some_and(|number| parting.has_listener(number)) {
                continue;
            }
            let Some((written, digest)) = transport.copy(host, id) else {
                continue;
            };
            match transport.copied(host, id) {
                Some((_, before)) if before == digest => {}
                Some((place, _)) => {
                    let heap = self.heaps.get_mut(usize::from(place.core));
                    let heap = heap.ok_or("there is no such core")?;
                    heap.changed.push((id, place.nth, written, digest));
                }
                None => {
                    let uid = host.shard().connections.uid(id).map(str::to_owned);
                    let copies = transport.copies();
                    new.push(NewCopy {
                        id,
                        written,
                        digest,
                        uid: copies.map_or(0, |copies| copies.digest_uid(uid.as_deref())),
                    });
                    uids.push(uid);
                }
            }
        }
        if !new.is_empty() {
            let homes = parting.homes(host.core(), ours, uids)?;
            for (home, one) in homes.into_iter().zip(new) {
                let heap = self.heaps.get_mut(home).ok_or("there is no such core")?;
                heap.new.push(one);
            }
        }
        self.send_some(host, transport, parting, ours)
    }

    /// Sends what is full; in the end one of those that are not.
    fn send_some(
        &mut self,
        host: &mut Host,
        transport: &mut Transport,
        parting: &Parting,
        ours: &mut [Channel],
    ) -> Result<Option<u64>, String> {
        let least = match self.ids.is_empty() {
            true => 1,
            false => DESCRIPTORS_MAX,
        };
        for core in 0..self.heaps.len() {
            if self.heaps[core].new.len() >= least {
                self.send_new(core, host, transport, parting, ours)?;
                if least == 1 {
                    return Ok(None);
                }
            }
            if self.heaps[core].changed.len() >= least {
                self.send_changed(core, host, transport, parting, ours)?;
                if least == 1 {
                    return Ok(None);
                }
            }
        }
        Ok(self.ids.is_empty().then_some(self.sent))
    }

    fn send_new(
        &mut self,
        core: usize,
        host: &mut Host,
        transport: &mut Transport,
        parting: &Parting,
        ours: &mut [Channel],
    ) -> Result<(), String> {
        let heap = &mut self.heaps[core].new;
        // Some may have ended since.
        heap.retain(|one| transport.socket(one.id).is_some());
        let rest = heap.split_off(heap.len().min(DESCRIPTORS_MAX));
        let mut batch = std::mem::replace(heap, rest);
        if batch.is_empty() {
            return Ok(());
        }
        let Some(moment) = transport.copies().map(|copies| copies.moment) else {
            return Ok(());
        };
        let written = batch.iter_mut().map(|one| std::mem::take(&mut one.written));
        let parcel = Parcel::Copies {
            core: host.core().0,
            begun: nanos_of(moment.begun),
            connections: written.collect(),
        };
        let sockets = batch.iter().filter_map(|one| transport.socket(one.id));
        let sockets: Vec<BorrowedFd<'_>> = sockets.collect();
        let first: u32 = parting.send_for(core, ours, &parcel, &sockets)?;
        self.sent += batch.len() as u64;
        let copied = (first..).zip(batch).map(|(nth, one)| {
            let NewCopy {
                id, digest, uid, ..
            } = one;
            let core = core as u16;
            let place = CopyPlace { core, nth };
            (id, Copied { place, digest, uid })
        });
        transport.have_copied(copied);
        Ok(())
    }

    fn send_changed(
        &mut self,
        core: usize,
        host: &mut Host,
        transport: &mut Transport,
        parting: &Parting,
        ours: &mut [Channel],
    ) -> Result<(), String> {
        let heap = &mut self.heaps[core].changed;
        // Of one that has ended since, or has another uid, the copy is lost already.
        heap.retain(|(id, ..)| transport.copies().is_some_and(|it| it.has(*id)));
        let rest = heap.split_off(heap.len().min(DESCRIPTORS_MAX));
        let (mut places, mut connections, mut renewed) = (Vec::new(), Vec::new(), Vec::new());
        for (id, nth, written, digest) in std::mem::replace(heap, rest) {
            places.push(nth);
            connections.push(written);
            renewed.push((id, digest));
        }
        if places.is_empty() {
            return Ok(());
        }
        self.sent += places.len() as u64;
        let parcel = Parcel::Changed {
            copies_of: Some(host.core().0),
            places,
            connections,
        };
        parting.send(core, ours, &parcel, &[])?;
        if let Some(copies) = transport.copies() {
            renewed
                .into_iter()
                .for_each(|(id, digest)| copies.renew(id, digest));
        }
        Ok(())
    }
}
