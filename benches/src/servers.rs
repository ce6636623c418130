//! What the kernel and the servers themselves say of a stretch of time: CPU, memory, disk, key operations, syncs, bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use host::http::Client;
use host::metrics::Process;
use sandbox::ecosystem::{Ecosystem, Server};
use tokio::task::JoinHandle;

/// Largest page of metrics.
const PAGE_BYTES: usize = 4 << 20;
/// Between two looks at the memory.
const LOOK: Duration = Duration::from_millis(100);

/// The processes that are watched.
pub(crate) struct Servers {
    pids: [u32; 3],
    metrics: [SocketAddr; 2],
    client: Client,
}

/// What was counted up to one moment.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    /// CPU seconds of the consumer's server, the provider's and this process.
    pub(crate) cpu: [f64; 3],
    /// Resident bytes of both servers.
    pub(crate) resident: [u64; 2],
    /// Of the consumer's server and the provider's.
    pub(crate) counted: [Counted; 2],
}

/// What a server counts, and what the kernel counts of its files.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    /// Exchanges that have ended.
    pub(crate) exchanges: f64,
    /// Private-key operations for messages.
    pub(crate) signatures: f64,
    /// Signatures and certificates that were checked and not found among the verdicts that are kept.
    pub(crate) verifications: f64,
    /// Commits of the message log.
    pub(crate) fsyncs: f64,
    /// Bytes of the message log.
    pub(crate) written_bytes: f64,
    /// Connections that were made to other security servers.
    pub(crate) connections: f64,
    /// Handshakes with the CBC suites of TLS 1.2.
    pub(crate) cbc_handshakes: f64,
    /// Bytes that went to files of any kind.
    pub(crate) to_files: f64,
}

/// The most memory that both servers had while this lived.
pub(crate) struct Watch {
    most: Arc<[AtomicU64; 2]>,
    task: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    /// Resident bytes of both.
    pub(crate) fn most(&self) -> [u64; 2] {
        self.most.each_ref().map(|bytes| bytes.load(Ordering::Relaxed))
    }
}

impl Servers {
    pub(crate) fn of(ecosystem: &Ecosystem) -> anyhow::Result<Self> {
        let (consumer, provider) = (ecosystem.consumer(), ecosystem.provider());
        let health = |server: &Server| server.listener("health").context("a server has no metrics");
        let limit = Duration::from_secs(20);
        Ok(Self {
            pids: [consumer.pid, provider.pid, std::process::id()],
            metrics: [health(consumer)?, health(provider)?],
            client: Client::new(limit, limit, &[]),
        })
    }

    /// Both servers.
    pub(crate) fn pids(&self) -> [u32; 2] {
        [self.pids[0], self.pids[1]]
    }

    /// Looks at their memory from now on.
    pub(crate) fn watch(&self) -> Watch {
        let (pids, most) = (self.pids(), Arc::new([AtomicU64::new(0), AtomicU64::new(0)]));
        let seen = most.clone();
        let task = tokio::spawn(async move {
            loop {
                for (pid, most) in pids.iter().zip(&*seen) {
                    let resident = Process::of(*pid).map_or(0, |process| process.resident_bytes);
                    most.fetch_max(resident, Ordering::Relaxed);
                }
                tokio::time::sleep(LOOK).await;
            }
        });
        Watch { most, task }
    }

    /// CPU seconds of both servers together.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        self.pids().into_iter().filter_map(Process::of).map(|process| process.cpu_seconds).sum()
    }

    /// Figures of this moment: CPU time at once, since it is compared with a clock; then what the servers count.
    pub(crate) async fn now(&self) -> anyhow::Result<Moment> {
        let [Some(consumer), Some(provider), Some(load)] = self.pids.map(Process::of) else {
            bail!("/proc does not tell CPU time and memory of a server: it ended, or this is not Linux");
        };
        let mut counted = [Counted::default(); 2];
        for (counted, (address, pid)) in counted.iter_mut().zip(self.metrics.iter().zip(self.pids)) {
            let page = self.client.get(&format!("http://{address}/metrics"), PAGE_BYTES).await?;
            *counted = Counted::read(&String::from_utf8_lossy(&page.body));
            counted.to_files = to_files(pid);
        }
        Ok(Moment {
            cpu: [consumer, provider, load].map(|process| process.cpu_seconds),
            resident: [consumer, provider].map(|process| process.resident_bytes),
            counted,
        })
    }
}

/// proc(5): `write_bytes`, what the process caused to be written to the storage layer.
fn to_files(pid: u32) -> f64 {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|bytes| bytes.parse().ok()).unwrap_or(0.0)
}

impl Counted {
    fn read(page: &str) -> Self {
        let sum = |name: &str, label: &str| -> f64 {
            let lines = page.lines().filter(|line| {
                line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']))
                    && line.contains(label)
            });
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        Self {
            exchanges: sum("causeway_exchanges_total", ""),
            signatures: sum("causeway_signature_batch_records_count", ""),
            verifications: sum("causeway_trust_lookups_total", "kept=\"no\""),
            fsyncs: sum("causeway_message_log_fsync_total", ""),
            written_bytes: sum("causeway_message_log_written_bytes_total", ""),
            connections: sum("causeway_peer_connections_total", "kind=\"new\""),
            cbc_handshakes: sum("causeway_tls_cbc_handshakes_total", ""),
            to_files: 0.0,
        }
    }

    /// One operation on each figure of both.
    pub(crate) fn with(self, other: Self, combine: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            exchanges: combine(self.exchanges, other.exchanges),
            signatures: combine(self.signatures, other.signatures),
            verifications: combine(self.verifications, other.verifications),
            fsyncs: combine(self.fsyncs, other.fsyncs),
            written_bytes: combine(self.written_bytes, other.written_bytes),
            connections: combine(self.connections, other.connections),
            cbc_handshakes: combine(self.cbc_handshakes, other.cbc_handshakes),
            to_files: combine(self.to_files, other.to_files),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_server_counts() {
        let page = "# TYPE causeway_message_log_fsync_total counter\ncauseway_message_log_fsync_total 7\n\
                    causeway_trust_lookups_total{kept=\"no\"} 3\ncauseway_trust_lookups_total{kept=\"yes\"} 90\n\
                    causeway_signature_batch_records_count 4\ncauseway_signature_batch_records_sum 400\n\
                    causeway_exchanges_total{side=\"client\",kind=\"rest\"} 11\ncauseway_exchanges_total{side=\"client\",kind=\"soap\"} 2\n";
        let counted = Counted::read(page);
        let read = (counted.fsyncs, counted.verifications, counted.signatures, counted.exchanges);
        assert_eq!(read, (7.0, 3.0, 4.0, 13.0));
        assert!(to_files(std::process::id()) >= 0.0);
    }
}
