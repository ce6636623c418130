//! What the kernel and the servers themselves say of a stretch of time: CPU, memory, key operations, syncs, bytes.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use host::http::Client;
use host::metrics::Process;
use sandbox::ecosystem::{Ecosystem, Server};

/// Largest page of metrics.
const PAGE_BYTES: usize = 4 << 20;

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
    /// Of both servers together.
    pub(crate) counted: Counted,
}

/// What servers count.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    /// Private-key operations for messages.
    pub(crate) signatures: f64,
    /// Signatures and certificates that were checked and not found among the verdicts that are kept.
    pub(crate) verifications: f64,
    /// Commits of the message log.
    pub(crate) fsyncs: f64,
    /// Bytes of the message log.
    pub(crate) written_bytes: f64,
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

    pub(crate) async fn now(&self) -> anyhow::Result<Moment> {
        let mut counted = Counted::default();
        for address in self.metrics {
            let page = self.client.get(&format!("http://{address}/metrics"), PAGE_BYTES).await?;
            counted.add(&String::from_utf8_lossy(&page.body));
        }
        let [Some(consumer), Some(provider), Some(load)] = self.pids.map(Process::of) else {
            bail!("/proc does not tell CPU time and memory of a server: it ended, or this is not Linux");
        };
        Ok(Moment {
            cpu: [consumer, provider, load].map(|process| process.cpu_seconds),
            resident: [consumer, provider].map(|process| process.resident_bytes),
            counted,
        })
    }
}

impl Counted {
    fn add(&mut self, page: &str) {
        let sum = |name: &str, label: &str| -> f64 {
            let lines = page.lines().filter(|line| {
                line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']))
                    && line.contains(label)
            });
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        self.signatures += sum("causeway_signature_batch_records_count", "");
        self.verifications += sum("causeway_trust_lookups_total", "kept=\"no\"");
        self.fsyncs += sum("causeway_message_log_fsync_total", "");
        self.written_bytes += sum("causeway_message_log_written_bytes_total", "");
    }

    /// What was counted since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            signatures: self.signatures - before.signatures,
            verifications: self.verifications - before.verifications,
            fsyncs: self.fsyncs - before.fsyncs,
            written_bytes: self.written_bytes - before.written_bytes,
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
                    causeway_signature_batch_records_count 4\ncauseway_signature_batch_records_sum 400\n";
        let mut counted = Counted::default();
        counted.add(page);
        counted.add(page);
        assert_eq!((counted.fsyncs, counted.verifications, counted.signatures), (14.0, 6.0, 8.0));
    }
}
