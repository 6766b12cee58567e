//! Change without a disconnect: a server starts its successor, hands it all that it has, and leaves.
//!
//! The old one's side is the [`Upgrader`], one thread at a time, and on each core what it asks for by
//! [`UpgradeStep`](crate::app::envelope::UpgradeStep); the new one's is the [`Predecessor`] and its cores' [`CoreSeat`]s. The
//! old one keeps what it has sent until its last word. Until that the new one touches no socket, and whatever goes wrong
//! the old one puts all back and goes on; after it the old one touches none that it has sent.

mod asker;
mod channel;
mod copying;
mod desk;
mod fault;
mod inventory;
mod lane;
mod messages;
mod moment;
mod parting;
mod predecessor;
mod priority;
mod process_parts;
mod program;
mod seat;
mod successor;
mod upgrader;

pub use asker::asker_name;
pub use copying::CopyPass;
pub use desk::{Show, UpgradeDesk};
pub use fault::meet as meet_fault;
pub use inventory::Inventory;
pub use lane::{Lane, ServerLane};
pub use messages::ClusterOffer;
pub use parting::{KeptConnections, Parting};
pub use predecessor::{InheritedSockets, Predecessor, Takeover};
pub use priority::give_way;
pub use process_parts::ProcessParts;
pub use program::Program;
pub use seat::CoreSeat;
pub use upgrader::{ListenerOffer, NodeParts, Upgrader};
