//! What the benchmarks share: starting servers, asking the kernel what they used, percentiles.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server in a process of its own; killed, by its own pid, when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) ready_after: Duration,
}

impl Server {
    /// Starts this program on a store in `folder`, and waits until it is ready.
    pub(crate) fn exporter(folder: &Path) -> Self {
        Self::exporter_with(folder, "")
    }

    /// The same with more in its configuration.
    pub(crate) fn exporter_with(folder: &Path, more: &str) -> Self {
        let config = folder.join("bench.yml");
        let yaml = format!(
            "accounts:\n- {{ name: main, api_key: {}, base_url: \"http://127.0.0.1:9\", balance_interval: 1h }}\n\
             pingback: {{ unknown: accept }}\n{more}\
             storage: {{ url: \"sqlite:{}\", spill_dir: \"{}\" }}\n",
            "0".repeat(31) + "a",
            folder.join("bench.db").display(),
            folder.join("spill").display(),
        );
        fs::write(&config, yaml).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_captchaai-exporter"));
        command.arg("--config.file").arg(config);
        command.args(["--web.listen-address", "127.0.0.1:0", "--log.format", "json", "--log.level", "info"]);
        let started = Instant::now();
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = listening_address(lines);
        let ready = curl(address, "/-/ready");
        assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
        Self { child, address, ready_after: started.elapsed() }
    }

    /// Starts a server that is this benchmark's own executable with `argument`.
    pub(crate) fn own(argument: &str) -> Self {
        let started = Instant::now();
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child = command.arg(argument).stdout(Stdio::piped()).spawn().unwrap();
        let line = BufReader::new(child.stdout.take().unwrap()).lines().next().unwrap().unwrap();
        Self { child, address: line.parse().unwrap(), ready_after: started.elapsed() }
    }

    /// CPU time used so far, user and system.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    /// Resident memory in MiB, of anonymous pages and files.
    pub(crate) fn resident_mib(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the log until the line that names the address; the rest is read and dropped, so that the
/// server never waits for us.
fn listening_address(mut lines: impl Iterator<Item = std::io::Result<String>> + Send + 'static) -> SocketAddr {
    let address = loop {
        let line = lines.next().expect("the exporter ended").unwrap();
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        if line["fields"]["message"] == "listening" {
            break line["fields"]["address"].as_str().unwrap().parse().unwrap();
        }
        assert_ne!(line["level"], "ERROR", "{line}");
    };
    std::thread::spawn(move || lines.for_each(drop));
    address
}

/// One request on a connection of its own; the whole answer.
pub(crate) fn curl(address: SocketAddr, path: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The value below which `share` of the sorted values lie.
pub(crate) fn percentile(sorted: &[u64], share: f64) -> u64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get(((last as f64) * share).round() as usize).copied().unwrap_or(0)
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
