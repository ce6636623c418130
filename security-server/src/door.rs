//! The door of a listener: how many connections come in, and how many of them from one address.
//!
//! A connection beyond the total waits in the kernel's bounded queue; one beyond its address's share is closed at once, since waiting
//! would only fill the queue in front of others. Addresses of IPv6 count by their /64 network, which one machine has to itself.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use host::shutdown::Shutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::admission::{Admission, Slot};

/// Between two attempts to accept when the system has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What one listener lets in.
#[derive(Debug)]
pub struct Door {
    name: &'static str,
    room: Arc<Semaphore>,
    shares: Admission,
}

/// A connection's place, given back when dropped.
#[derive(Debug)]
#[must_use = "the place is given back when this is dropped"]
pub struct Place {
    _room: OwnedSemaphorePermit,
    _share: Slot,
}

impl Door {
    /// `total` connections, at most `share` of them from one address; `name` is for metrics.
    pub fn new(name: &'static str, total: usize, share: usize) -> Self {
        let room = Arc::new(Semaphore::new(total.min(Semaphore::MAX_PERMITS)));
        Self { name, room, shares: Admission::new(total, share) }
    }

    /// The next connection, once there is room for it; `None` when the server is told to stop.
    pub async fn accept(
        &self,
        listener: &TcpListener,
        shutdown: &Shutdown,
    ) -> Option<(TcpStream, SocketAddr, Place)> {
        loop {
            let accepted = async {
                let permit = self.room.clone().acquire_owned().await.expect("the semaphore is never closed");
                (listener.accept().await, permit)
            };
            let (accepted, room) = tokio::select! {
                () = shutdown.stopped() => return None,
                accepted = accepted => accepted,
            };
            let (socket, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, listener = self.name, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            match self.shares.enter(&network(from.ip()).to_string()) {
                Ok(share) => return Some((socket, from, Place { _room: room, _share: share })),
                Err(_) => {
                    tracing::debug!(%from, listener = self.name, "an address has all the connections it may have");
                    metrics::counter!("causeway_connections_refused_total", "listener" => self.name)
                        .increment(1);
                }
            }
        }
    }
}

/// What counts as one address.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[test]
    fn a_machine_has_one_address_however_many_it_has() {
        let cases = [
            ("10.1.2.3", "10.1.2.3"),
            ("::ffff:10.1.2.3", "10.1.2.3"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ];
        for (address, expected) in cases {
            assert_eq!(network(address.parse().unwrap()).to_string(), expected);
        }
    }

    #[tokio::test]
    async fn one_address_has_its_share_and_no_more() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let (door, shutdown) = (Door::new("test", 10, 2), Shutdown::default());
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(TcpStream::connect(to).await.unwrap());
        }
        let first = door.accept(&listener, &shutdown).await.unwrap();
        let second = door.accept(&listener, &shutdown).await.unwrap();
        let third = tokio::time::timeout(Duration::from_millis(200), door.accept(&listener, &shutdown)).await;
        assert!(third.is_err(), "closed at once instead of served");
        for client in &mut clients[2..] {
            assert_eq!(client.read(&mut [0; 1]).await.unwrap_or(0), 0);
        }
        drop(first);
        let _client = TcpStream::connect(to).await.unwrap();
        assert!(door.accept(&listener, &shutdown).await.is_some());
        drop(second);
        shutdown.stop();
        assert!(door.accept(&listener, &shutdown).await.is_none());
    }
}
