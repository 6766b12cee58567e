//! Starts and pins the cores, owns each core's turn, drains, stops.

mod binding;
mod builder;
mod certificates;
mod client_drain;
mod cores;
mod cpus;
mod drain;
mod driver;
mod layout;
mod listen;
mod namespaces;
mod parts;
mod passed;
mod plan;
#[expect(dead_code, reason = "no process goes on in the place of another yet")]
mod process_state;
mod reload;
mod running;
mod runtime;
mod signals;
mod start;
mod start_error;
mod supervisor;
mod sweep;
mod tables;
mod turn;
mod upgrade;
mod watchdog;
mod webhooks;

pub use builder::Server;
pub use cpus::{control_groups, cores_for, cpu_percent};
pub use driver::{RingTrial, try_rings};
pub use listen::{Listen, Listening, Listens};
pub(crate) use parts::Parts;
pub use reload::Reload;
pub use running::Running;
pub use tables::DescriptorNeed;
pub use upgrade::asker_name;
