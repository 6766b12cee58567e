//! [`Contender`]: a server to be measured: how it is started for a workload, where it listens, and how
//! it is ended again. One runs at a time, freshly started for each run.

use std::fs::File;
use std::io;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::front::Front;
use crate::workload::Workload;

/// For a server to listen, and to end.
const START_MAX: Duration = Duration::from_secs(20);
const END_MAX: Duration = Duration::from_secs(10);
/// How often it is tried whether a server listens.
const LOOK: Duration = Duration::from_millis(100);
/// Below the ports that connections come from.
const PORT: u16 = 21_340;
const PUSH_PORT: u16 = 21_350;
const BACKEND_PORT: u16 = 21_360;
/// Of ringpost behind a proxy.
const BEHIND_PORT: u16 = 21_370;

/// What is measured.
#[derive(Clone, PartialEq, Debug)]
pub enum Contender {
    /// The kernel alone, with batched sends or not.
    Floor { ring: bool },
    /// Ringpost on so many cores.
    Ringpost { cores: usize },
    /// The same on one core, by TLS of its own.
    RingpostTls,
    /// The same on one core, behind a proxy that speaks TLS, with which it shares a CPU.
    Fronted(Front),
    /// The relay on tokio and tungstenite.
    SingleProcess,
    /// The manual's server: the command for PHP, and where Workerman is.
    Workerman { php: String, folder: PathBuf },
    /// Any other relay: a command, and its listener.
    Peer {
        name: String,
        command: String,
        url: String,
    },
}

/// Where the programs are.
pub struct Places {
    /// The build's folder.
    pub built: PathBuf,
    /// The baselines' sources, one of which is a script.
    pub baselines: PathBuf,
    /// Where servers write what they have to say.
    pub logs: PathBuf,
}

impl Places {
    /// What servers show by TLS: a certificate of P-256.
    pub fn certificate(&self) -> PathBuf {
        self.baselines.join("../../tests/certificates/p256.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.baselines.join("../../tests/certificates/p256.key")
    }
}

impl Contender {
    /// Reads `NAME=CMD,URL`.
    pub fn peer(text: &str) -> Result<Contender, String> {
        let parts = text
            .split_once('=')
            .and_then(|(name, rest)| Some((name, rest.rsplit_once(',')?)));
        match parts {
            Some((name, (command, url))) if !name.is_empty() && url.contains("://") => {
                Ok(Contender::Peer {
                    name: name.to_owned(),
                    command: command.to_owned(),
                    url: url.to_owned(),
                })
            }
            _ => {
                Err("expected NAME=CMD,URL, such as other=./other 7000,ws://127.0.0.1:7000".into())
            }
        }
    }

    pub fn name(&self) -> String {
        match self {
            Contender::Floor { ring: false } => "floor".into(),
            Contender::Floor { ring: true } => "floor, ring".into(),
            Contender::Ringpost { cores: 1 } => "ringpost, 1 core".into(),
            Contender::Ringpost { cores } => format!("ringpost, {cores} cores"),
            Contender::RingpostTls => "ringpost, TLS".into(),
            Contender::Fronted(front) => format!("ringpost, behind {}", front.name()),
            Contender::SingleProcess => "single process".into(),
            Contender::Workerman { .. } => "Workerman".into(),
            Contender::Peer { name, .. } => name.clone(),
        }
    }

    pub fn is_floor(&self) -> bool {
        matches!(self, Contender::Floor { .. })
    }

    /// CPUs that it gets: what is single-threaded gets one.
    pub fn cores(&self) -> usize {
        match self {
            Contender::Ringpost { cores } => *cores,
            _ => 1,
        }
    }

    /// Whether it can do a workload at all.
    pub fn can(&self, workload: Workload) -> bool {
        match self {
            Contender::Floor { ring } => workload.floor_mode().is_some_and(|mode| {
                // What connects and closes has nothing to batch.
                !ring || mode != "connect"
            }),
            // Without TLS there are no tickets.
            Contender::Ringpost { .. } | Contender::Workerman { .. } | Contender::SingleProcess
                if workload == Workload::ConnectResumed =>
            {
                false
            }
            Contender::Peer { url, .. } if workload == Workload::ConnectResumed => {
                url.starts_with("wss:")
            }
            Contender::Ringpost { .. } | Contender::RingpostTls | Contender::Workerman { .. } => {
                true
            }
            Contender::SingleProcess | Contender::Peer { .. } | Contender::Fronted(_) => {
                workload != Workload::Push
            }
        }
    }

    /// Where bench finds it.
    pub fn url(&self, workload: Workload) -> String {
        match self {
            Contender::Floor { .. } => format!("bare://127.0.0.1:{PORT}"),
            Contender::Peer { url, .. } => url.clone(),
            Contender::RingpostTls if workload == Workload::Push => {
                format!("wss://127.0.0.1:{PUSH_PORT}")
            }
            Contender::RingpostTls | Contender::Fronted(_) => format!("wss://127.0.0.1:{PORT}"),
            _ if workload == Workload::Push => format!("ws://127.0.0.1:{PUSH_PORT}"),
            _ => format!("ws://127.0.0.1:{PORT}"),
        }
    }

    /// The back end's port, for those that have one.
    pub fn backend() -> String {
        format!("127.0.0.1:{BACKEND_PORT}")
    }

    fn command(&self, workload: Workload, places: &Places) -> io::Result<Command> {
        let example = |name: &str| Command::new(places.built.join("examples").join(name));
        let listen = format!("127.0.0.1:{PORT}");
        Ok(match self {
            Contender::Floor { ring } => {
                let mut command = example("floor");
                let mode = workload.floor_mode().unwrap_or("echo");
                let sends = if *ring { "ring" } else { "single" };
                command.args([mode, "--listen", &listen, "--sends", sends]);
                command
            }
            Contender::Ringpost { cores } => ringpost(places, "websocket", *cores, workload),
            Contender::RingpostTls => {
                let mut command = ringpost(places, "wss", 1, workload);
                command
                    .arg("--tls-certificate-file")
                    .arg(places.certificate());
                command.arg("--tls-key-file").arg(places.key());
                command
            }
            Contender::Fronted(front) => shell(&format!(
                "'{}' serve --log warn --cores 1 --listen websocket://127.0.0.1:{BEHIND_PORT}=relay & exec {}",
                places.built.join("ringpost").display(),
                front.command(places, PORT, BEHIND_PORT)?
            )),
            Contender::SingleProcess => {
                let mut command = example("single_process");
                command.args(["--listen", &listen]);
                command
            }
            Contender::Workerman { php, folder } => shell(&format!(
                "exec {php} '{}' --workerman '{}' --relay {PORT} --push {PUSH_PORT} \
                 --backend {BACKEND_PORT}",
                places.baselines.join("workerman.php").display(),
                folder.display()
            )),
            Contender::Peer { command, .. } => shell(command),
        })
    }

    /// Starts it on the first of the CPUs, and returns when it listens.
    pub fn start(
        &self,
        workload: Workload,
        cpus: &[usize],
        places: &Places,
    ) -> Result<Running, String> {
        let name = self.name();
        let url = self.url(workload);
        let address = url.split("://").nth(1).unwrap_or(&url).to_owned();
        let address = address.split('/').next().unwrap_or(&address).to_owned();
        if TcpStream::connect(&address).is_ok() {
            return Err(format!(
                "something listens on {address} already: end it first ({name} is to be measured there)"
            ));
        }
        let log = places
            .logs
            .join(format!("{}.log", name.replace([' ', ','], "-")));
        let cannot = |error: io::Error| format!("{name}: cannot write {}: {error}", log.display());
        let out = File::create(&log).map_err(cannot)?;
        let errors = out.try_clone().map_err(cannot)?;
        let mut command = self.command(workload, places).map_err(cannot)?;
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with("RINGPOST_") {
                command.env_remove(key);
            }
        }
        command.stdin(Stdio::null()).stdout(out).stderr(errors);
        // A group of its own, so that ending it ends what a shell has started.
        command.process_group(0);
        let cpus = cpus[..self.cores().min(cpus.len())].to_vec();
        // SAFETY: between fork and exec only a system call is made, on memory of our own.
        unsafe { command.pre_exec(move || pin(&cpus)) };
        let child = command.spawn().map_err(|error| {
            format!("{name}: cannot start {:?}: {error}", command.get_program())
        })?;
        let mut running = Running { child, log };
        running.await_listening(&name, &address)?;
        Ok(running)
    }
}

fn ringpost(places: &Places, scheme: &str, cores: usize, workload: Workload) -> Command {
    let mut command = Command::new(places.built.join("ringpost"));
    command.args(["serve", "--log", "warn", "--cores", &cores.to_string()]);
    command.args(["--listen", &format!("{scheme}://127.0.0.1:{PORT}=relay")]);
    if workload == Workload::Push {
        let push = format!("{scheme}://127.0.0.1:{PUSH_PORT}=push");
        let backend = format!("text://127.0.0.1:{BACKEND_PORT}=push-backend");
        command.args(["--listen", &push, "--listen", &backend]);
    }
    command
}

fn shell(command: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]);
    shell
}

/// Runs this process, soon another program, on some CPUs only.
fn pin(cpus: &[usize]) -> io::Result<()> {
    // SAFETY: the set is plain bits that live through the calls.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        for cpu in cpus {
            libc::CPU_SET(*cpu, &mut set);
        }
        match libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// A server that listens. Ended when dropped.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The last lines that it wrote, indented.
    pub fn last_words(&self) -> String {
        last_words(&self.log)
    }

    fn await_listening(&mut self, name: &str, address: &str) -> Result<(), String> {
        let start = Instant::now();
        let mut met = 0;
        loop {
            // Twice: a server may look whether a port is free by listening there for a moment.
            met = match TcpStream::connect(address) {
                Ok(_) => met + 1,
                Err(_) => 0,
            };
            if met > 1 {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                let words = self.last_words();
                return Err(format!(
                    "{name} ended before it listened ({status}):\n{words}"
                ));
            }
            if start.elapsed() > START_MAX {
                let words = self.last_words();
                return Err(format!("{name} does not listen on {address}:\n{words}"));
            }
            thread::sleep(LOOK);
        }
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: a number; the group is that of our child, who is not waited for yet.
        unsafe { libc::kill(-(self.child.id() as libc::pid_t), signal) };
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(libc::SIGTERM);
        let start = Instant::now();
        while start.elapsed() < END_MAX {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.signal(libc::SIGKILL);
        let _ = self.child.wait();
    }
}

fn last_words(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(5)..];
    last.iter().map(|line| format!("    {line}\n")).collect()
}
