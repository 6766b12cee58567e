//! [`Pool`]: whose connections are counted together; and the rules by which a listener lets them in.

use crate::config::Config;

/// Whose connections are counted together, and apart from the others'.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pool {
    Clients,
    BackEnds,
    /// HTTP of back ends and scrapers, once a request has shown that it is theirs.
    Http,
    /// HTTP of all others, and of those who have not asked yet: however many there are, back ends get in.
    HttpClients,
}

pub const POOLS: usize = Pool::HttpClients as usize + 1;
pub const POOLS_ALL: [Pool; POOLS] = [Pool::Clients, Pool::BackEnds, Pool::Http, Pool::HttpClients];

impl Pool {
    /// The most connections of it; 0 is any number.
    pub fn connections_max(self, config: &Config) -> usize {
        match self {
            Pool::Clients => config.max_connections,
            Pool::BackEnds => config.backend_connections_max,
            Pool::Http | Pool::HttpClients => config.http_connections_max,
        }
    }

    /// The key that sets it.
    pub fn key(self) -> &'static str {
        match self {
            Pool::Clients => "max_connections",
            Pool::BackEnds => "backend_connections_max",
            Pool::Http | Pool::HttpClients => "http_connections_max",
        }
    }
}

/// What the connections of an address count with, by default: clients', and those that ask by HTTP.
pub const CLIENTS_TOGETHER: u16 = 0;
pub const HTTP_TOGETHER: u16 = u16::MAX;

/// One listener, by which connections come in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryRules {
    pub pool: Pool,
    /// Whether its connections begin with a PROXY protocol header.
    pub proxied: bool,
    /// Connections that one address may have; 0 is any number.
    pub per_address_max: usize,
    /// Those of doors with the same number are added up.
    pub counted_with: u16,
    /// Whether this machine alone reaches it.
    pub on_loopback: bool,
}
