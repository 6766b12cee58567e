//! [`DoctorPlan`]: what is to be served, as far as the machine's limits are about it.

use ringpost::config::{DescriptorTables, Driver};
use ringpost::machine::RingTrial;
use ringpost::{ClusterTrial, check_certificates};

use super::machine::Machine;
use super::running::KeptNow;
use crate::cli::certificates;
use crate::cli::listener::Scheme;
use crate::cli::settings::Settings;

/// What is to be served, as far as the machine's limits are about it.
#[derive(Clone, Debug)]
pub struct DoctorPlan {
    pub connections: u64,
    pub cores: u64,
    pub listeners: u64,
    /// Those that are known beforehand.
    pub ports: Vec<u16>,
    pub http_connections: u64,
    /// What the process may have of them, and of back ends'; 0 is any number.
    pub http_connections_max: u64,
    pub backend_connections: u64,
    pub outbox_bytes_core: u64,
    pub history_bytes_core: u64,
    pub send_buffer_bytes: u64,
    pub driver: Driver,
    pub tables: DescriptorTables,
    pub max_connections: u64,
    /// Of those that speak TLS, each set of files: for how many days it holds, or what is wrong.
    pub certificates: Vec<Result<i64, String>>,
    /// What of them may keep clients out all the same, if it was looked for.
    pub certificate_doubts: Vec<String>,
    /// What happened when rings were made; `None` if none were.
    pub rings: Option<Vec<RingTrial>>,
    /// What a server keeps that runs, or why it is not known; `None` if none was asked.
    pub kept_now: Option<Result<KeptNow, String>>,
    /// What has come of trying each Redis of the cluster; none if that was not done, or there is no cluster.
    pub cluster: Vec<ClusterTrial>,
}

impl DoctorPlan {
    /// Of these settings, with so many connections.
    pub fn new(settings: &Settings, connections: u64, machine: &Machine) -> DoctorPlan {
        let config = &settings.config;
        let sites = settings.listeners.iter();
        let sites = sites.filter(|one| one.scheme == Scheme::Http).count();
        let addresses = settings.listeners.iter().map(|one| one.address.ip());
        let ports = addresses.flatten().map(|address| address.port());
        DoctorPlan {
            connections,
            cores: match config.cores {
                0 => machine.cores() as u64,
                cores => cores as u64,
            },
            listeners: settings
                .listeners
                .iter()
                .filter(|one| one.path.is_none())
                .count() as u64,
            ports: ports.filter(|port| *port != 0).collect(),
            // Of back ends, and of all others.
            http_connections: (config.http_connections_max * 2 * sites.min(1)) as u64,
            http_connections_max: config.http_connections_max as u64,
            backend_connections: config.backend_connections_max as u64,
            outbox_bytes_core: config.outbox_bytes_core_max as u64,
            history_bytes_core: config.history_bytes_core_max as u64,
            send_buffer_bytes: config.send_buffer_bytes as u64,
            driver: config.driver,
            tables: config.descriptor_tables,
            max_connections: config.max_connections as u64,
            certificates: certificates::all(settings)
                .iter()
                .map(|files| match check_certificates(files) {
                    Ok(checked) => Ok(checked.days_left),
                    Err(error) => Err(error.to_string()),
                })
                .collect(),
            certificate_doubts: Vec::new(),
            rings: None,
            kept_now: None,
            cluster: Vec::new(),
        }
    }
}
